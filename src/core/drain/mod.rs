//! The drain: which entries are sent when, and what their answers mean for them.
//!
//! It is a state machine without a clock, a table or a network. Whoever drives it (the worker in `src/pg`, a model
//! in the tests) repeats one cycle:
//!
//! 1. [`Drain::observe`] a snapshot, [`Drain::reads`] the lanes it asks for and hand the rows to [`Drain::select`], which
//!    picks the profiles whose turn it is;
//! 2. read *all* entries of those profiles in the same snapshot and hand them to [`Drain::claim`], which merges them
//!    into requests;
//! 3. send these; hand each answer to [`Drain::complete`] as it comes;
//! 4. settle the [`Batch`] in one transaction and say so with [`Drain::settled`].
//!
//! A profile has at most one delivery under way, from its selection until its batch is settled: that keeps its values
//! in order. Nothing here needs to survive a crash: what is in the outbox has not been settled, and is sent (again).

mod client;
mod completion;
mod fate;
mod messages;
mod selection;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::attrs::FlatAttrs;
use crate::breaker::Opening;
use crate::client_code::ClientCode;
use crate::error::Error;
use crate::horizon::{Horizon, Snapshot};
use crate::id::ProfileKey;
use crate::request::{self, Request};
use crate::settings::ClientSettings;
use crate::settlement::{Batch, Dead, Ended};
use crate::time::Timestamp;

use client::Client;
pub use fate::{Carried, Ending, Fate, GivenUp, UNRECOGNISED_ATTEMPTS, fate};
pub use messages::{Answer, Dispatch, Entry, Head, LaneRead, Limits, Report};

/// At most so many entries are merged into one request; the rest of the profile goes with the next. It bounds the
/// memory that one profile can take.
pub const MERGE_LIMIT: usize = 1_000;

/// One profile's merged entries on their way.
#[derive(Debug)]
struct Delivery {
    key: ProfileKey,
    /// In the order of ids.
    carried: Vec<Carried>,
    ids: Vec<i64>,
    requests: Vec<Request>,
    /// The request under way: an index.
    part: usize,
    probe: bool,
    /// Its last answer has come; only the settling of it is missing.
    ended: bool,
    /// More entries of the profile are known to wait; the first of them may go from this point in time on.
    more: Option<Timestamp>,
}

