//! The reports of the workers in shared memory: for the view `worker`, and to see whether an entry is in flight.

use pgrx::{PGRXSharedMemory, PgLwLock, pg_guard, pg_shmem_init, pg_sys};

use super::capacity::SLOTS;
use crate::pg::support::settings::MAX_IN_FLIGHT_LIMIT;

const TEXT_BYTES: usize = 512;

static REPORTS: PgLwLock<Reports> = unsafe {
    // SAFETY: the name is ours alone.
    PgLwLock::new(c"target_profile reports")
};

/// Asks for the memory; called once, in the postmaster.
pub fn request() {
    pg_shmem_init!(REPORTS = Reports::new());
}

/// What a worker says of itself, and the launcher of one that does not run; for the view `worker`.
#[derive(Clone, Copy)]
pub struct WorkerReport {
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
    /// The version of the database's SQL objects, empty for unknown.
    sql_version: Text,
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

/// What a worker does, or why there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It is not running.
    Stopped,
    /// Not yet connected, or not yet looked around.
    Starting,
    /// It ended unexpectedly, and is started again in a while.
    Restarting,
    /// `max_worker_processes` is used up.
    NoWorkerSlot,
    /// A statement runs that wants nobody in the database.
    Held,
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
            Self::Restarting => "restarting",
            Self::NoWorkerSlot => "no worker slot",
            Self::Held => "held",
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
    slots: [WorkerReport; SLOTS],
    losses: [Loss; SLOTS],
}

/// Updates of rows of a database that could be written nowhere. It stays until the server stops, whether or not a worker has a slot for
/// the database: what was done to the tables may be just what sends the worker away.
#[derive(Clone, Copy)]
pub struct Loss {
    database: u32,
    count: u64,
    /// Of the last one.
    reason: Text,
    /// When that was, in Postgres' time.
    pub at: i64,
}

impl Loss {
    const NONE: Self = Self {
        database: 0,
        count: 0,
        reason: Text::EMPTY,
        at: 0,
    };

    /// What the view `worker` says of it.
    pub fn line(&self) -> String {
        format!(
            "{} updates of watched tables were lost since the server started, because they could not be written to \
             target_profile.dead_letter: {}",
            self.count,
            self.reason.get()
        )
    }
}

// SAFETY: plain values, guarded by the lock.
unsafe impl PGRXSharedMemory for Reports {}

impl Reports {
    fn new() -> Self {
        Self {
            slots: [WorkerReport::FREE; SLOTS],
            losses: [Loss::NONE; SLOTS],
        }
    }
}

impl WorkerReport {
    const FREE: Self = Self {
        database: 0,
        pid: 0,
        state: State::Stopped,
        since: 0,
        last_error_at: 0,
        last_error: Text::EMPTY,
        sql_version: Text::EMPTY,
        in_flight: [InFlight {
            profile: 0,
            from: 0,
            up_to: 0,
        }; MAX_IN_FLIGHT_LIMIT as usize],
        in_flight_len: 0,
    };

    /// The last error, empty for none or one that is over.
    pub fn last_error(&self) -> String {
        self.last_error.get()
    }

    /// Takes note of an error.
    pub fn set_error(&mut self, text: &str, at: i64) {
        self.last_error.set(text);
        self.last_error_at = at;
    }

    /// Says what is wrong at present, empty for nothing; when the last error was stays.
    pub fn set_standing(&mut self, text: &str) {
        self.last_error.set(text);
    }

    /// The version of the database's SQL objects, empty for unknown.
    pub fn sql_version(&self) -> String {
        self.sql_version.get()
    }

    /// Takes note of it.
    pub fn set_sql_version(&mut self, version: &str) {
        self.sql_version.set(version);
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

/// Gives the slot to another database; 0: it is free.
pub fn begin(slot: usize, database: u32) {
    REPORTS.exclusive().slots[slot] = WorkerReport {
        database,
        ..WorkerReport::FREE
    };
}

/// Changes the report of a slot.
pub fn change(slot: usize, change: impl FnOnce(&mut WorkerReport)) {
    change(&mut REPORTS.exclusive().slots[slot]);
}

/// Counts updates of rows of a database that could be written nowhere. Where too many databases have lost some, the last place counts
/// for the last of them.
pub fn add_lost(database: u32, count: u64, reason: &str, at: i64) {
    let mut reports = REPORTS.exclusive();
    let place = reports
        .losses
        .iter()
        .position(|loss| loss.database == database || loss.database == 0)
        .unwrap_or(SLOTS - 1);
    let loss = &mut reports.losses[place];
    if loss.database != database {
        *loss = Loss { database, ..Loss::NONE };
    }
    loss.count = loss.count.saturating_add(count);
    loss.reason.set(reason);
    loss.at = at;
}

/// What a database has lost, if anything.
pub fn lost(database: u32) -> Option<Loss> {
    REPORTS
        .share()
        .losses
        .iter()
        .find(|loss| database != 0 && loss.database == database)
        .copied()
}

/// The version of a database's SQL objects, as its worker has found it.
pub fn sql_version(database: u32) -> Option<String> {
    let reports = REPORTS.share();
    let report = reports.slots.iter().find(|report| report.database == database)?;
    Some(report.sql_version()).filter(|version| !version.is_empty())
}

/// Whether a request under way carries the entry.
pub fn is_in_flight(slot: usize, profile: u64, id: i64) -> bool {
    let reports = REPORTS.share();
    let report = &reports.slots[slot];
    report.in_flight[..report.in_flight_len]
        .iter()
        .any(|request| request.profile == profile && (request.from..=request.up_to).contains(&id))
}

/// The reports of all databases that have a slot.
pub fn all() -> Vec<WorkerReport> {
    REPORTS
        .share()
        .slots
        .iter()
        .filter(|report| report.database != 0)
        .copied()
        .collect()
}
