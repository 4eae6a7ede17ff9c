//! Reading what is committed now, whatever the statement's snapshot is.

use pgrx::pg_sys;

/// Runs `work` with the newest snapshot as the active one; what this transaction has done itself is in it.
pub fn with_latest_snapshot<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: inside a transaction; pushed and popped in pairs. When `work` raises an error, the abort of the (sub)transaction
    // takes the snapshot off the stack.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot()) }
    let done = work();
    // SAFETY: the one pushed above.
    unsafe { pg_sys::PopActiveSnapshot() }
    done
}
