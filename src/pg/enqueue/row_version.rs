//! The newest version of a row of which a trigger gets an older one.
//!
//! AFTER triggers fire in the order in which their events were queued. A statement that is nested in another one (in a trigger, in a function
//! that a query calls) fires its triggers first: if both have updated the same row, the older version comes last. Entries are
//! sent in the order in which the triggers fire, so such an event must not bring back what the newer version has replaced: it sends
//! the newest version that the trigger's WHEN lets pass.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::panic::AssertUnwindSafe;

use pgrx::pg_sys;
use target_profile_core::newest::{Known, Place, Way};

use crate::pg::support::{generated, subtransaction};

/// What has become of the row since.
#[derive(Clone, Copy)]
pub enum Newest {
    /// Nothing: the trigger has got the newest version.
    Given,
    /// This one, in the current memory context.
    Version(pg_sys::HeapTuple),
    /// It was moved into another partition, whose trigger for INSERT sends it as a whole.
    Elsewhere,
}

/// The newest version of a row that was written by the current transaction.
///
/// # Safety
/// The data of a trigger that is being fired after an INSERT or UPDATE of a row, and its row. Whoever calls it has [`forget`] called at the
/// end of transactions and subtransactions.
pub unsafe fn newest(data: &pg_sys::TriggerData, given: pg_sys::HeapTuple) -> Newest {
    // SAFETY: the caller's promise.
    unsafe {
        if next(given) == Next::None || !is_heap(data.tg_relation) {
            return Newest::Given;
        }
    }
    // What fails here has failed for the write of the newer version, or would have. This write does not fail for it.
    subtransaction::attempt(AssertUnwindSafe(|| {
        // SAFETY: the caller's promise.
        unsafe { follow(data, given) }
    }))
    .unwrap_or(Newest::Given)
}

/// The transaction, or one of its subtransactions, was rolled back: versions may be gone, and others in their places.
pub fn forget() {
    KNOWN.set(None);
    ROLLED_BACK.set(ROLLED_BACK.get().wrapping_add(1));
}

thread_local! {
    /// What the trigger has followed last.
    static KNOWN: RefCell<Option<(pg_sys::Oid, Known)>> = const { RefCell::new(None) };
    static ROLLED_BACK: Cell<u64> = const { Cell::new(0) };
}

/// What the header of a version says of the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// There is none: it is the newest, or the row was deleted.
    None,
    At(Place),
    /// It is in another partition.
    Moved,
}

/// # Safety
/// A row of a table.
unsafe fn next(row: pg_sys::HeapTuple) -> Next {
    // SAFETY: the caller's promise. The current transaction has written the version, so nobody else writes its header.
    unsafe {
        let header = (*row).t_data;
        let flags = u32::from((*header).t_infomask);
        let is_locked_only = flags & pg_sys::HEAP_XMAX_LOCK_ONLY != 0
            || flags & (pg_sys::HEAP_XMAX_IS_MULTI | pg_sys::HEAP_LOCK_MASK) == pg_sys::HEAP_XMAX_EXCL_LOCK;
        if flags & pg_sys::HEAP_XMAX_INVALID != 0 || is_locked_only {
            return Next::None;
        }
        let updated_by = if flags & pg_sys::HEAP_XMAX_IS_MULTI != 0 {
            pg_sys::HeapTupleGetUpdateXid(header)
        } else {
            (*header).t_choice.t_heap.t_xmax
        };
        // Not so if that subtransaction was rolled back.
        if !pg_sys::TransactionIdIsCurrentTransactionId(updated_by) {
            return Next::None;
        }
        let place = place(&(*header).t_ctid);
        if place == place_of(row) {
            Next::None
        } else if place == MOVED {
            Next::Moved
        } else {
            Next::At(place)
        }
    }
}

/// Access/htup_details.h: `HeapTupleHeaderIndicatesMovedPartitions`.
const MOVED: Place = (u32::MAX, 0xfffd);

fn place(pointer: &pg_sys::ItemPointerData) -> Place {
    let block = (u32::from(pointer.ip_blkid.bi_hi) << 16) | u32::from(pointer.ip_blkid.bi_lo);
    (block, pointer.ip_posid)
}

/// # Safety
/// A row of a table.
unsafe fn place_of(row: pg_sys::HeapTuple) -> Place {
    // SAFETY: the caller's promise.
    place(unsafe { &(*row).t_self })
}

/// # Safety
/// A relation that is open.
unsafe fn is_heap(relation: pg_sys::Relation) -> bool {
    // SAFETY: the caller's promise; a plain reader.
    unsafe { std::ptr::eq((*relation).rd_tableam, pg_sys::GetHeapamTableAmRoutine()) }
}

