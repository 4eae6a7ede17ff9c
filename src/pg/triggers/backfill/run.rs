//! The record of a run, and the lock of the session that runs it. Read and written as the extension's owner.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use pgrx::prelude::*;
use target_profile_core::client_code::ClientCode;
use target_profile_core::id::IdKind;
use target_profile_core::watch::OnInvalid;

use super::table::{SourceTable, Watch};
use crate::pg::enqueue::owner;
use crate::pg::enqueue::owner::as_owner_of;
use crate::pg::support::backend;
use crate::pg::support::backfill_fault::BackfillFault;
use crate::pg::support::errors::{Fault, WatchFault};
use crate::pg::support::process;
use crate::pg::support::statement::{Statement, statement};

thread_local! {
    static WATCHES: Statement = const { statement!("backfill/watches.sql", OIDOID, TEXTOID, TEXTOID) };
    static REGISTER: Statement = const {
        statement!("backfill/register.sql", OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID)
    };
    static ID: Statement = const { statement!("backfill/id.sql", OIDOID, TEXTOID, TEXTOID) };
    static READ: Statement = const { statement!("backfill/read.sql", INT4OID) };
    static START: Statement = const {
        statement!(
            "backfill/start.sql", INT4OID, TEXTOID, TEXTOID, TEXTOID, BOOLOID, INT8OID, TEXTOID, TEXTOID, TEXTOID
        )
    };
    static RESUME: Statement = const { statement!("backfill/resume.sql", INT4OID, BOOLOID, TEXTOID, TEXTOID) };
    static ADVANCE: Statement = const {
        statement!(
            "backfill/advance.sql", INT4OID, TEXTOID, BOOLOID, TEXTARRAYOID, INT8OID, INT8OID, INT8OID, INT8OID, BOOLOID
        )
    };
    static STOPPED: Statement = const { statement!("backfill/stopped.sql", INT4OID) };
    static FAILED: Statement = const { statement!("backfill/failed.sql", INT4OID, TEXTOID) };
    static STOP: Statement = const { statement!("backfill/stop.sql", OIDOID, TEXTOID, TEXTOID) };
}

/// A run, as its last chunk has left it.
pub struct Run {
    pub id: i32,
    pub table: pg_sys::Oid,
    pub client: ClientCode,
    pub kind: IdKind,
    pub order: String,
    /// As it was given.
    pub given: Option<String>,
    /// What it meant to the caller who gave it, as PostgreSQL deparses it. It is compared and never run: it is the text of another role,
    /// perhaps.
    pub meaning: Option<String>,
    pub started_by: String,
    pub sorts: bool,
    pub last_id: Option<String>,
    pub at_end: bool,
    pub locked: Vec<String>,
    pub stop_requested: bool,
    pub is_finished: bool,
    pub rows: i64,
    pub entries: i64,
    pub invalid: i64,
}

/// What a chunk has done.
#[derive(Clone, Copy, Default)]
pub struct Done {
    pub rows: i64,
    pub entries: i64,
    pub invalid: i64,
    pub without_id: i64,
}

/// The watch of a table that a client code and an id kind name, or the only one.
///
/// # Errors
/// There is none, or there are several.
pub fn watch(table: &SourceTable, client: Option<&ClientCode>, kind: Option<IdKind>) -> Result<Watch, Fault> {
    let missing = || Fault::Internal("a column of target_profile.watched_table is null");
    let mut found = as_owner_of(c"watched_table", || {
        Spi::connect(|spi| {
            WATCHES.with(|statement| {
                let args = [
                    table.oid.into(),
                    client.map(ClientCode::as_str).into(),
                    kind.map(IdKind::as_str).into(),
                ];
                statement
                    .select(spi, &args)?
                    .map(|row| {
                        Ok(Watch {
                            client: ClientCode::parse(&row.get::<String>(1)?.ok_or_else(missing)?)?,
                            kind: IdKind::parse(&row.get::<String>(2)?.ok_or_else(missing)?)?,
                            id_column: row.get(3)?.ok_or_else(missing)?,
                            id_expression: row.get(4)?,
                            attrs: row.get(5)?.ok_or_else(missing)?,
                            priority: row.get(6)?.ok_or_else(missing)?,
                            on_invalid: OnInvalid::parse(&row.get::<String>(7)?.ok_or_else(missing)?)
                                .ok_or(Fault::Internal("watched_table.on_invalid"))?,
                        })
                    })
                    .collect::<Result<Vec<_>, Fault>>()
            })
        })
    })?;
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(Fault::Watch(WatchFault::NotWatched(table.quoted()))),
        (Some(watch), true) => Ok(watch),
        (Some(_), false) => Err(Fault::Backfill(BackfillFault::SeveralWatches(table.quoted()))),
    }
}

