//! The launcher: one process of the cluster, connected to no database, which keeps a worker in each database that has the extension.
//!
//! When to start and to stop which is decided in `target_profile_core::launcher`. This is what carries it out: the list of
//! databases, the registering of workers, and what the view `worker` shows of those that do not run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder, BgWorkerStartTime};
use pgrx::prelude::*;
use target_profile_core::launcher::{Launcher, LauncherAction, Refusal, ServiceState};
use target_profile_core::time::Timestamp;

use super::list;
use crate::pg::shmem::capacity::SLOTS;
use crate::pg::shmem::reports::State;
use crate::pg::shmem::slots::Slot;
use crate::pg::shmem::{holds, launcher_requests};
use crate::pg::support::backend;
use crate::pg::support::clock::postgres_now;
use crate::pg::support::process;
use crate::pg::support::warning::warn;
use crate::pg::support::{pins, settings, wait_event};
use crate::pg::worker;

/// How long the postmaster waits before it starts the launcher again, should it end. The workers go on meanwhile.
const RESTART_AFTER: Duration = Duration::from_secs(2);

/// While somebody holds a database, how often the launcher looks whether that session still lives.
const HOLD_CHECK: Duration = Duration::from_secs(1);

/// Registers the launcher; called once, in the postmaster.
pub fn register() {
    BackgroundWorkerBuilder::new("target_profile launcher")
        .set_type("target_profile launcher")
        .set_library("target_profile")
        .set_function("target_profile_launcher_main")
        .enable_spi_access()
        // Not on a standby: there it starts at promotion.
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        .set_restart_time(Some(RESTART_AFTER))
        .load();
}

/// Where the launcher starts.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn target_profile_launcher_main(_arg: pg_sys::Datum) {
    worker::install_signal_handlers();
    worker::ignore_cancels();
    pins::launcher();
    BackgroundWorker::connect_worker_to_spi(None, None);
    // SAFETY: the callback is a plain function of this library.
    unsafe { pg_sys::before_shmem_exit(Some(at_exit), pg_sys::Datum::from(0)) };
    launcher_requests::set_launcher(Some(process::my_place()));
    Process::new().run()
}

/// Runs when the process exits.
#[pg_guard]
unsafe extern "C-unwind" fn at_exit(_code: i32, _arg: pg_sys::Datum) {
    launcher_requests::set_launcher(None);
}

struct Process {
    /// Time is counted from here: a clock that is set does not matter.
    start: Instant,
    launcher: Launcher,
    /// What the postmaster knows the workers by that this process has started.
    handles: BTreeMap<u32, Handle>,
    /// The names of the databases at the last look.
    names: BTreeMap<u32, String>,
    next_list: Timestamp,
    shown: BTreeMap<u32, ServiceState>,
}

