//! Runs work whose errors must not end the statement.

use std::panic::{AssertUnwindSafe, UnwindSafe};

use pgrx::PgTryBuilder;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::PgSqlErrorCode;

use super::allocator::has_reserve;

/// Runs `work` in a subtransaction of its own; what it wrote goes with it when it fails. As long as it writes nothing, the subtransaction
/// has no transaction id, so that there may be one for each row of a bulk statement.
///
/// Not at the end of a subtransaction: Postgres ends the session that begins another one there.
///
/// # Errors
/// The message of the error that Postgres raised. A statement that is cancelled, a session that has to end, a transaction that can only
/// be repeated as a whole, and a disk that is full end as ever.
pub fn attempt<T>(work: impl FnOnce() -> T + UnwindSafe) -> Result<T, String> {
    within(work).map_err(message)
}

/// The same where the transaction is about to commit or to be prepared. One that is rolled back there must have a parent that is a
/// subtransaction itself: servers with assertions insist on it. So the outer one, which writes nothing, is never rolled back.
///
/// # Errors
/// As [`attempt`].
pub fn attempt_at_end<T>(work: impl FnOnce() -> T + UnwindSafe) -> Result<T, String> {
    within(AssertUnwindSafe(|| within(work)))
        .and_then(|done| done)
        .map_err(message)
}

/// # Errors
/// Whatever was raised, after the subtransaction was rolled back.
fn within<T>(work: impl FnOnce() -> T + UnwindSafe) -> Result<T, Box<CaughtError>> {
    // SAFETY: as PL/pgSQL runs a block with an exception handler: what was current before is current afterwards, whichever way it ends.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        let go_back = move || {
            pg_sys::CurrentMemoryContext = context;
            pg_sys::CurrentResourceOwner = owner;
        };
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::CurrentMemoryContext = context;
        PgTryBuilder::new(move || {
            let done = work();
            pg_sys::ReleaseCurrentSubTransaction();
            go_back();
            Ok(done)
        })
        .catch_others(move |error| {
            pg_sys::CurrentMemoryContext = context;
            pg_sys::RollbackAndReleaseCurrentSubTransaction();
            go_back();
            Err(Box::new(error))
        })
        .execute()
    }
}

/// What the error says, if it ends nothing but what was attempted.
pub fn message(error: Box<CaughtError>) -> String {
    match *error {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report)
            if has_reserve() && !ends_more(report.sql_error_code()) =>
        {
            report.message().to_owned()
        }
        // A fault of this library must not fail the write of a row.
        CaughtError::RustPanic { ereport, .. } => ereport.message().to_owned(),
        other => other.rethrow(),
    }
}

/// Running out of memory is not among them: what was allocated goes with the subtransaction. If there is not even a reserve after that, the
/// statement ends.
fn ends_more(code: PgSqlErrorCode) -> bool {
    matches!(
        code,
        PgSqlErrorCode::ERRCODE_QUERY_CANCELED
            | PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN
            | PgSqlErrorCode::ERRCODE_CRASH_SHUTDOWN
            | PgSqlErrorCode::ERRCODE_DATABASE_DROPPED
            | PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE
            | PgSqlErrorCode::ERRCODE_DISK_FULL
    )
}