/// The record of a watch's runs, made if there is none, by its id; and the lock, so that nobody else runs it.
///
/// # Errors
/// Another session has it.
pub fn take(table: &SourceTable, watch: &Watch, order: &str) -> Result<i32, Fault> {
    let id = as_owner_of(c"backfill_run", || {
        Spi::connect_mut(|spi| {
            let (client, kind) = (watch.client.as_str(), watch.kind.as_str());
            let args = [
                table.oid.into(),
                client.into(),
                kind.into(),
                table.schema.as_str().into(),
                table.name.as_str().into(),
                order.into(),
            ];
            REGISTER.with(|statement| statement.update(spi, &args).map(|_| ()))?;
            ID.with(|statement| {
                let found = statement.update(spi, &[table.oid.into(), client.into(), kind.into()])?;
                found
                    .first()
                    .get_one::<i32>()?
                    .ok_or(Fault::Internal("backfill_run.id"))
            })
        })
    })?;
    let tag = tag(id)?;
    release_at_exit();
    // SAFETY: a lock of the session: kept over its commits, and let go when its transaction aborts, as that of VACUUM on a table.
    let result = unsafe { pg_sys::LockAcquire(&tag, LOCK, true, true) };
    if result == pg_sys::LockAcquireResult::LOCKACQUIRE_OK {
        Ok(id)
    } else {
        if result == pg_sys::LockAcquireResult::LOCKACQUIRE_ALREADY_HELD {
            // SAFETY: it was counted twice now.
            unsafe { pg_sys::LockRelease(&tag, LOCK, true) };
        }
        Err(Fault::Backfill(BackfillFault::Running(table.quoted())))
    }
}

/// A session that ends between two chunks has no transaction to abort, and Postgres itself lets go only of advisory locks then:
/// the lock would stay in shared memory, held by nobody.
fn release_at_exit() {
    thread_local! {
        static REGISTERED: Cell<bool> = const { Cell::new(false) };
    }
    if !REGISTERED.replace(true) {
        // SAFETY: the callback is a plain function of this library, which is never unloaded.
        unsafe { pg_sys::on_shmem_exit(Some(release), pg_sys::Datum::from(0)) };
    }
}

/// Runs after the last transaction has ended, and before the process leaves shared memory.
#[pg_guard]
unsafe extern "C-unwind" fn release(_code: i32, _arg: pg_sys::Datum) {
    // SAFETY: as ShutdownPostgres does it for advisory locks; no transaction is left that could need its locks.
    unsafe { pg_sys::LockReleaseAll(pg_sys::DEFAULT_LOCKMETHOD as u16, true) };
}

const LOCK: pg_sys::LOCKMODE = pg_sys::ExclusiveLock as pg_sys::LOCKMODE;

/// As the view target_profile.backfill_progress finds it in pg_locks.
fn tag(id: i32) -> Result<pg_sys::LOCKTAG, Fault> {
    let class =
        owner::relation(c"backfill_run").ok_or(Fault::Internal("target_profile.backfill_run does not exist"))?;
    Ok(pg_sys::LOCKTAG {
        locktag_field1: process::my_database(),
        locktag_field2: class.to_u32(),
        locktag_field3: id.cast_unsigned(),
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    })
}

/// Lets the lock go.
///
/// # Errors
/// As [`must_be_mine`].
pub fn give_back(id: i32) -> Result<(), Fault> {
    must_be_mine(id)?;
    // SAFETY: it is held by this session.
    unsafe { pg_sys::LockRelease(&tag(id)?, LOCK, true) };
    MINE.with_borrow_mut(|known| known.remove(&id));
    Ok(())
}

thread_local! {
    static MINE: RefCell<HashMap<i32, Mine>> = RefCell::new(HashMap::new());
}

/// What a run of this session reads, and as whom. In the memory of the session, where nobody else has written it.
struct Mine {
    role: pg_sys::Oid,
    condition: Option<String>,
}

/// This session's role runs it, and this is the condition that it has given, as Postgres has written it.
pub fn is_mine(id: i32, condition: Option<String>) {
    let mine = Mine {
        role: backend::current_role(),
        condition,
    };
    MINE.with_borrow_mut(|known| known.insert(id, mine));
}

/// The condition of a run of this session.
///
/// # Errors
/// As [`must_be_mine`].
pub fn my_condition(id: i32) -> Result<Option<String>, Fault> {
    MINE.with_borrow(|known| {
        known
            .get(&id)
            .filter(|mine| mine.role == backend::current_role())
            .map(|mine| mine.condition.clone())
            .ok_or(Fault::Backfill(BackfillFault::NotMine))
    })
}

/// # Errors
/// This session does not run it, or has begun it as another role: what that one has written must not run with the rights of this one.
pub fn must_be_mine(id: i32) -> Result<(), Fault> {
    my_condition(id)?;
    let tag = tag(id)?;
    // SAFETY: looks into the session's own list of locks.
    #[cfg(not(any(feature = "pg17", feature = "pg18")))]
    let is_mine = unsafe { pg_sys::LockHeldByMe(&tag, LOCK) };
    // SAFETY: as above.
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    let is_mine = unsafe { pg_sys::LockHeldByMe(&tag, LOCK, false) };
    if is_mine {
        Ok(())
    } else {
        Err(Fault::Backfill(BackfillFault::NotMine))
    }
}

