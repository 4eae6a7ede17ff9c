//! Checks the columns that an expression names, so that the error names the table. PostgreSQL's own error would not, and would be about the
//! trigger's WHEN where the user has given an id.

use std::ffi::{CStr, c_void};

use pgrx::prelude::*;

use super::expression::{parse, raw_expression_tree_walker};
use crate::pg::support::errors::{Fault, WatchFault};

/// What an expression is given for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The id of a row: a column may be named without `NEW`.
    Id,
    /// A condition.
    When,
}

/// Checks what an expression names; the answer is the columns that follow `NEW` or `OLD`.
///
/// # Errors
/// A column that the table does not have; or, for an id, a subquery.
pub fn check(text: &str, place: Place, has_column: impl Fn(&str) -> bool, table: &str) -> Result<Vec<String>, Fault> {
    let mut found = Found::default();
    let expression = parse(text)?;
    // SAFETY: what the parser has made, and a place that lives until the walk has ended.
    unsafe { find(expression, (&raw mut found).cast()) };
    let bare = if place == Place::Id { found.bare } else { Vec::new() };
    if let Some(missing) = found.of_row.iter().chain(&bare).find(|name| !has_column(name)) {
        return Err(Fault::Watch(WatchFault::NoColumn {
            column: missing.clone(),
            table: table.to_owned(),
        }));
    }
    if place == Place::Id && found.has_subquery {
        return Err(Fault::Watch(WatchFault::IdExpression {
            expression: text.to_owned(),
            error: "it has a subquery".to_owned(),
        }));
    }
    Ok(found.of_row)
}

#[derive(Default)]
struct Found {
    /// After `NEW` or `OLD`.
    of_row: Vec<String>,
    bare: Vec<String>,
    has_subquery: bool,
}

/// # Safety
/// A node of the parser, or null, and a [`Found`].
#[pg_guard]
unsafe extern "C-unwind" fn find(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: the caller's promise; a node of a tag has that tag's type.
    unsafe {
        let found = &mut *context.cast::<Found>();
        match (*node).type_ {
            pg_sys::NodeTag::T_ColumnRef => {
                let fields = (*node.cast::<pg_sys::ColumnRef>()).fields;
                match (name(fields, 0), name(fields, 1), pg_sys::list_length(fields)) {
                    (Some(column), None, 1) if column != "new" && column != "old" => found.bare.push(column),
                    (Some(row), Some(column), 2) if row == "new" || row == "old" => found.of_row.push(column),
                    _ => {}
                }
                false
            }
            pg_sys::NodeTag::T_SubLink => {
                // What it names may be of its own tables.
                found.has_subquery = true;
                false
            }
            _ => pg_sys::ffi::pg_guard_ffi_boundary(|| raw_expression_tree_walker(node, find, context)),
        }
    }
}

/// A part of a reference, if there is one and it is a name.
///
/// # Safety
/// The fields of a reference to a column.
unsafe fn name(fields: *mut pg_sys::List, at: i32) -> Option<String> {
    // SAFETY: the caller's promise; a field is a name or the star.
    unsafe {
        if at >= pg_sys::list_length(fields) {
            return None;
        }
        let field: *mut pg_sys::Node = pg_sys::list_nth(fields, at).cast();
        if (*field).type_ != pg_sys::NodeTag::T_String {
            return None;
        }
        #[cfg(feature = "pg14")]
        let text = (*field.cast::<pg_sys::Value>()).val.str_;
        #[cfg(not(feature = "pg14"))]
        let text = (*field.cast::<pg_sys::String>()).sval;
        Some(CStr::from_ptr(text).to_string_lossy().into_owned())
    }
}
