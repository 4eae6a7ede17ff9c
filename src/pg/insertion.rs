//! Rows put into the outbox without a plan, as COPY and logical replication put theirs into a table: an entry is written in every
//! transaction that changes a watched row, and to start and end an executor would cost more than the row.
//!
//! Only while the table is as the extension has made it. With a trigger, a constraint or a column of somebody else's, the INSERTs in
//! `sql/queries` do it, which know all that there is to know about tables.

use std::cell::Cell;

use pgrx::memcxt::PgMemoryContexts;
use pgrx::prelude::*;
use target_profile_core::attrs::FlatAttrs;

use super::catalog::{self, Known};
use super::errors::Fault;
use super::jsonb;
use super::owner::Outbox;
use super::unguarded;

/// What an entry brings along; the other columns are new or NULL.
pub struct Row<'a> {
    /// Drawn from the sequence by this transaction.
    pub id: i64,
    pub client_code: &'a str,
    pub id_kind: &'a str,
    pub profile_id: &'a str,
    pub attrs: &'a FlatAttrs,
    pub priority: i16,
    pub source: &'a str,
    /// A role's name.
    pub enqueued_by: Option<&'a str>,
}

/// As an INSERT locks a table and its indexes.
const LOCK: pg_sys::LOCKMODE = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;

/// Until the transaction ends: the next entry of the transaction finds it.
const KEEP_LOCK: pg_sys::LOCKMODE = pg_sys::NoLock as pg_sys::LOCKMODE;

const COLUMNS: usize = 13;

/// The columns that version 0.1.0 of the SQL objects knows: all but the last.
const COLUMNS_AT_FIRST: usize = 12;

/// The table as sql/tables.sql makes it.
const LAYOUT: [(&str, pg_sys::Oid); COLUMNS] = [
    ("id", pg_sys::INT8OID),
    ("client_code", pg_sys::TEXTOID),
    ("id_kind", pg_sys::TEXTOID),
    ("profile_id", pg_sys::TEXTOID),
    ("attrs", pg_sys::JSONBOID),
    ("priority", pg_sys::INT2OID),
    ("source", pg_sys::TEXTOID),
    ("enqueued_at", pg_sys::TIMESTAMPTZOID),
    ("attempts", pg_sys::INT4OID),
    ("next_attempt_at", pg_sys::TIMESTAMPTZOID),
    ("last_outcome", pg_sys::TEXTOID),
    ("retried_at", pg_sys::TIMESTAMPTZOID),
    ("enqueued_by", pg_sys::TEXTOID),
];

/// So many rows go into the table together.
const TOGETHER: usize = 256;

