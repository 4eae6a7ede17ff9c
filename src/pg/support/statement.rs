//! A prepared statement that a backend keeps: the text of one file in `sql/queries`.

use std::borrow::Cow;
use std::mem::ManuallyDrop;
use std::panic::AssertUnwindSafe;

use once_cell::unsync::OnceCell;
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::panic::{CaughtError, ErrorReport};
use pgrx::prelude::*;
use pgrx::spi::{OwnedPreparedStatement, SpiClient, SpiTupleTable};

use super::errors::{Fault, version_hint};
use super::extension;
use super::rows::Rows;
use super::session::with_pinned_path;

/// The statement in a file of `sql/queries`, whose parameters have these types; or which takes rows, and after them parameters that have
/// names and these types.
macro_rules! statement {
    ($file:expr, rows: $of:ty $(, $name:ident: $type:ident)* $(,)?) => {
        $crate::pg::support::statement::Statement::of_rows::<$of>(
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/queries/", $file)),
            &[$((stringify!($name), ::pgrx::pg_sys::BuiltinOid::$type)),*],
        )
    };
    ($file:expr $(, $type:ident)* $(,)?) => {
        $crate::pg::support::statement::Statement::new(
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/queries/", $file)),
            &[$(::pgrx::pg_sys::BuiltinOid::$type),*],
        )
    };
}
pub(crate) use statement;

/// So many rows are fetched at once.
const ROWS_AT_A_TIME: std::ffi::c_long = 128;

/// A statement, prepared at its first use and kept. Postgres plans it anew when what it refers to has changed. Its names are resolved in
/// pg_catalog, whosever session it is.
pub struct Statement {
    text: &'static str,
    parameters: Parameters,
    /// Never dropped: a thread-local is destroyed when the process exits, and then Postgres' memory is gone already.
    plan: OnceCell<ManuallyDrop<OwnedPreparedStatement>>,
}

enum Parameters {
    /// `$1`, `$2`, …
    Numbered(&'static [pg_sys::BuiltinOid]),
    /// Those of the rows, then others by their names.
    OfRows {
        columns: &'static [&'static str],
        types: fn() -> Vec<pg_sys::PgOid>,
        named: &'static [(&'static str, pg_sys::BuiltinOid)],
    },
}

impl Statement {
    /// The statement `text`, whose parameters have these types.
    pub const fn new(text: &'static str, types: &'static [pg_sys::BuiltinOid]) -> Self {
        Self {
            text,
            parameters: Parameters::Numbered(types),
            plan: OnceCell::new(),
        }
    }

    /// The statement `text`, which takes rows and after them the parameters `named`.
    pub const fn of_rows<R: Rows>(text: &'static str, named: &'static [(&'static str, pg_sys::BuiltinOid)]) -> Self {
        Self {
            text,
            parameters: Parameters::OfRows {
                columns: R::COLUMNS,
                types: R::types,
                named,
            },
            plan: OnceCell::new(),
        }
    }

    fn plan(&self, client: &SpiClient<'_>) -> Result<&OwnedPreparedStatement, Fault> {
        let plan = self.plan.get_or_try_init(|| {
            let prepared = explaining(|| client.prepare(&*self.text(), &self.types()))?;
            Ok::<_, Fault>(ManuallyDrop::new(prepared.keep()))
        })?;
        Ok(plan)
    }

    /// Runs it; it must not write, and gets no transaction id.
    pub fn select<'c>(&self, client: &SpiClient<'c>, args: &[DatumWithOid<'_>]) -> Result<SpiTupleTable<'c>, Fault> {
        if let Some(renamed) = extension::renamed() {
            let text = self.text();
            let text = renamed.in_statement(&text);
            return with_pinned_path(|| {
                Ok(explaining(|| {
                    client
                        .prepare(&*text, &self.types())
                        .and_then(|plan| client.select(plan, None, args))
                })?)
            });
        }
        with_pinned_path(|| {
            let plan = self.plan(client)?;
            Ok(explaining(|| client.select(plan, None, args))?)
        })
    }

    /// Runs it; it says true or false.
    pub fn is_true(&self, client: &SpiClient<'_>) -> Result<bool, Fault> {
        Ok(self.select(client, &[])?.first().get_one::<bool>()?.unwrap_or(false))
    }

    /// Calls `work` for each row, which is gone after it: a few rows at a time are in memory. The statement must not write.
    pub fn each(
        &self,
        client: &SpiClient<'_>,
        args: &[DatumWithOid<'_>],
        mut work: impl FnMut(&SpiTupleTable<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut cursor = with_pinned_path(|| {
            let plan = self.plan(client)?;
            Ok::<_, Fault>(explaining(|| client.try_open_cursor(plan, args))?)
        })?;
        loop {
            let mut rows = cursor.fetch(ROWS_AT_A_TIME)?;
            // SAFETY: what has just been fetched.
            let fetched = unsafe { pg_sys::SPI_tuptable };
            if rows.is_empty() {
                return Ok(());
            }
            while rows.next().is_some() {
                work(&rows)?;
            }
            // SAFETY: nobody uses it any more: `work` keeps nothing of it. Otherwise all rows would stay until the end of the transaction.
            unsafe { pg_sys::SPI_freetuptable(fetched) };
        }
    }

    /// Runs it; it may write.
    pub fn update<'c>(
        &self,
        client: &mut SpiClient<'c>,
        args: &[DatumWithOid<'_>],
    ) -> Result<SpiTupleTable<'c>, Fault> {
        if let Some(renamed) = extension::renamed() {
            let text = self.text();
            let text = renamed.in_statement(&text);
            return with_pinned_path(|| {
                Ok(explaining(|| {
                    let plan = client.prepare_mut(&*text, &self.types())?.keep();
                    client.update(&plan, None, args)
                })?)
            });
        }
        with_pinned_path(|| {
            let plan = self.plan(client)?;
            Ok(explaining(|| client.update(plan, None, args))?)
        })
    }

    fn types(&self) -> Vec<pg_sys::PgOid> {
        match &self.parameters {
            Parameters::Numbered(types) => types.iter().map(|&oid| oid.into()).collect(),
            Parameters::OfRows { types, named, .. } => {
                let named = named.iter().map(|&(_, oid)| oid.into());
                types().into_iter().chain(named).collect()
            }
        }
    }

    /// The text with numbers for the names of parameters.
    fn text(&self) -> Cow<'static, str> {
        let Parameters::OfRows { columns, named, .. } = &self.parameters else {
            return Cow::Borrowed(self.text);
        };
        let numbers: Vec<String> = (1..=columns.len()).map(|number| format!("${number}")).collect();
        let mut text = self
            .text
            .replace(":arrays", &numbers.join(", "))
            .replace(":columns", &columns.join(", "));
        for (number, (name, _)) in (columns.len() + 1..).zip(*named) {
            text = text.replace(&format!(":{name}"), &format!("${number}"));
        }
        Cow::Owned(text)
    }
}

/// Runs a query of the extension. Where it fails because something is not there or is another, and the versions differ, the
/// error says what to do about that.
fn explaining<T>(query: impl FnOnce() -> T) -> T {
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
    let Some(hint) = missing.then(version_hint).flatten() else {
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
