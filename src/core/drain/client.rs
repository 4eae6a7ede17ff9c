//! The state of one client in the drain.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::parked::Parked;
use super::partial::Partial;
use super::places::Places;
use crate::attrs::FlatAttrs;
use crate::breaker::{Admission, Breaker};
use crate::budget::RetryBudget;
use crate::id::ProfileKey;
use crate::lane::{Lane, gaps};
use crate::quota::{Class, Ledger, Quota};
use crate::secret::Secret;
use crate::settings::ClientSettings;
use crate::time::Timestamp;

/// So many lanes of a client are looked into at a time: with more, other clients would wait.
pub(super) const LANES: usize = 64;

/// The deliveries of a client that may wait for locked entries. With more, nothing is sent: it could
/// not be settled either.
pub const UNSETTLED_LIMIT: usize = 1_000;

/// The profiles of a client of which it is remembered which parts of a split update have arrived. Others are sent again
/// as a whole.
const PARTIAL_LIMIT: usize = 64;

/// One client: its settings, its lanes, its profiles that wait for their time.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) settings: ClientSettings,
    pub(super) paused: bool,
    /// When `resume` was called last.
    pub(super) resumed_at: Option<Timestamp>,
    pub(super) breaker: Breaker,
    pub(super) breaker_moved: bool,
    pub(super) budget: RetryBudget,
    pub(super) ledger: Ledger,
    /// Requests since the activity was written last: the pace by which the quota is reserved.
    pub(super) recent: u64,
    pub(super) in_flight: usize,
    /// Target does not let it in, and its row does not say so yet.
    pub(super) refused: bool,
    /// What it needs written cannot be: nothing is sent until it can.
    pub(super) held: bool,
    /// Deliveries that have ended and cannot be settled, because their entries are locked.
    pub(super) unsettled: usize,
    /// Highest priority first.
    pub(super) lanes: BTreeMap<Reverse<i16>, Lane>,
    /// Lanes below those that are known were not looked for.
    pub(super) cut: bool,
    /// The lanes below are the next ones to be read.
    pub(super) read_below: Option<Reverse<i16>>,
    pub(super) parked: Parked,
    /// Attributes that have arrived, of profiles whose split update has not arrived as a whole.
    partial: HashMap<ProfileKey, Partial>,
    /// There was no memory for an entry of it. It waits until something has ended.
    pub(super) short: bool,
}

impl Client {
    /// Whether an administrator has changed what the client failed with, since it was registered.
    pub(super) fn is_cured(&self, endpoint: &str, auth_token: Option<&Secret>, resumed_at: Option<Timestamp>) -> bool {
        self.settings.endpoint.template() != endpoint
            || self.settings.auth_token.as_ref() != auth_token
            || self.resumed_at != resumed_at
    }

    pub(super) fn new(settings: ClientSettings, paused: bool, resumed_at: Option<Timestamp>, ledger: Ledger) -> Self {
        Self {
            settings,
            paused,
            resumed_at,
            breaker: Breaker::default(),
            breaker_moved: false,
            budget: RetryBudget::default(),
            ledger,
            recent: 0,
            in_flight: 0,
            refused: false,
            held: false,
            unsettled: 0,
            lanes: BTreeMap::new(),
            cut: false,
            read_below: None,
            parked: Parked::default(),
            partial: HashMap::new(),
            short: false,
        }
    }

    pub(super) fn quota(settings: &ClientSettings) -> Quota {
        Quota::new(settings.daily_quota, settings.backfill_share)
    }

    /// Somebody has done something about a failing endpoint: it is tried at once.
    pub(super) fn forgive(&mut self) {
        if self.breaker.opening().is_some() {
            self.breaker = Breaker::default();
            self.breaker_moved = true;
            self.budget = RetryBudget::default();
        }
        // Nor do they wait for what the failures had made of them.
        if self.parked.forgive_retries() {
            self.read_waiting(|_| true);
            for lane in self.lanes.values_mut() {
                lane.forgiven = lane.revisit.is_some();
            }
        }
    }

    /// It is `now`: whose time has come may go. Lanes in which such profiles wait, and are not kept in memory, are read from their front.
    pub(super) fn advance(&mut self, now: Timestamp) {
        self.parked.advance(now);
        self.budget.fill(now);
        let retries = self.retries_admitted();
        for class in [Class::Fresh, Class::Backfill] {
            // A pass that has begun comes to its end first: what is due is found by it, wherever it stands.
            let is_read = self
                .lanes
                .iter()
                .any(|(priority, lane)| Class::of(priority.0) == class && lane.revisit.is_some());
            if !is_read && self.parked.wants_beyond(class, retries, now) {
                self.read_waiting(|of| of == class);
            }
        }
    }

    fn read_waiting(&mut self, is_meant: impl Fn(Class) -> bool) {
        for class in [Class::Fresh, Class::Backfill] {
            if is_meant(class) {
                self.parked.forget_beyond(class);
            }
        }
        for (priority, lane) in &mut self.lanes {
            if is_meant(Class::of(priority.0)) {
                lane.reread();
            }
        }
    }

    /// How many more requests of a class may go out at `now`, of the places in flight that are free.
    pub(super) fn room(&self, class: Class, places: Places, now: Timestamp) -> usize {
        if self.paused || self.short || self.must_settle_first() {
            return 0;
        }
        let room = self.open_places(places);
        let room = room.min(usize::try_from(self.ledger.left(class)).unwrap_or(usize::MAX));
        match self.breaker.admits(now) {
            Admission::All => room,
            Admission::Probe => room.min(1),
            Admission::NotBefore(_) | Admission::ProbeUnderWay => 0,
        }
    }

