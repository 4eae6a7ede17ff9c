//! The progress of deleting old records.

use target_profile_core::step::ClockStep;
use target_profile_core::time::Timestamp;

/// How far old records have gone.
#[derive(Debug)]
pub(super) struct Retention {
    pub(super) due: Timestamp,
    /// Days that could not be dropped this time, as one that a view depends on. The others are dropped.
    pub(super) kept: Vec<String>,
    /// Why not, the first of them.
    pub(super) trouble: Option<String>,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            due: Timestamp::from_unix_micros(0),
            kept: Vec::new(),
            trouble: None,
        }
    }
}

impl Retention {
    pub(super) fn due(&self) -> Timestamp {
        self.due
    }

    /// From the beginning: what is to be kept may have changed.
    pub(super) fn begin(&mut self, now: Timestamp) {
        *self = Self {
            due: now,
            ..Self::default()
        };
    }

    pub(super) fn clock_set(&mut self, step: ClockStep) {
        self.due = step.of(self.due);
    }
}
