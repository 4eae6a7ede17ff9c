//! Slots, one a database: signals between the launcher, the worker of the database and its sessions.
//!
//! Nothing here needs to survive a restart, and nothing here is a pointer of one process: a worker is named by its place
//! among Postgres' processes, which all see alike. What a commit touches is atomics only, so that it cannot fail.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};

use pgrx::{PGRXSharedMemory, PgAtomic, pg_guard, pg_shmem_init, pg_sys};
use target_profile_core::launcher::WorkerEnd;

use super::capacity::SLOTS;
use super::condition::SharedCondition;
use super::reports::WorkerReport;
use super::{holds, launcher_requests, reports};
use crate::pg::support::{process, versions};

/// What commits touch.
static SIGNALS: PgAtomic<Signals> = unsafe {
    // SAFETY: the name is ours alone.
    PgAtomic::new(c"target_profile signals")
};
static READY: AtomicBool = AtomicBool::new(false);

/// Asks for the memory; called once, in the postmaster.
pub fn request() {
    pg_shmem_init!(SIGNALS = Signals::new());
    reports::request();
    holds::request();
    launcher_requests::request();
    READY.store(true, Ordering::Relaxed);
}

/// Whether this process can see the memory: it is a child of a postmaster that preloaded the library.
pub fn is_ready() -> bool {
    READY.load(Ordering::Relaxed)
}

struct Signals {
    slots: [Signal; SLOTS],
    /// Broadcast when a slot is assigned or freed, and when a worker comes or goes.
    changed: SharedCondition,
}

struct Signal {
    /// The database's OID, 0 for a free slot.
    database: AtomicU32,
    /// The worker's place among Postgres' processes, below 0 when there is none.
    process: AtomicI32,
    /// The worker has found the extension.
    serves: AtomicBool,
    /// The worker has not found it, and is about to go.
    leaving: AtomicBool,
    /// The worker is to go.
    stop: AtomicBool,
    /// How the last worker ended.
    ending: AtomicU8,
    /// Something was committed since the worker looked last.
    work: AtomicBool,
    /// Entries have come behind what the worker has read.
    all: AtomicBool,
    /// Counts the commits that changed clients.
    clients: AtomicU64,
    /// Where `wait` sleeps until the worker has settled something.
    settled: SharedCondition,
}

// SAFETY: atomics, and condition variables, which Postgres made for shared memory.
unsafe impl PGRXSharedMemory for Signals {}

impl Signals {
    fn new() -> Self {
        Self {
            slots: std::array::from_fn(|_| Signal {
                database: AtomicU32::new(0),
                process: AtomicI32::new(-1),
                serves: AtomicBool::new(false),
                leaving: AtomicBool::new(false),
                stop: AtomicBool::new(false),
                ending: AtomicU8::new(UNEXPECTED),
                work: AtomicBool::new(false),
                all: AtomicBool::new(false),
                clients: AtomicU64::new(0),
                settled: SharedCondition::new(),
            }),
            changed: SharedCondition::new(),
        }
    }
}

const UNEXPECTED: u8 = 0;
const ASKED: u8 = 1;
const NO_EXTENSION: u8 = 2;

/// The slot of a database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot(usize);

impl Slot {
    /// The slot of the database that this process is connected to, if it has one.
    pub fn of_my_database() -> Option<Self> {
        Self::of(process::my_database())
    }

    /// The slot of a database, if it has one.
    pub fn of(database: u32) -> Option<Self> {
        if !is_ready() || database == 0 {
            return None;
        }
        let slots = &SIGNALS.get().slots;
        slots
            .iter()
            .position(|slot| slot.database.load(Ordering::Acquire) == database)
            .map(Self)
    }

    /// All slots that are taken, with their databases.
    pub fn all() -> Vec<(u32, Self)> {
        let slots = SIGNALS.get().slots.iter().enumerate();
        slots
            .map(|(index, slot)| (slot.database.load(Ordering::Acquire), Self(index)))
            .filter(|(database, _)| *database != 0)
            .collect()
    }

    /// The slot of a database, which gets one if it has none. `None`: all are taken. Only the launcher does this.
    pub fn assign(database: u32) -> Option<Self> {
        if let Some(slot) = Self::of(database) {
            return Some(slot);
        }
        let slots = &SIGNALS.get().slots;
        let slot = Self(
            slots
                .iter()
                .position(|slot| slot.database.load(Ordering::Acquire) == 0)?,
        );
        reports::begin(slot.0, database);
        slot.prepare();
        slot.signal().database.store(database, Ordering::Release);
        announce_change();
        Some(slot)
    }

    /// The database has no need of it any more. Only the launcher does this, when no worker runs.
    pub fn free(self) {
        self.signal().database.store(0, Ordering::Release);
        reports::begin(self.0, 0);
        self.announce_settled();
        announce_change();
    }

