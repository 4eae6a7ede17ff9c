//! What a backend knows of its transaction and its session, and the calls of PostgreSQL that need no more than a transaction.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;

/// The role that the current statement runs as. Within `as_owner` that is the owner.
pub fn current_role() -> pg_sys::Oid {
    // SAFETY: a plain variable of the backend.
    unsafe { pg_sys::GetUserId() }
}

/// A role's name, which outlives a dump; `None`: it was dropped.
pub fn role_name(role: pg_sys::Oid) -> Option<String> {
    // SAFETY: a look-up in the system cache; the answer is a C string or nothing.
    unsafe {
        let name = pg_sys::GetUserNameFromId(role, true);
        (!name.is_null()).then(|| string(name))
    }
}

/// When the client's current statement began, in PostgreSQL's microseconds: different for each.
pub fn statement_start() -> i64 {
    // SAFETY: a plain variable of the backend.
    unsafe { pg_sys::GetCurrentStatementStartTimestamp() }
}

/// The number of this backend's current transaction, different for each.
pub fn local_transaction_id() -> u32 {
    #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
    // SAFETY: MyProc is set in every backend.
    unsafe {
        (*pg_sys::MyProc).lxid
    }
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    // SAFETY: MyProc is set in every backend.
    unsafe {
        (*pg_sys::MyProc).vxid.lxid
    }
}

/// Whether a transaction id is that of the current transaction, or of a subtransaction of it.
pub fn is_current_transaction(xid: pg_sys::TransactionId) -> bool {
    // SAFETY: looks at the backend's own stack of transactions.
    unsafe { pg_sys::TransactionIdIsCurrentTransactionId(xid) }
}

/// Whether all statements of the transaction share one snapshot.
pub fn has_fixed_snapshot() -> bool {
    // SAFETY: a plain variable of the backend.
    unsafe { pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32 }
}

/// Whether the transaction may not write.
pub fn is_read_only() -> bool {
    // SAFETY: a plain variable of the backend.
    unsafe { pg_sys::XactReadOnly }
}

/// Whether this server is a standby, or still recovers.
pub fn is_standby() -> bool {
    // SAFETY: a plain reader of shared memory.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// Whether the caller has begun a transaction, or calls from a function.
pub fn is_in_transaction_block() -> bool {
    // SAFETY: looks at the backend's own stack of transactions.
    unsafe { pg_sys::IsTransactionBlock() }
}

/// Locks a relation for the rest of the transaction. Waits no longer than `lock_timeout`.
pub fn lock(relation: pg_sys::Oid, mode: u32) {
    // SAFETY: inside a transaction. The backend hears of what has changed meanwhile.
    unsafe { pg_sys::LockRelationOid(relation, mode as pg_sys::LOCKMODE) }
}

/// The type that a domain is stored as; of another type, that type.
pub fn base_type(of: pg_sys::Oid) -> pg_sys::Oid {
    // SAFETY: a look-up in the system cache.
    unsafe { pg_sys::getBaseType(of) }
}

/// Resets this process' latch. What comes after wakes the process.
pub fn reset_latch() {
    // SAFETY: this process' own latch.
    unsafe { pg_sys::ResetLatch(pg_sys::MyLatch) }
}

/// Sets this process' latch.
pub fn set_latch() {
    // SAFETY: this process' own latch.
    unsafe { pg_sys::SetLatch(pg_sys::MyLatch) }
}

/// A copy of a C string; what is no UTF-8 is replaced.
///
/// # Safety
/// A C string.
pub unsafe fn string(text: *const c_char) -> String {
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
