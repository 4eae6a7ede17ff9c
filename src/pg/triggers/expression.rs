//! Expressions that a user gives as text. Each is parsed alone before it becomes a part of a statement.

mod temporary;

use std::ffi::{CStr, CString, c_void};

use pgrx::PgTryBuilder;
use pgrx::prelude::*;
use target_profile_core::condition::{Condition, TriggerRow};

use crate::pg::support::backend;
use crate::pg::support::errors::{Fault, WatchFault};
use crate::pg::support::generated;
use crate::pg::support::session::{TEXT, with_pinned_path, with_settings};

unsafe extern "C-unwind" {
    /// nodes/nodeFuncs.h: calls the function for each part of what the parser has made.
    #[cfg_attr(
        not(any(feature = "pg14", feature = "pg15")),
        link_name = "raw_expression_tree_walker_impl"
    )]
    pub fn raw_expression_tree_walker(
        node: *mut pg_sys::Node,
        walker: unsafe extern "C-unwind" fn(*mut pg_sys::Node, *mut c_void) -> bool,
        context: *mut c_void,
    ) -> bool;
}

/// A condition goes into a statement as it is: so it must be an expression from its first to its last word. That it is of type
/// boolean, and what else the place demands, Postgres says.
///
/// # Errors
/// It is not one expression; with what the parser says, if it does.
pub fn condition(text: &str) -> Result<Condition, Fault> {
    let mut found: Vec<(usize, TriggerRow)> = Vec::new();
    let expression = parse(text)?;
    // SAFETY: what the parser has made, and a list that lives until the walk has ended.
    unsafe { find_rows(expression, (&raw mut found).cast()) };
    Condition::new(text, found).ok_or_else(|| fault(text, Some("OLD and NEW must be written plainly".to_owned())))
}

/// The id of a row, as an expression over its columns.
pub struct ParsedId {
    /// The expression as PostgreSQL deparses it. Its meaning does not depend on the `search_path`.
    pub text: String,
    /// The columns that it is made of.
    pub columns: Vec<String>,
}

/// What an expression over the columns of a table means; a column is written with `NEW` or without.
///
/// # Errors
/// It is not one expression. That it cannot be computed of a row, Postgres says.
pub fn id(table: pg_sys::Oid, text: &str) -> Result<ParsedId, Fault> {
    let expression = parse(text)?;
    // SAFETY: the caller has locked the table. As CREATE TRIGGER has the WHEN analysed.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::NoLock as pg_sys::LOCKMODE);
        let state = pg_sys::make_parsestate(std::ptr::null_mut());
        let item = pg_sys::addRangeTableEntryForRelation(
            state,
            relation,
            pg_sys::AccessShareLock as i32,
            pg_sys::makeAlias(c"new".as_ptr(), std::ptr::null_mut()),
            false,
            false,
        );
        pg_sys::addNSItemToQuery(state, item, false, true, true);
        let expression = pg_sys::transformExpr(state, expression, pg_sys::ParseExprKind::EXPR_KIND_TRIGGER_WHEN);
        pg_sys::assign_expr_collations(state, expression);
        // Virtual columns are NULL in the row that a trigger gets.
        let expression = generated::expanded(relation, expression, 1);
        let (columns, has_others) = generated::columns(table, expression);
        if has_others {
            return Err(fault(
                text,
                Some("it must name the columns that it is made of".to_owned()),
            ));
        }
        if columns.is_empty() {
            return Err(fault(text, Some("it names no column".to_owned())));
        }
        if temporary::mentions_temporary(expression) {
            return Err(fault(
                text,
                Some("it mentions something of pg_temp, which ends with this session".to_owned()),
            ));
        }
        let context = pg_sys::deparse_context_for(c"new".as_ptr(), table);
        // Then a name that is not qualified is one of pg_catalog in every session: objects of pg_temp were refused.
        // A constant is written as it will be read.
        let text = with_settings(&TEXT, || {
            with_pinned_path(|| backend::string(pg_sys::deparse_expression(expression, context, false, false)))
        });
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        Ok(ParsedId { text, columns })
    }
}

fn fault(expression: &str, error: Option<String>) -> Fault {
    Fault::Watch(WatchFault::Expression {
        expression: expression.to_owned(),
        error,
    })
}

