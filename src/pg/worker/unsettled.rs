//! Batches that could not be settled yet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use target_profile_core::client_code::ClientCode;
use target_profile_core::settlement::Batch;
use target_profile_core::step::ClockStep;
use target_profile_core::time::Timestamp;

use super::clock::now;

/// The first pause before what could not be settled is tried again. It doubles each time.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// What could not be settled, because another session has its rows locked.
#[derive(Debug)]
pub(super) struct Unsettled {
    /// By client.
    pub(super) of: BTreeMap<ClientCode, Batch>,
    pub(super) held: BTreeSet<ClientCode>,
    pub(super) next_try: Timestamp,
    pub(super) pause: Duration,
    pub(super) careful_until: Timestamp,
}

impl Default for Unsettled {
    fn default() -> Self {
        Self {
            of: BTreeMap::new(),
            held: BTreeSet::new(),
            next_try: Timestamp::from_unix_micros(i64::MIN),
            pause: FIRST_PAUSE,
            careful_until: Timestamp::from_unix_micros(i64::MIN),
        }
    }
}

impl Unsettled {
    /// When it is tried again.
    pub(super) fn due(&self) -> Option<Timestamp> {
        (!self.of.is_empty()).then_some(self.next_try)
    }

    pub(super) fn clock_set(&mut self, step: ClockStep) {
        for time in [&mut self.next_try, &mut self.careful_until] {
            *time = step.of(*time);
        }
    }

    pub(super) fn keep(&mut self, code: ClientCode, part: Batch) {
        if self.of.is_empty() {
            self.pause = FIRST_PAUSE;
            self.next_try = now().plus(FIRST_PAUSE);
        }
        self.of.entry(code).or_default().append(part);
    }
}
