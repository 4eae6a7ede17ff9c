//! The drain: which entries are sent when, and what their answers mean for them.
//!
//! It is a state machine without a clock, a table or a network. Whoever drives it (the worker in `src/pg`, a model
//! in the tests) repeats one cycle:
//!
//! 1. [`Drain::observe`] a snapshot, [`Drain::reads`] the lanes it asks for and hand the rows to [`Drain::select`], which
//!    picks the profiles whose turn it is;
//! 2. read *all* entries of those profiles in the same snapshot and hand them to [`Drain::claim`], which merges them
//!    into requests;
//! 3. make durable what [`Drain::reservations`] asks for, [`Drain::send`] the requests, and hand each answer to
//!    [`Drain::complete`] as it comes;
//! 4. have [`Drain::report`] add to the [`Batch`] what else is to be written, settle it in one transaction and say so
//!    with [`Drain::settled`].
//!
//! A profile has at most one delivery under way, from its selection until its batch is settled: that keeps its values
//! in order. Nothing here needs to survive a crash: what is in the outbox has not been settled, and is sent (again).

mod accounts;
mod client;
mod clock;
mod completion;
mod fate;
mod messages;
mod parked;
mod selection;
mod sending;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::attrs::FlatAttrs;
use crate::breaker::Opening;
use crate::client_code::ClientCode;
use crate::error::Error;
use crate::horizon::{Horizon, Snapshot};
use crate::id::ProfileKey;
use crate::quota::{Class, Count, Ledger, Minute};
use crate::request::{self, Request};
use crate::settings::ClientSettings;
use crate::settlement::{Activity, Again, Batch, Ended};
use crate::step::Leap;
use crate::time::Timestamp;

use client::Client;
pub use fate::{Carried, Ending, Fate, GivenUp, UNRECOGNISED_ATTEMPTS, fate};
pub use messages::{Answer, Dispatch, Entry, Head, LaneRead, Limits, Registration, Report};
use parked::Wait;

/// At most so many entries are merged into one request; the rest of the profile goes with the next. It bounds the
/// memory that one profile can take.
pub const MERGE_LIMIT: usize = 1_000;

/// Why an entry is given up that was retried after newer ones had been accepted.
pub const OVERTAKEN: &str = "overtaken: newer updates of the profile have set all of its attributes";

/// A profile's turn: what it was picked as.
#[derive(Debug, Clone, Copy)]
struct Turn {
    wait: Wait,
    /// The single request that an open breaker lets through.
    probe: bool,
    /// A retry that the budget has paid for.
    paid: bool,
}

/// A profile that was picked.
#[derive(Debug)]
enum Busy {
    /// Its entries are not yet claimed.
    Selected(Turn),
    /// The ticket of its delivery.
    UnderWay(u64),
}

/// One profile's merged entries on their way.
#[derive(Debug)]
struct Delivery {
    key: ProfileKey,
    turn: Turn,
    /// In the order of ids.
    carried: Vec<Carried>,
    ids: Vec<i64>,
    attrs: FlatAttrs,
    requests: Vec<Request>,
    /// The request under way: an index.
    part: usize,
    /// Attributes in the parts before that one.
    attrs_before: usize,
    /// For so many parts there is quota.
    parts_paid: u32,
    parts_sent: u32,
    /// The minute that the parts are charged to, once they are.
    minute: Minute,
    /// More entries of the profile are known to wait.
    more: Option<Wait>,
    /// Its last answer has come; only the settling of it is missing.
    ended: bool,
}

impl Delivery {
    fn class(&self) -> Class {
        Class::of(self.turn.wait.priority)
    }

    fn planned(&self) -> Count {
        self.class().count(u64::from(self.parts_paid))
    }

    /// Another entry of the profile was read, that did not go with this delivery.
    fn note_more(&mut self, wait: Wait) {
        self.more = Some(match self.more {
            None => wait,
            Some(other) => Wait {
                due: other.due.min(wait.due),
                priority: other.priority.max(wait.priority),
                id: other.id.min(wait.id),
                retry: other.retry && wait.retry,
            },
        });
    }

    /// The attributes of the request under way.
    fn part_attrs(&mut self) -> FlatAttrs {
        if self.requests.len() == 1 {
            return std::mem::take(&mut self.attrs);
        }
        let count = self.requests.get(self.part).map_or(0, |request| request.attrs);
        self.attrs.slice(self.attrs_before, count)
    }
}

