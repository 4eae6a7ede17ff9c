//! The circuit breaker of one client: closed while its endpoint works, open while it does not, and in between
//! single probes.
//!
//! While it is open, a probe that fails does not count as an attempt of its entry.

use std::time::Duration;

use crate::retry;
use crate::step::ClockStep;
use crate::time::Timestamp;
use crate::verdict::Outcome;

/// So many failures in a row (no answer, 5xx, or answers that are not Target's) open the breaker.
pub const FAILURES_TO_OPEN: u32 = 5;

/// So many rejections in a row, with nothing accepted in between, open the breaker: one bad row is the row's
/// fault, twenty in a row are the endpoint's or the settings'.
pub const REJECTIONS_TO_OPEN: u32 = 20;

/// What the breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// As many requests as the limits allow.
    All,
    /// A single request, to see whether the endpoint is back.
    Probe,
    /// Nothing before this point in time.
    NotBefore(Timestamp),
    /// Nothing before the probe that is under way has ended.
    ProbeUnderWay,
}

/// Why and since when a breaker is open, and when it lets a probe through: what `status` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// When it opened.
    pub since: Timestamp,
    /// When the next probe is sent.
    pub next_try_at: Timestamp,
    /// What was wrong, for a person.
    pub reason: String,
}

/// The breaker of one client.
#[derive(Debug, Clone, Default)]
pub struct Breaker {
    failures: u32,
    rejections: u32,
    /// How often it has opened or a probe has failed since something was accepted.
    trips: u32,
    open: Option<Opening>,
    probing: bool,
}

impl Breaker {
    /// What may be sent at `now`.
    pub fn admits(&self, now: Timestamp) -> Admission {
        match &self.open {
            None => Admission::All,
            Some(_) if self.probing => Admission::ProbeUnderWay,
            Some(opening) if opening.next_try_at > now => Admission::NotBefore(opening.next_try_at),
            Some(_) => Admission::Probe,
        }
    }

    /// Why it is open, `None` while it is closed.
    pub fn opening(&self) -> Option<&Opening> {
        self.open.as_ref()
    }

    /// The clock was set.
    pub fn clock_set(&mut self, step: ClockStep) {
        if let Some(opening) = &mut self.open {
            opening.since = step.of(opening.since);
            opening.next_try_at = step.of(opening.next_try_at);
        }
    }

    /// A probe has been handed out.
    pub fn probe_sent(&mut self) {
        self.probing = true;
    }

    /// A probe ended without an answer that says anything (its entry vanished).
    pub fn probe_void(&mut self) {
        self.probing = false;
    }

    /// Takes note of how a request ended. `asked` is what the server's `Retry-After` asks for, `why` what went
    /// wrong. A probe is told apart from requests that were sent before the breaker opened: only it
    /// moves an open breaker.
    pub fn note(
        &mut self,
        outcome: Outcome,
        probe: bool,
        asked: Option<Duration>,
        why: &str,
        now: Timestamp,
        jitter: f64,
    ) {
        if probe {
            self.probing = false;
        }
        match outcome {
            Outcome::Accepted => *self = Self::default(),
            // The client is paused for another reason, which has its own record.
            Outcome::Unauthorized => {}
            Outcome::Rejected => {
                self.rejections = self.rejections.saturating_add(1);
                self.failures = 0;
                if self.rejections >= REJECTIONS_TO_OPEN {
                    self.trip(probe, asked, why, now, jitter);
                } else if probe {
                    // It answers again, and the row may be at fault: were it to stay open, a bad row that is left
                    // alone would keep it so for ever.
                    self.open = None;
                }
            }
            Outcome::Throttled => {
                self.failures = self.failures.saturating_add(1);
                self.trip(probe, asked, why, now, jitter);
            }
            Outcome::Failed | Outcome::Unrecognised => {
                self.failures = self.failures.saturating_add(1);
                if self.failures >= FAILURES_TO_OPEN || self.open.is_some() {
                    self.trip(probe, asked, why, now, jitter);
                }
            }
        }
    }

    fn trip(&mut self, probe: bool, asked: Option<Duration>, why: &str, now: Timestamp, jitter: f64) {
        // Stragglers say nothing new: only what opens it, and each probe that fails, makes the next one wait longer.
        if self.open.is_none() || probe {
            self.trips = self.trips.saturating_add(1);
        }
        let wait = asked.unwrap_or_else(|| retry::backoff(self.trips, jitter));
        match &mut self.open {
            None => {
                self.open = Some(Opening {
                    since: now,
                    next_try_at: now.plus(wait),
                    reason: why.to_owned(),
                })
            }
            Some(opening) if probe => {
                opening.next_try_at = now.plus(wait);
                why.clone_into(&mut opening.reason);
            }
            // Stragglers from before it opened: they may only ask for more time.
            Some(opening) => {
                if let Some(asked) = asked {
                    opening.next_try_at = opening.next_try_at.max(now.plus(asked));
                }
            }
        }
    }
}
