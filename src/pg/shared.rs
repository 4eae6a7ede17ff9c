//! Shared memory: what the worker of a database and the backends of that database tell each other.
//!
//! Nothing here needs to survive a restart, and nothing here is a pointer of one process: a worker is named by its place
//! among Postgres' processes, which all see alike. What a commit touches is atomics only, so that it cannot fail.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

use pgrx::{PGRXSharedMemory, PgAtomic, PgLwLock, pg_guard, pg_shmem_init, pg_sys};

use super::settings::MAX_IN_FLIGHT_LIMIT;

/// Databases that can have a worker.
pub const SLOTS: usize = 32;
const TEXT_BYTES: usize = 512;

/// What commits touch.
static SIGNALS: PgAtomic<Signals> = unsafe {
    // SAFETY: the name is ours alone.
    PgAtomic::new(c"target_profile signals")
};
/// What people look at.
static REPORTS: PgLwLock<Reports> = unsafe {
    // SAFETY: the name is ours alone.
    PgLwLock::new(c"target_profile reports")
};
static READY: AtomicBool = AtomicBool::new(false);

/// Asks for the memory; called once, in the postmaster.
pub fn request() {
    pg_shmem_init!(SIGNALS = Signals::new());
    pg_shmem_init!(REPORTS = Reports::new());
    READY.store(true, Ordering::Relaxed);
}

/// Whether this process can see the memory: it is a child of a postmaster that preloaded the library.
pub fn is_ready() -> bool {
    READY.load(Ordering::Relaxed)
}

struct Signals {
    slots: [Signal; SLOTS],
}

struct Signal {
    /// The database's OID, 0 for a free slot.
    database: AtomicU32,
    /// The worker's place among Postgres' processes, below 0 when there is none.
    process: AtomicI32,
    /// Something was committed since the worker looked last.
    work: AtomicBool,
    /// Entries have come behind what the worker has read.
    all: AtomicBool,
    /// Counts the commits that changed clients.
    clients: AtomicU64,
    /// Where `wait` sleeps until the worker has settled something.
    settled: SharedCondition,
}

struct SharedCondition(std::cell::UnsafeCell<pg_sys::ConditionVariable>);

// SAFETY: Postgres guards a condition variable by a spinlock of its own.
unsafe impl Sync for SharedCondition {}
// SAFETY: atomics, and condition variables, which Postgres made for shared memory.
unsafe impl PGRXSharedMemory for Signals {}

impl Signals {
    fn new() -> Self {
        Self {
            slots: std::array::from_fn(|_| Signal {
                database: AtomicU32::new(0),
                process: AtomicI32::new(-1),
                work: AtomicBool::new(false),
                all: AtomicBool::new(false),
                clients: AtomicU64::new(0),
                settled: SharedCondition(std::cell::UnsafeCell::new(new_condition())),
            }),
        }
    }
}

fn new_condition() -> pg_sys::ConditionVariable {
    let mut condition = MaybeUninit::zeroed();
    // SAFETY: it fills in the whole structure, which holds no pointer to itself and may be moved until it is used.
    unsafe {
        pg_sys::ConditionVariableInit(condition.as_mut_ptr());
        condition.assume_init()
    }
}

/// What a worker says of itself, for the view `worker`.
#[derive(Clone, Copy)]
pub struct Report {
    /// Its database's OID, 0 for none.
    pub database: u32,
    /// Its process, 0 when it does not run.
    pub pid: i32,
    /// What it does.
    pub state: State,
    /// Since when, in Postgres' time.
    pub since: i64,
    /// When the last error happened, in Postgres' time; 0 for never.
    pub last_error_at: i64,
    last_error: Text,
    in_flight: [InFlight; MAX_IN_FLIGHT_LIMIT as usize],
    in_flight_len: usize,
}

/// One profile whose request is under way: which, and the entries that it carries.
#[derive(Clone, Copy, Default)]
pub struct InFlight {
    /// The profile's fingerprint.
    pub profile: u64,
    /// The lowest outbox id in the request.
    pub from: i64,
    /// The highest outbox id in the request.
    pub up_to: i64,
}

/// What a worker does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It is not running.
    Stopped,
    /// Connected, not yet looked around.
    Starting,
    /// The extension is not installed in its database.
    NoExtension,
    /// The database is a copy: `adopt()` is needed.
    NotAdopted,
    /// `target_profile.enabled` is off.
    Disabled,
    /// Waiting for work.
    Idle,
    /// Sending.
    Active,
    /// An error ended the last cycle; it tries again soon.
    Failing,
}

impl State {
    /// As the view shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::NoExtension => "no extension",
            Self::NotAdopted => "not adopted",
            Self::Disabled => "disabled",
            Self::Idle => "idle",
            Self::Active => "active",
            Self::Failing => "failing",
        }
    }
}

#[derive(Clone, Copy)]
struct Text {
    bytes: [u8; TEXT_BYTES],
    len: usize,
}

impl Text {
    const EMPTY: Self = Self {
        bytes: [0; TEXT_BYTES],
        len: 0,
    };

    fn set(&mut self, text: &str) {
        let mut len = text.len().min(TEXT_BYTES);
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        self.bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        self.len = len;
    }

