//! Conditions as PostgreSQL deparses them, so that their meaning does not depend on the `search_path`.

use std::ffi::{CStr, CString, c_char};

use pgrx::prelude::*;

use crate::pg::support::errors::Fault;
use crate::pg::support::session::{TEXT, with_pinned_path, with_settings};
use crate::pg::triggers::expression;

unsafe extern "C-unwind" {
    /// parser/parse_clause.h: the meaning of a condition, which is of type boolean.
    fn transformWhereClause(
        state: *mut pg_sys::ParseState,
        clause: *mut pg_sys::Node,
        kind: pg_sys::ParseExprKind::Type,
        name: *const c_char,
    ) -> *mut pg_sys::Node;
}

/// What a condition means that somebody gives over the rows of a table, which are called `new`; their columns can be named bare.
///
/// # Errors
/// It is not one expression. What else is wrong with it Postgres raises.
pub fn given(table: pg_sys::Oid, text: &str) -> Result<String, Fault> {
    let clause = expression::parse(text)?;
    // SAFETY: the table is locked by the caller's transaction as a query locks it; a node of the parser, analysed as that of a WHERE.
    unsafe {
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let relation = pg_sys::table_open(table, lock);
        let state = pg_sys::make_parsestate(std::ptr::null_mut());
        let item = pg_sys::addRangeTableEntryForRelation(
            state,
            relation,
            lock,
            pg_sys::makeAlias(c"new".as_ptr(), std::ptr::null_mut()),
            false,
            false,
        );
        pg_sys::addNSItemToQuery(state, item, false, true, true);
        let clause = pg_sys::ffi::pg_guard_ffi_boundary(|| {
            transformWhereClause(state, clause, pg_sys::ParseExprKind::EXPR_KIND_WHERE, c"WHERE".as_ptr())
        });
        pg_sys::assign_expr_collations(state, clause);
        let written = write(table, clause);
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        Ok(written)
    }
}

/// The condition of a trigger for INSERT, from the text of the catalog, over rows that are called `new`.
///
/// # Errors
/// The text is none.
///
/// # Safety
/// It is `tgqual` of a trigger of the table.
pub unsafe fn of_trigger(table: pg_sys::Oid, qual: &str) -> Result<String, Fault> {
    let qual = CString::new(qual).map_err(|_| Fault::Internal("pg_trigger.tgqual has a zero byte"))?;
    // SAFETY: the caller's promise. Such a condition refers to the new row as the second of two relations.
    unsafe {
        let clause: *mut pg_sys::Node = pg_sys::stringToNode(qual.as_ptr()).cast();
        pg_sys::ChangeVarNodes(clause, 2, 1, 0);
        Ok(write(table, clause))
    }
}

/// # Safety
/// An expression over the table as the first relation.
unsafe fn write(table: pg_sys::Oid, expression: *mut pg_sys::Node) -> String {
    let written = || {
        // SAFETY: the caller's promise; the answer is a C string.
        unsafe {
            let context = pg_sys::deparse_context_for(c"new".as_ptr(), table);
            CStr::from_ptr(pg_sys::deparse_expression(expression, context, true, false))
                .to_string_lossy()
                .into_owned()
        }
    };
    with_settings(&TEXT, || with_pinned_path(written))
}
