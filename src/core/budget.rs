//! The retry budget of one client: a limit on retries while an endpoint fails now and then.
//!
//! The circuit breaker opens for an endpoint that always fails. One that fails every other time keeps it closed, and each failure would
//! cause another request. So retries are paid for: an update that is accepted at its first attempt earns a fifth of a retry, a retry that
//! is accepted costs nothing, and one a second is free. A healthy endpoint is not affected. One that fails often gets a fifth more than
//! its first attempts.

use std::time::Duration;

use crate::step::ClockStep;
use crate::time::Timestamp;

/// What one retry costs; the unit is a thousandth of a retry.
const RETRY: u64 = 1_000;
/// What an update earns that is accepted at its first attempt.
const FIRST_ATTEMPT: u64 = RETRY / 5;
/// The most that can be saved up.
pub const BURST: u64 = 100;
/// Free retries a second.
pub const PER_SECOND: u64 = 1;

/// The retry budget of one client. It starts full.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    saved: u64,
    filled_at: Option<Timestamp>,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            saved: BURST * RETRY,
            filled_at: None,
        }
    }
}

impl RetryBudget {
    /// Adds what time has brought.
    pub fn fill(&mut self, now: Timestamp) {
        let since = self.filled_at.map_or(Duration::ZERO, |then| now.since(then));
        let earned = u64::try_from(since.as_micros())
            .unwrap_or(u64::MAX)
            .saturating_mul(PER_SECOND * RETRY)
            / 1_000_000;
        // What is less than a thousandth is kept for later, and a clock that was set back starts anew.
        if earned > 0 || self.filled_at.is_none_or(|then| then > now) {
            self.filled_at = Some(now);
            self.save(earned);
        }
    }

    /// The clock was set.
    pub fn clock_set(&mut self, step: ClockStep) {
        self.filled_at = self.filled_at.map(|then| step.of(then));
    }

    /// Whether a retry can be paid for, as of the last [`RetryBudget::fill`].
    pub fn admits(&self) -> bool {
        self.saved >= RETRY
    }

    /// When a retry can be paid for, if nothing else is earned; `now` if it can be already.
    pub fn admits_at(&self, now: Timestamp) -> Timestamp {
        let missing = RETRY.saturating_sub(self.saved);
        let wait = Duration::from_micros((missing * 1_000_000).div_ceil(PER_SECOND * RETRY));
        self.filled_at.unwrap_or(now).plus(wait).max(now)
    }

    /// A retry is sent.
    pub fn spend(&mut self) {
        self.saved = self.saved.saturating_sub(RETRY);
    }

    /// A retry that was paid for did not go out after all, or was accepted.
    pub fn give_back(&mut self) {
        self.save(RETRY);
    }

    /// An update was accepted at its first attempt.
    pub fn earn(&mut self) {
        self.save(FIRST_ATTEMPT);
    }

    fn save(&mut self, amount: u64) {
        self.saved = self.saved.saturating_add(amount).min(BURST * RETRY);
    }
}
