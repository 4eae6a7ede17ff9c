//! Holds: databases that a statement such as `DROP DATABASE` needs for itself.
//!
//! A session takes a hold, and the worker of the database ends when it sees it. The launcher starts no other one until the hold is
//! released, at the end of the session's transaction.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use pgrx::{PGRXSharedMemory, PgAtomic, pg_guard, pg_shmem_init, pg_sys};

use super::launcher_requests;
use crate::pg::support::process;

/// Holds at a time; a statement that finds no place goes without, and may fail for the worker's connection.
const HOLDS_AT_A_TIME: usize = 64;

static HOLDS: PgAtomic<Holds> = unsafe {
    // SAFETY: the name is ours alone.
    PgAtomic::new(c"target_profile holds")
};

struct Holds([Hold; HOLDS_AT_A_TIME]);

struct Hold {
    /// The session that holds, by its pid; 0 for a free place.
    holder: AtomicI32,
    /// The database, 0 while the place is being taken.
    database: AtomicU32,
}

// SAFETY: atomics.
unsafe impl PGRXSharedMemory for Holds {}

/// Asks for the memory; called once, in the postmaster.
pub fn request() {
    pg_shmem_init!(
        HOLDS = Holds(std::array::from_fn(|_| Hold {
            holder: AtomicI32::new(0),
            database: AtomicU32::new(0),
        }))
    );
}

/// Nobody may be in this database until this session releases it; `false`: there are too many holds.
pub fn hold(database: u32) -> bool {
    let mine = process::my_pid();
    let places = &HOLDS.get().0;
    if places
        .iter()
        .any(|hold| hold.holder.load(Ordering::SeqCst) == mine && hold.database.load(Ordering::SeqCst) == database)
    {
        return true;
    }
    places.iter().any(|hold| {
        let taken = hold
            .holder
            .compare_exchange(0, mine, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok();
        if taken {
            // Before the caller looks for a worker: one that starts now announces itself, then looks here.
            hold.database.store(database, Ordering::SeqCst);
        }
        taken
    })
}

/// Releases all that this session holds. Cannot fail: it runs at the end of transactions.
pub fn release_mine() {
    let mine = process::my_pid();
    for hold in &HOLDS.get().0 {
        if hold.holder.load(Ordering::SeqCst) == mine {
            hold.release(mine);
        }
    }
    launcher_requests::call();
}

/// Whether somebody holds this database.
pub fn is_held(database: u32) -> bool {
    HOLDS
        .get()
        .0
        .iter()
        .any(|hold| hold.database.load(Ordering::SeqCst) == database)
}

/// The databases that are held. Releases what sessions hold that are no more; there should be none.
pub fn held() -> BTreeSet<u32> {
    let mut held = BTreeSet::new();
    for hold in &HOLDS.get().0 {
        let holder = hold.holder.load(Ordering::SeqCst);
        let database = hold.database.load(Ordering::SeqCst);
        if holder == 0 || database == 0 {
            continue;
        }
        // SAFETY: a look at the list of processes.
        if unsafe { pg_sys::BackendPidGetProc(holder) }.is_null() {
            hold.release(holder);
        } else {
            held.insert(database);
        }
    }
    held
}

impl Hold {
    fn release(&self, holder: i32) {
        self.database.store(0, Ordering::SeqCst);
        // Whoever else has released it meanwhile has done the same.
        let _released = self
            .holder
            .compare_exchange(holder, 0, Ordering::SeqCst, Ordering::SeqCst);
    }
}