/// The state of the drain; see the module's documentation for the cycle.
#[derive(Debug)]
pub struct Drain {
    limits: Limits,
    enabled: bool,
    clients: BTreeMap<ClientCode, Client>,
    /// Profiles selected or under way.
    busy: HashMap<ProfileKey, Busy>,
    deliveries: HashMap<u64, Delivery>,
    /// Deliveries that have ended and are not settled: their profiles are busy, their places in flight are free.
    settling: usize,
    next_ticket: u64,
    horizon: Horizon,
    look_for_lanes: bool,
    /// Where the next selection starts, so that no client is always first.
    turn: usize,
    /// What was sent and how it ended, as far as it has not been written.
    activity: BTreeMap<(ClientCode, Minute), Activity>,
    /// When it was written last.
    activity_written_at: Timestamp,
    /// By how much the clock was set forward.
    leap: Leap,
}

impl Drain {
    /// A drain that knows nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            enabled: true,
            clients: BTreeMap::new(),
            busy: HashMap::new(),
            deliveries: HashMap::new(),
            settling: 0,
            next_ticket: 1,
            horizon: Horizon::default(),
            look_for_lanes: true,
            turn: 0,
            activity: BTreeMap::new(),
            activity_written_at: Timestamp::from_unix_micros(i64::MIN),
            leap: Leap::default(),
        }
    }

    /// Forgets everything but its limits: the outbox is gone, or somebody else's by now. Tickets go on, so that a late report of
    /// a forgotten request is not taken for another's.
    pub fn reset(&mut self) {
        let fresh = Self::new(self.limits.clone());
        *self = Self {
            enabled: self.enabled,
            next_ticket: self.next_ticket,
            leap: self.leap,
            ..fresh
        };
    }

    /// New limits; what is in flight above them stays in flight.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Whether anything may be sent at all.
    pub fn set_enabled(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    /// Takes over the clients as they are registered now. A breaker is forgotten when the client is paused or resumed, or
    /// when its endpoint or token changed: somebody has done something about it.
    pub fn set_clients(&mut self, registered: Vec<Registration>, now: Timestamp) {
        let codes: BTreeSet<ClientCode> = registered.iter().map(|r| r.settings.code.clone()).collect();
        self.clients.retain(|code, _| codes.contains(code));
        for Registration {
            settings,
            paused,
            resumed_at,
            charged,
        } in registered
        {
            match self.clients.get_mut(&settings.code) {
                None => {
                    self.look_for_lanes = true;
                    let ledger = Ledger::load(Client::quota(&settings), &charged, now);
                    let mut client = Client::new(settings, paused, resumed_at, ledger);
                    // It was removed and is back while requests of its are still under way.
                    client.in_flight = self
                        .deliveries
                        .values()
                        .filter(|delivery| delivery.key.client == client.settings.code && !delivery.ended)
                        .count();
                    self.clients.insert(client.settings.code.clone(), client);
                }
                Some(client) => {
                    let moved = client.settings.endpoint.template() != settings.endpoint.template();
                    if moved {
                        client.forget_all_arrived();
                    }
                    if moved
                        || paused
                        || client.resumed_at != resumed_at
                        || client.settings.auth_token != settings.auth_token
                    {
                        client.forgive();
                    }
                    self.look_for_lanes |= client.paused && !paused;
                    client.ledger.set_quota(Client::quota(&settings));
                    client.settings = settings;
                    client.paused = paused;
                    client.resumed_at = resumed_at;
                }
            }
        }
    }

    /// Something was committed: the lanes may have more.
    pub fn new_work(&mut self) {
        self.look_for_lanes = true;
        for lane in self.clients.values_mut().flat_map(|c| c.lanes.values_mut()) {
            lane.exhausted = false;
        }
    }

    /// Reads every lane once more from its front, for rows that did not come in the order of [`Horizon`].
    pub fn sweep(&mut self) {
        self.new_work();
        for lane in self.clients.values_mut().flat_map(|c| c.lanes.values_mut()) {
            lane.reread_above(i64::MIN);
        }
    }

    /// Whether a claim would find anything to do at `now`.
    pub fn wants_to_claim(&self, now: Timestamp) -> bool {
        self.next_wake(now).is_some_and(|at| at <= now)
    }

    /// Takes note of the snapshot in which the lanes are read, and of the last outbox id drawn.
    pub fn observe(&mut self, snapshot: &Snapshot, last_id: i64) {
        if let Some(above) = self.horizon.observe(snapshot, last_id) {
            for lane in self.clients.values_mut().flat_map(|c| c.lanes.values_mut()) {
                lane.reread_above(above);
            }
        }
    }

    /// The ranges of priorities (client, above, below; both excluded) in which lanes must be looked for. Each lane
    /// found is told with [`Drain::found_lane`].
    pub fn unknown_lanes(&mut self) -> Vec<(ClientCode, i32, i32)> {
        if !self.enabled || !std::mem::take(&mut self.look_for_lanes) {
            return Vec::new();
        }
        self.clients
            .iter()
            .filter(|(_, client)| !client.paused)
            .flat_map(|(code, client)| {
                client
                    .unknown_priorities()
                    .into_iter()
                    .map(|(above, below)| (code.clone(), above, below))
            })
            .collect()
    }

    /// Entries of this priority were found: a lane that was not known. Ask [`Drain::unknown_lanes`] again: there may
    /// be more of them.
    pub fn found_lane(&mut self, code: &ClientCode, priority: i16) {
        if let Some(client) = self.clients.get_mut(code) {
            client.lanes.entry(Reverse(priority)).or_default();
            self.look_for_lanes = true;
        }
    }

    /// Merges the entries of the selected profiles (in the order of profiles and ids) into requests.
    pub fn claim(&mut self, profiles: Vec<ProfileKey>, entries: Vec<Entry>, batch: &mut Batch) -> Vec<Dispatch> {
        let mut of: Vec<Vec<Entry>> = profiles.iter().map(|_| Vec::new()).collect();
        for entry in entries {
            if let Some(list) = of.get_mut(entry.profile) {
                list.push(entry);
            }
        }
        profiles
            .into_iter()
            .zip(of)
            .filter_map(|(key, entries)| self.merge(key, entries, batch))
            .collect()
    }

    fn merge(&mut self, key: ProfileKey, entries: Vec<Entry>, batch: &mut Batch) -> Option<Dispatch> {
        let full = entries.len() >= MERGE_LIMIT;
        let mut merged = FlatAttrs::default();
        let mut carried = Vec::with_capacity(entries.len());
        for entry in entries {
            let attrs = if entry.retried && entry.attrs == "{}" {
                Err(OVERTAKEN.to_owned())
            } else {
                FlatAttrs::from_stored_json(&entry.attrs).map_err(|error| format!("invalid entry: {error}"))
            };
            match attrs {
                Ok(attrs) => {
                    merged.merge(attrs);
                    carried.push(Carried {
                        id: entry.id,
                        attempts: entry.attempts,
                        enqueued_at: entry.enqueued_at,
                    });
                }
                Err(reason) => batch.bury(entry.id, entry.attempts, reason),
            }
        }
        let client = self.clients.get_mut(&key.client);
        let built = match client {
            Some(client) if !carried.is_empty() => {
                client.drop_arrived(&key, &mut merged);
                if merged.is_empty() {
                    // Every part of it has arrived, since what was missing is gone.
                    carried.iter().for_each(|entry| batch.accept(entry.id));
                    client.forget_arrived(&key);
                }
                request::build(&client.settings.endpoint, &key, &merged, client.settings.method)
            }
            // The entries are gone (retried by hand, discarded), or their client is: nothing to send.
            _ => Ok(Vec::new()),
        };
        let requests = built.unwrap_or_else(|error: Error| {
            for entry in &carried {
                batch.bury(entry.id, entry.attempts, error.to_string());
            }
            Vec::new()
        });
        let (Some(Busy::Selected(turn)), Some(client), Some(first)) = (
            self.busy.get(&key),
            self.clients.get_mut(&key.client),
            requests.first().cloned(),
        ) else {
            if full {
                // There are more behind those that were looked at.
                self.give_back(key);
            } else {
                self.release(&key);
            }
            return None;
        };
        let turn = *turn;
        let class = Class::of(turn.wait.priority);
        let others = u64::try_from(requests.len() - 1)
            .unwrap_or(u64::MAX)
            .min(client.ledger.left(class));
        client.ledger.plan(class.count(others));
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let dispatch = dispatch(ticket, first, &client.settings);
        let minute = client.ledger.current();
        let ids: Vec<i64> = carried.iter().map(|entry| entry.id).collect();
        let more = full.then_some(Wait {
            due: Again::AT_ONCE.at,
            priority: turn.wait.priority,
            id: ids.last().copied().unwrap_or(turn.wait.id),
            retry: false,
        });
        self.busy.insert(key.clone(), Busy::UnderWay(ticket));
        self.deliveries.insert(
            ticket,
            Delivery {
                key,
                turn,
                carried,
                ids,
                attrs: merged,
                requests,
                part: 0,
                attrs_before: 0,
                parts_paid: u32::try_from(others + 1).unwrap_or(u32::MAX),
                parts_sent: 0,
                minute,
                more,
                ended: false,
            },
        );
        Some(dispatch)
    }

    /// A selected profile had nothing to send.
    fn release(&mut self, key: &ProfileKey) -> Option<Turn> {
        let busy = self.busy.remove(key);
        let client = self.clients.get_mut(&key.client);
        if let Some(client) = client {
            client.in_flight = client.in_flight.saturating_sub(1);
            if let Some(Busy::Selected(turn)) = &busy {
                client.ledger.unplan(Class::of(turn.wait.priority).count(1));
                if turn.probe {
                    client.breaker.probe_void();
                }
                if turn.paid {
                    client.budget.give_back();
                }
            }
        }
        match busy {
            Some(Busy::Selected(turn)) => Some(turn),
            _ => None,
        }
    }

    /// A selected profile has another turn, at once.
    fn give_back(&mut self, key: ProfileKey) {
        if let Some(turn) = self.release(&key)
            && let Some(client) = self.clients.get_mut(&key.client)
        {
            let due = Again::AT_ONCE.at;
            client.parked.park(key, Wait { due, ..turn.wait });
        }
    }

    /// Gives back profiles that were selected but whose entries could not be read: their claim failed.
    pub fn unselect(&mut self) {
        // The search for lanes may be what failed.
        self.look_for_lanes = true;
        let selected: Vec<ProfileKey> = self
            .busy
            .iter()
            .filter(|(_, busy)| matches!(busy, Busy::Selected(_)))
            .map(|(key, _)| key.clone())
            .collect();
        for key in selected {
            self.give_back(key);
        }
    }

    /// Adds to `batch` what is to be written beside the answers: breakers that moved since the last call, and now and
    /// then the activity.
    pub fn report(&mut self, now: Timestamp, batch: &mut Batch) {
        for (code, client) in &mut self.clients {
            if std::mem::take(&mut client.breaker_moved) {
                batch.breakers.retain(|(other, _)| other != code);
                batch.breakers.push((code.clone(), client.breaker.opening().cloned()));
            }
        }
        self.report_activity(now, batch);
    }

    /// The batch has been committed: its profiles may have their next turn.
    pub fn settled(&mut self, batch: Batch) {
        for ((code, minute), activity) in batch.activity {
            self.note_reserved(code, minute, activity.reserved);
        }
        for Ended { ticket, again } in batch.ended {
            let Some(delivery) = self.deliveries.remove(&ticket) else {
                continue;
            };
            self.busy.remove(&delivery.key);
            self.settling = self.settling.saturating_sub(1);
            if let Some(client) = self.clients.get_mut(&delivery.key.client) {
                // Newer entries go with the retry, or have a turn of their own.
                let wait = match (again, delivery.more) {
                    (Some(again), more) => Some(Wait {
                        due: again.at,
                        retry: again.retry,
                        priority: more.map_or(i16::MIN, |w| w.priority).max(delivery.turn.wait.priority),
                        id: delivery.turn.wait.id,
                    }),
                    (None, more) => more,
                };
                if let Some(wait) = wait {
                    client.parked.park(delivery.key, wait);
                }
            }
        }
    }

    /// When there is something to do next if nothing else happens; `None`: not before something is committed or answered.
    pub fn next_wake(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.enabled {
            return None;
        }
        if self.free() == 0 {
            return None;
        }
        let look = (self.look_for_lanes && self.clients.values().any(|client| !client.paused)).then_some(now);
        self.clients
            .values()
            .filter_map(|client| client.next_wake(now))
            .chain(look)
            .min()
    }

    /// How many profiles have a request under way. Those whose answer has come and waits to be settled do not count.
    pub fn in_flight(&self) -> usize {
        self.busy.len().saturating_sub(self.settling)
    }

    /// The profiles with a delivery under way, each with the lowest and the highest outbox id that it carries.
    pub fn under_way(&self) -> impl Iterator<Item = (&ProfileKey, i64, i64)> {
        self.deliveries
            .values()
            .filter_map(|delivery| Some((&delivery.key, *delivery.ids.first()?, *delivery.ids.last()?)))
    }

    /// Why the breaker of a client is open, if it is.
    pub fn opening(&self, code: &ClientCode) -> Option<&Opening> {
        self.clients.get(code)?.breaker.opening()
    }

    fn free(&self) -> usize {
        if self.enabled {
            self.limits.max_in_flight.saturating_sub(self.in_flight())
        } else {
            0
        }
    }

    /// The clients, another one first each time.
    fn in_turn(&self) -> impl Iterator<Item = (&ClientCode, &Client)> {
        let first = if self.clients.is_empty() {
            0
        } else {
            self.turn % self.clients.len()
        };
        self.clients.iter().skip(first).chain(self.clients.iter().take(first))
    }
}

fn dispatch(ticket: u64, request: Request, settings: &ClientSettings) -> Dispatch {
    Dispatch {
        ticket,
        sent_at: Timestamp::from_unix_micros(0),
        request,
        auth_token: settings.auth_token.clone(),
        timeout: settings.timeout,
    }
}

/// The open ranges of priorities between and around the `known` ones, which come highest first.
fn lane_priorities_gap(known: impl Iterator<Item = i32>) -> Vec<(i32, i32)> {
    let mut gaps = Vec::new();
    let mut below = i32::from(i16::MAX) + 1;
    for priority in known {
        if below - priority > 1 {
            gaps.push((priority, below));
        }
        below = priority;
    }
    if below > i32::from(i16::MIN) {
        gaps.push((i32::from(i16::MIN) - 1, below));
    }
    gaps
}
