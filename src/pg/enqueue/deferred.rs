//! Deferred constraints of a user's on the extension's tables are checked at once.
//!
//! At the commit, a violation would fail the write of the watched row, and a constraint trigger would run with the rights of the session.

use std::ffi::CString;

use pgrx::pg_sys;
use pgrx::spi::SpiClient;

use crate::pg::support::errors::Fault;
use crate::pg::support::statement::{Statement, statement};

thread_local! {
    static DEFERRABLE: Statement = const {
        statement!("enqueue/deferrable_constraints.sql", OIDOID)
    };
}

/// Checks now what is deferred on the table, and until the end of the transaction whenever it is written to. As the current role, who
/// must be its owner.
///
/// # Errors
/// None of its own; a constraint that is violated is raised by Postgres.
pub fn check_now(client: &SpiClient<'_>, table: pg_sys::Oid) -> Result<(), Fault> {
    let mut constraints = std::ptr::null_mut();
    DEFERRABLE.with(|statement| {
        for row in statement.select(client, &[table.into()])? {
            let (Some(name), Some(schema)) = (row.get::<String>(1)?, row.get::<String>(2)?) else {
                continue;
            };
            let (Ok(name), Ok(schema)) = (CString::new(name), CString::new(schema)) else {
                continue;
            };
            // SAFETY: copies of two C strings, in a list of the current memory context.
            unsafe {
                let named = pg_sys::makeRangeVar(pg_sys::pstrdup(schema.as_ptr()), pg_sys::pstrdup(name.as_ptr()), -1);
                constraints = pg_sys::lappend(constraints, named.cast());
            }
        }
        Ok::<_, Fault>(())
    })?;
    if constraints.is_null() {
        return Ok(());
    }
    let mut set = pg_sys::ConstraintsSetStmt {
        type_: pg_sys::NodeTag::T_ConstraintsSetStmt,
        constraints,
        deferred: false,
    };
    // SAFETY: inside a transaction, as SET CONSTRAINTS in a function calls it.
    unsafe { pg_sys::AfterTriggerSetState(&mut set) };
    Ok(())
}
