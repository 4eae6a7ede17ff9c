//! Snapshots other than the statement's.

use pgrx::pg_sys;

/// Runs `work` with the newest snapshot as the active one; what this transaction has done itself is in it.
pub fn with_latest_snapshot<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: inside a transaction.
    unsafe {
        with_snapshot(pg_sys::GetLatestSnapshot(), || {
            // A session that takes no new lock does not hear of new definitions. A kept plan would leave out a partition that is newer than
            // the plan, with rows that the snapshot sees. Everything that the snapshot sees has been announced by now.
            pg_sys::AcceptInvalidationMessages();
            work()
        })
    }
}

/// Runs `work` with a snapshot of the transaction's isolation level as the active one, where Postgres has none: at the end of
/// a transaction.
pub fn with_transaction_snapshot<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: inside a transaction.
    unsafe { with_snapshot(pg_sys::GetTransactionSnapshot(), work) }
}

/// # Safety
/// A valid snapshot, inside a transaction.
unsafe fn with_snapshot<T>(snapshot: pg_sys::Snapshot, work: impl FnOnce() -> T) -> T {
    // SAFETY: the caller's promise; pushed and popped in pairs. When `work` raises an error, the abort of the (sub)transaction
    // takes the snapshot off the stack.
    unsafe { pg_sys::PushActiveSnapshot(snapshot) }
    let done = work();
    // SAFETY: the one pushed above.
    unsafe { pg_sys::PopActiveSnapshot() }
    done
}