/// Inserts the rows, in the rights of the current user, which must be the owner's. `false`: nothing was done, because the table is not
/// as it was made.
///
/// # Errors
/// There is no outbox. Whatever else fails is raised by Postgres.
pub fn insert(rows: &[Row<'_>]) -> Result<bool, Fault> {
    let outbox = Outbox::find().ok_or(Fault::Internal("target_profile.outbox does not exist"))?;
    // SAFETY: inside a transaction that may write. Locked as an INSERT locks it, until the transaction ends.
    unsafe {
        let relation = pg_sys::table_open(outbox.table, LOCK);
        let is_plain = is_plain(relation);
        if is_plain {
            Lease::of(relation).insert(relation, rows);
            // What follows in this transaction sees the rows.
            pg_sys::CommandCounterIncrement();
        }
        pg_sys::table_close(relation, KEEP_LOCK);
        Ok(is_plain)
    }
}

/// Whether the table is as sql/tables.sql makes it.
///
/// # Safety
/// An open relation.
unsafe fn is_plain(relation: pg_sys::Relation) -> bool {
    thread_local! {
        static IS_PLAIN: Known<bool> = const { Known::new() };
    }
    let look = || {
        // SAFETY: the caller's promise; what a relation points to lives as long as it is open.
        unsafe {
            let relation = &*relation;
            let class = &*relation.rd_rel;
            let constraints = (*relation.rd_att).constr.as_ref();
            let descriptor = pgrx::PgTupleDesc::from_pg_unchecked(relation.rd_att);
            class.relkind == pg_sys::RELKIND_RELATION as std::ffi::c_char
                && !class.relispartition
                && !class.relforcerowsecurity
                && relation.trigdesc.is_null()
                && relation.rd_rules.is_null()
                && relation
                    .rd_tableam
                    .as_ref()
                    .is_some_and(|methods| methods.multi_insert.is_some())
                && constraints.is_none_or(|constraints| constraints.num_check == 0 && !constraints.has_generated_stored)
                && (COLUMNS_AT_FIRST..=COLUMNS).contains(&descriptor.len())
                && descriptor.iter().zip(LAYOUT).all(|(column, (name, oid))| {
                    !column.attisdropped && column.name() == name && column.atttypid == oid
                })
        }
    };
    IS_PLAIN.with(|known| known.get(|| Some(look()))).unwrap_or(false)
}

thread_local! {
    /// Not while it is used: an index may lead here again, by a function that somebody has put into it.
    static PREPARED: Cell<Option<Prepared>> = const { Cell::new(None) };
}

/// What an insertion needs, made once and kept while the catalog stays as it is. It holds memory of Postgres and nothing else:
/// relations are opened for each insertion, and whatever an error has left of one is put right at the next.
#[derive(Clone, Copy)]
struct Prepared {
    generation: u64,
    state: *mut pg_sys::EState,
    /// The table and one of its indexes.
    target: *mut pg_sys::ResultRelInfo,
    /// How many there are.
    indexes: i32,
    /// Each, while it is open.
    relations: *mut pg_sys::Relation,
    /// Its description.
    infos: *mut *mut pg_sys::IndexInfo,
    /// As many as [`TOGETHER`].
    slots: *mut *mut pg_sys::TupleTableSlot,
    /// Where the values of the rows are made, which go together.
    values: pg_sys::MemoryContext,
}

impl Prepared {
    /// # Safety
    /// A relation that is plain and locked.
    unsafe fn make(relation: pg_sys::Relation, generation: u64) -> Self {
        // SAFETY: the caller's promise; as copyfrom.c sets up the same, but that it lives as long as the backend.
        unsafe {
            let state = PgMemoryContexts::TopMemoryContext.switch_to(|_| pg_sys::CreateExecutorState());
            PgMemoryContexts::For((*state).es_query_cxt).switch_to(|context| {
                let values = pg_sys::AllocSetContextCreateExtended(
                    context.value(),
                    c"target_profile entries".as_ptr(),
                    pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                    pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                    pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
                );
                let target = PgBox::<pg_sys::ResultRelInfo>::alloc_node(pg_sys::NodeTag::T_ResultRelInfo).into_pg();
                pg_sys::InitResultRelInfo(target, relation, 0, std::ptr::null_mut(), 0);
                let indexes = pg_sys::RelationGetIndexList(relation);
                let count = pg_sys::list_length(indexes);
                let room = |size: usize| pg_sys::palloc0(usize::try_from(count.max(1)).unwrap_or(1) * size);
                let relations: *mut pg_sys::Relation = room(size_of::<pg_sys::Relation>()).cast();
                let infos: *mut *mut pg_sys::IndexInfo = room(size_of::<*mut pg_sys::IndexInfo>()).cast();
                for at in 0..count {
                    let index = pg_sys::index_open(pg_sys::list_nth_oid(indexes, at), LOCK);
                    *infos.offset(at as isize) = pg_sys::BuildIndexInfo(index);
                    pg_sys::index_close(index, KEEP_LOCK);
                }
                (*target).ri_NumIndices = 1;
                // A copy: the relation's own is counted by whoever uses it.
                let descriptor = pg_sys::CreateTupleDescCopy((*relation).rd_att);
                let kind = pg_sys::table_slot_callbacks(relation);
                let slots: *mut *mut pg_sys::TupleTableSlot =
                    pg_sys::palloc0(TOGETHER * size_of::<*mut pg_sys::TupleTableSlot>()).cast();
                for at in 0..TOGETHER {
                    *slots.add(at) = pg_sys::MakeSingleTupleTableSlot(descriptor, kind);
                }
                Self {
                    generation,
                    state,
                    target,
                    indexes: count,
                    relations,
                    infos,
                    slots,
                    values,
                }
            })
        }
    }
}

/// Values that rows which go together mostly have in common: made once.
#[derive(Default)]
struct Common<'r> {
    now: pg_sys::TimestampTz,
    client_code: Text<'r>,
    id_kind: Text<'r>,
    source: Text<'r>,
    enqueued_by: Text<'r>,
}