impl Process {
    fn new() -> Self {
        let mut launcher = Launcher::new(settings::discovery_interval());
        let now = Timestamp::from_unix_micros(0);
        for (database, slot) in Slot::all() {
            if slot.process().is_some() {
                launcher.adopt(database, slot.serves(), now);
            } else {
                // Nobody knows what became of it.
                slot.free();
            }
        }
        Self {
            start: Instant::now(),
            launcher,
            handles: BTreeMap::new(),
            names: BTreeMap::new(),
            next_list: now,
            shown: BTreeMap::new(),
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_unix_micros(0).plus(self.start.elapsed())
    }

    fn run(mut self) -> ! {
        loop {
            // Before looking, so that what comes after the look wakes.
            backend::reset_latch();
            pgrx::check_for_interrupts!();
            if worker::reload_if_asked() {
                self.launcher.set_interval(settings::discovery_interval());
                self.next_list = self.now();
            }
            // Before the requests are read: a session requests first, and then releases the database that it holds.
            let held = holds::held();
            self.hear();
            self.observe();
            while let Some(step) = self.launcher.next(&held, self.now()) {
                self.take(step);
            }
            self.show(&held);
            self.wait(&held);
        }
    }

    /// Lists the databases if it is time, and notes the requests of sessions.
    fn hear(&mut self) {
        let told = launcher_requests::take();
        if told.list || told.databases.is_none() || self.now() >= self.next_list {
            let names = settings::databases();
            self.names = list::databases()
                .into_iter()
                .filter(|listed| names.is_empty() || names.contains(&listed.name))
                .map(|listed| (listed.oid, listed.name))
                .collect();
            worker::look_again();
            let eligible: BTreeSet<u32> = self.names.keys().copied().collect();
            let now = self.now();
            self.launcher.set_databases(&eligible, now);
            self.next_list = now.plus(settings::discovery_interval());
            launcher_requests::next_round();
        }
        let databases = told.databases.unwrap_or_else(|| self.launcher.databases().collect());
        let now = self.now();
        for database in databases {
            self.launcher.announced(database, now);
        }
    }

    /// Which workers have found the extension, and which have ended?
    fn observe(&mut self) {
        let running: Vec<u32> = self.launcher.running().collect();
        let now = self.now();
        for database in running {
            let Some(slot) = Slot::of(database) else {
                continue;
            };
            if slot.serves() {
                self.launcher.serves(database);
            }
            let is_there = match self.handles.get(&database) {
                // The handle says whether the process was started and has not ended; the slot says whether it has announced itself. A
                // process can end before it announces itself, and runs on for a moment after it has left its slot.
                Some(handle) => handle.is_alive() || slot.process().is_some(),
                None => slot.process().is_some(),
            };
            if !is_there {
                self.handles.remove(&database);
                self.launcher.ended(database, slot.ending(), now);
            }
        }
    }

    fn take(&mut self, step: LauncherAction) {
        match step {
            LauncherAction::Start(database) => {
                if let Err(refusal) = self.start(database) {
                    self.refused(database, refusal);
                }
            }
            LauncherAction::Stop(database) => {
                if let Some(slot) = Slot::of(database) {
                    slot.ask_to_stop();
                }
            }
            LauncherAction::Forget(database) => {
                self.shown.remove(&database);
                if let Some(slot) = Slot::of(database) {
                    slot.free();
                }
            }
        }
    }

    fn start(&mut self, database: u32) -> Result<(), Refusal> {
        let name = self.names.get(&database).map_or("", String::as_str);
        let slot = Slot::assign(database).ok_or(Refusal::NoPlace)?;
        slot.prepare();
        let handle = Handle::register(database, name).ok_or(Refusal::NoProcess)?;
        self.handles.insert(database, handle);
        self.launcher.started(database, self.now());
        Ok(())
    }

    fn refused(&mut self, database: u32, refusal: Refusal) {
        if self.launcher.standing(database, &BTreeSet::new()) == Some(ServiceState::Absent)
            && let Some(slot) = Slot::of(database)
        {
            // It was only to be looked into once more: nothing to show.
            slot.free();
        }
        if !self.launcher.refused(database, refusal, self.now()) {
            return;
        }
        let name = self.names.get(&database).map_or("", String::as_str);
        let message = format!("target_profile cannot start a worker in database \"{name}\"");
        match refusal {
            Refusal::NoProcess => warn(
                &format!("{message}: no background worker slot is free"),
                "It is tried again at least once a minute. max_worker_processes must have room for the launcher and for each \
                 database with the extension.",
            ),
            Refusal::NoPlace => warn(
                &format!("{message}: {SLOTS} databases have one already"),
                "Name those that shall be served in target_profile.databases.",
            ),
        }
    }

    /// Shows of databases without a worker why they have none.
    fn show(&mut self, held: &BTreeSet<u32>) {
        for (database, slot) in Slot::all() {
            let Some(standing) = self.launcher.standing(database, held) else {
                continue;
            };
            if self.shown.insert(database, standing) == Some(standing) || standing == ServiceState::Running {
                continue;
            }
            let (state, error) = match standing {
                ServiceState::NoProcess(_) => (
                    State::NoWorkerSlot,
                    Some("max_worker_processes is used up; it is tried again at least once a minute".to_owned()),
                ),
                ServiceState::Ended(times, at) if times > 1 => {
                    let pause = at.since(self.now()).as_millis().div_ceil(1000);
                    (
                        State::Restarting,
                        Some(format!(
                            "the worker ended unexpectedly, {times} times in a row; it is started again after {pause} s"
                        )),
                    )
                }
                ServiceState::Held => (State::Held, None),
                _ => (State::Stopped, None),
            };
            slot.report(|report| {
                let now = postgres_now();
                if report.state != state {
                    report.state = state;
                    report.since = now;
                }
                if let Some(error) = error {
                    report.set_error(&error, now);
                }
            });
        }
    }

    /// Sleeps until a session requests something, a worker starts or ends, or something is due.
    fn wait(&self, held: &BTreeSet<u32>) {
        let now = self.now();
        let mut until = self.next_list;
        if let Some(at) = self.launcher.next_wake(held, now) {
            until = until.min(at);
        }
        if !held.is_empty() {
            until = until.min(now.plus(HOLD_CHECK));
        }
        let timeout = i64::try_from(until.since(now).as_micros().div_ceil(1000)).unwrap_or(i64::MAX);
        let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
        // SAFETY: this process' own latch.
        unsafe {
            pg_sys::WaitLatch(
                pg_sys::MyLatch,
                events as i32,
                timeout.min(3_600_000),
                wait_event::named(c"TargetProfileLauncherMain"),
            );
        }
    }
}

/// A worker that this process has registered.
struct Handle(*mut pg_sys::BackgroundWorkerHandle);

impl Handle {
    /// Has the postmaster start a worker, which it never starts again by itself. `None`: no slot is free.
    fn register(database: u32, name: &str) -> Option<Self> {
        let builder = BackgroundWorkerBuilder::new(&format!("target_profile worker: {name}"))
            .set_type("target_profile worker")
            .set_library("target_profile")
            .set_function("target_profile_worker_main")
            .set_argument(Some(pg_sys::Datum::from(database)))
            .enable_spi_access()
            .set_restart_time(None)
            // Told when it has started, and when it has ended.
            .set_notify_pid(process::my_pid());
        let mut worker = pg_sys::BackgroundWorker::from(&builder);
        let mut handle = std::ptr::null_mut();
        // SAFETY: both are set above; the handle is allocated in this process' memory, where nothing else frees it.
        let registered = unsafe {
            pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
            pg_sys::RegisterDynamicBackgroundWorker(&raw mut worker, &raw mut handle)
        };
        registered.then(|| Self(handle))
    }

    /// Whether the process runs or is about to be started.
    fn is_alive(&self) -> bool {
        let mut pid = 0;
        // SAFETY: a handle that was filled in by `register`.
        let status = unsafe { pg_sys::GetBackgroundWorkerPid(self.0, &raw mut pid) };
        matches!(
            status,
            pg_sys::BgwHandleStatus::BGWH_STARTED | pg_sys::BgwHandleStatus::BGWH_NOT_YET_STARTED
        )
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: allocated by `register`, and used no more.
        unsafe { pg_sys::pfree(self.0.cast()) }
    }
}
