//! The id of a row: a column of it, or an expression over its columns.

use std::mem::ManuallyDrop;

use once_cell::unsync::OnceCell;
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::OwnedPreparedStatement;
use serde_json::Value;

use super::value;
use super::value::Unread;
use crate::pg::support::errors::{Fault, TriggerFault};
use crate::pg::support::session::{TEXT, with_pinned_path, with_settings};
use crate::pg::support::subtransaction;

/// What an argument that is an expression, and not a column's name, begins with.
pub const MARK: char = '=';

/// An expression over the columns of a table, as `watch` has had Postgres write it.
pub struct IdExpression {
    text: String,
    plan: OnceCell<ManuallyDrop<OwnedPreparedStatement>>,
}

impl Drop for IdExpression {
    fn drop(&mut self) {
        // SAFETY: a plain flag. At the end of the process, when thread-locals are dropped, Postgres' memory is not to be touched.
        if !unsafe { pg_sys::proc_exit_inprogress }
            && let Some(plan) = self.plan.take()
        {
            drop(ManuallyDrop::into_inner(plan));
        }
    }
}

impl IdExpression {
    /// From an argument without its mark.
    pub fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            plan: OnceCell::new(),
        }
    }

    /// As Postgres wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The id of a row of the table; `None`: it is NULL. Computed in a subtransaction: an error of it must not be one of the write.
    ///
    /// It runs with the rights of the session that writes the row, as the trigger's WHEN or a trigger function of the owner's does: a session
    /// that writes into a table trusts its owner. In turn, the session must not change what the expression means, neither by its
    /// `search_path` nor by its pg_temp.
    ///
    /// # Errors
    /// It cannot be computed.
    ///
    /// # Safety
    /// A row of the relation, which is open.
    pub unsafe fn of_row(&self, relation: pg_sys::Relation, row: pg_sys::HeapTuple) -> Result<Option<String>, Fault> {
        // SAFETY: the caller's promise; the reader gets a value of that type.
        unsafe { self.attempt(relation, row, |datum, oid| value::to_text(datum, oid)) }.unwrap_or_else(|message| {
            Err(Fault::Trigger(TriggerFault::IdExpression {
                expression: self.text.clone(),
                message,
            }))
        })
    }

    /// The value of the expression over a row, in the same way.
    ///
    /// # Errors
    /// It cannot be computed or read.
    ///
    /// # Safety
    /// As [`IdExpression::of_row`].
    pub unsafe fn json_of_row(&self, relation: pg_sys::Relation, row: pg_sys::HeapTuple) -> Result<Value, Unread> {
        // SAFETY: the caller's promise; the reader gets a value of that type.
        unsafe { self.attempt(relation, row, |datum, oid| Ok(value::to_json(datum, oid))) }
            .and_then(|computed| computed.map_err(|fault| fault.to_string()))
            .map_or_else(
                |message| Err(Unread::other(message)),
                |found| found.unwrap_or(Ok(Value::Null)),
            )
    }

    /// # Safety
    /// As [`IdExpression::of_row`].
    unsafe fn attempt<T>(
        &self,
        relation: pg_sys::Relation,
        row: pg_sys::HeapTuple,
        read: impl FnOnce(pg_sys::Datum, pg_sys::Oid) -> Result<T, Fault>,
    ) -> Result<Result<Option<T>, Fault>, String> {
        subtransaction::attempt(std::panic::AssertUnwindSafe(|| {
            with_settings(&TEXT, || {
                // Names in the expression that are not of pg_catalog are qualified.
                with_pinned_path(|| {
                    // SAFETY: the caller's promise.
                    unsafe { self.compute(relation, row, read) }
                })
            })
        }))
    }

    /// # Safety
    /// As [`IdExpression::of_row`].
    unsafe fn compute<T>(
        &self,
        relation: pg_sys::Relation,
        row: pg_sys::HeapTuple,
        read: impl FnOnce(pg_sys::Datum, pg_sys::Oid) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        // SAFETY: the caller's promise; the copy is a composite value of the table's row type.
        let (row, row_type) = unsafe {
            (
                pg_sys::heap_copy_tuple_as_datum(row, (*relation).rd_att),
                (*(*relation).rd_rel).reltype,
            )
        };
        Spi::connect(|client| {
            let plan = self.plan.get_or_try_init(|| {
                // The text comes from a trigger's arguments, which only an owner of the table can write; it was parsed as one
                // expression by `watch`, and what else it may be is the owner's own doing.
                let query = format!("SELECT ({}) FROM (SELECT ($1).*) AS new", self.text);
                let types = [pg_sys::PgOid::from(row_type)];
                Ok::<_, Fault>(ManuallyDrop::new(client.prepare(query.as_str(), &types)?.keep()))
            })?;
            // SAFETY: a datum of that type.
            let argument = unsafe { DatumWithOid::new(row, row_type) };
            let found = client.select(&**plan, Some(1), &[argument])?;
            // SAFETY: the first column of the first row of a result, if it has one.
            unsafe {
                let table = pg_sys::SPI_tuptable;
                if found.is_empty() || table.is_null() {
                    return Ok(None);
                }
                let descriptor = (*table).tupdesc;
                let mut is_null = true;
                let datum = pg_sys::SPI_getbinval(*(*table).vals, descriptor, 1, &mut is_null);
                if is_null {
                    return Ok(None);
                }
                read(datum, pg_sys::SPI_gettypeid(descriptor, 1)).map(Some)
            }
        })
    }
}