    fn open_places(&self, places: Places) -> usize {
        self.settings
            .max_in_flight
            .saturating_sub(self.in_flight)
            .min(places.left_to(self.in_flight))
    }

    fn must_settle_first(&self) -> bool {
        self.held || self.unsettled >= UNSETTLED_LIMIT
    }

    /// Whether a retry may go out: a probe is one of its own kind.
    pub(super) fn retries_admitted(&self) -> bool {
        self.budget.admits() || self.breaker.opening().is_some()
    }

    /// The ranges of priorities, both ends excluded, in which no lane is known. Those below all lanes that are known are left out while
    /// enough of these have to be read.
    pub(super) fn unknown_priorities(&self) -> Vec<(i32, i32)> {
        let mut gaps = gaps(self.lanes.keys().map(|p| i32::from(p.0)));
        if self.has_enough_lanes()
            && let Some(lowest) = self.lanes.keys().next_back()
        {
            gaps.retain(|(above, _)| *above >= i32::from(lowest.0));
        }
        gaps
    }

    pub(super) fn has_enough_lanes(&self) -> bool {
        self.lanes.values().filter(|lane| lane.may_have_more()).count() >= LANES
    }

    /// The lanes that may have more, those first whose turn it is.
    pub(super) fn lanes_in_turn(&self) -> impl Iterator<Item = (&Reverse<i16>, &Lane)> {
        let lanes = || self.lanes.iter().filter(|(_, lane)| lane.may_have_more());
        let is_below = |(priority, _): &(&Reverse<i16>, &Lane)| Some(**priority) > self.read_below;
        lanes()
            .filter(move |lane| is_below(lane))
            .chain(lanes().filter(move |lane| !is_below(lane)))
    }

    /// When a request may go out, as far as the quota admits one; `None`: not before something else happens.
    fn admitted_at(&self, places: Places, now: Timestamp) -> Option<Timestamp> {
        if self.paused || self.short || self.must_settle_first() || self.open_places(places) == 0 {
            return None;
        }
        match self.breaker.admits(now) {
            Admission::All | Admission::Probe => Some(now),
            Admission::NotBefore(then) => Some(then),
            Admission::ProbeUnderWay => None,
        }
    }

    /// When an entry that is not read yet may be sent; `None`: not before something else happens.
    pub(super) fn open_at(&self, places: Places, now: Timestamp) -> Option<Timestamp> {
        let admitted_at = self.admitted_at(places, now)?;
        let quota_at = [Class::Fresh, Class::Backfill]
            .into_iter()
            .map(|class| self.ledger.resumes_at(class).unwrap_or(now))
            .min()?;
        Some(admitted_at.max(quota_at))
    }

    /// When this client has something to do next, if nothing else happens.
    pub(super) fn next_wake(&self, places: Places, now: Timestamp) -> Option<Timestamp> {
        let admitted_at = self.admitted_at(places, now)?;
        let retry_at = if self.retries_admitted() {
            now
        } else {
            self.budget.admits_at(now)
        };
        [Class::Fresh, Class::Backfill]
            .into_iter()
            .filter_map(|class| {
                let lanes = self
                    .lanes
                    .iter()
                    .any(|(priority, lane)| Class::of(priority.0) == class && lane.may_have_more());
                let fresh = if lanes {
                    Some(now)
                } else {
                    self.parked.first_due(class, false)
                };
                let retry = self.parked.first_due(class, true).map(|at| at.max(retry_at));
                let work_at = fresh.into_iter().chain(retry).min()?;
                let quota_at = self.ledger.resumes_at(class).unwrap_or(now);
                Some(work_at.max(quota_at).max(admitted_at).max(now))
            })
            .min()
    }

    /// Leaves out what has arrived of the profile's last update, of which other parts have not.
    pub(super) fn drop_arrived(&mut self, key: &ProfileKey, attrs: &mut FlatAttrs) {
        if let Some(arrived) = self.partial.get_mut(key) {
            arrived.drop_from(attrs);
        }
    }

    /// These attributes have arrived, others of the same update are still to come.
    pub(super) fn note_arrived(&mut self, key: &ProfileKey, attrs: &FlatAttrs) {
        if self.partial.contains_key(key) || self.partial.len() < PARTIAL_LIMIT {
            self.partial.entry(key.clone()).or_default().note(attrs);
        }
    }

    /// Of how many attributes it is remembered that they have arrived.
    pub(super) fn remembered(&self) -> usize {
        self.partial.values().map(Partial::len).sum()
    }

    /// Remembers no profile but this one.
    pub(super) fn forget_arrived_but(&mut self, key: &ProfileKey) {
        self.partial.retain(|other, _| other == key);
    }

    /// The update has come to its end.
    pub(super) fn forget_arrived(&mut self, key: &ProfileKey) {
        self.partial.remove(key);
    }

    /// A new endpoint has received nothing of what the old one has.
    pub(super) fn forget_all_arrived(&mut self) {
        self.partial.clear();
    }

    /// All priorities at which there is something to look at, highest first.
    pub(super) fn priorities(&self) -> BTreeSet<Reverse<i16>> {
        self.lanes.keys().copied().chain(self.parked.priorities()).collect()
    }
}