    fn signal(self) -> &'static Signal {
        &SIGNALS.get().slots[self.0]
    }

    /// This process is the worker from now on; `false`: there is another one.
    pub fn enter(self, process: i32) -> bool {
        self.signal()
            .process
            .compare_exchange(-1, process, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// A worker is about to be started; only the launcher does this.
    pub fn prepare(self) {
        let signal = self.signal();
        for flag in [&signal.stop, &signal.serves, &signal.leaving] {
            flag.store(false, Ordering::Release);
        }
        signal.ending.store(UNEXPECTED, Ordering::Release);
    }

    /// Says how the worker will have ended.
    pub fn set_ending(self, ending: WorkerEnd) {
        let ending = match ending {
            WorkerEnd::Unexpected => UNEXPECTED,
            WorkerEnd::Asked => ASKED,
            WorkerEnd::NoExtension => NO_EXTENSION,
        };
        self.signal().ending.store(ending, Ordering::Release);
    }

    /// How the last worker ended.
    pub fn ending(self) -> WorkerEnd {
        match self.signal().ending.load(Ordering::Acquire) {
            ASKED => WorkerEnd::Asked,
            NO_EXTENSION => WorkerEnd::NoExtension,
            _ => WorkerEnd::Unexpected,
        }
    }

    /// This process, which is the worker, is so no longer.
    pub fn leave(self) {
        self.signal().process.store(-1, Ordering::SeqCst);
        announce_change();
    }

    /// The worker's place among Postgres' processes.
    pub fn process(self) -> Option<i32> {
        let process = self.signal().process.load(Ordering::SeqCst);
        (process >= 0).then_some(process)
    }

    /// The worker has found the extension.
    pub fn set_serves(self) {
        self.signal().serves.store(true, Ordering::Release);
    }

    /// Whether it has.
    pub fn serves(self) -> bool {
        self.signal().serves.load(Ordering::Acquire)
    }

    /// The worker is about to go, because there is nothing for it; or goes on after all.
    pub fn set_leaving(self, leaving: bool) {
        self.signal().leaving.store(leaving, Ordering::SeqCst);
    }

    /// Asks the worker to go.
    pub fn ask_to_stop(self) {
        self.signal().stop.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether it was asked to.
    pub fn is_asked_to_stop(self) -> bool {
        self.signal().stop.load(Ordering::Acquire)
    }

    /// Tells the worker that something was committed. Cannot fail: it runs inside commits. Whoever was first since the worker looked
    /// wakes it: a commit beside many others costs no signal.
    pub fn announce_work(self) {
        if !self.signal().work.swap(true, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Has the worker look around itself.
    pub fn wake(self) {
        if let Some(process) = self.process() {
            process::set_latch(process);
        }
    }

    /// Whether something was committed since `take_work` was called last. While that is so, commits wake nobody.
    pub fn has_work(self) -> bool {
        self.signal().work.load(Ordering::Acquire)
    }

    /// Whether something was committed since the last call.
    pub fn take_work(self) -> bool {
        self.signal().work.swap(false, Ordering::AcqRel)
    }

    /// Asks for the outbox to be read from its front. Cannot fail: it runs inside commits.
    pub fn announce_all(self) {
        self.signal().all.store(true, Ordering::Release);
    }

    /// Whether that was asked for since the last call.
    pub fn take_all(self) -> bool {
        self.signal().all.swap(false, Ordering::AcqRel)
    }

    /// Whether there is a worker that is going to stay.
    pub fn is_served(self) -> bool {
        self.process().is_some() && !self.signal().leaving.load(Ordering::SeqCst)
    }

    /// Whether it is (still) the slot of this process' database.
    pub fn is_mine(self) -> bool {
        self.signal().database.load(Ordering::Acquire) == process::my_database()
    }

    /// Tells everybody that clients were changed. Cannot fail: it runs inside commits.
    pub fn announce_clients(self) {
        self.signal().clients.fetch_add(1, Ordering::AcqRel);
    }

    /// How often clients were changed.
    pub fn clients_version(self) -> u64 {
        self.signal().clients.load(Ordering::Acquire)
    }

    /// Wakes all who wait for something to be settled.
    pub fn announce_settled(self) {
        self.signal().settled.broadcast();
    }

    /// Where `wait` sleeps.
    pub fn settled_condition(self) -> &'static SharedCondition {
        &self.signal().settled
    }

    /// Changes the worker's report.
    pub fn report(self, change: impl FnOnce(&mut WorkerReport)) {
        reports::change(self.0, change);
    }

    /// Whether a request under way carries the entry `id` of the profile. An entry between the lowest and the highest that
    /// it carries may be taken for one of them: it committed after the request was made.
    pub fn is_in_flight(self, profile: u64, id: i64) -> bool {
        reports::is_in_flight(self.0, profile, id)
    }
}

/// Wakes all who wait for a worker to come or to go.
pub fn announce_change() {
    changed_condition().broadcast();
}

/// Where they sleep.
pub fn changed_condition() -> &'static SharedCondition {
    &SIGNALS.get().changed
}

/// The HINT of an error that may come of two versions of the extension that differ, as the worker has found out. The catalog is not asked: the
/// transaction may have failed already.
pub fn version_hint() -> Option<String> {
    if !is_ready() {
        return None;
    }
    versions::advice_for(reports::sql_version(process::my_database()).as_deref()).map(|advice| advice.hint())
}