#[derive(Default)]
struct Text<'r> {
    made: Option<(&'r str, pg_sys::Datum)>,
}

impl<'r> Text<'r> {
    /// # Safety
    /// As for [`text`].
    unsafe fn datum(&mut self, given: &'r str) -> pg_sys::Datum {
        match self.made {
            Some((made, datum)) if std::ptr::eq(made, given) => datum,
            _ => {
                // SAFETY: the caller's promise.
                let datum = unsafe { text(given) };
                self.made = Some((given, datum));
                datum
            }
        }
    }
}

/// A `text`, in the current memory context.
///
/// # Safety
/// Within [`unguarded::guarded`].
unsafe fn text(given: &str) -> pg_sys::Datum {
    // The core's limits keep it far below what fits.
    let length = i32::try_from(given.len()).unwrap_or(0);
    // SAFETY: so many bytes are read, and copied before this returns.
    pg_sys::Datum::from(unsafe { unguarded::cstring_to_text_with_len(given.as_ptr().cast(), length) })
}

/// The one that is prepared, in use; it goes back whatever happens.
struct Lease(Prepared);

impl Drop for Lease {
    fn drop(&mut self) {
        PREPARED.set(Some(self.0));
    }
}

impl Lease {
    /// # Safety
    /// A relation that is plain and locked.
    unsafe fn of(relation: pg_sys::Relation) -> Self {
        let generation = catalog::generation();
        match PREPARED.take() {
            Some(prepared) if prepared.generation == generation => Self(prepared),
            outdated => {
                // SAFETY: nobody uses it; and the caller's promise.
                unsafe {
                    if let Some(outdated) = outdated {
                        pg_sys::FreeExecutorState(outdated.state);
                    }
                    Self(Prepared::make(relation, generation))
                }
            }
        }
    }

