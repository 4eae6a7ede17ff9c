//! Which databases get a worker, and when: the decisions of the launcher.
//!
//! Only a process inside a database can see whether the extension is there. So a worker is started in each database that nobody
//! has looked into, two at a time; where the extension is missing, it says so and ends. Databases without it are looked into
//! again when something in them announces itself, and ever more rarely without a reason.
//!
//! ```text
//! wanted --started--> running --no extension--> absent --announced, or its time--> wanted
//!    ^                   |
//!    +---ended, throttled+
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::time::Timestamp;

/// A database, by its OID: names change.
pub type Database = u32;

/// Workers that may be looking around at a time: of `max_worker_processes` no more than these are taken for databases that have
/// no extension.
pub const LOOKING: usize = 2;

/// A worker that has not found out after that time, because it waits for a lock, no longer keeps others from being started.
const LOOKING_PATIENCE: Duration = Duration::from_secs(10);

/// A worker that ran that long did not fail at its start.
const STEADY: Duration = Duration::from_secs(60);

/// The pause before the third start in a row; doubled by each further one. The second start comes at once.
const RESTART_BASE: Duration = Duration::from_secs(1);

/// The longest pause between two starts, and between two tries to find a free place.
pub const PAUSE_CAP: Duration = Duration::from_secs(60);

/// A database without the extension is looked into again after the interval, which doubles up to this many times it.
const RAREST_LOOK: u32 = 64;

/// How often at most it is said that there is no free place.
const REPEAT_WARNING: Duration = Duration::from_secs(600);

/// How a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerEnd {
    /// The extension is not in its database.
    NoExtension,
    /// It was asked to go.
    Asked,
    /// It was killed, or failed.
    Unexpected,
}

/// Why a worker could not be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// `max_worker_processes` is used up.
    NoProcess,
    /// There are more databases with the extension than shared memory has places for.
    NoPlace,
}

/// What the launcher has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LauncherAction {
    /// Start a worker, and say `started` or `refused`.
    Start(Database),
    /// Ask the worker to go.
    Stop(Database),
    /// There is nothing in this database: its place in shared memory is free.
    Forget(Database),
}

/// Why a database has no worker; what the view `worker` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceState {
    /// It has one.
    Running,
    /// It gets one as soon as other workers have looked for the extension.
    Due,
    /// A statement holds the database.
    Held,
    /// `max_worker_processes` is used up; the next try is at that time.
    NoProcess(Timestamp),
    /// There are too many databases.
    NoPlace,
    /// It ended unexpectedly that often in a row, and is started again at that time.
    Ended(u32, Timestamp),
    /// The extension is not there.
    Absent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Wanted {
        not_before: Timestamp,
    },
    Running {
        since: Timestamp,
        /// The extension was found.
        serves: bool,
        /// The extension may have come since the worker looked.
        announced: bool,
        asked: bool,
    },
    Absent {
        next: Timestamp,
    },
}

#[derive(Debug, Clone, Copy)]
struct DatabaseState {
    phase: Phase,
    /// It still is a database that may have a worker.
    eligible: bool,
    /// Whether the extension was there at the last look.
    present: Option<bool>,
    /// Unexpected ends in a row.
    ended: u32,
    /// Looks in a row that found no extension.
    looks: u32,
    no_place: bool,
}

impl DatabaseState {
    const fn wanted(now: Timestamp) -> Self {
        Self {
            phase: Phase::Wanted { not_before: now },
            eligible: true,
            present: None,
            ended: 0,
            looks: 0,
            no_place: false,
        }
    }
}

/// What the launcher knows of the databases of its cluster.
#[derive(Debug)]
pub struct Launcher {
    interval: Duration,
    databases: BTreeMap<Database, DatabaseState>,
    forgotten: BTreeSet<Database>,
    /// Refusals in a row for want of a process, and when to try again.
    refusals: u32,
    room_at: Option<Timestamp>,
    warned_at: Option<Timestamp>,
}