/// The one expression that the text is.
///
/// # Errors
/// It is none, or more than one.
pub fn parse(condition: &str) -> Result<*mut pg_sys::Node, Fault> {
    let text = CString::new(condition).map_err(|_| fault(condition, None))?;
    // The parser keeps nothing but memory, so an error of it needs no subtransaction.
    let found = PgTryBuilder::new(|| {
        // SAFETY: parses as PL/pgSQL has its expressions parsed: to one SELECT without the word. The nodes are read as what their
        // tags say.
        Ok(unsafe {
            let parsed = pg_sys::raw_parser(text.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_PLPGSQL_EXPR);
            (pg_sys::list_length(parsed) == 1)
                .then(|| one_expression((*pg_sys::list_nth(parsed, 0).cast::<pg_sys::RawStmt>()).stmt))
                .flatten()
        })
    })
    .catch_others(|error| match error {
        pg_sys::panic::CaughtError::PostgresError(report) | pg_sys::panic::CaughtError::ErrorReport(report) => {
            Err(fault(condition, Some(report.message().to_owned())))
        }
        panic @ pg_sys::panic::CaughtError::RustPanic { .. } => panic.rethrow(),
    })
    .execute()?;
    found.ok_or_else(|| fault(condition, None))
}

/// The expression, if the statement is a SELECT of one without a name and of nothing else.
///
/// # Safety
/// A node of the parser.
unsafe fn one_expression(statement: *mut pg_sys::Node) -> Option<*mut pg_sys::Node> {
    // SAFETY: the caller's promise; a node of a tag has that tag's type.
    unsafe {
        if (*statement).type_ != pg_sys::NodeTag::T_SelectStmt {
            return None;
        }
        let select = &*statement.cast::<pg_sys::SelectStmt>();
        let is_bare = select.distinctClause.is_null()
            && select.intoClause.is_null()
            && select.fromClause.is_null()
            && select.whereClause.is_null()
            && select.groupClause.is_null()
            && select.havingClause.is_null()
            && select.windowClause.is_null()
            && select.valuesLists.is_null()
            && select.sortClause.is_null()
            && select.limitOffset.is_null()
            && select.limitCount.is_null()
            && select.lockingClause.is_null()
            && select.withClause.is_null()
            && select.op == pg_sys::SetOperation::SETOP_NONE;
        if !is_bare || pg_sys::list_length(select.targetList) != 1 {
            return None;
        }
        let target = &*pg_sys::list_nth(select.targetList, 0).cast::<pg_sys::ResTarget>();
        (target.name.is_null() && target.indirection.is_null() && !target.val.is_null()).then_some(target.val)
    }
}

/// Adds to the `Vec<(usize, TriggerRow)>` at `found` where `OLD` and `NEW` are.
///
/// # Safety
/// A node of the parser, or null, and such a list.
#[pg_guard]
unsafe extern "C-unwind" fn find_rows(node: *mut pg_sys::Node, found: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: the caller's promise; a node of a tag has that tag's type.
    unsafe {
        if (*node).type_ == pg_sys::NodeTag::T_ColumnRef {
            let reference = &*node.cast::<pg_sys::ColumnRef>();
            let row = match first_name(reference.fields) {
                Some(name) if name == c"old" => Some(TriggerRow::Old),
                Some(name) if name == c"new" => Some(TriggerRow::New),
                _ => None,
            };
            if let (Some(row), Ok(at)) = (row, usize::try_from(reference.location)) {
                (*found.cast::<Vec<(usize, TriggerRow)>>()).push((at, row));
            }
            return false;
        }
        pg_sys::ffi::pg_guard_ffi_boundary(|| raw_expression_tree_walker(node, find_rows, found))
    }
}

/// # Safety
/// The fields of a reference to a column.
unsafe fn first_name<'a>(fields: *mut pg_sys::List) -> Option<&'a CStr> {
    // SAFETY: the caller's promise; the first of them is a name, or the star.
    unsafe {
        let first: *mut pg_sys::Node = pg_sys::list_nth(fields, 0).cast();
        if (*first).type_ != pg_sys::NodeTag::T_String {
            return None;
        }
        #[cfg(feature = "pg14")]
        let name = (*first.cast::<pg_sys::Value>()).val.str_;
        #[cfg(not(feature = "pg14"))]
        let name = (*first.cast::<pg_sys::String>()).sval;
        Some(CStr::from_ptr(name))
    }
}