    fn get(&self) -> String {
        String::from_utf8_lossy(&self.bytes[..self.len]).into_owned()
    }
}

struct Reports {
    slots: [Report; SLOTS],
}

// SAFETY: plain values, guarded by the lock.
unsafe impl PGRXSharedMemory for Reports {}

impl Reports {
    fn new() -> Self {
        let free = Report {
            database: 0,
            pid: 0,
            state: State::Stopped,
            since: 0,
            last_error_at: 0,
            last_error: Text::EMPTY,
            in_flight: [InFlight {
                profile: 0,
                from: 0,
                up_to: 0,
            }; MAX_IN_FLIGHT_LIMIT as usize],
            in_flight_len: 0,
        };
        Self { slots: [free; SLOTS] }
    }
}

impl Report {
    /// The last error, empty for none.
    pub fn last_error(&self) -> String {
        self.last_error.get()
    }

    /// Takes note of an error.
    pub fn set_error(&mut self, text: &str, at: i64) {
        self.last_error.set(text);
        self.last_error_at = at;
    }

    /// Says what is in flight now.
    pub fn set_in_flight(&mut self, profiles: impl Iterator<Item = InFlight>) {
        self.in_flight_len = 0;
        for (place, profile) in self.in_flight.iter_mut().zip(profiles) {
            *place = profile;
            self.in_flight_len += 1;
        }
    }
}

/// The slot of a database.
#[derive(Clone, Copy)]
pub struct Slot(usize);

impl Slot {
    /// The slot of the database that this process is connected to, if a worker has ever served it.
    pub fn of_my_database() -> Option<Self> {
        if !is_ready() {
            return None;
        }
        let mine = my_database();
        SIGNALS
            .get()
            .slots
            .iter()
            .position(|slot| slot.database.load(Ordering::Acquire) == mine)
            .map(Self)
    }

    /// The slot of this worker's database, taken if it has none yet. `None`: all are taken.
    pub fn take() -> Option<Self> {
        let mine = my_database();
        let mut reports = REPORTS.exclusive();
        let index = reports
            .slots
            .iter()
            .position(|slot| slot.database == mine)
            .or_else(|| reports.slots.iter().position(|slot| slot.database == 0))?;
        reports.slots[index].database = mine;
        SIGNALS.get().slots[index].database.store(mine, Ordering::Release);
        Some(Self(index))
    }

    fn signal(self) -> &'static Signal {
        &SIGNALS.get().slots[self.0]
    }

    /// This process is the worker from now on; `None`: no longer.
    pub fn set_process(self, process: Option<i32>) {
        self.signal().process.store(process.unwrap_or(-1), Ordering::Release);
    }

    /// Tells the worker that something was committed. Cannot fail: it runs inside commits.
    pub fn announce_work(self) {
        let signal = self.signal();
        signal.work.store(true, Ordering::Release);
        let process = signal.process.load(Ordering::Acquire);
        if process >= 0 {
            // SAFETY: the place is one of Postgres' processes (a worker's, when it wrote it), whose latches live in shared memory
            // as long as the server; waking another process that has the place by now does no harm.
            unsafe {
                let process = (*pg_sys::ProcGlobal).allProcs.offset(process as isize);
                pg_sys::SetLatch(&raw mut (*process).procLatch);
            }
        }
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

    /// Whether there is a worker.
    pub fn is_served(self) -> bool {
        self.signal().process.load(Ordering::Acquire) >= 0
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
        // SAFETY: initialized before any process could see it.
        unsafe { pg_sys::ConditionVariableBroadcast(self.signal().settled.0.get()) }
    }

    /// Where `wait` sleeps.
    pub fn settled_condition(self) -> *mut pg_sys::ConditionVariable {
        self.signal().settled.0.get()
    }

    /// Changes the worker's report.
    pub fn report(self, change: impl FnOnce(&mut Report)) {
        change(&mut REPORTS.exclusive().slots[self.0]);
    }

    /// Whether a request under way carries the entry `id` of the profile. An entry between the lowest and the highest that
    /// it carries may be taken for one of them: it committed after the request was made.
    pub fn is_in_flight(self, profile: u64, id: i64) -> bool {
        let reports = REPORTS.share();
        let report = &reports.slots[self.0];
        report.in_flight[..report.in_flight_len]
            .iter()
            .any(|request| request.profile == profile && (request.from..=request.up_to).contains(&id))
    }
}

/// The reports of all workers that there are or were.
pub fn reports() -> Vec<Report> {
    REPORTS
        .share()
        .slots
        .iter()
        .filter(|report| report.database != 0)
        .copied()
        .collect()
}

fn my_database() -> u32 {
    // SAFETY: a plain variable of the process.
    unsafe { pg_sys::MyDatabaseId }.to_u32()
}

/// The place of this process among Postgres' processes.
pub fn my_place() -> i32 {
    // SAFETY: both are set in every process that is connected to shared memory; MyProc lies in that array.
    let place = unsafe { pg_sys::MyProc.offset_from((*pg_sys::ProcGlobal).allProcs) };
    i32::try_from(place).unwrap_or(-1)
}
