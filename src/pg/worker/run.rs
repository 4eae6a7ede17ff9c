//! The loop: waits for the latch and for answers, and drives the drain.

use std::time::Duration;

use target_profile_core::drain::Dispatch;
use target_profile_core::launcher::WorkerEnd;
use target_profile_core::time::Timestamp;
use target_profile_core::trouble::Source;

use super::clock::now;
use super::installation;
use super::installation::Adoption;
use super::lifecycle;
use super::lifecycle::{reload_if_asked, sleep_until};
use super::state::Worker;
use super::transaction::{Access, transaction};
use super::{activity, claim, memory, network, replication};
use crate::pg::shmem::holds;
use crate::pg::shmem::reports::State;
use crate::pg::support::backend;
use crate::pg::support::process;
use crate::pg::support::settings::WorkerSettings;

/// How long a worker that has to end waits for requests in flight. Most have ended by then, and a `DROP DATABASE` waits for it.
const STEP_ASIDE_PATIENCE: Duration = Duration::from_millis(250);

/// A sweep takes at most one part in so many of the worker's time. One that takes long, because of dead rows, is done more rarely.
const SWEEP_SHARE: u32 = 100;

impl Worker {
    pub(super) fn run(mut self) -> ! {
        loop {
            // Before the state is read: what changes after that sets the latch again.
            backend::reset_latch();
            pgrx::check_for_interrupts!();
            self.follow_clock();
            self.reload_if_asked();
            if self.slot.is_asked_to_stop() || holds::is_held(process::my_database()) {
                self.step_aside();
            }
            if now() >= self.not_before {
                let ended = self.cycle();
                self.pace.turn(now(), std::mem::take(&mut self.told_of_work));
                match ended {
                    Ok(()) => {
                        self.errors = 0;
                        self.is_over(Source::Turn);
                    }
                    Err(error) => self.note_error(Source::Turn, &error),
                }
            }
            if self.standing == Adoption::NoExtension && self.errors == 0 {
                self.leave();
                continue;
            }
            self.wait();
        }
    }

    /// Ends the worker, because a statement needs the database for itself or the database is no longer served. Settles what has been
    /// answered, and waits a moment for the requests in flight. The next worker sends again what is not answered by then.
    pub(super) fn step_aside(&mut self) -> ! {
        let patience = now().plus(STEP_ASIDE_PATIENCE);
        loop {
            backend::reset_latch();
            pgrx::check_for_interrupts!();
            self.answers.extend(network::reports());
            while let Some(report) = self.answers.pop_front() {
                // The next worker sends the next part.
                self.drain.complete(report, now(), fastrand::f64(), &mut self.batch);
            }
            if self.drain.in_flight() == 0 || now() >= patience {
                break;
            }
            sleep_until(patience, network::wake_fd());
        }
        if let Err(error) = self.settle() {
            // The next worker sends it again. Nothing is lost.
            self.note_error(Source::Turn, &error);
        }
        self.slot.set_ending(WorkerEnd::Asked);
        lifecycle::exit()
    }

    /// Ends the worker, because the database does not have the extension and the process takes a place of `max_worker_processes`. Looks
    /// once more after it has announced its end: a commit that creates the extension is either seen by that look, or sees the announcement
    /// and wakes the launcher.
    pub(super) fn leave(&mut self) {
        self.slot.set_leaving(true);
        let found = transaction("looking around", Access::Read, |client| installation::outbox(client));
        if matches!(found, Ok(None)) {
            self.slot.set_ending(WorkerEnd::NoExtension);
            lifecycle::exit()
        }
        self.slot.set_leaving(false);
        self.next_poll = now();
    }

    pub(super) fn reload_if_asked(&mut self) {
        if reload_if_asked() {
            let before = std::mem::replace(&mut self.settings, WorkerSettings::take());
            self.drain.set_enabled(self.may_send());
            self.drain.new_work();
            // How long responses are kept may have changed.
            self.next_poll = now();
            self.retention.begin(now());
            // The file may hold other certificates under the same name, so the transport is made anew each time.
            match network::renew(&self.settings.transport) {
                Ok(()) => self.is_over(Source::Connection),
                Err(error) => {
                    self.settings.transport = before.transport;
                    let error = format!("the settings of the connection stay as they were: {error}");
                    self.note_error(Source::Connection, &error);
                }
            }
        }
    }

    /// One turn: reads the state again if there is a reason to, takes answers, settles them, claims and sends.
    pub(super) fn cycle(&mut self) -> Result<(), String> {
        self.move_ledgers()?;
        let polling = now() >= self.next_poll;
        // Work alone needs no more than the claim.
        if polling || self.clients_version != Some(self.slot.clients_version()) {
            self.look_around()?;
            if self.standing != Adoption::NoExtension {
                self.look_at_replication()?;
            }
        }
        if !self.is_adopted() {
            if polling {
                self.next_poll = now().plus(self.settings.poll_interval);
            }
            return Ok(());
        }
        if let network::Thread::Started { died: Some(error) } = network::ensure(&self.settings.transport)? {
            pgrx::warning!("target_profile: {error}");
            self.remember(Source::Network, &error);
        }
        if polling {
            self.bury_orphans();
            self.try_days_again();
        }
        if now() >= self.retention.due() {
            self.keep_house();
        }
        if polling || self.slot.take_all() {
            self.drain.sweep();
        }
        self.take_reports()?;
        // After the answers, which make room.
        self.told_of_work = self.takes_work() && self.slot.take_work();
        if self.told_of_work {
            self.drain.new_work();
        }
        if polling || self.errors > 0 {
            // What could not be written must not grow, and the ledgers must be read after all of it is written.
            self.settle()?;
        }
        if polling {
            self.reread_ledgers()?;
        }
        // The next requests first: they do not wait for the settlement of the last ones to be flushed.
        let started = now();
        self.claim()?;
        self.settle()?;
        if polling {
            let took = now().since(started).saturating_mul(SWEEP_SHARE);
            self.next_poll = now().plus(self.settings.poll_interval.max(took));
        }
        Ok(())
    }

