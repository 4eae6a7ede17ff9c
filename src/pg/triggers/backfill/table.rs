//! A watched table, and how it is watched.

use pgrx::prelude::*;
use pgrx::spi::quote_qualified_identifier;
use target_profile_core::client_code::ClientCode;
use target_profile_core::id::IdKind;
use target_profile_core::watch::OnInvalid;

use crate::pg::support::errors::{Fault, WatchFault};
use crate::pg::support::statement::{Statement, statement};

thread_local! {
    static TABLE: Statement = const {
        statement!("watch/table.sql", OIDOID)
    };
    static COLUMNS: Statement = const {
        statement!("watch/columns.sql", OIDOID)
    };
}

/// A watched table.
pub struct SourceTable {
    pub oid: pg_sys::Oid,
    pub schema: String,
    pub name: String,
    /// Whether its rows are in partitions.
    pub is_partitioned: bool,
}

impl SourceTable {
    /// # Errors
    /// It was dropped.
    pub fn of(oid: pg_sys::Oid) -> Result<Self, Fault> {
        let missing = || Fault::Internal("a column of pg_class is null");
        Spi::connect(|spi| {
            TABLE.with(|statement| {
                let rows = statement.select(spi, &[oid.into()])?;
                let row = rows
                    .into_iter()
                    .next()
                    .ok_or(Fault::Watch(WatchFault::NoTable(oid.to_u32())))?;
                Ok(Self {
                    oid,
                    schema: row.get(1)?.ok_or_else(missing)?,
                    name: row.get(2)?.ok_or_else(missing)?,
                    is_partitioned: row.get::<String>(3)?.ok_or_else(missing)? == "p",
                })
            })
        })
    }

    /// As it goes into a statement.
    pub fn quoted(&self) -> String {
        quote_qualified_identifier(&self.schema, &self.name)
    }

    /// Its columns.
    ///
    /// # Errors
    /// Whatever fails is raised by Postgres.
    pub fn columns(&self) -> Result<Vec<SourceColumn>, Fault> {
        let missing = || Fault::Internal("a column of pg_attribute is null");
        Spi::connect(|spi| {
            COLUMNS.with(|statement| {
                statement
                    .select(spi, &[self.oid.into()])?
                    .map(|row| {
                        Ok(SourceColumn {
                            name: row.get(1)?.ok_or_else(missing)?,
                            is_virtual: row.get(7)?.ok_or_else(missing)?,
                        })
                    })
                    .collect()
            })
        })
    }
}

/// A column of it.
pub struct SourceColumn {
    pub name: String,
    /// It is computed when it is read, which may fail.
    pub is_virtual: bool,
}

/// How it is watched.
pub struct Watch {
    pub client: ClientCode,
    pub kind: IdKind,
    pub id_column: String,
    /// The id, where it is no column, as Postgres writes it.
    pub id_expression: Option<String>,
    pub attrs: Vec<String>,
    pub priority: i16,
    pub on_invalid: OnInvalid,
}
