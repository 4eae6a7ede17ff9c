//! A prepared statement that a backend keeps: the text of one file in `sql/queries`.

use std::mem::ManuallyDrop;

use once_cell::unsync::OnceCell;
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::spi::{OwnedPreparedStatement, SpiClient, SpiCursor, SpiTupleTable};

use super::errors::Fault;
use super::own_objects;
use super::session::with_pinned_path;
use super::versions::explaining;

/// A statement, prepared at its first use and kept. Postgres plans it anew when what it refers to has changed. Its names are resolved in
/// pg_catalog, whosever session it is.
pub struct Statement {
    text: &'static str,
    types: &'static [pg_sys::BuiltinOid],
    /// Never dropped: a thread-local is destroyed when the process exits, and then Postgres' memory is gone already.
    plan: OnceCell<ManuallyDrop<OwnedPreparedStatement>>,
}

impl Statement {
    /// The statement `text`, whose parameters have these types.
    pub const fn new(text: &'static str, types: &'static [pg_sys::BuiltinOid]) -> Self {
        Self {
            text,
            types,
            plan: OnceCell::new(),
        }
    }

    fn plan(&self, client: &SpiClient<'_>) -> Result<&OwnedPreparedStatement, Fault> {
        let plan = self.plan.get_or_try_init(|| {
            let prepared = explaining(|| client.prepare(self.text, &self.types()))?;
            Ok::<_, Fault>(ManuallyDrop::new(prepared.keep()))
        })?;
        Ok(plan)
    }

    /// Runs it; it must not write, and gets no transaction id.
    pub fn select<'c>(&self, client: &SpiClient<'c>, args: &[DatumWithOid<'_>]) -> Result<SpiTupleTable<'c>, Fault> {
        if let Some(renamed) = own_objects::renamed() {
            let text = renamed.in_statement(self.text);
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

    /// Runs it row by row, as they are fetched; it must not write.
    pub fn cursor<'c>(&self, client: &SpiClient<'c>, args: &[DatumWithOid<'_>]) -> Result<SpiCursor<'c>, Fault> {
        with_pinned_path(|| {
            let plan = self.plan(client)?;
            Ok(explaining(|| client.try_open_cursor(plan, args))?)
        })
    }

    /// Runs it; it may write.
    pub fn update<'c>(
        &self,
        client: &mut SpiClient<'c>,
        args: &[DatumWithOid<'_>],
    ) -> Result<SpiTupleTable<'c>, Fault> {
        if let Some(renamed) = own_objects::renamed() {
            let text = renamed.in_statement(self.text);
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
        self.types.iter().map(|&oid| oid.into()).collect()
    }
}
