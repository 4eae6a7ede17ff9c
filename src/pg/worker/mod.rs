//! The worker of one database: a loop that waits for its latch and for answers, and drives the drain.
//!
//! This thread does everything that concerns Postgres, in short transactions; the I/O thread of `target_profile_client`
//! has the network. While a request is under way no transaction is open.

mod activity;
mod claim;
mod guests;
mod queries;
mod settle;
mod transaction;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use pgrx::bgworkers::BackgroundWorker;
use pgrx::prelude::*;
use target_profile_client::Transport;
use target_profile_core::client_code::ClientCode;
use target_profile_core::drain::{Dispatch, Drain};
use target_profile_core::retry;
use target_profile_core::settlement::Batch;
use target_profile_core::time::Timestamp;

use super::clock::{day_of, now, postgres_now};
use super::settings::{self, Snapshot};
use super::shared::{self, InFlight, Slot, State};
use super::wait_event;
use transaction::{Access, transaction};

/// How long the I/O thread is waited for at the end: a fast shutdown must not notice it.
const STOP_PATIENCE: Duration = Duration::from_millis(300);

/// The longest pause after an error.
const ERROR_PAUSE_CAP: Duration = Duration::from_secs(30);

/// A sweep may take this part of the worker's time: when it takes long (many dead rows), it comes more rarely.
const SWEEP_SHARE: u32 = 100;

thread_local! {
    /// Apart from the worker, so that the exit callback reaches it whatever is on the stack.
    static TRANSPORT: RefCell<Option<Transport>> = const { RefCell::new(None) };
}

/// Where a worker process starts. Its argument is the place of its database in `target_profile.databases`.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn target_profile_worker_main(arg: pg_sys::Datum) {
    install_signal_handlers();
    let databases = settings::databases();
    let Some(database) = databases.get(arg.value()) else {
        return;
    };
    BackgroundWorker::connect_worker_to_spi(Some(database), None);
    let Some(slot) = Slot::take() else {
        ereport!(
            PgLogLevel::FATAL,
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            "target_profile cannot serve more databases than it has slots"
        );
        return;
    };
    transaction::pin_session_settings();
    // SAFETY: the callback is a plain function of this library.
    unsafe { pg_sys::before_shmem_exit(Some(at_exit), pg_sys::Datum::from(0)) };
    slot.set_process(Some(shared::my_place()));
    slot.report(|report| {
        report.pid = my_pid();
        report.state = State::Starting;
        report.since = postgres_now();
    });
    Worker::new(slot).run()
}

unsafe extern "C-unwind" {
    /// tcop/tcopprot.h: Postgres' own handler of SIGTERM. Declared here because pgrx binds it as a Rust function, which cannot be
    /// a signal handler; the same for the next.
    fn die(signal: i32);
    /// postmaster/interrupt.h: sets a flag and the latch.
    fn SignalHandlerForConfigReload(signal: i32);
}

