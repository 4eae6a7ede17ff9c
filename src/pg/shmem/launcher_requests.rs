//! Requests of sessions to the launcher: to start a worker for a database, and to list the databases again.
//!
//! Sessions request at the end of transactions, where nothing may fail: everything here is an atomic.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

use pgrx::{PGRXSharedMemory, PgAtomic, pg_guard, pg_shmem_init, pg_sys};

use crate::pg::support::process;

/// Databases that can be named at a time; beyond that, the launcher looks at all.
const DATABASES: usize = 32;

static LAUNCHER_REQUESTS: PgAtomic<LauncherRequests> = unsafe {
    // SAFETY: the name is ours alone.
    PgAtomic::new(c"target_profile launcher requests")
};

thread_local! {
    /// The launcher's round in which this session has requested a worker.
    static TOLD_IN: Cell<u32> = const { Cell::new(0) };
}

struct LauncherRequests {
    /// The launcher's place among Postgres' processes, below 0 when there is none.
    launcher: AtomicI32,
    /// Counts the launcher's looks at the list of databases, from 1.
    round: AtomicU32,
    /// Databases in which something was committed, 0 for a free place.
    databases: [AtomicU32; DATABASES],
    /// There were more than that.
    overflow: AtomicBool,
    /// Databases were created, dropped or changed.
    list: AtomicBool,
}

// SAFETY: atomics.
unsafe impl PGRXSharedMemory for LauncherRequests {}

/// The requests since the launcher took them last.
pub struct Told {
    /// Databases in which something was committed; `None`: too many to name.
    pub databases: Option<Vec<u32>>,
    /// There are other databases.
    pub list: bool,
}

/// Asks for the memory; called once, in the postmaster.
pub fn request() {
    pg_shmem_init!(
        LAUNCHER_REQUESTS = LauncherRequests {
            launcher: AtomicI32::new(-1),
            round: AtomicU32::new(0),
            databases: std::array::from_fn(|_| AtomicU32::new(0)),
            overflow: AtomicBool::new(false),
            list: AtomicBool::new(false),
        }
    );
}

/// This process is the launcher from now on; `None`: no longer.
pub fn set_launcher(process: Option<i32>) {
    LAUNCHER_REQUESTS
        .get()
        .launcher
        .store(process.unwrap_or(-1), Ordering::Release);
}

/// Whether there is a launcher.
pub fn is_launcher_running() -> bool {
    LAUNCHER_REQUESTS.get().launcher.load(Ordering::Acquire) >= 0
}

/// Has the launcher look whether there is something to do.
pub fn call() {
    let launcher = LAUNCHER_REQUESTS.get().launcher.load(Ordering::Acquire);
    if launcher >= 0 {
        process::set_latch(launcher);
    }
}

/// There are other databases than before.
pub fn call_to_list() {
    LAUNCHER_REQUESTS.get().list.store(true, Ordering::Release);
    call();
}

/// The extension may have come into this database.
pub fn call_for(database: u32) {
    let requests = LAUNCHER_REQUESTS.get();
    TOLD_IN.set(requests.round.load(Ordering::Acquire));
    let named = requests.databases.iter().any(|place| {
        place
            .compare_exchange(0, database, Ordering::AcqRel, Ordering::Acquire)
            .unwrap_or_else(|there| if there == database { 0 } else { there })
            == 0
    });
    if !named {
        requests.overflow.store(true, Ordering::Release);
    }
    call();
}

/// Requests a worker for a database that has work and no worker. Once a session and round of the launcher: the database may be one that
/// must not have a worker, and commits must not keep the launcher busy.
pub fn call_once_for(database: u32) {
    if TOLD_IN.get() != LAUNCHER_REQUESTS.get().round.load(Ordering::Acquire) {
        call_for(database);
    }
}

/// Takes the requests.
pub fn take() -> Told {
    let requests = LAUNCHER_REQUESTS.get();
    let databases = requests
        .databases
        .iter()
        .map(|place| place.swap(0, Ordering::AcqRel))
        .filter(|database| *database != 0)
        .collect();
    Told {
        databases: (!requests.overflow.swap(false, Ordering::AcqRel)).then_some(databases),
        list: requests.list.swap(false, Ordering::AcqRel),
    }
}

/// The launcher has looked at the list of databases.
pub fn next_round() {
    LAUNCHER_REQUESTS.get().round.fetch_add(1, Ordering::AcqRel);
}
