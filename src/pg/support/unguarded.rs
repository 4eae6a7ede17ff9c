//! Functions of Postgres that every row calls, many under one guard.
//!
//! pgrx's bindings set a jump buffer for each call, so that an error of Postgres becomes a panic of Rust. For functions this small
//! that costs as much as what they do. Here they are declared as PostgreSQL has them: those that can fail are called within
//! [`guarded`], and the code in it must own nothing that has to be dropped, since an error jumps over it.

use std::ffi::CStr;

use pgrx::pg_sys;

unsafe extern "C-unwind" {
    /// access/xact.h: assigns the transaction's id if it has none.
    pub fn GetTopTransactionId() -> pg_sys::TransactionId;

    /// utils/timestamp.h: the time now. Cannot fail.
    pub fn GetCurrentTimestamp() -> pg_sys::TimestampTz;

    /// commands/sequence.h: the next value of a sequence.
    pub fn nextval_internal(sequence: pg_sys::Oid, check_permissions: bool) -> i64;

    /// utils/datum.h: whether two values of one type are the same bytes, however they are stored.
    pub fn datum_image_eq(one: pg_sys::Datum, other: pg_sys::Datum, by_value: bool, length: i32) -> bool;

    /// executor/spi.h: a column of a row. Cannot fail for a column that the row's table has.
    pub fn SPI_getbinval(
        row: pg_sys::HeapTuple,
        descriptor: pg_sys::TupleDesc,
        number: i32,
        is_null: *mut bool,
    ) -> pg_sys::Datum;

    /// utils/builtins.h: a text, palloc'd.
    pub fn cstring_to_text_with_len(bytes: *const std::ffi::c_char, length: i32) -> *mut pg_sys::text;

    /// fmgr.h: the text of a value, palloc'd, by its type's output function.
    pub fn OidOutputFunctionCall(function: pg_sys::Oid, value: pg_sys::Datum) -> *mut std::ffi::c_char;

    /// utils/palloc.h: room in the current memory context.
    pub fn palloc(size: usize) -> *mut std::ffi::c_void;

    /// utils/jsonb.h: as it is stored.
    pub fn JsonbValueToJsonb(value: *mut pg_sys::JsonbValue) -> *mut pg_sys::Jsonb;

    /// executor/executor.h: the slot has values now.
    pub fn ExecStoreVirtualTuple(slot: *mut pg_sys::TupleTableSlot) -> *mut pg_sys::TupleTableSlot;

    /// executor/tuptable.h: a slot of its own, in the current memory context.
    pub fn MakeSingleTupleTableSlot(
        descriptor: pg_sys::TupleDesc,
        kind: *const pg_sys::TupleTableSlotOps,
    ) -> *mut pg_sys::TupleTableSlot;

    /// executor/tuptable.h: the end of such a slot.
    pub fn ExecDropSingleTupleTableSlot(slot: *mut pg_sys::TupleTableSlot);

    /// utils/memutils.h: a memory context.
    pub fn AllocSetContextCreateInternal(
        parent: pg_sys::MemoryContext,
        name: *const std::ffi::c_char,
        least: usize,
        first_block: usize,
        greatest_block: usize,
    ) -> pg_sys::MemoryContext;

    /// utils/memutils.h: a memory context with all that is in it.
    pub fn MemoryContextDelete(context: pg_sys::MemoryContext);

    /// access/table.h: locks a table, takes in what was changed before, and opens it.
    pub fn table_open(table: pg_sys::Oid, lock: pg_sys::LOCKMODE) -> pg_sys::Relation;

    /// access/table.h: closes it.
    pub fn table_close(table: pg_sys::Relation, lock: pg_sys::LOCKMODE);

    /// utils/relcache.h: the indexes of a table, those that are being built too; a copy.
    pub fn RelationGetIndexList(table: pg_sys::Relation) -> *mut pg_sys::List;

    /// nodes/pg_list.h: a list that is a copy.
    pub fn list_free(list: *mut pg_sys::List);

    /// access/genam.h: as `table_open`.
    pub fn index_open(index: pg_sys::Oid, lock: pg_sys::LOCKMODE) -> pg_sys::Relation;

    /// access/genam.h: as `table_close`.
    pub fn index_close(index: pg_sys::Relation, lock: pg_sys::LOCKMODE);

    /// catalog/index.h: the description of an index that inserting rows needs; palloc'd.
    pub fn BuildIndexInfo(index: pg_sys::Relation) -> *mut pg_sys::IndexInfo;

    /// access/genam.h: a row of a table into one of its indexes. `false`: it may be there already, where that was asked for.
    pub fn index_insert(
        index: pg_sys::Relation,
        values: *mut pg_sys::Datum,
        is_null: *mut bool,
        place: pg_sys::ItemPointer,
        table: pg_sys::Relation,
        check: pg_sys::IndexUniqueCheck::Type,
        is_unchanged: bool,
        info: *mut pg_sys::IndexInfo,
    ) -> bool;

    /// access/xact.h: the number of the command that writes.
    pub fn GetCurrentCommandId(writes: bool) -> pg_sys::CommandId;

    /// access/htup_details.h: a row, palloc'd.
    pub fn heap_form_tuple(
        descriptor: pg_sys::TupleDesc,
        values: *mut pg_sys::Datum,
        is_null: *mut bool,
    ) -> pg_sys::HeapTuple;

    /// access/heapam.h: a row into a heap; it knows its place then.
    pub fn heap_insert(
        table: pg_sys::Relation,
        row: pg_sys::HeapTuple,
        command: pg_sys::CommandId,
        options: i32,
        state: pg_sys::BulkInsertState,
    );

    /// access/heapam.h: rows into a heap; their slots know their places then.
    pub fn heap_multi_insert(
        table: pg_sys::Relation,
        rows: *mut *mut pg_sys::TupleTableSlot,
        count: i32,
        command: pg_sys::CommandId,
        options: i32,
        state: pg_sys::BulkInsertState,
    );
}

/// Turns an error of Postgres, in what is called, into a panic.
///
/// # Safety
/// As for each function that it calls; and nothing in it has to be dropped, or panics.
pub unsafe fn guarded<T>(call: impl FnOnce() -> T) -> T {
    // SAFETY: the caller's promise.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(call) }
}

/// The output function of numeric.
pub const NUMERIC_OUT: pg_sys::Oid = pg_sys::Oid::from_u32(pg_sys::F_NUMERIC_OUT);

/// The text of a value, by an output function.
///
/// # Safety
/// The output function of the datum's type.
pub unsafe fn call_output(function: pg_sys::Oid, datum: pg_sys::Datum) -> String {
    // SAFETY: the caller's promise; the answer is a palloc'd string.
    unsafe {
        let text = guarded(|| OidOutputFunctionCall(function, datum));
        let owned = CStr::from_ptr(text).to_string_lossy().into_owned();
        pg_sys::pfree(text.cast());
        owned
    }
}