/// The state of the drain; see the module's documentation for the cycle.
#[derive(Debug)]
pub struct Drain {
    limits: Limits,
    enabled: bool,
    clients: BTreeMap<ClientCode, Client>,
    /// Profiles selected or under way. `None`: selected, its entries not yet claimed.
    busy: HashMap<ProfileKey, Option<u64>>,
    deliveries: HashMap<u64, Delivery>,
    /// Deliveries that have ended and are not settled: their profiles are busy, their places in flight are free.
    settling: usize,
    next_ticket: u64,
    horizon: Horizon,
    look_for_lanes: bool,
    /// Where the next selection starts, so that no client is always first.
    turn: usize,
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
        }
    }

    /// Forgets everything but its limits: the outbox is gone, or somebody else's by now. Tickets go on, so that a late report of
    /// a forgotten request is not taken for another's.
    pub fn reset(&mut self) {
        let fresh = Self::new(self.limits.clone());
        *self = Self {
            enabled: self.enabled,
            next_ticket: self.next_ticket,
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

    /// Takes over the clients as they are registered now, each with whether it is paused. A breaker is forgotten when the
    /// client is paused, or when its endpoint or token changed: somebody has done something about it.
    pub fn set_clients(&mut self, registered: Vec<(ClientSettings, bool)>) {
        let codes: BTreeSet<ClientCode> = registered.iter().map(|(s, _)| s.code.clone()).collect();
        self.clients.retain(|code, _| codes.contains(code));
        for (settings, paused) in registered {
            match self.clients.get_mut(&settings.code) {
                None => {
                    self.look_for_lanes = true;
                    let mut client = Client::new(settings, paused);
                    // It was removed and is back while requests of its are still under way.
                    client.in_flight = self
                        .busy
                        .iter()
                        .filter(|(key, _)| key.client == client.settings.code)
                        .filter(|(_, ticket)| ticket.and_then(|t| self.deliveries.get(&t)).is_none_or(|d| !d.ended))
                        .count();
                    self.clients.insert(client.settings.code.clone(), client);
                }
                Some(client) => {
                    let renewed = client.settings.endpoint.template() != settings.endpoint.template()
                        || client.settings.auth_token != settings.auth_token;
                    if (paused || renewed) && client.breaker.opening().is_some() {
                        client.breaker = Default::default();
                        client.breaker_moved = true;
                        // Nor do they wait for what the old endpoint had made of them.
                        client.parked.make_due();
                    }
                    self.look_for_lanes |= client.paused && !paused;
                    client.settings = settings;
                    client.paused = paused;
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
        let more = (entries.len() >= MERGE_LIMIT).then_some(Timestamp::from_unix_micros(0));
        let mut merged = FlatAttrs::default();
        let mut carried = Vec::with_capacity(entries.len());
        for entry in entries {
            match FlatAttrs::from_stored_json(&entry.attrs) {
                Ok(attrs) => {
                    merged.merge(attrs);
                    let Entry {
                        id,
                        attempts,
                        enqueued_at,
                        ..
                    } = entry;
                    carried.push(Carried {
                        id,
                        attempts,
                        enqueued_at,
                    });
                }
                Err(error) => batch.dead.push(Dead {
                    id: entry.id,
                    attempts: entry.attempts,
                    reason: format!("invalid entry: {error}"),
                    outcome: None,
                    response: None,
                }),
            }
        }
        let client = self.clients.get_mut(&key.client);
        let built = match &client {
            // Written by hand: nothing that the functions enqueue is empty.
            Some(_) if !carried.is_empty() && merged.is_empty() => Err(Error::NothingToSend),
            Some(client) if !carried.is_empty() => {
                request::build(&client.settings.endpoint, &key, &merged, client.settings.method)
            }
            // The entries are gone (retried by hand, discarded), or their client is: nothing to send.
            _ => Ok(Vec::new()),
        };
        let requests = match built {
            Ok(requests) => requests,
            Err(error) => {
                batch.dead.extend(carried.iter().map(|entry| Dead {
                    id: entry.id,
                    attempts: entry.attempts,
                    reason: error.to_string(),
                    outcome: None,
                    response: None,
                }));
                Vec::new()
            }
        };
        let (Some(client), Some(first)) = (client, requests.first().cloned()) else {
            self.release(&key);
            return None;
        };
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let dispatch = dispatch(ticket, first, &client.settings);
        let ids = carried.iter().map(|entry| entry.id).collect();
        let probe = client.breaker.opening().is_some();
        self.busy.insert(key.clone(), Some(ticket));
        self.deliveries.insert(
            ticket,
            Delivery {
                key,
                carried,
                ids,
                requests,
                part: 0,
                probe,
                ended: false,
                more,
            },
        );
        Some(dispatch)
    }

    /// A selected profile had nothing to send.
    fn release(&mut self, key: &ProfileKey) {
        self.busy.remove(key);
        if let Some(client) = self.clients.get_mut(&key.client) {
            client.in_flight = client.in_flight.saturating_sub(1);
            client.breaker.probe_void();
        }
    }

    /// Gives back profiles that were selected but whose entries could not be read: their claim failed.
    pub fn unselect(&mut self, now: Timestamp) {
        // The search for lanes may be what failed.
        self.look_for_lanes = true;
        let selected: Vec<ProfileKey> = self
            .busy
            .iter()
            .filter(|(_, ticket)| ticket.is_none())
            .map(|(key, _)| key.clone())
            .collect();
        for key in selected {
            self.release(&key);
            if let Some(client) = self.clients.get_mut(&key.client) {
                client.parked.park(key, now);
            }
        }
    }

    /// The breakers that moved since the last call go into `batch`.
    pub fn report_breakers(&mut self, batch: &mut Batch) {
        for (code, client) in &mut self.clients {
            if std::mem::take(&mut client.breaker_moved) {
                batch.breakers.retain(|(other, _)| other != code);
                batch.breakers.push((code.clone(), client.breaker.opening().cloned()));
            }
        }
    }

    /// The batch has been committed: its profiles may have their next turn.
    pub fn settled(&mut self, batch: Batch) {
        for Ended { ticket, again_at } in batch.ended {
            let Some(delivery) = self.deliveries.remove(&ticket) else {
                continue;
            };
            self.busy.remove(&delivery.key);
            self.settling = self.settling.saturating_sub(1);
            if let Some(client) = self.clients.get_mut(&delivery.key.client) {
                // Newer entries go with the retry, or have a turn of their own.
                if let Some(at) = again_at.or(delivery.more) {
                    client.parked.park(delivery.key, at);
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

    /// How many profiles have a request under way. Those whose answer has come and waits to be settled do not count: what an
    /// answer costs to be written down is no reason to let the network idle.
    pub fn in_flight(&self) -> usize {
        self.busy.len().saturating_sub(self.settling)
    }

    /// The profiles with a delivery under way, each with the highest outbox id that it carries.
    pub fn under_way(&self) -> impl Iterator<Item = (&ProfileKey, i64)> {
        self.deliveries
            .values()
            .filter_map(|delivery| Some((&delivery.key, *delivery.ids.last()?)))
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
