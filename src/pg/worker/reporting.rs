//! Writes the worker's report into shared memory, where the view `worker` and `wait` read it.

use std::time::Duration;

use target_profile_core::retry;
use target_profile_core::trouble::Source;

use super::clock::now;
use super::state::Worker;
use crate::pg::shmem::reports::{InFlight, State};
use crate::pg::support::clock::postgres_now;
use crate::pg::support::warning::warn;

/// The longest pause after an error.
const ERROR_PAUSE_CAP: Duration = Duration::from_secs(30);

impl Worker {
    pub(super) fn publish_in_flight(&self) {
        self.slot.report(|report| {
            report.set_in_flight(self.drain.under_way().map(|(key, from, up_to)| InFlight {
                profile: key.fingerprint(),
                from,
                up_to,
            }));
        });
    }

    pub(super) fn show(&mut self, state: State) {
        if self.state != Some(state) {
            self.state = Some(state);
            self.slot.report(|report| {
                report.state = state;
                report.since = postgres_now();
            });
        }
    }

    pub(super) fn note_error(&mut self, source: Source, error: &str) {
        self.errors = self.errors.saturating_add(1);
        let pause = retry::backoff(self.errors, fastrand::f64()).min(ERROR_PAUSE_CAP);
        self.not_before = now().plus(pause);
        self.clients_version = None;
        self.remember(source, error);
        self.show(State::Failing);
    }

    pub(super) fn remember(&mut self, source: Source, error: &str) {
        if self.troubles.note(source, error.to_owned()) {
            pgrx::log!("target_profile: {error}");
        }
        self.show_worst();
    }

    /// A trouble of which a WARNING is given instead, with what to do.
    pub(super) fn warn_of(&mut self, source: Source, error: &str, hint: &str) {
        if self.troubles.note(source, error.to_owned()) {
            warn(&format!("target_profile: {error}"), hint);
        }
        self.show_worst();
    }

    pub(super) fn show_worst(&mut self) {
        let worst = self.troubles.worst().unwrap_or_default();
        self.slot.report(|report| report.set_error(worst, postgres_now()));
        self.shows_error = true;
    }

    /// Also of what a former worker, or the launcher of one that could not be started, has left in the view.
    pub(super) fn is_over(&mut self, source: Source) {
        if let Some(over) = self.troubles.is_over(source) {
            pgrx::log!("target_profile: over, after {} times: {}", over.times, over.text);
        }
        let worst = self.troubles.worst();
        if self.shows_error {
            self.shows_error = worst.is_some();
            self.slot
                .report(|report| report.set_standing(worst.unwrap_or_default()));
        }
    }
}
