//! Functions of Postgres that every row calls, many under one guard.
//!
//! pgrx's bindings set a jump buffer for each call, so that an error of Postgres becomes a panic of Rust. For functions this small
//! that costs as much as what they do. Here they are declared as Postgres has them: whoever calls one that can fail does so within
//! [`guarded`], and what is called there must own nothing that has to be dropped, as an error jumps over it.

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

    /// executor/executor.h: a row into the indexes of its table.
    pub fn ExecInsertIndexTuples(
        target: *mut pg_sys::ResultRelInfo,
        slot: *mut pg_sys::TupleTableSlot,
        state: *mut pg_sys::EState,
        is_update: bool,
        no_duplicate_error: bool,
        conflict: *mut bool,
        arbiters: *mut pg_sys::List,
        #[cfg(not(any(feature = "pg14", feature = "pg15")))] only_summarizing: bool,
    ) -> *mut pg_sys::List;
}

/// Turns an error of Postgres, in what is called, into a panic.
///
/// # Safety
/// As for each function that it calls; and nothing in it has to be dropped, or panics.
pub unsafe fn guarded<T>(call: impl FnOnce() -> T) -> T {
    // SAFETY: the caller's promise.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(call) }
}
