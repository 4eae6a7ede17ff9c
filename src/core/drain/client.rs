//! What the drain knows of one client.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::lane_priorities_gap;
use crate::breaker::{Admission, Breaker};
use crate::id::ProfileKey;
use crate::lane::Lane;
use crate::settings::ClientSettings;
use crate::time::Timestamp;

/// How many profiles of a client may wait in memory for their time (a retry, a delay). Beyond it the lanes
/// are not read on: memory stays bounded, the rest waits in the table.
pub(super) const PARKED_LIMIT: usize = 10_000;

/// One client: its settings, its lanes, its profiles that wait for their time.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) settings: ClientSettings,
    pub(super) paused: bool,
    pub(super) breaker: Breaker,
    pub(super) breaker_moved: bool,
    pub(super) in_flight: usize,
    /// Highest priority first.
    pub(super) lanes: BTreeMap<Reverse<i16>, Lane>,
    pub(super) parked: Parked,
}

impl Client {
    pub(super) fn new(settings: ClientSettings, paused: bool) -> Self {
        Self {
            settings,
            paused,
            breaker: Breaker::default(),
            breaker_moved: false,
            in_flight: 0,
            lanes: BTreeMap::new(),
            parked: Parked::default(),
        }
    }

    /// How many more requests may go out at `now`.
    pub(super) fn room(&self, now: Timestamp) -> usize {
        if self.paused {
            return 0;
        }
        let room = self.settings.max_in_flight.saturating_sub(self.in_flight);
        match self.breaker.admits(now) {
            Admission::All => room,
            Admission::Probe => room.min(1),
            Admission::NotBefore(_) | Admission::ProbeUnderWay => 0,
        }
    }

    pub(super) fn lanes_readable(&self) -> bool {
        self.parked.len() < PARKED_LIMIT
    }

    pub(super) fn may_have_more(&self) -> bool {
        self.lanes_readable() && self.lanes.values().any(Lane::may_have_more)
    }

    /// The ranges of priorities, both ends excluded, in which no lane is known.
    pub(super) fn unknown_priorities(&self) -> Vec<(i32, i32)> {
        lane_priorities_gap(self.lanes.keys().map(|p| i32::from(p.0)))
    }

    /// When this client has something to do next, if nothing else happens.
    pub(super) fn next_wake(&self, now: Timestamp) -> Option<Timestamp> {
        if self.paused || self.in_flight >= self.settings.max_in_flight {
            return None;
        }
        let work_at = if self.may_have_more() {
            Some(now)
        } else {
            self.parked.first_due()
        }?;
        match self.breaker.admits(now) {
            Admission::All | Admission::Probe => Some(work_at.max(now)),
            Admission::NotBefore(then) => Some(work_at.max(then)),
            Admission::ProbeUnderWay => None,
        }
    }
}

/// Profiles that wait for their time, each once.
#[derive(Debug, Default)]
pub(super) struct Parked {
    due: BTreeSet<(Timestamp, ProfileKey)>,
    at: HashMap<ProfileKey, Timestamp>,
}

impl Parked {
    pub(super) fn len(&self) -> usize {
        self.at.len()
    }

    pub(super) fn contains(&self, key: &ProfileKey) -> bool {
        self.at.contains_key(key)
    }

    pub(super) fn first_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(super) fn park(&mut self, key: ProfileKey, at: Timestamp) {
        self.take(&key);
        self.due.insert((at, key.clone()));
        self.at.insert(key, at);
    }

    pub(super) fn take(&mut self, key: &ProfileKey) {
        if let Some(at) = self.at.remove(key) {
            self.due.remove(&(at, key.clone()));
        }
    }

    /// All of them may go at once.
    pub(super) fn make_due(&mut self) {
        let at_once = Timestamp::from_unix_micros(0);
        self.due = self.at.keys().map(|key| (at_once, key.clone())).collect();
        self.at.values_mut().for_each(|at| *at = at_once);
    }

    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<ProfileKey> {
        if self.due.first()?.0 > now {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        self.at.remove(&key);
        Some(key)
    }
}
