//! Writing entries: the INSERTs of every way into the outbox, for one entry and for many.

use std::cell::Cell;
use std::rc::Rc;

use pgrx::prelude::*;
use target_profile_core::attrs::FlatAttrs;
use target_profile_core::client_code::ClientCode;
use target_profile_core::id::{IdKind, ProfileId, ProfileKey};

use super::insertion;
use super::insertion::OutboxRow;
use super::owner::{Outbox, as_owner, as_owner_unpinned};
use super::{deferred, ids, wake, writer};
use crate::pg::shmem::slots;
use crate::pg::shmem::slots::Slot;
use crate::pg::support::backend;
use crate::pg::support::databases;
use crate::pg::support::errors::Fault;
use crate::pg::support::rows::{Rows, rows};
use crate::pg::support::snapshot::with_transaction_snapshot;
use crate::pg::support::statement::{Statement, statement};
use crate::pg::support::warning::warn;

thread_local! {
    static ENQUEUE: Statement = const { statement!("enqueue/enqueue.sql", rows: OutboxRow<'static>) };
    static ENQUEUE_0_1: Statement = const { statement!("enqueue/enqueue_0_1.sql", rows: OutboxRow<'static>) };
    static TOLD: Cell<bool> = const { Cell::new(false) };
}

/// Writes an entry in the caller's transaction and has the worker woken at its commit. The answer is the entry's id.
///
/// # Errors
/// The transaction may not write. Whatever else fails is raised by Postgres.
pub fn enqueue(key: &ProfileKey, attrs: &FlatAttrs, priority: i16, source: &str) -> Result<i64, Fault> {
    let id = ids::draw()?;
    tell_once_that_nothing_drains();
    let enqueued_by = backend::role_name(backend::current_role());
    let mut rows = [OutboxRow {
        id,
        client_code: key.client.as_str(),
        id_kind: key.kind.as_str(),
        profile_id: key.id.as_str(),
        attrs,
        priority,
        source,
        enqueued_by: enqueued_by.as_deref(),
    }];
    let inserted = as_owner_unpinned(|| insertion::insert(&mut rows))?;
    let id = match rows.get(inserted..) {
        None | Some([]) => None,
        Some(rest) => insert_by_statement(rest)?,
    };
    wake::at_commit();
    // Another one, if that was taken.
    let [row] = rows;
    Ok(id.unwrap_or(row.id))
}

/// Whatever the table has on it. The answer is the id of the first row, which is another one than the row's if that was taken.
fn insert_by_statement(rows: &[OutboxRow<'_>]) -> Result<Option<i64>, Fault> {
    let statement = if writer::is_recorded() { &ENQUEUE } else { &ENQUEUE_0_1 };
    let values = OutboxRow::arrays(rows)?;
    as_owner(|| {
        Spi::connect_mut(|client| {
            let first = statement.with(|statement| {
                let (mut first, mut count) = (None, 0);
                let mut given = rows.iter().map(|row| row.id);
                for row in statement.update(client, &values)? {
                    let id = row.get::<i64>(1)?;
                    if id != given.next() {
                        // The sequence was set back, or a trigger has its own mind: the worker may have read beyond these ids.
                        wake::all_at_commit();
                    }
                    first = first.or(id);
                    count += 1;
                }
                if count < rows.len() {
                    return Err(Fault::Suppressed {
                        statement: "INSERT into",
                        table: "outbox",
                    });
                }
                Ok(first)
            })?;
            // Now, and not at the commit, which a violation would fail and which has the rights of the session.
            if let Some(outbox) = Outbox::find() {
                deferred::check_now(client, outbox.table)?;
            }
            Ok(first)
        })
    })
}

rows! {
    OutboxRow<'_> as row {
        id: i64 = row.id;
        client_code: &str = row.client_code;
        id_kind: &str = row.id_kind;
        profile_id: &str = row.profile_id;
        attrs: String = row.attrs.to_json_text();
        priority: i16 = row.priority;
        source: &str = row.source;
        enqueued_by: Option<&str> = row.enqueued_by;
    }
}

/// Where entries come from: what those of one trigger have in common.
#[derive(Debug)]
pub struct Origin {
    /// Whose updates they are.
    pub client: ClientCode,
    /// Of what kind their ids are.
    pub kind: IdKind,
    /// As in the outbox.
    pub priority: i16,
    /// As in the outbox.
    pub source: String,
}

/// An entry that has its id and is not yet written.
#[derive(Debug)]
pub struct NewEntry {
    /// From [`ids`].
    pub id: i64,
    /// Who wrote the row.
    pub writer: pg_sys::Oid,
    /// Where it comes from.
    pub origin: Rc<Origin>,
    /// Whose update it is.
    pub profile_id: ProfileId,
    /// What it sets.
    pub attrs: FlatAttrs,
    /// What becomes of it when the outbox does not take it.
    pub otherwise: Otherwise,
}

/// What becomes of an entry that the outbox does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// A dead letter: somebody writes a row.
    Bury,
    /// An error: somebody asks for entries.
    Raise,
}

impl NewEntry {
    /// How much memory it takes, near enough.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.profile_id.as_str().len() + self.attrs.memory()
    }
}

/// Writes entries as they are written into a table that is as it was made, which does not fail; and has the worker woken at the
/// commit. Those that are left could not be written so: the table has something of somebody else's on it, or somebody has locked it.
///
/// # Errors
/// There is no outbox. What ends any statement is raised by Postgres.
pub fn insert_plainly(entries: &mut Vec<NewEntry>) -> Result<(), Fault> {
    let outbox = Outbox::find().ok_or_else(Fault::no_outbox)?;
    // SAFETY: inside a transaction. To wait for a lock may fail.
    if !unsafe { pg_sys::ConditionalLockRelationOid(outbox.table, pg_sys::RowExclusiveLock as pg_sys::LOCKMODE) } {
        return Ok(());
    }
    let names = writers(entries);
    let mut rows = rows(entries, &names);
    let _writable = Writable::again();
    let done = with_transaction_snapshot(|| as_owner_unpinned(|| insertion::insert(&mut rows)))?;
    if done > 0 {
        wake::at_commit();
    }
    if done < rows.len() {
        // Those that are left may have other ids by now.
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        for (entry, id) in entries.iter_mut().zip(ids) {
            entry.id = id;
        }
    }
    entries.drain(..done);
    Ok(())
}

/// Writes entries with one statement and has the worker woken at the commit. Also at the end of a transaction, when nothing of the
/// caller's is running any more.
///
/// # Errors
/// Whatever fails is raised by Postgres.
pub fn insert_many(entries: &[NewEntry]) -> Result<(), Fault> {
    let names = writers(entries);
    let rows = rows(entries, &names);
    let _writable = Writable::again();
    with_transaction_snapshot(|| insert_by_statement(&rows))?;
    wake::at_commit();
    Ok(())
}

/// Those who wrote the rows, with their names. Mostly there is but one.
fn writers(entries: &[NewEntry]) -> Vec<(pg_sys::Oid, Option<String>)> {
    let mut writers: Vec<(pg_sys::Oid, Option<String>)> = Vec::new();
    for entry in entries {
        if writers.iter().all(|(role, _)| *role != entry.writer) {
            writers.push((entry.writer, backend::role_name(entry.writer)));
        }
    }
    writers
}

fn rows<'e>(entries: &'e [NewEntry], writers: &'e [(pg_sys::Oid, Option<String>)]) -> Vec<OutboxRow<'e>> {
    let name = |role| {
        writers
            .iter()
            .find(|(known, _)| *known == role)
            .and_then(|(_, name)| name.as_deref())
    };
    entries
        .iter()
        .map(|entry| OutboxRow {
            id: entry.id,
            client_code: entry.origin.client.as_str(),
            id_kind: entry.origin.kind.as_str(),
            profile_id: entry.profile_id.as_str(),
            attrs: &entry.attrs,
            priority: entry.origin.priority,
            source: &entry.origin.source,
            enqueued_by: name(entry.writer),
        })
        .collect()
}

/// A transaction that was made read-only after its rows had been written still writes what belongs to them.
pub struct Writable {
    was_read_only: bool,
}

impl Writable {
    /// Until it is dropped.
    pub fn again() -> Self {
        // SAFETY: a plain flag of the backend.
        unsafe {
            let was_read_only = pg_sys::XactReadOnly;
            pg_sys::XactReadOnly = false;
            Self { was_read_only }
        }
    }
}

impl Drop for Writable {
    fn drop(&mut self) {
        // SAFETY: what `again` read.
        unsafe { pg_sys::XactReadOnly = self.was_read_only }
    }
}

/// A WARNING, if this database has no worker and will have none.
pub fn tell_once_that_nothing_drains() {
    if TOLD.get() || Slot::of_my_database().is_some() {
        return;
    }
    if !slots::is_ready() {
        TOLD.set(true);
        warn(
            "nothing drains the outbox: target_profile is not in shared_preload_libraries",
            "Entries are kept and wait. Add target_profile to shared_preload_libraries and restart the server.",
        );
    } else if !databases::may_serve_mine() {
        TOLD.set(true);
        warn(
            "nothing drains the outbox of this database: target_profile.databases leaves it out",
            "Entries are kept and wait. Add the database to target_profile.databases and reload the configuration.",
        );
    }
}