impl Run {
    /// Reads and locks it.
    ///
    /// # Errors
    /// It is gone.
    pub fn of(id: i32) -> Result<Self, Fault> {
        let missing = || Fault::Internal("a column of target_profile.backfill_run is null");
        as_owner_of(c"backfill_run", || {
            Spi::connect_mut(|spi| {
                READ.with(|statement| {
                    let rows = statement.update(spi, &[id.into()])?;
                    let row = rows.into_iter().next().ok_or(Fault::Backfill(BackfillFault::NotMine))?;
                    Ok(Self {
                        id,
                        table: row.get(1)?.ok_or_else(missing)?,
                        client: ClientCode::parse(&row.get::<String>(2)?.ok_or_else(missing)?)?,
                        kind: IdKind::parse(&row.get::<String>(3)?.ok_or_else(missing)?)?,
                        order: row.get(4)?.ok_or_else(missing)?,
                        given: row.get(5)?,
                        meaning: row.get(6)?,
                        sorts: row.get(7)?.ok_or_else(missing)?,
                        last_id: row.get(8)?,
                        at_end: row.get(9)?.ok_or_else(missing)?,
                        locked: row.get(10)?.ok_or_else(missing)?,
                        stop_requested: row.get(11)?.ok_or_else(missing)?,
                        is_finished: row.get(12)?.ok_or_else(missing)?,
                        rows: row.get(13)?.ok_or_else(missing)?,
                        entries: row.get(14)?.ok_or_else(missing)?,
                        invalid: row.get(15)?.ok_or_else(missing)?,
                        started_by: row.get(16)?.ok_or_else(missing)?,
                    })
                })
            })
        })
    }

    /// Begins anew.
    ///
    /// # Errors
    /// Whatever fails is raised by Postgres.
    pub fn start(&self, table: &SourceTable, total: i64) -> Result<(), Fault> {
        let args = [
            self.id.into(),
            self.order.as_str().into(),
            self.given.as_deref().into(),
            self.meaning.as_deref().into(),
            self.sorts.into(),
            total.into(),
            self.started_by.as_str().into(),
            table.schema.as_str().into(),
            table.name.as_str().into(),
        ];
        write(&START, &args)
    }

    /// Goes on.
    ///
    /// # Errors
    /// Whatever fails is raised by Postgres.
    pub fn resume(&self, table: &SourceTable) -> Result<(), Fault> {
        let args = [
            self.id.into(),
            self.sorts.into(),
            table.schema.as_str().into(),
            table.name.as_str().into(),
        ];
        write(&RESUME, &args)
    }

    /// Records a chunk.
    ///
    /// # Errors
    /// Whatever fails is raised by Postgres.
    pub fn advance(&self, done: &Done, is_finished: bool) -> Result<(), Fault> {
        let args = [
            self.id.into(),
            self.last_id.as_deref().into(),
            self.at_end.into(),
            self.locked.clone().into(),
            done.rows.into(),
            done.entries.into(),
            done.invalid.into(),
            done.without_id.into(),
            is_finished.into(),
        ];
        write(&ADVANCE, &args)
    }

    /// Records that it has been stopped.
    ///
    /// # Errors
    /// Whatever fails is raised by Postgres.
    pub fn stopped(&self) -> Result<(), Fault> {
        write(&STOPPED, &[self.id.into()])
    }
}

/// Records why a chunk was undone.
///
/// # Errors
/// Whatever fails is raised by Postgres.
pub fn failed(id: i32, message: &str) -> Result<(), Fault> {
    write(&FAILED, &[id.into(), message.into()])
}

/// Asks the runs of a table to stop; whether there is one.
///
/// # Errors
/// Whatever fails is raised by Postgres.
pub fn stop(table: pg_sys::Oid, client: Option<&ClientCode>, kind: Option<IdKind>) -> Result<bool, Fault> {
    as_owner_of(c"backfill_run", || {
        Spi::connect_mut(|spi| {
            STOP.with(|statement| {
                let args = [
                    table.into(),
                    client.map(ClientCode::as_str).into(),
                    kind.map(IdKind::as_str).into(),
                ];
                Ok(!statement.update(spi, &args)?.is_empty())
            })
        })
    })
}

fn write(
    statement: &'static std::thread::LocalKey<Statement>,
    args: &[pgrx::datum::DatumWithOid<'_>],
) -> Result<(), Fault> {
    as_owner_of(c"backfill_run", || {
        Spi::connect_mut(|spi| statement.with(|statement| statement.update(spi, args).map(|_| ())))
    })
}