    pub(super) fn may_send(&self) -> bool {
        self.settings.enabled && !self.is_subscriber
    }

    /// Whether the flag that commits set is reset. While nothing may be sent it stays set, so that no further commit wakes this process. It
    /// wakes by what ends that time: a setting, a change of a client, an answer, or a time that `wait` knows.
    pub(super) fn takes_work(&self) -> bool {
        let now = now();
        self.is_adopted() && self.drain.listens_at(now).is_some_and(|at| at <= now)
    }

    pub(super) fn is_adopted(&self) -> bool {
        matches!(self.standing, Adoption::Adopted(_))
    }

    pub(super) fn take_reports(&mut self) -> Result<(), String> {
        self.answers.extend(network::reports());
        while let Some(report) = self.answers.pop_front() {
            if report.result.is_ok() {
                self.is_over(Source::Network);
            }
            let next = self.drain.complete(report, now(), fastrand::f64(), &mut self.batch);
            network::send(next.into_iter().collect());
            if self.batch.is_full() {
                // Long answers are settled at once. If that fails, the rest waits.
                self.settle()?;
            }
        }
        Ok(())
    }

    pub(super) fn claim(&mut self) -> Result<(), String> {
        let now = now();
        self.drain.set_limits(network::limits(&self.settings.limits));
        if !self.drain.wants_to_claim(now) {
            return Ok(());
        }
        let Adoption::Adopted(outbox) = self.standing else {
            return Ok(());
        };
        let (slot, known) = (self.slot, self.clients_version);
        if !memory::has_room(memory::TURN_BYTES) {
            let mib = memory::TURN_BYTES / 1024 / 1024;
            return Err(format!("claiming: out of memory: {mib} MiB cannot be had"));
        }
        let mut lack = None;
        let (drain, batch) = (&mut self.drain, &mut self.batch);
        let claimed = transaction("claiming", Access::Read, |client| {
            claim::claim(
                client,
                drain,
                outbox,
                || Some(slot.clients_version()) == known && !replication::is_target(outbox),
                now,
                batch,
                &mut lack,
            )
        });
        if claimed.is_err() {
            self.drain.unselect();
        }
        if let Some(bytes) = lack {
            self.remember(
                Source::Memory,
                &format!("out of memory: an update of {bytes} bytes waits"),
            );
        } else if self.drain.holds_large() {
            self.is_over(Source::Memory);
        }
        self.has_held_large |= self.drain.holds_large();
        let Some(dispatches) = claimed? else {
            // The next turn reads them. It begins at once, since the drain still wants to claim.
            self.clients_version = None;
            return Ok(());
        };
        if dispatches.is_empty() {
            return Ok(());
        }
        // The reservation comes last: it is valid for this minute, and requests are stamped with the time at which it was checked.
        claim::flush_wal();
        let (at, dispatches) = self.reserve(dispatches)?;
        let dispatches = self.drain.send(dispatches, at);
        self.publish_in_flight();
        self.show(State::Active);
        network::send(dispatches);
        Ok(())
    }

    /// Commits what the quota is charged for these requests, and returns those that may be sent, in the minute that is charged. A request
    /// of a client whose rows are locked may not.
    pub(super) fn reserve(&mut self, mut dispatches: Vec<Dispatch>) -> Result<(Timestamp, Vec<Dispatch>), String> {
        loop {
            let at = now();
            let reservations = self.drain.reservations(&dispatches, at);
            if reservations.is_empty() {
                return Ok((at, dispatches));
            }
            let reserved = transaction("reserving quota", Access::Write, |client| {
                activity::reserve(client, &reservations)
            });
            match reserved {
                Ok(()) => self.drain.reserved(reservations),
                Err(failure) if failure.is_lock() => {
                    dispatches = self
                        .reserve_by_client(reservations, dispatches)
                        .map_err(|(dispatches, error)| {
                            self.drain.withdraw(&dispatches);
                            error
                        })?;
                }
                Err(failure) => {
                    self.drain.withdraw(&dispatches);
                    return Err(failure.into());
                }
            }
        }
    }

    /// Sleeps until a commit, an answer, a signal, or the time when something is due.
    pub(super) fn wait(&mut self) {
        let now = now();
        let failing = self.not_before > now;
        let until = if failing {
            self.not_before
        } else {
            let due = if self.is_adopted() {
                let wake = self.drain.next_wake(now).into_iter();
                let work = self.slot.has_work().then(|| self.drain.listens_at(now)).flatten();
                wake.chain(work)
                    .chain(self.drain.report_due())
                    .chain(self.unsettled.due())
                    .chain([self.retention.due()])
                    .min()
            } else {
                None
            };
            due.map_or(self.next_poll, |due| due.min(self.next_poll))
        };
        if !failing && self.is_adopted() {
            self.show(match (self.settings.enabled, self.drain.in_flight()) {
                (false, _) => State::Disabled,
                (true, _) if self.is_subscriber => State::Failing,
                (true, 0) => State::Idle,
                (true, _) => State::Active,
            });
        }
        let rest = self.pace.rest();
        if !failing && !rest.is_zero() {
            lifecycle::rest(rest);
        }
        sleep_until(until, if failing { None } else { network::wake_fd() });
    }
}
