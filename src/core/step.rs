//! Steps of the clock: an administrator or NTP sets it, or a virtual machine resumes.
//!
//! Entries in memory wait for a time of day. When the clock is set, these times move by the same step, so that the wait is as long as it
//! would have been, and so do the minutes that count against the quotas. A second clock, which counts from the machine's start and cannot
//! be set, shows how far the first one was set.

use std::time::Duration;

use crate::time::Timestamp;

/// A smaller difference between two looks is not a step.
pub const TOLERANCE: Duration = Duration::from_millis(100);

const MINUTE_MICROS: i64 = 60_000_000;

/// How far the clock was set: microseconds, below zero for back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockStep(i64);

impl ClockStep {
    /// From one reading of the clock to another one of the same moment.
    pub const fn between(before: Timestamp, after: Timestamp) -> Self {
        Self(after.unix_micros().saturating_sub(before.unix_micros()))
    }

    /// Microseconds, below zero for back.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whether it matters.
    pub fn is_noticeable(self) -> bool {
        u128::from(self.0.unsigned_abs()) >= TOLERANCE.as_micros()
    }

    /// That moment as the clock tells it since.
    #[must_use]
    pub const fn of(self, time: Timestamp) -> Timestamp {
        Timestamp::from_unix_micros(time.unix_micros().saturating_add(self.0))
    }
}

/// By how many minutes the ledgers of the quotas are to follow the clock.
///
/// Whole minutes only, and never too few: a request counts for 24 hours at least, and a minute more at most.
#[derive(Debug, Clone, Copy, Default)]
pub struct Following {
    /// How far the clock is ahead of the ledgers, microseconds; mostly below zero, by less than a minute.
    behind: i64,
}

impl Following {
    /// The clock was set.
    pub fn note(&mut self, step: ClockStep) {
        self.behind = self.behind.saturating_add(step.0);
    }

    /// What is to be done now; zero: nothing.
    pub const fn minutes(self) -> i64 {
        if self.behind > 0 {
            self.behind.saturating_add(MINUTE_MICROS - 1) / MINUTE_MICROS
        } else {
            self.behind / MINUTE_MICROS
        }
    }

    /// The minutes by which they have moved.
    pub fn moved(&mut self, minutes: i64) {
        self.behind = self.behind.saturating_sub(minutes.saturating_mul(MINUTE_MICROS));
    }
}

/// How much younger entries are than their time of writing says, because the clock was set forward since.
#[derive(Debug, Clone, Copy, Default)]
pub struct Leap {
    /// The last time of day before it, and by how much.
    at: Option<(Timestamp, i64)>,
}

impl Leap {
    /// The clock, which said `before`, was set. One that is set back takes back what it was set forward.
    pub fn note(&mut self, before: Timestamp, step: ClockStep) {
        let sum = self.at.map_or(0, |(_, sum)| sum).saturating_add(step.0);
        let at = if step.0 > 0 {
            before
        } else {
            self.at.map_or(before, |(at, _)| at)
        };
        self.at = (sum > 0).then_some((at, sum));
    }

    /// When it was written, as the clock tells it now. After several steps rather too late than too early: an entry that is given
    /// up later is better than one that is given up for nothing.
    pub fn corrected(&self, written: Timestamp) -> Timestamp {
        match self.at {
            Some((before, sum)) if written <= before => ClockStep(sum).of(written),
            _ => written,
        }
    }
}
