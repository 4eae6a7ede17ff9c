//! The profiles of one client that wait for their time (a retry, a delay, what did not go with the last request).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::id::ProfileKey;
use crate::quota::Class;
use crate::step::Step;
use crate::time::Timestamp;

/// Why and until when a profile waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    /// Not before.
    pub(super) due: Timestamp,
    /// The highest priority among its entries, as far as they have been read.
    pub(super) priority: i16,
    /// The lowest outbox id among them: the older goes first.
    pub(super) id: i64,
    /// Its last request failed.
    pub(super) retry: bool,
}

/// By the id of the oldest entry.
type ByAge = BTreeSet<(i64, ProfileKey)>;

/// Profiles that wait, each once: those whose time has not come by their time, the others by priority and age.
#[derive(Debug, Default)]
pub(super) struct Parked {
    of: HashMap<ProfileKey, Wait>,
    /// By class and kind (a retry or not), so that what one of them waits for is found at once.
    early: BTreeMap<(Class, bool), BTreeSet<(Timestamp, ProfileKey)>>,
    due: BTreeMap<(Reverse<i16>, bool), ByAge>,
}

impl Parked {
    pub(super) fn len(&self) -> usize {
        self.of.len()
    }

    pub(super) fn contains(&self, key: &ProfileKey) -> bool {
        self.of.contains_key(key)
    }

    /// When the first of a class and kind is due; the beginning of time if it is already.
    pub(super) fn first_due(&self, class: Class, retry: bool) -> Option<Timestamp> {
        let due = self
            .due
            .iter()
            .any(|((priority, kind), set)| Class::of(priority.0) == class && *kind == retry && !set.is_empty());
        if due {
            return Some(Timestamp::from_unix_micros(i64::MIN));
        }
        self.early.get(&(class, retry))?.first().map(|(at, _)| *at)
    }

    pub(super) fn park(&mut self, key: ProfileKey, wait: Wait) {
        self.take(&key);
        self.early
            .entry((Class::of(wait.priority), wait.retry))
            .or_default()
            .insert((wait.due, key.clone()));
        self.of.insert(key, wait);
    }

    /// Another entry of a profile that waits has been read: the highest priority counts.
    pub(super) fn raise(&mut self, key: &ProfileKey, priority: i16) {
        if let Some(wait) = self.of.get(key)
            && wait.priority < priority
        {
            let wait = Wait { priority, ..*wait };
            self.park(key.clone(), wait);
        }
    }

    pub(super) fn take(&mut self, key: &ProfileKey) -> Option<Wait> {
        let wait = self.of.remove(key)?;
        if let Some(set) = self.early.get_mut(&(Class::of(wait.priority), wait.retry)) {
            set.remove(&(wait.due, key.clone()));
        }
        let place = (Reverse(wait.priority), wait.retry);
        if let Some(set) = self.due.get_mut(&place) {
            set.remove(&(wait.id, key.clone()));
            if set.is_empty() {
                self.due.remove(&place);
            }
        }
        Some(wait)
    }

    /// The clock was set: all wait as long as they would have.
    pub(super) fn clock_set(&mut self, step: Step) {
        for early in self.early.values_mut() {
            for (at, key) in std::mem::take(early) {
                let at = step.of(at);
                if let Some(wait) = self.of.get_mut(&key) {
                    wait.due = at;
                }
                early.insert((at, key));
            }
        }
    }

    /// All of them may go at once.
    pub(super) fn make_due(&mut self) {
        self.advance(Timestamp::from_unix_micros(i64::MAX));
    }

    /// Those whose time has come by `now` may go.
    pub(super) fn advance(&mut self, now: Timestamp) {
        for ((_, retry), early) in &mut self.early {
            while early.first().is_some_and(|(at, _)| *at <= now) {
                let Some((_, key)) = early.pop_first() else { break };
                if let Some(wait) = self.of.get(&key) {
                    self.due
                        .entry((Reverse(wait.priority), *retry))
                        .or_default()
                        .insert((wait.id, key));
                }
            }
        }
    }

    /// The priorities of those that may go.
    pub(super) fn priorities(&self) -> impl Iterator<Item = Reverse<i16>> {
        self.due.keys().map(|(priority, _)| *priority)
    }

    /// The oldest of a priority that may go.
    pub(super) fn pop_due(&mut self, priority: Reverse<i16>, with_retries: bool) -> Option<(ProfileKey, Wait)> {
        let first = |retry: bool| {
            self.due
                .get(&(priority, retry))
                .and_then(|set| set.first())
                .map(|(id, key)| (*id, key.clone()))
        };
        let fresh = first(false);
        let retry = if with_retries { first(true) } else { None };
        let (_, key) = match (fresh, retry) {
            (Some(fresh), Some(retry)) => fresh.min(retry),
            (fresh, retry) => fresh.or(retry)?,
        };
        let wait = self.take(&key)?;
        Some((key, wait))
    }
}
