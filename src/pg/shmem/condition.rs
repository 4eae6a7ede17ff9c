//! Condition variables in shared memory.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::time::Duration;

use pgrx::pg_sys;

/// A condition variable of PostgreSQL. It is made before any other process sees it, and lives as long as the server.
pub struct SharedCondition(UnsafeCell<pg_sys::ConditionVariable>);

// SAFETY: PostgreSQL guards a condition variable by a spinlock of its own.
unsafe impl Sync for SharedCondition {}

impl SharedCondition {
    /// One that nobody waits for.
    pub(super) fn new() -> Self {
        let mut condition = MaybeUninit::zeroed();
        // SAFETY: it fills in the whole structure, which holds no pointer to itself and may be moved until it is used.
        unsafe {
            pg_sys::ConditionVariableInit(condition.as_mut_ptr());
            Self(UnsafeCell::new(condition.assume_init()))
        }
    }

    /// Wakes all who wait for it.
    pub(super) fn broadcast(&'static self) {
        // SAFETY: it lives in shared memory.
        unsafe { pg_sys::ConditionVariableBroadcast(self.0.get()) }
    }

    /// Prepares to wait: what the caller looks at from now on is not missed. It takes the place of what was prepared before.
    pub fn prepare(&'static self) {
        // SAFETY: it lives in shared memory. An error before `cancel` is cleaned up by the abort of the transaction.
        unsafe { pg_sys::ConditionVariablePrepareToSleep(self.0.get()) }
    }

    /// Waits, for at least a millisecond and at most a day. Interrupts are served meanwhile.
    pub fn wait(&'static self, at_most: Duration, wait_event: u32) {
        let at_most = i64::try_from(at_most.as_millis())
            .unwrap_or(i64::MAX)
            .clamp(1, 86_400_000);
        // SAFETY: it lives in shared memory.
        unsafe { pg_sys::ConditionVariableTimedSleep(self.0.get(), at_most, wait_event) };
    }
}

/// Ends what was prepared.
pub fn cancel() {
    // SAFETY: it does nothing where nothing is prepared.
    unsafe { pg_sys::ConditionVariableCancelSleep() };
}
