//! Writing entries: the INSERTs of every way into the outbox, for one entry and for many.

use std::cell::Cell;
use std::rc::Rc;

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use target_profile_core::attrs::FlatAttrs;
use target_profile_core::client_code::ClientCode;
use target_profile_core::id::{IdKind, ProfileId, ProfileKey};

use super::errors::{Fault, warn};
use super::insertion::{self, Row};
use super::launcher;
use super::owner::{Outbox, as_owner, as_owner_of, as_owner_unpinned};
use super::shared::{self, Slot};
use super::snapshot::with_transaction_snapshot;
use super::statement::Statement;
use super::{unguarded, wake, writer};

thread_local! {
    static ENQUEUE: Statement = const {
        use pg_sys::BuiltinOid::{INT2ARRAYOID, INT8ARRAYOID, TEXTARRAYOID};
        Statement::new(
            include_str!("../../sql/queries/enqueue.sql"),
            &[
                INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT2ARRAYOID, TEXTARRAYOID,
                TEXTARRAYOID,
            ],
        )
    };
    static ENQUEUE_0_1: Statement = const {
        use pg_sys::BuiltinOid::{INT2ARRAYOID, INT8ARRAYOID, TEXTARRAYOID};
        Statement::new(
            include_str!("../../sql/queries/enqueue_0_1.sql"),
            &[INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT2ARRAYOID, TEXTARRAYOID],
        )
    };
    static DEAD_LETTER: Statement = const {
        use pg_sys::BuiltinOid::{INT2OID, TEXTOID};
        Statement::new(
            include_str!("../../sql/queries/dead_letter.sql"),
            &[TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT2OID, TEXTOID, TEXTOID],
        )
    };
    static TOLD: Cell<bool> = const { Cell::new(false) };
}

/// Writes an entry in the caller's transaction and has the worker woken at its commit. The answer is the entry's id.
///
/// # Errors
/// The transaction may not write. Whatever else fails is raised by Postgres.
pub fn enqueue(key: &ProfileKey, attrs: &FlatAttrs, priority: i16, source: &str) -> Result<i64, Fault> {
    let id = draw_id()?;
    let enqueued_by = writer::name(writer::current());
    let mut rows = [Row {
        id,
        client_code: key.client.as_str(),
        id_kind: key.kind.as_str(),
        profile_id: key.id.as_str(),
        attrs,
        priority,
        source,
        enqueued_by: enqueued_by.as_deref(),
    }];
    insert(&mut rows)?;
    wake::at_commit();
    // Another one, if that was taken.
    let [row] = rows;
    Ok(row.id)
}

fn insert(rows: &mut [Row<'_>]) -> Result<(), Fault> {
    let inserted = as_owner_unpinned(|| insertion::insert(rows))?;
    let rows = &rows[inserted..];
    if rows.is_empty() {
        return Ok(());
    }
    let mut values: Vec<DatumWithOid<'_>> = vec![
        rows.iter().map(|row| row.id).collect::<Vec<_>>().into(),
        texts(rows, |row| row.client_code).into(),
        texts(rows, |row| row.id_kind).into(),
        texts(rows, |row| row.profile_id).into(),
        rows.iter()
            .map(|row| row.attrs.to_json_text())
            .collect::<Vec<_>>()
            .into(),
        rows.iter().map(|row| row.priority).collect::<Vec<_>>().into(),
        texts(rows, |row| row.source).into(),
    ];
    let statement = if writer::is_recorded() {
        values.push(rows.iter().map(|row| row.enqueued_by).collect::<Vec<_>>().into());
        &ENQUEUE
    } else {
        &ENQUEUE_0_1
    };
    as_owner(|| Spi::connect_mut(|client| statement.with(|statement| statement.update(client, &values).map(|_| ()))))
}

fn texts<'r>(rows: &'r [Row<'r>], text: impl Fn(&'r Row<'r>) -> &'r str) -> Vec<&'r str> {
    rows.iter().map(text).collect()
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
pub struct Entry {
    /// From [`draw_id`].
    pub id: i64,
    /// Who wrote the row.
    pub writer: pg_sys::Oid,
    /// Where it comes from.
    pub origin: Rc<Origin>,
    /// Whose update it is.
    pub profile_id: ProfileId,
    /// What it sets.
    pub attrs: FlatAttrs,
}

impl Entry {
    /// How much memory it takes, near enough.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.profile_id.as_str().len() + self.attrs.bytes()
    }
}

