//! The two versions of the extension: that of this library, and that of the SQL objects of this database.
//!
//! They differ between the steps of an upgrade. The worker finds out and says so in shared memory, where an error that comes of it
//! can look without asking the catalog: the transaction may have failed already.
//!
//! So that a library can serve other SQL than its own, what a function of a released version takes and returns stays as it is, and a
//! column that the worker reads or writes stays where it is; what is to be otherwise gets another name.

use std::panic::AssertUnwindSafe;

use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use target_profile_core::version::{Advice, advice};

use super::errors::Fault;
use super::report;
use super::shared;
use super::statement::Statement;

/// Of this library.
pub const LIBRARY: &str = env!("CARGO_PKG_VERSION");

thread_local! {
    static SQL_VERSION: Statement = const { Statement::new(include_str!("../../sql/queries/sql_version.sql"), &[]) };
}

/// That of the SQL objects; `None`: the extension is not there.
pub fn of_sql(client: &SpiClient<'_>) -> Result<Option<String>, Fault> {
    SQL_VERSION.with(|statement| {
        let rows = statement.select(client, &[])?;
        if rows.is_empty() {
            return Ok(None);
        }
        Ok(rows.first().get_one::<String>()?)
    })
}

/// What there is to do in this database about SQL objects of that version.
pub fn advice_for(sql: Option<&str>) -> Option<Advice> {
    sql.and_then(|sql| advice(LIBRARY, sql))
}

/// What the worker has found out of this database.
fn known_advice() -> Option<Advice> {
    if !shared::is_ready() {
        return None;
    }
    advice_for(report::sql_version(shared::my_database()).as_deref())
}

/// The HINT of an error that may come of it.
pub fn hint() -> Option<String> {
    known_advice().map(|advice| advice.hint())
}

/// Runs a query of the extension. Where it fails because something is not there or is another, and the versions differ, the
/// error says what to do about that.
pub fn explaining<T>(query: impl FnOnce() -> T) -> T {
    PgTryBuilder::new(AssertUnwindSafe(query))
        .catch_others(explain)
        .execute()
}

fn explain<T>(caught: CaughtError) -> T {
    let CaughtError::PostgresError(error) = &caught else {
        caught.rethrow()
    };
    let missing = matches!(
        error.sql_error_code(),
        PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN
            | PgSqlErrorCode::ERRCODE_UNDEFINED_FUNCTION
            | PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE
            | PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT
            | PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH
    );
    // Only then: an error of another kind may have been raised with locks of shared memory held.
    let Some(hint) = missing.then(hint).flatten() else {
        caught.rethrow()
    };
    let mut report =
        ErrorReport::new(error.sql_error_code(), error.message().to_owned(), "target_profile").set_hint(hint);
    if let Some(detail) = error.detail() {
        report = report.set_detail(detail);
    }
    report.report(PgLogLevel::ERROR);
    unreachable!("an error report of level ERROR does not return")
}
