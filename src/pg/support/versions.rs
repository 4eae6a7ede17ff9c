//! The two versions of the extension: that of this library, and that of the SQL objects of this database.
//!
//! They differ between the steps of an upgrade. The worker finds out and says so in shared memory, where an error that comes of it
//! can look without asking the catalog: the transaction may have failed already.
//!
//! So that a library can serve other SQL than its own, what a function of a released version takes and returns stays as it is, and a
//! column that the worker reads or writes stays where it is; what is to be otherwise gets another name.

use pgrx::spi::SpiClient;
use target_profile_core::version::{Advice, advice};

use super::errors::Fault;
use super::statement::{Statement, statement};

/// Of this library.
pub const LIBRARY: &str = env!("CARGO_PKG_VERSION");

thread_local! {
    static SQL_VERSION: Statement = const { statement!("installation/sql_version.sql") };
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