    /// # Safety
    /// The relation that this was made for, and rows that keep its rules.
    unsafe fn insert(&self, relation: pg_sys::Relation, rows: &[Row<'_>]) {
        let Prepared {
            target,
            indexes,
            relations,
            slots,
            ..
        } = self.0;
        // SAFETY: the caller's promise. While the catalog stays as it is, the table has the indexes that it had; they are opened in the
        // order in which their descriptions are kept.
        unsafe {
            (*target).ri_RelationDesc = relation;
            let list = pg_sys::RelationGetIndexList(relation);
            for at in 0..indexes {
                *relations.offset(at as isize) = pg_sys::index_open(pg_sys::list_nth_oid(list, at), LOCK);
            }
            for rows in rows.chunks(TOGETHER) {
                let slots = std::slice::from_raw_parts(slots, rows.len());
                self.forget_values(slots);
                // What Postgres leaves behind while it inserts goes with the values.
                PgMemoryContexts::For(self.0.values).switch_to(|_| {
                    let command = pg_sys::GetCurrentCommandId(true);
                    unguarded::guarded(|| {
                        let mut common = Common {
                            now: unguarded::GetCurrentTimestamp(),
                            ..Common::default()
                        };
                        for (&slot, row) in slots.iter().zip(rows) {
                            fill(slot, row, &mut common);
                        }
                        self.store(relation, command, slots);
                    });
                });
                self.forget_values(slots);
            }
            for at in 0..indexes {
                pg_sys::index_close(*relations.offset(at as isize), KEEP_LOCK);
            }
            pg_sys::list_free(list);
        }
    }

    /// # Safety
    /// Slots that are filled. Within [`unguarded::guarded`].
    unsafe fn store(
        &self,
        relation: pg_sys::Relation,
        command: pg_sys::CommandId,
        slots: &[*mut pg_sys::TupleTableSlot],
    ) {
        // SAFETY: the table's own method, called as tableam.h calls it.
        unsafe {
            let multi_insert = (*(*relation).rd_tableam).multi_insert;
            if let (Some(multi_insert), Ok(count)) = (multi_insert, i32::try_from(slots.len())) {
                let first = slots.as_ptr().cast_mut();
                multi_insert(relation, first, count, command, 0, std::ptr::null_mut());
            }
            // One index after the other: its pages are at hand for the next row.
            for at in 0..self.0.indexes {
                self.target_index(at);
                for &slot in slots {
                    insert_into_indexes(self.0.target, slot, self.0.state);
                }
            }
        }
    }

    /// # Safety
    /// One of the indexes.
    unsafe fn target_index(&self, at: i32) {
        let Prepared {
            target,
            relations,
            infos,
            ..
        } = self.0;
        // SAFETY: the arrays have a place for each index.
        unsafe {
            (*target).ri_IndexRelationDescs = relations.offset(at as isize);
            (*target).ri_IndexRelationInfo = infos.offset(at as isize);
        }
    }

    /// # Safety
    /// Slots of the table; nobody needs what is in them, or what the indexes' expressions have left.
    unsafe fn forget_values(&self, slots: &[*mut pg_sys::TupleTableSlot]) {
        // SAFETY: the slot's own method, called as tuptable.h calls it, where there is something to clear.
        unsafe {
            unguarded::guarded(|| {
                for &slot in slots {
                    if u32::from((*slot).tts_flags) & pg_sys::TTS_FLAG_EMPTY == 0
                        && let Some(clear) = (*(*slot).tts_ops).clear
                    {
                        clear(slot);
                    }
                }
            });
            pg_sys::MemoryContextReset(self.0.values);
            let expressions = (*self.0.state).es_per_tuple_exprcontext;
            if !expressions.is_null() {
                pg_sys::MemoryContextReset((*expressions).ecxt_per_tuple_memory);
            }
        }
    }
}

/// # Safety
/// A slot of the table, empty. Within [`unguarded::guarded`], in a memory context that lives as long as the row is in it.
unsafe fn fill<'r>(slot: *mut pg_sys::TupleTableSlot, row: &Row<'r>, common: &mut Common<'r>) {
    // SAFETY: a slot has room for the columns of its table, and LAYOUT has been compared with them.
    unsafe {
        let values: [Option<pg_sys::Datum>; COLUMNS] = [
            row.id.into_datum(),
            Some(common.client_code.datum(row.client_code)),
            Some(common.id_kind.datum(row.id_kind)),
            Some(text(row.profile_id)),
            Some(jsonb::object(row.attrs)),
            row.priority.into_datum(),
            Some(common.source.datum(row.source)),
            Some(pg_sys::Datum::from(common.now)),
            0_i32.into_datum(),
            None,
            None,
            None,
            row.enqueued_by.map(|name| common.enqueued_by.datum(name)),
        ];
        let columns = usize::try_from((*(*slot).tts_tupleDescriptor).natts)
            .unwrap_or(0)
            .min(COLUMNS);
        let places = std::slice::from_raw_parts_mut((*slot).tts_values, columns);
        let nulls = std::slice::from_raw_parts_mut((*slot).tts_isnull, columns);
        for ((place, is_null), value) in places.iter_mut().zip(nulls).zip(values) {
            *is_null = value.is_none();
            *place = value.unwrap_or(pg_sys::Datum::from(0));
        }
        unguarded::ExecStoreVirtualTuple(slot);
    }
}

/// # Safety
/// A row that is in the table. Within [`unguarded::guarded`].
unsafe fn insert_into_indexes(
    target: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
    state: *mut pg_sys::EState,
) {
    let no_conflict = std::ptr::null_mut();
    let no_arbiters = std::ptr::null_mut();
    // SAFETY: the caller's promise.
    unsafe {
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        unguarded::ExecInsertIndexTuples(target, slot, state, false, false, no_conflict, no_arbiters);
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        unguarded::ExecInsertIndexTuples(target, slot, state, false, false, no_conflict, no_arbiters, false);
    }
}