/// # Safety
/// As [`newest`], and the row is not the newest version.
unsafe fn follow(data: &pg_sys::TriggerData, given: pg_sys::HeapTuple) -> Newest {
    // SAFETY: the caller's promise; the slots are of the relation.
    unsafe {
        let trigger = &*data.tg_trigger;
        let rolled_back = ROLLED_BACK.get();
        let known = KNOWN
            .take()
            .filter(|(of, _)| *of == trigger.tgoid && keeps_places(&*data.tg_relation));
        let mut way = Way::new(place_of(given), known.map(|(_, known)| known));
        let when = When::of(data.tg_relation, trigger);
        let slots = [Slot::of(data.tg_relation), Slot::of(data.tg_relation)];
        let (mut row, mut turn) = (given, 0);
        let is_moved = loop {
            if let Some(last) = way.shortcut() {
                let Some(last) = slots[turn].fetch(last) else {
                    break false;
                };
                (row, turn) = (last, 1 - turn);
            }
            let place = match next(row) {
                Next::None => break false,
                Next::Moved => break true,
                Next::At(place) => place,
            };
            let Some(newer) = slots[turn].fetch(place) else {
                break false;
            };
            way.go_on(place, when.as_ref().is_none_or(|when| when.lets_pass(row, newer)));
            (row, turn) = (newer, 1 - turn);
        };
        let found = if is_moved && sends_what_is_inserted(data) {
            Newest::Elsewhere
        } else {
            way.best()
                .and_then(|best| slots[turn].fetch(best))
                .map_or(Newest::Given, |row| Newest::Version(pg_sys::heap_copytuple(row)))
        };
        // A condition may have done anything.
        let known = way.end().filter(|_| ROLLED_BACK.get() == rolled_back);
        KNOWN.set(known.map(|known| (trigger.tgoid, known)));
        found
    }
}

/// Whether a place holds the same version until the transaction ends: a TRUNCATE gives the table another file, or empties one that
/// is as new as the transaction.
fn keeps_places(relation: &pg_sys::RelationData) -> bool {
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    let file = relation.rd_newRelfilenodeSubid;
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    let file = relation.rd_newRelfilelocatorSubid;
    // 0: `InvalidSubTransactionId`.
    file == 0 && relation.rd_createSubid == 0
}

/// Whether the partition that a row was moved into sends it as a whole: a trigger like this one fires for every row that is inserted.
///
/// # Safety
/// As [`newest`].
unsafe fn sends_what_is_inserted(data: &pg_sys::TriggerData) -> bool {
    // SAFETY: the caller's promise; a relation with a trigger has a description of its triggers, and a trigger as many arguments as it
    // counts.
    unsafe {
        let all = &*(*data.tg_relation).trigdesc;
        let arguments = |trigger: &pg_sys::Trigger| -> Vec<&CStr> {
            (0..usize::try_from(trigger.tgnargs).unwrap_or(0))
                .map(|at| CStr::from_ptr(*trigger.tgargs.add(at)))
                .collect()
        };
        let own = &*data.tg_trigger;
        let wanted = (pg_sys::TRIGGER_TYPE_ROW | pg_sys::TRIGGER_TYPE_INSERT).cast_signed();
        (0..usize::try_from(all.numtriggers).unwrap_or(0)).any(|at| {
            let trigger = &*all.triggers.add(at);
            trigger.tgfoid == own.tgfoid
                && i32::from(trigger.tgtype) & wanted == wanted
                && trigger.tgenabled == own.tgenabled
                && trigger.tgqual.is_null()
                && arguments(trigger) == arguments(own)
        })
    }
}

/// A place for one version of a row.
struct Slot {
    relation: pg_sys::Relation,
    slot: *mut pg_sys::TupleTableSlot,
}

impl Slot {
    /// # Safety
    /// A relation that is open.
    unsafe fn of(relation: pg_sys::Relation) -> Self {
        Self {
            relation,
            // SAFETY: the caller's promise.
            slot: unsafe { pg_sys::table_slot_create(relation, std::ptr::null_mut()) },
        }
    }

