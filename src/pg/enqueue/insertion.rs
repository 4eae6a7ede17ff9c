//! Rows put into the outbox without a plan, as COPY and logical replication put theirs into a table: an entry is written in every
//! transaction that changes a watched row, and to start and end an executor would cost more than the row.
//!
//! Only while the table and its indexes are as the extension has made them ([`as_made`]). With a trigger, a constraint, a column or an
//! index of somebody else's, the INSERTs in `sql/queries` do it, which know all that there is to know about tables.

mod as_made;

use pgrx::memcxt::PgMemoryContexts;
use pgrx::prelude::*;
use target_profile_core::attrs::FlatAttrs;
use target_profile_core::redraw;

use super::owner::Outbox;
use super::{ids, jsonb, wake};
use crate::pg::support::errors::Fault;
use crate::pg::support::unguarded;
use as_made::{COLUMNS, Index, MOST_INDEX_COLUMNS};

/// What an entry brings along; the other columns are new or NULL.
pub struct OutboxRow<'a> {
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

/// So many rows go into the table together.
const ROWS_AT_A_TIME: usize = 256;

/// Inserts rows, in the rights of the current user, which must be the owner's. A row whose id is taken gets another one, and so does
/// every row after it, so that they stay in their order. The answer is how many rows, from the first one on, are in the table: the
/// others are left to an INSERT, because the table is not as it was made, or because no free id was found.
///
/// # Errors
/// There is no outbox. Whatever else fails is raised by Postgres.
pub fn insert(rows: &mut [OutboxRow<'_>]) -> Result<usize, Fault> {
    let found = Outbox::find().ok_or_else(Fault::no_outbox)?;
    // SAFETY: inside a transaction that may write.
    unsafe {
        let Some(target) = as_made::Outbox::open(found.table) else {
            return Ok(0);
        };
        let room = Room::new(&target, rows.len());
        let mut stored = vec![Stored::EMPTY; rows.len().min(ROWS_AT_A_TIME)];
        let (mut done, mut attempts) = (0, 0);
        while done < rows.len() {
            let last = rows.len().min(done + ROWS_AT_A_TIME);
            let stored = &mut stored[..last - done];
            let free = room.store(&target, &rows[done..last], stored);
            // What follows in this transaction sees the rows.
            pg_sys::CommandCounterIncrement();
            done += free;
            if done == last {
                continue;
            }
            for taken in &mut stored[free..] {
                pg_sys::simple_heap_delete(target.table, &mut taken.place);
            }
            pg_sys::CommandCounterIncrement();
            let Some(passed_over) = redraw::passed_over(attempts) else {
                break;
            };
            attempts += 1;
            // Where the sequence gives no more, an INSERT says so, and can be undone.
            if !ids::redraw(
                found.sequence,
                passed_over,
                rows[done..].iter_mut().map(|row| &mut row.id),
            ) {
                break;
            }
            // The sequence was set back: the worker may have read beyond these ids.
            wake::all_at_commit();
        }
        room.leave();
        target.close();
        Ok(done)
    }
}

/// A row as it was stored. Its values live in the [`Room`].
#[derive(Clone, Copy)]
struct Stored {
    values: [pg_sys::Datum; COLUMNS],
    nulls: [bool; COLUMNS],
    place: pg_sys::ItemPointerData,
}

impl Stored {
    const EMPTY: Self = Self {
        values: [pg_sys::Datum::null(); COLUMNS],
        nulls: [true; COLUMNS],
        place: pg_sys::ItemPointerData {
            ip_blkid: pg_sys::BlockIdData { bi_hi: 0, bi_lo: 0 },
            ip_posid: 0,
        },
    };
}

/// Memory of one insertion. When an error ends it, it goes with the context that was the current one, and what it refers to with the
/// resources of the (sub)transaction.
struct Room {
    context: pg_sys::MemoryContext,
    /// Below it: where the values of the rows are made, which go together.
    values: pg_sys::MemoryContext,
    /// As many as go together, if more than one does.
    slots: *mut *mut pg_sys::TupleTableSlot,
    count: usize,
}

impl Room {
    /// # Safety
    /// A table that is open.
    unsafe fn new(target: &as_made::Outbox, rows: usize) -> Self {
        let count = if rows > 1 { rows.min(ROWS_AT_A_TIME) } else { 0 };
        // SAFETY: the caller's promise.
        unsafe {
            unguarded::guarded(|| {
                let context = make_context(pg_sys::CurrentMemoryContext);
                if count == 0 {
                    return Self {
                        context,
                        values: context,
                        slots: std::ptr::null_mut(),
                        count,
                    };
                }
                let values = make_context(context);
                let before = pg_sys::MemoryContextSwitchTo(context);
                let slots: *mut *mut pg_sys::TupleTableSlot =
                    unguarded::palloc(count * size_of::<*mut pg_sys::TupleTableSlot>()).cast();
                for at in 0..count {
                    *slots.add(at) =
                        unguarded::MakeSingleTupleTableSlot((*target.table).rd_att, &raw const pg_sys::TTSOpsVirtual);
                }
                pg_sys::MemoryContextSwitchTo(before);
                Self {
                    context,
                    values,
                    slots,
                    count,
                }
            })
        }
    }

    /// Puts rows into the table and its indexes. The answer is how many of them, from the first one on, have ids that were free; the
    /// others are in the table too, and must not stay there.
    ///
    /// # Safety
    /// The table that this was made for, rows that keep its rules, no more than go together, and as many places to store them.
    unsafe fn store(&self, target: &as_made::Outbox, rows: &[OutboxRow<'_>], stored: &mut [Stored]) -> usize {
        // SAFETY: the caller's promise.
        unsafe {
            pg_sys::MemoryContextReset(self.values);
            PgMemoryContexts::For(self.values).switch_to(|_| {
                unguarded::guarded(|| {
                    let mut common = Common {
                        now: unguarded::GetCurrentTimestamp(),
                        ..Common::default()
                    };
                    for (stored, row) in stored.iter_mut().zip(rows) {
                        make_values(stored, row, &mut common);
                    }
                    self.store_in_table(target.table, stored);
                    let mut free = rows.len();
                    for index in target.indexes() {
                        free = free.min(store_in_index(target.table, &index, stored));
                    }
                    free
                })
            })
        }
    }

    /// # Safety
    /// As for [`Room::store`], within [`unguarded::guarded`] and in the values' context.
    unsafe fn store_in_table(&self, table: pg_sys::Relation, stored: &mut [Stored]) {
        // SAFETY: the caller's promise: a heap, whose columns the values are of.
        unsafe {
            let command = unguarded::GetCurrentCommandId(true);
            if let [only] = stored {
                let row =
                    unguarded::heap_form_tuple((*table).rd_att, only.values.as_mut_ptr(), only.nulls.as_mut_ptr());
                (*row).t_tableOid = (*table).rd_id;
                unguarded::heap_insert(table, row, command, 0, std::ptr::null_mut());
                only.place = (*row).t_self;
                return;
            }
            let slots = std::slice::from_raw_parts(self.slots, stored.len());
            let columns = as_made::columns(table);
            for (&slot, stored) in slots.iter().zip(stored.iter()) {
                if let Some(clear) = (*(*slot).tts_ops).clear {
                    clear(slot);
                }
                stored
                    .values
                    .as_ptr()
                    .copy_to_nonoverlapping((*slot).tts_values, columns);
                stored
                    .nulls
                    .as_ptr()
                    .copy_to_nonoverlapping((*slot).tts_isnull, columns);
                unguarded::ExecStoreVirtualTuple(slot);
            }
            let count = stored.len() as i32;
            unguarded::heap_multi_insert(table, self.slots, count, command, 0, std::ptr::null_mut());
            for (&slot, stored) in slots.iter().zip(stored) {
                stored.place = (*slot).tts_tid;
            }
        }
    }

    /// # Safety
    /// Once.
    unsafe fn leave(&self) {
        // SAFETY: the caller's promise; the slots hold on to the table's descriptor.
        unsafe {
            unguarded::guarded(|| {
                for at in 0..self.count {
                    unguarded::ExecDropSingleTupleTableSlot(*self.slots.add(at));
                }
                unguarded::MemoryContextDelete(self.context);
            });
        }
    }
}

/// # Safety
/// Within [`unguarded::guarded`].
unsafe fn make_context(parent: pg_sys::MemoryContext) -> pg_sys::MemoryContext {
    // SAFETY: the caller's promise; the name is a constant.
    unsafe {
        unguarded::AllocSetContextCreateInternal(
            parent,
            c"target_profile entries".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        )
    }
}

/// One index after the other: its pages are at hand for the next row. The answer is how many rows, from the first one on, it did not
/// have. A row that it had is in it now as well, as with a constraint that is checked later: an error would end the caller's statement.
///
/// # Safety
/// Rows that are in the table, and one of its indexes. Within [`unguarded::guarded`], in a memory context that is reset.
unsafe fn store_in_index(table: pg_sys::Relation, index: &Index, stored: &mut [Stored]) -> usize {
    let check = if index.is_unique {
        pg_sys::IndexUniqueCheck::UNIQUE_CHECK_PARTIAL
    } else {
        pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO
    };
    let mut nulls = [false; MOST_INDEX_COLUMNS];
    let mut values = [pg_sys::Datum::null(); MOST_INDEX_COLUMNS];
    let mut free = stored.len();
    // SAFETY: the caller's promise. What an index is made of is not NULL in an entry.
    unsafe {
        let info = unguarded::BuildIndexInfo(index.relation);
        for (at, row) in stored.iter_mut().enumerate() {
            for (value, &column) in values.iter_mut().zip(index.columns) {
                *value = row.values[column as usize - 1];
            }
            let (values, nulls) = (values.as_mut_ptr(), nulls.as_mut_ptr());
            let is_new =
                unguarded::index_insert(index.relation, values, nulls, &mut row.place, table, check, false, info);
            if index.is_unique && !is_new {
                free = free.min(at);
            }
        }
    }
    free
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

/// # Safety
/// Within [`unguarded::guarded`], in a memory context that lives as long as the values are needed.
unsafe fn make_values<'r>(stored: &mut Stored, row: &OutboxRow<'r>, common: &mut Common<'r>) {
    // SAFETY: the caller's promise.
    let values: [Option<pg_sys::Datum>; COLUMNS] = unsafe {
        [
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
        ]
    };
    for ((place, is_null), value) in stored.values.iter_mut().zip(&mut stored.nulls).zip(values) {
        *is_null = value.is_none();
        *place = value.unwrap_or(pg_sys::Datum::null());
    }
}
