//! The profiles of one client that wait: for a retry, a delay, or because the last request did not take all of their entries.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::id::ProfileKey;
use crate::quota::Class;
use crate::step::ClockStep;
use crate::time::Timestamp;

/// Why and until when a profile waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    /// Not before.
    pub(super) due: Timestamp,
    /// The highest priority among its entries, as far as they have been read.
    pub(super) priority: i16,
    /// The lowest outbox id among them: the older profile is sent first.
    pub(super) id: i64,
    /// Its last request failed.
    pub(super) retry: bool,
}

/// By the id of the oldest entry.
type ByAge = BTreeSet<(i64, ProfileKey)>;

/// How many profiles of a client may wait in memory for their time. Of more, those that are due first are kept: the rest waits in the
/// table, and its lanes are read again when the first of it is due.
const LIMIT: usize = 10_000;

/// Profiles that wait, each once: those whose time has not come by their time, the others by priority and age.
#[derive(Debug, Default)]
pub(super) struct Parked {
    of: HashMap<ProfileKey, Wait>,
    /// By class and kind (a retry or not), so that what one of them waits for is found at once.
    early: BTreeMap<(Class, bool), BTreeSet<(Timestamp, ProfileKey)>>,
    due: BTreeMap<(Reverse<i16>, bool), ByAge>,
    /// When the first of those that wait in the table is due.
    beyond: BTreeMap<(Class, bool), Timestamp>,
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
        if self.has_due(class, retry) {
            return Some(Timestamp::from_unix_micros(i64::MIN));
        }
        let early = self.early.get(&(class, retry)).and_then(BTreeSet::first);
        let beyond = self.beyond.get(&(class, retry)).copied();
        early.map(|(at, _)| *at).into_iter().chain(beyond).min()
    }

    fn has_due(&self, class: Class, retry: bool) -> bool {
        self.due
            .iter()
            .any(|((priority, kind), set)| Class::of(priority.0) == class && *kind == retry && !set.is_empty())
    }

    /// Whether a profile of this class that waits in the table could go at `now`, and none of those in memory can instead.
    pub(super) fn wants_beyond(&self, class: Class, with_retries: bool, now: Timestamp) -> bool {
        [false, true].into_iter().any(|retry| {
            (with_retries || !retry)
                && self.beyond.get(&(class, retry)).is_some_and(|at| *at <= now)
                && !self.has_due(class, retry)
        })
    }

    /// The lanes of the class are read from their front: they say anew what waits in the table.
    pub(super) fn forget_beyond(&mut self, class: Class) {
        self.beyond.retain(|(of, _), _| *of != class);
    }

    /// Keeps the profile until its time; or another one in its place, if too many are kept.
    pub(super) fn park(&mut self, key: ProfileKey, wait: Wait) {
        self.keep(key, wait);
        while self.of.len() > LIMIT {
            let Some(last) = self.last() else { break };
            if let Some(Wait {
                due, priority, retry, ..
            }) = self.take(&last)
            {
                let beyond = self.beyond.entry((Class::of(priority), retry)).or_insert(due);
                *beyond = due.min(*beyond);
            }
        }
    }

    /// The one whose turn comes last.
    fn last(&self) -> Option<ProfileKey> {
        let early = self.early.values().filter_map(BTreeSet::last).max();
        let due = || self.due.values().rev().find_map(BTreeSet::last);
        early.map(|(_, key)| key).or_else(|| due().map(|(_, key)| key)).cloned()
    }

    fn keep(&mut self, key: ProfileKey, wait: Wait) {
        self.take(&key);
        self.early
            .entry((Class::of(wait.priority), wait.retry))
            .or_default()
            .insert((wait.due, key.clone()));
        self.of.insert(key, wait);
    }

    /// An entry of a profile that waits has been read: the highest priority counts, and of the entry that it waits for the earlier time,
    /// which somebody may have set.
    pub(super) fn raise(&mut self, key: &ProfileKey, read: Wait) {
        if let Some(wait) = self.of.get(key) {
            let is_earlier = wait.id == read.id && read.due < wait.due;
            if is_earlier || wait.priority < read.priority {
                let raised = Wait {
                    due: if is_earlier { read.due } else { wait.due },
                    priority: wait.priority.max(read.priority),
                    ..*wait
                };
                self.keep(key.clone(), raised);
            }
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
    pub(super) fn clock_set(&mut self, step: ClockStep) {
        for early in self.early.values_mut() {
            for (at, key) in std::mem::take(early) {
                let at = step.of(at);
                if let Some(wait) = self.of.get_mut(&key) {
                    wait.due = at;
                }
                early.insert((at, key));
            }
        }
        for at in self.beyond.values_mut() {
            *at = step.of(*at);
        }
    }

    /// Those whose last request failed may go at once. The answer is whether some of them wait in the table.
    pub(super) fn forgive_retries(&mut self) -> bool {
        for class in [Class::Fresh, Class::Backfill] {
            for (_, key) in self.early.remove(&(class, true)).into_iter().flatten() {
                // Also after another entry of the profile has been read.
                if let Some(wait) = self.of.get_mut(&key) {
                    wait.due = Timestamp::from_unix_micros(i64::MIN);
                }
                self.is_due(key);
            }
        }
        self.beyond.keys().any(|(_, retry)| *retry)
    }

    /// The priorities of all that wait in memory.
    pub(super) fn all_priorities(&self) -> HashSet<i16> {
        self.of.values().map(|wait| wait.priority).collect()
    }

    /// Those whose time has come by `now` may go.
    pub(super) fn advance(&mut self, now: Timestamp) {
        let mut come = Vec::new();
        for early in self.early.values_mut() {
            while let Some((_, key)) = early.first().filter(|(at, _)| *at <= now).cloned() {
                early.pop_first();
                come.push(key);
            }
        }
        for key in come {
            self.is_due(key);
        }
    }

    fn is_due(&mut self, key: ProfileKey) {
        if let Some(wait) = self.of.get(&key) {
            let place = (Reverse(wait.priority), wait.retry);
            self.due.entry(place).or_default().insert((wait.id, key));
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