fn install_signal_handlers() {
    // SAFETY: Postgres' own handlers, installed before signals are let in: `die` also interrupts a query, and its FATAL ends
    // with exit code 1, after which the postmaster starts the worker again.
    unsafe {
        pg_sys::pqsignal(pg_sys::SIGTERM as i32, Some(die));
        pg_sys::pqsignal(pg_sys::SIGHUP as i32, Some(SignalHandlerForConfigReload));
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// Runs when the process ends, on whatever way.
#[pg_guard]
unsafe extern "C-unwind" fn at_exit(_code: i32, _arg: pg_sys::Datum) {
    TRANSPORT.with(|transport| {
        if let Ok(mut transport) = transport.try_borrow_mut()
            && let Some(mut transport) = transport.take()
        {
            // One that does not end in time (a resolver that hangs) ends with the process.
            transport.stop(STOP_PATIENCE);
        }
    });
    if let Some(slot) = Slot::of_my_database() {
        slot.set_process(None);
        slot.report(|report| {
            report.pid = 0;
            report.state = State::Stopped;
            report.since = postgres_now();
            report.set_in_flight(std::iter::empty());
        });
    }
}

/// Whether and why the worker may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    NoExtension,
    NotAdopted,
    /// With the outbox that is drained.
    Adopted(pg_sys::Oid),
}

struct Worker {
    slot: Slot,
    settings: Snapshot,
    drain: Drain,
    /// What has to be settled; kept until it is, whatever fails.
    batch: Batch,
    standing: Standing,
    /// The version of the clients that the drain has; `None`: look again.
    clients_version: Option<u64>,
    /// Days of `response` that have their partition.
    days: BTreeSet<i32>,
    /// The last response that was recorded.
    last_response: i64,
    next_poll: Timestamp,
    next_retention: Timestamp,
    /// Errors in a row.
    errors: u32,
    not_before: Timestamp,
    state: Option<State>,
}

impl Worker {
    fn new(slot: Slot) -> Self {
        let settings = Snapshot::take();
        let mut drain = Drain::new(settings.limits.clone());
        drain.set_enabled(settings.enabled);
        let start = Timestamp::from_unix_micros(0);
        Self {
            slot,
            settings,
            drain,
            batch: Batch::default(),
            standing: Standing::NoExtension,
            clients_version: None,
            days: BTreeSet::new(),
            last_response: 0,
            next_poll: start,
            next_retention: start,
            errors: 0,
            not_before: start,
            state: None,
        }
    }

    fn run(mut self) -> ! {
        loop {
            // SAFETY: this process' own latch. Reset before looking, so that what comes after the look wakes.
            unsafe { pg_sys::ResetLatch(pg_sys::MyLatch) };
            pgrx::check_for_interrupts!();
            self.reload_if_asked();
            if now() >= self.not_before {
                match self.cycle() {
                    Ok(()) => self.errors = 0,
                    Err(error) => self.note_error(&error),
                }
            }
            self.wait();
        }
    }

    fn reload_if_asked(&mut self) {
        // SAFETY: the flag is set by the SIGHUP handler of this process, and cleared before the file is read.
        let asked = unsafe {
            let asked = (&raw const pg_sys::ConfigReloadPending).read_volatile() != 0;
            (&raw mut pg_sys::ConfigReloadPending).write_volatile(0);
            asked
        };
        if asked {
            // SAFETY: between transactions, as every background process does it.
            unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) };
            let before = std::mem::replace(&mut self.settings, Snapshot::take());
            self.drain.set_enabled(self.settings.enabled);
            self.drain.set_limits(self.settings.limits.clone());
            self.drain.new_work();
            // The file may hold other certificates under the same name, so the transport is renewed each time.
            let renewed = TRANSPORT.with_borrow(|transport| {
                transport
                    .as_ref()
                    .map_or(Ok(()), |transport| transport.renew(&self.settings.transport))
            });
            if let Err(error) = renewed {
                self.settings.transport = before.transport;
                self.note_error(&format!("the settings of the connection stay as they were: {error}"));
            }
        }
    }

    /// One turn: look around if there is a reason to, take answers, settle them, claim and send.
    fn cycle(&mut self) -> Result<(), String> {
        let polling = now() >= self.next_poll;
        let work = self.slot.take_work();
        // For work alone the claim's own look is enough.
        if polling || self.clients_version != Some(self.slot.clients_version()) {
            self.look_around()?;
        }
        if !self.is_adopted() {
            if polling {
                self.next_poll = now().plus(self.settings.poll_interval);
            }
            return Ok(());
        }
        ensure_transport(&self.settings)?;
        if work {
            self.drain.new_work();
        }
        if polling {
            self.keep_house()?;
        }
        if polling || self.slot.take_all() {
            self.drain.sweep();
        }
        self.take_reports();
        if polling || self.errors > 0 {
            // What could not be written must not grow; and the ledgers are read as they are when all is written.
            self.settle()?;
        }
        if polling {
            self.reread_ledgers()?;
        }
        // The next requests first: they need not wait for the flush of what the last ones have brought.
        let started = now();
        self.claim()?;
        self.settle()?;
        if polling {
            let took = now().since(started).saturating_mul(SWEEP_SHARE);
            self.next_poll = now().plus(self.settings.poll_interval.max(took));
        }
        Ok(())
    }

    fn is_adopted(&self) -> bool {
        matches!(self.standing, Standing::Adopted(_))
    }

    /// Is the extension there, is this database the one that may send, which clients are there?
    fn look_around(&mut self) -> Result<(), String> {
        let version = self.slot.clients_version();
        let seen = self.clients_version;
        let (standing, clients) = transaction("looking around", Access::Read, |client| {
            guests::look_around(client, seen != Some(version))
        })?;
        if standing != self.standing && self.is_adopted() {
            // The outbox is gone, is another one, or is not ours to send.
            self.forget();
            self.standing = Standing::NoExtension;
        }
        if !matches!(standing, Standing::Adopted(_)) {
            self.standing = standing;
            // An extension that is created, or adopted, announces itself.
            self.clients_version = Some(version);
            self.show(match standing {
                Standing::NotAdopted => State::NotAdopted,
                _ => State::NoExtension,
            });
            return Ok(());
        }
        if !self.is_adopted() {
            self.standing = standing;
            if clients.is_none() {
                self.clients_version = None;
                return self.look_around();
            }
            // Breakers live in memory; what an earlier worker left of them is no longer so.
            transaction("starting", Access::Write, |client| {
                settle::forget_breakers(client)?;
                activity::close(client)
            })?;
        }
        if let Some(clients) = clients {
            for (code, fault) in &clients.invalid {
                self.note_error(&format!(
                    "client \"{code}\" is left out, its settings are not valid: {fault}"
                ));
            }
            self.drain.set_clients(clients.valid, now());
            self.clients_version = Some(version);
        }
        Ok(())
    }

    /// The outbox is gone or is not ours to send: nothing of it may be remembered.
    fn forget(&mut self) {
        self.drain.reset();
        self.batch = Batch::default();
        self.days.clear();
        self.publish_in_flight();
    }

    /// What is due now and then: entries of clients that were removed, days of responses that are over.
    fn keep_house(&mut self) -> Result<(), String> {
        let orphaned = transaction("looking for orphans", Access::Read, guests::orphaned_clients)?;
        for code in orphaned {
            transaction("burying orphans", Access::Write, |client| {
                guests::bury_orphans(client, &code)
            })?;
        }
        if now() >= self.next_retention {
            let before = ago(self.settings.retention);
            if transaction("looking for old responses", Access::Read, |client| {
                settle::has_partitions_before(client, before)
            })? {
                transaction("dropping old responses", Access::Write, |client| {
                    settle::drop_partitions_before(client, before)
                })?;
                self.days.clear();
            }
            let before = ago(self.settings.activity_retention);
            transaction("forgetting old activity", Access::Write, |client| {
                activity::forget(client, before)
            })?;
            self.next_retention = now().plus(Duration::from_secs(3600));
        }
        Ok(())
    }

    /// Of clients that wait for their quota: somebody may have mended the table, or the clock.
    fn reread_ledgers(&mut self) -> Result<(), String> {
        let held: Vec<ClientCode> = self.drain.held_by_quota().cloned().collect();
        if held.is_empty() {
            return Ok(());
        }
        let mut ledgers = transaction("reading the quota", Access::Read, activity::ledgers)?;
        for code in held {
            let charged = ledgers.remove(code.as_str()).unwrap_or_default();
            self.drain.reload_ledger(&code, &charged, now());
        }
        Ok(())
    }

    fn take_reports(&mut self) {
        let reports = TRANSPORT.with_borrow(|transport| transport.as_ref().map_or_else(Vec::new, Transport::reports));
        let mut next = Vec::new();
        for report in reports {
            next.extend(self.drain.complete(report, now(), fastrand::f64(), &mut self.batch));
        }
        send(next);
    }

    fn settle(&mut self) -> Result<(), String> {
        self.drain.report(now(), &mut self.batch);
        if self.batch.is_empty() {
            return Ok(());
        }
        self.show(State::Active);
        let done = self.ensure_days().and_then(|()| {
            let (batch, last) = (&self.batch, self.last_response);
            transaction("settling", Access::Write, |client| settle::settle(client, batch, last))
        });
        if done.is_err() {
            // Perhaps somebody dropped a day.
            self.days.clear();
        }
        self.last_response = done?;
        self.drain.settled(std::mem::take(&mut self.batch));
        self.slot.announce_settled();
        self.publish_in_flight();
        Ok(())
    }

    fn ensure_days(&mut self) -> Result<(), String> {
        let wanted: BTreeSet<i32> = self
            .batch
            .responses
            .iter()
            .map(|response| day_of(response.sent_at))
            .collect();
        for day in wanted {
            if !self.days.contains(&day) {
                transaction("adding a day of responses", Access::Write, |client| {
                    settle::ensure_day(client, day)
                })?;
                self.days.insert(day);
            }
        }
        Ok(())
    }

    fn claim(&mut self) -> Result<(), String> {
        let now = now();
        if !self.drain.wants_to_claim(now) {
            return Ok(());
        }
        let Standing::Adopted(outbox) = self.standing else {
            return Ok(());
        };
        let (slot, known) = (self.slot, self.clients_version);
        let (drain, batch) = (&mut self.drain, &mut self.batch);
        let claimed = transaction("claiming", Access::Read, |client| {
            claim::claim(
                client,
                drain,
                outbox,
                || Some(slot.clients_version()) == known,
                now,
                batch,
            )
        });
        if claimed.is_err() {
            self.drain.unselect();
        }
        let Some(dispatches) = claimed? else {
            // The next turn reads them; the drain still wants to claim, so it comes at once.
            self.clients_version = None;
            return Ok(());
        };
        if dispatches.is_empty() {
            return Ok(());
        }
        // The reservation last: it is good for this minute, and what goes out is stamped with the time at which it was checked.
        claim::flush_wal();
        let at = self.reserve(&dispatches)?;
        let dispatches = self.drain.send(dispatches, at);
        self.publish_in_flight();
        self.show(State::Active);
        send(dispatches);
        Ok(())
    }

    /// Makes durable what the quota is charged for these requests, and says when they may go: in the minute that is charged.
    fn reserve(&mut self, dispatches: &[Dispatch]) -> Result<Timestamp, String> {
        loop {
            let at = now();
            let reservations = self.drain.reservations(dispatches, at);
            if reservations.is_empty() {
                return Ok(at);
            }
            let reserved = transaction("reserving quota", Access::Write, |client| {
                activity::reserve(client, &reservations)
            });
            if let Err(error) = reserved {
                self.drain.withdraw(dispatches);
                return Err(error);
            }
            self.drain.reserved(reservations);
        }
    }

    fn publish_in_flight(&self) {
        self.slot.report(|report| {
            report.set_in_flight(self.drain.under_way().map(|(key, from, up_to)| InFlight {
                profile: key.fingerprint(),
                from,
                up_to,
            }));
        });
    }

    fn show(&mut self, state: State) {
        if self.state != Some(state) {
            self.state = Some(state);
            self.slot.report(|report| {
                report.state = state;
                report.since = postgres_now();
            });
        }
    }

    fn note_error(&mut self, error: &str) {
        self.errors = self.errors.saturating_add(1);
        let pause = retry::backoff(self.errors, fastrand::f64()).min(ERROR_PAUSE_CAP);
        self.not_before = now().plus(pause);
        self.clients_version = None;
        self.slot.report(|report| report.set_error(error, postgres_now()));
        self.show(State::Failing);
    }

    /// Sleeps until there is a reason not to: a commit, an answer, a signal, or the next thing that is due.
    fn wait(&mut self) {
        let now = now();
        let failing = self.not_before > now;
        let until = if failing {
            self.not_before
        } else {
            let due = if self.is_adopted() {
                let wake = self.drain.next_wake(now).into_iter();
                wake.chain(self.drain.report_due()).min()
            } else {
                None
            };
            due.map_or(self.next_poll, |due| due.min(self.next_poll))
        };
        if !failing && self.is_adopted() {
            self.show(match (self.settings.enabled, self.drain.in_flight()) {
                (false, _) => State::Disabled,
                (true, 0) => State::Idle,
                (true, _) => State::Active,
            });
        }
        let fd = if failing {
            None
        } else {
            TRANSPORT.with_borrow(|transport| transport.as_ref().map(Transport::wake_fd))
        };
        // Rounded up: a wait that ends too early would spin.
        let timeout = i64::try_from(until.since(now).as_micros().div_ceil(1000)).unwrap_or(i64::MAX);
        let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
        let events = if fd.is_some() {
            events | pg_sys::WL_SOCKET_READABLE
        } else {
            events
        };
        // SAFETY: this process' own latch, and a descriptor that lives as long as the transport, which this thread owns.
        unsafe {
            pg_sys::WaitLatchOrSocket(
                pg_sys::MyLatch,
                events as i32,
                fd.unwrap_or(pg_sys::PGINVALID_SOCKET),
                timeout.min(3_600_000),
                wait_event::named(c"TargetProfileWorkerMain"),
            );
        }
    }
}

/// That long ago.
fn ago(retention: Duration) -> Timestamp {
    let retention = i64::try_from(retention.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_unix_micros(now().unix_micros().saturating_sub(retention))
}

fn send(dispatches: Vec<Dispatch>) {
    if !dispatches.is_empty() {
        TRANSPORT.with_borrow(|transport| {
            if let Some(transport) = transport {
                transport.send(dispatches);
            }
        });
    }
}

/// Starts the I/O thread when there is something to send for the first time, or when it has died.
fn ensure_transport(settings: &Snapshot) -> Result<(), String> {
    TRANSPORT.with_borrow_mut(|transport| {
        if transport.as_ref().is_some_and(Transport::is_alive) {
            return Ok(());
        }
        // Signals are for this thread: one that lands on another would wake nobody.
        let started = transaction::with_signals_blocked(|| Transport::start(&settings.transport));
        *transport = Some(started.map_err(|error| error.to_string())?);
        Ok(())
    })
}

fn my_pid() -> i32 {
    // SAFETY: a plain variable of the process.
    unsafe { pg_sys::MyProcPid }
}