    /// The version at a place, as long as the slot holds nothing else; `None`: there is none.
    ///
    /// # Safety
    /// The relation is a heap.
    unsafe fn fetch(&self, (block, offset): Place) -> Option<pg_sys::HeapTuple> {
        let mut pointer = pg_sys::ItemPointerData {
            ip_blkid: pg_sys::BlockIdData {
                bi_hi: (block >> 16) as u16,
                bi_lo: (block & 0xffff) as u16,
            },
            ip_posid: offset,
        };
        // SAFETY: the caller's promise; the slot is of the relation.
        unsafe {
            let fetch = (*(*self.relation).rd_tableam).tuple_fetch_row_version?;
            let is_found = pg_sys::ffi::pg_guard_ffi_boundary(|| {
                fetch(
                    self.relation,
                    &raw mut pointer,
                    &raw mut pg_sys::SnapshotAnyData,
                    self.slot,
                )
            });
            if !is_found {
                return None;
            }
            let mut is_copy = false;
            Some(pg_sys::ExecFetchSlotHeapTuple(self.slot, false, &mut is_copy))
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // An error has its resources released with the subtransaction.
        if !std::thread::panicking() {
            // SAFETY: made by `of`, and nobody uses it any more.
            unsafe { pg_sys::ExecDropSingleTupleTableSlot(self.slot) };
        }
    }
}

/// The WHEN of a trigger.
struct When {
    estate: *mut pg_sys::EState,
    context: *mut pg_sys::ExprContext,
    qual: *mut pg_sys::ExprState,
    old: *mut pg_sys::TupleTableSlot,
    new: *mut pg_sys::TupleTableSlot,
}

/// As the parser numbers them in a WHEN.
const OLD: i32 = 1;
const NEW: i32 = 2;

/// As the executor numbers them.
#[cfg(feature = "pg14")]
const INNER: i32 = pg_sys::INNER_VAR.cast_signed();
#[cfg(feature = "pg14")]
const OUTER: i32 = pg_sys::OUTER_VAR.cast_signed();
#[cfg(not(feature = "pg14"))]
const INNER: i32 = pg_sys::INNER_VAR;
#[cfg(not(feature = "pg14"))]
const OUTER: i32 = pg_sys::OUTER_VAR;

impl When {
    /// `None`: it has none. As `TriggerEnabled` of commands/trigger.c prepares it.
    ///
    /// # Safety
    /// A relation that is open, and a trigger of it.
    unsafe fn of(relation: pg_sys::Relation, trigger: &pg_sys::Trigger) -> Option<Self> {
        if trigger.tgqual.is_null() {
            return None;
        }
        // SAFETY: the caller's promise.
        unsafe {
            let mut node: *mut pg_sys::Node = pg_sys::stringToNode(trigger.tgqual).cast();
            for row in [OLD, NEW] {
                node = generated::expanded(relation, node, row);
            }
            pg_sys::ChangeVarNodes(node, OLD, INNER, 0);
            pg_sys::ChangeVarNodes(node, NEW, OUTER, 0);
            let estate = pg_sys::CreateExecutorState();
            let slot = || pg_sys::MakeSingleTupleTableSlot((*relation).rd_att, &raw const pg_sys::TTSOpsHeapTuple);
            Some(Self {
                estate,
                context: pg_sys::MakePerTupleExprContext(estate),
                qual: pg_sys::ExecPrepareQual(pg_sys::make_ands_implicit(node.cast()), estate),
                old: slot(),
                new: slot(),
            })
        }
    }

    /// Whether the trigger fires for this change of a row.
    ///
    /// # Safety
    /// Rows of the relation.
    unsafe fn lets_pass(&self, old: pg_sys::HeapTuple, new: pg_sys::HeapTuple) -> bool {
        // SAFETY: the caller's promise; execute an expression as `ExecQual` does.
        unsafe {
            let Some(evaluate) = self.qual.as_ref().and_then(|qual| qual.evalfunc) else {
                return true;
            };
            pg_sys::ExecStoreHeapTuple(old, self.old, false);
            pg_sys::ExecStoreHeapTuple(new, self.new, false);
            (*self.context).ecxt_innertuple = self.old;
            (*self.context).ecxt_outertuple = self.new;
            let outer = pg_sys::CurrentMemoryContext;
            pg_sys::MemoryContextReset((*self.context).ecxt_per_tuple_memory);
            pg_sys::CurrentMemoryContext = (*self.context).ecxt_per_tuple_memory;
            let mut is_null = false;
            let passes = pg_sys::ffi::pg_guard_ffi_boundary(|| evaluate(self.qual, self.context, &raw mut is_null));
            pg_sys::CurrentMemoryContext = outer;
            !is_null && passes.value() != 0
        }
    }
}

impl Drop for When {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: made by `of`, and nobody uses them any more.
            unsafe {
                pg_sys::ExecDropSingleTupleTableSlot(self.old);
                pg_sys::ExecDropSingleTupleTableSlot(self.new);
                pg_sys::FreeExecutorState(self.estate);
            }
        }
    }
}