impl Launcher {
    /// It knows of no database yet; `interval` is how often it lists them.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            databases: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            refusals: 0,
            room_at: None,
            warned_at: None,
        }
    }

    /// The interval was changed.
    pub fn set_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// Sets the databases that may have a worker. All others may not, or were dropped.
    pub fn set_databases(&mut self, eligible: &BTreeSet<Database>, now: Timestamp) {
        for &database in eligible {
            let entry = self
                .databases
                .entry(database)
                .or_insert_with(|| DatabaseState::wanted(now));
            entry.eligible = true;
        }
        let forgotten = &mut self.forgotten;
        self.databases.retain(|database, entry| {
            entry.eligible = eligible.contains(database);
            let keep = entry.eligible || matches!(entry.phase, Phase::Running { .. });
            if !keep {
                forgotten.insert(*database);
            }
            keep
        });
    }

    /// A worker that an earlier launcher has started; `serves`: it has found the extension.
    pub fn adopt(&mut self, database: Database, serves: bool, now: Timestamp) {
        let entry = self
            .databases
            .entry(database)
            .or_insert_with(|| DatabaseState::wanted(now));
        entry.present = serves.then_some(true);
        entry.phase = Phase::Running {
            since: now,
            serves,
            // What was announced to the earlier launcher is not known to this one.
            announced: !serves,
            asked: false,
        };
    }

    /// Something was committed in a database that has no worker.
    pub fn announced(&mut self, database: Database, now: Timestamp) {
        let Some(entry) = self.databases.get_mut(&database) else {
            return;
        };
        match &mut entry.phase {
            Phase::Running { announced, .. } => *announced = true,
            Phase::Absent { .. } => {
                entry.looks = 0;
                entry.present = None;
                entry.phase = Phase::Wanted { not_before: now };
            }
            // A worker that fails at its start is not started more often because there is work for it.
            Phase::Wanted { .. } => {}
        }
    }

    /// The next action; `None`: there is none. `held` are the databases that statements hold.
    pub fn next(&mut self, held: &BTreeSet<Database>, now: Timestamp) -> Option<LauncherAction> {
        if let Some(database) = self.forgotten.pop_first() {
            return Some(LauncherAction::Forget(database));
        }
        for (database, entry) in &mut self.databases {
            if let Phase::Running { asked, .. } = &mut entry.phase
                && !*asked
                && (!entry.eligible || held.contains(database))
            {
                *asked = true;
                return Some(LauncherAction::Stop(*database));
            }
        }
        if self.room_at.is_some_and(|at| now < at) || self.looking(now) >= LOOKING {
            return None;
        }
        self.databases
            .iter()
            .filter(|(database, entry)| entry.due_at().is_some_and(|at| at <= now) && !held.contains(database))
            // Where the extension is known to be, entries may wait; and a first look comes before another one.
            .min_by_key(|(_, entry)| (entry.present != Some(true), entry.present == Some(false), entry.due_at()))
            .map(|(database, _)| LauncherAction::Start(*database))
    }

    /// The worker was registered.
    pub fn started(&mut self, database: Database, now: Timestamp) {
        self.refusals = 0;
        self.room_at = None;
        if let Some(entry) = self.databases.get_mut(&database) {
            entry.no_place = false;
            entry.phase = Phase::Running {
                since: now,
                serves: false,
                announced: false,
                asked: false,
            };
        }
    }

    /// Notes that a worker could not be started. Returns whether the log should have a warning.
    pub fn refused(&mut self, database: Database, refusal: Refusal, now: Timestamp) -> bool {
        match refusal {
            Refusal::NoProcess => {
                let pause = doubled(RESTART_BASE, self.refusals, PAUSE_CAP);
                self.refusals = self.refusals.saturating_add(1);
                self.room_at = Some(now.plus(pause));
                let tell = self
                    .warned_at
                    .is_none_or(|at| self.refusals == 1 && now.since(at) >= REPEAT_WARNING);
                if tell {
                    self.warned_at = Some(now);
                }
                tell
            }
            Refusal::NoPlace => self.databases.get_mut(&database).is_some_and(|entry| {
                let not_before = now.plus(PAUSE_CAP);
                entry.phase = match entry.phase {
                    Phase::Absent { .. } => Phase::Absent { next: not_before },
                    _ => Phase::Wanted { not_before },
                };
                !std::mem::replace(&mut entry.no_place, true)
            }),
        }
    }

    /// The worker has found the extension.
    pub fn serves(&mut self, database: Database) {
        if let Some(entry) = self.databases.get_mut(&database) {
            entry.present = Some(true);
            entry.looks = 0;
            if let Phase::Running { serves, .. } = &mut entry.phase {
                *serves = true;
            }
        }
    }

    /// The worker has ended.
    pub fn ended(&mut self, database: Database, ending: WorkerEnd, now: Timestamp) {
        let interval = self.interval;
        let Some(entry) = self.databases.get_mut(&database) else {
            return;
        };
        let Phase::Running { since, announced, .. } = entry.phase else {
            return;
        };
        if !entry.eligible {
            self.databases.remove(&database);
            self.forgotten.insert(database);
            self.room_at = None;
            return;
        }
        let not_before = match ending {
            WorkerEnd::NoExtension => {
                self.forgotten.insert(database);
                // A process that others can have.
                self.room_at = None;
                entry.ended = 0;
                if !announced {
                    let rarest = interval.saturating_mul(RAREST_LOOK);
                    let next = now.plus(doubled(interval, entry.looks, rarest));
                    entry.looks = entry.looks.saturating_add(1);
                    entry.present = Some(false);
                    entry.phase = Phase::Absent { next };
                    return;
                }
                entry.present = None;
                now
            }
            WorkerEnd::Asked => now,
            WorkerEnd::Unexpected => {
                let steady = now.since(since) >= STEADY;
                entry.ended = if steady { 1 } else { entry.ended.saturating_add(1) };
                match entry.ended {
                    0 | 1 => now,
                    ended => now.plus(doubled(RESTART_BASE, ended - 2, PAUSE_CAP)),
                }
            }
        };
        entry.phase = Phase::Wanted { not_before };
    }

    /// When there may be something to do without anything having happened; `None`: not before something does.
    pub fn next_wake(&self, held: &BTreeSet<Database>, now: Timestamp) -> Option<Timestamp> {
        let due = self
            .databases
            .iter()
            .filter(|(database, _)| !held.contains(database))
            .filter_map(|(_, entry)| entry.due_at())
            .min()?;
        let room = self.room_at.map_or(due, |at| due.max(at));
        if self.looking(now) < LOOKING {
            return Some(room);
        }
        // An end or a find wakes the launcher. Only the end of a waiting time does not.
        let patience = self.looking_since(now).map(|since| since.plus(LOOKING_PATIENCE)).min();
        patience.map(|at| at.max(room))
    }

    /// How a database stands; `None`: it may not have a worker, or is not known yet.
    pub fn standing(&self, database: Database, held: &BTreeSet<Database>) -> Option<ServiceState> {
        let entry = self.databases.get(&database)?;
        Some(match entry.phase {
            Phase::Running { .. } => ServiceState::Running,
            _ if held.contains(&database) => ServiceState::Held,
            Phase::Absent { .. } => ServiceState::Absent,
            Phase::Wanted { .. } if entry.no_place => ServiceState::NoPlace,
            Phase::Wanted { not_before } => match self.room_at {
                Some(at) => ServiceState::NoProcess(at),
                None if entry.ended > 0 => ServiceState::Ended(entry.ended, not_before),
                None => ServiceState::Due,
            },
        })
    }

    /// The databases whose workers are running or have been started.
    pub fn running(&self) -> impl Iterator<Item = Database> {
        let running = self.databases.iter();
        running.filter_map(|(database, entry)| matches!(entry.phase, Phase::Running { .. }).then_some(*database))
    }

    /// The databases that may have a worker.
    pub fn databases(&self) -> impl Iterator<Item = Database> {
        self.databases.keys().copied()
    }

    fn looking(&self, now: Timestamp) -> usize {
        self.looking_since(now).count()
    }

    fn looking_since(&self, now: Timestamp) -> impl Iterator<Item = Timestamp> {
        self.databases.values().filter_map(move |entry| match entry.phase {
            Phase::Running {
                since, serves: false, ..
            } if now.since(since) < LOOKING_PATIENCE => Some(since),
            _ => None,
        })
    }
}

impl DatabaseState {
    fn due_at(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Wanted { not_before } => Some(not_before),
            Phase::Absent { next } => Some(next),
            Phase::Running { .. } => None,
        }
    }
}

/// `base`, doubled that often, at most `cap`.
fn doubled(base: Duration, times: u32, cap: Duration) -> Duration {
    base.saturating_mul(1 << times.min(30)).min(cap)
}
