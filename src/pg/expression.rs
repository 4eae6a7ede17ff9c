//! Expressions that a user gives as text.

use std::ffi::CString;

use pgrx::PgTryBuilder;
use pgrx::prelude::*;

use super::errors::{Fault, WatchFault};

/// A condition goes into a statement as it is: so it must be an expression from its first to its last word. That it is of type
/// boolean, and what else the place demands, Postgres says.
///
/// # Errors
/// It is not; with what the parser says, if it does.
pub fn must_be_one_expression(condition: &str) -> Result<(), Fault> {
    let fault = |error| {
        Fault::Watch(WatchFault::Condition {
            condition: condition.to_owned(),
            error,
        })
    };
    let text = CString::new(condition).map_err(|_| fault(None))?;
    // The parser keeps nothing but memory, so an error of it needs no subtransaction.
    let is_one = PgTryBuilder::new(|| {
        // SAFETY: parses as PL/pgSQL has its expressions parsed: to one SELECT without the word. The nodes are read as what their
        // tags say.
        Ok(unsafe {
            let parsed = pg_sys::raw_parser(text.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_PLPGSQL_EXPR);
            pg_sys::list_length(parsed) == 1
                && is_one_expression((*pg_sys::list_nth(parsed, 0).cast::<pg_sys::RawStmt>()).stmt)
        })
    })
    .catch_others(|error| match error {
        pg_sys::panic::CaughtError::PostgresError(report) | pg_sys::panic::CaughtError::ErrorReport(report) => {
            Err(fault(Some(report.message().to_owned())))
        }
        panic @ pg_sys::panic::CaughtError::RustPanic { .. } => panic.rethrow(),
    })
    .execute()?;
    if is_one { Ok(()) } else { Err(fault(None)) }
}

/// Whether the statement is a SELECT of one nameless expression and of nothing else.
///
/// # Safety
/// A node of the parser.
unsafe fn is_one_expression(statement: *mut pg_sys::Node) -> bool {
    // SAFETY: the caller's promise; a node of a tag has that tag's type.
    unsafe {
        if (*statement).type_ != pg_sys::NodeTag::T_SelectStmt {
            return false;
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
            return false;
        }
        let target = &*pg_sys::list_nth(select.targetList, 0).cast::<pg_sys::ResTarget>();
        target.name.is_null() && target.indirection.is_null() && !target.val.is_null()
    }
}