/// An id for an entry that this transaction is going to write.
///
/// # Errors
/// The transaction may not write, or there is no outbox.
pub fn draw_id() -> Result<i64, Fault> {
    must_be_writable()?;
    tell_once_that_nothing_drains();
    let outbox = Outbox::find().ok_or(Fault::Internal("target_profile.outbox does not exist"))?;
    // SAFETY: inside a transaction that may write. The transaction's id comes before the entry's, which the worker counts on
    // (target_profile_core::horizon).
    Ok(unsafe {
        unguarded::guarded(|| {
            unguarded::GetTopTransactionId();
            unguarded::nextval_internal(outbox.sequence, false)
        })
    })
}

/// Writes entries with one statement and has the worker woken at the commit. Also at the end of a transaction, when nothing of the
/// caller's is running any more.
///
/// # Errors
/// Whatever fails is raised by Postgres.
pub fn enqueue_many(entries: &[Entry]) -> Result<(), Fault> {
    // Dropped meanwhile by this very transaction: the entries would have gone with it.
    if Outbox::find().is_none() {
        return Ok(());
    }
    let mut writers: Vec<(pg_sys::Oid, Option<String>)> = Vec::new();
    for entry in entries {
        // Mostly there is but one.
        if writers.iter().all(|(role, _)| *role != entry.writer) {
            writers.push((entry.writer, writer::name(entry.writer)));
        }
    }
    let name = |role| {
        writers
            .iter()
            .find(|(known, _)| *known == role)
            .and_then(|(_, name)| name.as_deref())
    };
    let mut rows: Vec<Row<'_>> = entries
        .iter()
        .map(|entry| Row {
            id: entry.id,
            client_code: entry.origin.client.as_str(),
            id_kind: entry.origin.kind.as_str(),
            profile_id: entry.profile_id.as_str(),
            attrs: &entry.attrs,
            priority: entry.origin.priority,
            source: &entry.origin.source,
            enqueued_by: name(entry.writer),
        })
        .collect();
    let _writable = Writable::again();
    with_transaction_snapshot(|| insert(&mut rows))?;
    wake::at_commit();
    Ok(())
}

/// A transaction that was made read-only after its rows had been written still writes what belongs to them.
struct Writable {
    was_read_only: bool,
}

impl Writable {
    fn again() -> Self {
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

/// What is known of an update that cannot be sent.
#[derive(Debug, Default)]
pub struct Unsendable {
    /// The client code as it was given.
    pub client_code: Option<String>,
    /// The id kind as it was given.
    pub id_kind: Option<String>,
    /// The id as it was given.
    pub profile_id: Option<String>,
    /// The attributes as far as they could be read, as JSON.
    pub attrs: Option<String>,
    /// As in the outbox.
    pub priority: i16,
}

/// Writes a dead letter in the caller's transaction, for a row that cannot be a valid update.
///
/// # Errors
/// As [`enqueue`].
pub fn bury(update: Unsendable, source: &str, reason: &str) -> Result<(), Fault> {
    must_be_writable()?;
    as_owner_of(c"dead_letter", || {
        Spi::connect_mut(|client| {
            DEAD_LETTER.with(|statement| {
                statement.update(
                    client,
                    &[
                        update.client_code.into(),
                        update.id_kind.into(),
                        update.profile_id.into(),
                        update.attrs.into(),
                        update.priority.into(),
                        source.into(),
                        reason.into(),
                    ],
                )?;
                Ok(())
            })
        })
    })
}

fn must_be_writable() -> Result<(), Fault> {
    // SAFETY: plain readers of the backend's state.
    if unsafe { pg_sys::XactReadOnly || pg_sys::RecoveryInProgress() } {
        Err(Fault::ReadOnly)
    } else {
        Ok(())
    }
}

fn tell_once_that_nothing_drains() {
    if TOLD.get() || Slot::of_my_database().is_some() {
        return;
    }
    if !shared::is_ready() {
        TOLD.set(true);
        warn(
            "nothing drains the outbox: target_profile is not in shared_preload_libraries",
            "Entries are kept and wait. Add target_profile to shared_preload_libraries and restart the server.",
        );
    } else if !launcher::may_serve_mine() {
        TOLD.set(true);
        warn(
            "nothing drains the outbox of this database: target_profile.databases leaves it out",
            "Entries are kept and wait. Add the database to target_profile.databases and reload the configuration.",
        );
    }
}
