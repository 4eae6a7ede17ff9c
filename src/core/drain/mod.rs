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
mod fate;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::attrs::FlatAttrs;
use crate::breaker::{Admission, Opening};
use crate::client_code::ClientCode;
use crate::error::Error;
use crate::horizon::{Horizon, Snapshot};
use crate::id::{IdKind, ProfileId, ProfileKey};
use crate::lane::REVISIT_LIMIT;
use crate::request::{self, Request};
use crate::retry;
use crate::secret::Secret;
use crate::settings::ClientSettings;
use crate::settlement::{Batch, Dead, Ended, ResponseRecord, Retry};
use crate::time::Timestamp;
use crate::verdict::{self, Outcome};

use client::Client;
pub use fate::{Carried, Ending, Fate, GivenUp, UNRECOGNISED_ATTEMPTS, fate};

/// At most so many entries are merged into one request; the rest of the profile goes with the next. It bounds the
/// memory that one profile can take.
pub const MERGE_LIMIT: usize = 1_000;

/// What the drain as a whole may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Requests in flight at a time, over all clients.
    pub max_in_flight: usize,
    /// How much of an answer's body is recorded, bytes.
    pub body_bytes: usize,
}

/// A range of one lane to be read in the order of ids: the query is
/// `client_code = client AND priority = priority AND id > above AND id <= up_to ORDER BY id LIMIT limit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneRead {
    /// Whose lane.
    pub client: ClientCode,
    /// Which of its lanes.
    pub priority: i16,
    /// Ids above this one.
    pub above: i64,
    /// Ids up to and including this one.
    pub up_to: i64,
    /// At most so many rows.
    pub limit: u32,
    revisit: bool,
}

/// The head of one entry, as a lane read finds it.
#[derive(Debug, Clone)]
pub struct Head {
    /// Index into the lane reads.
    pub read: usize,
    /// Outbox id.
    pub id: i64,
    /// `id_kind` as stored.
    pub id_kind: String,
    /// `profile_id` as stored.
    pub profile_id: String,
    /// When it was written.
    pub enqueued_at: Timestamp,
    /// Not before this point in time.
    pub next_attempt_at: Option<Timestamp>,
}

/// One entry of a selected profile, as the outbox stores it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Index into the selected profiles.
    pub profile: usize,
    /// Outbox id.
    pub id: i64,
    /// `attrs` as JSON text.
    pub attrs: String,
    /// Attempts that counted against it.
    pub attempts: u32,
    /// When it was written.
    pub enqueued_at: Timestamp,
}

/// A request to be sent now.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// Names it in [`Drain::complete`].
    pub ticket: u64,
    /// What to send.
    pub request: Request,
    /// The client's token.
    pub auth_token: Option<Secret>,
    /// How long it may take in all.
    pub timeout: Duration,
}

/// How a request ended.
#[derive(Debug, Clone)]
pub struct Report {
    /// Which one.
    pub ticket: u64,
    /// When it was handed to the network.
    pub sent_at: Timestamp,
    /// From then until its end.
    pub duration: Duration,
    /// The answer, or what went wrong on the way.
    pub result: Result<Answer, String>,
}

/// What the server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header `Retry-After`, as it came.
    pub retry_after: Option<String>,
    /// The start of the body.
    pub body: Vec<u8>,
}

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
                        .keys()
                        .filter(|key| key.client == client.settings.code)
                        .count();
                    self.clients.insert(client.settings.code.clone(), client);
                }
                Some(client) => {
                    let renewed = client.settings.endpoint.template() != settings.endpoint.template()
                        || client.settings.auth_token != settings.auth_token;
                    if (paused || renewed) && client.breaker.opening().is_some() {
                        client.breaker = Default::default();
                        client.breaker_moved = true;
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

    /// What to read now.
    pub fn reads(&self, now: Timestamp) -> Vec<LaneRead> {
        let free = self.free();
        if free == 0 {
            return Vec::new();
        }
        let mut reads = Vec::new();
        for (code, client) in self.in_turn() {
            let room = client.room(now).min(free);
            if room == 0 || !client.lanes_readable() {
                continue;
            }
            // At least a page full: rows of profiles that are under way or wait are passed over.
            let limit = u32::try_from(room.max(32)).unwrap_or(u32::MAX);
            for (priority, lane) in &client.lanes {
                if let Some((above, up_to)) = lane.revisit {
                    let (client, priority) = (code.clone(), priority.0);
                    reads.push(LaneRead {
                        client,
                        priority,
                        above,
                        up_to,
                        limit: REVISIT_LIMIT,
                        revisit: true,
                    });
                }
                if !lane.exhausted {
                    let (client, priority, above) = (code.clone(), priority.0, lane.cursor);
                    reads.push(LaneRead {
                        client,
                        priority,
                        above,
                        up_to: i64::MAX,
                        limit,
                        revisit: false,
                    });
                }
            }
        }
        reads
    }

    /// Picks the profiles whose turn it is from those whose time has come and from the rows that `reads` found (in the order of
    /// reads and ids). All entries of the profiles must then be read and handed to [`Drain::claim`]; entries
    /// that can never be sent go into `batch`.
    pub fn select(&mut self, reads: &[LaneRead], heads: &[Head], now: Timestamp, batch: &mut Batch) -> Vec<ProfileKey> {
        let mut selection = Selection {
            free: self.free(),
            profiles: Vec::new(),
        };
        let mut rows_of: HashMap<usize, &[Head]> = HashMap::new();
        for rows in heads.chunk_by(|a, b| a.read == b.read) {
            if let Some(first) = rows.first() {
                rows_of.insert(first.read, rows);
            }
        }
        let mut reads_of: HashMap<&ClientCode, Vec<usize>> = HashMap::new();
        for (index, read) in reads.iter().enumerate() {
            reads_of.entry(&read.client).or_default().push(index);
        }
        let codes: Vec<ClientCode> = self.in_turn().map(|(code, _)| code.clone()).collect();
        for code in codes {
            self.select_due(&code, now, &mut selection);
            for index in reads_of.remove(&code).unwrap_or_default() {
                let rows = rows_of.get(&index).copied().unwrap_or(&[]);
                self.select_from(&reads[index], rows, now, &mut selection, batch);
            }
        }
        self.turn = self.turn.wrapping_add(1);
        selection.profiles
    }

    fn select_due(&mut self, code: &ClientCode, now: Timestamp, selection: &mut Selection) {
        let Some(client) = self.clients.get_mut(code) else {
            return;
        };
        while selection.free > 0 && client.room(now) > 0 {
            let Some(key) = client.parked.pop_due(now) else { return };
            selection.add(key, client, &mut self.busy, now);
        }
    }

    fn select_from(
        &mut self,
        read: &LaneRead,
        rows: &[Head],
        now: Timestamp,
        selection: &mut Selection,
        batch: &mut Batch,
    ) {
        let Some(client) = self.clients.get_mut(&read.client) else {
            return;
        };
        let mut passed = None;
        let mut all = true;
        for row in rows {
            let key = match profile_key(&read.client, row) {
                Ok(key) => key,
                Err(reason) => {
                    batch.dead.push(Dead {
                        id: row.id,
                        attempts: 0,
                        reason,
                        outcome: None,
                        response: None,
                    });
                    passed = Some(row.id);
                    continue;
                }
            };
            let due = row
                .next_attempt_at
                .unwrap_or(row.enqueued_at)
                .max(row.enqueued_at.plus(client.settings.delay));
            if let Some(ticket) = self.busy.get(&key) {
                if let Some(delivery) = ticket.and_then(|t| self.deliveries.get_mut(&t))
                    && delivery.ids.binary_search(&row.id).is_err()
                {
                    delivery.more = Some(delivery.more.map_or(due, |other| other.min(due)));
                }
            } else if !client.parked.contains(&key) {
                if due > now {
                    if !client.lanes_readable() {
                        all = false;
                        break;
                    }
                    client.parked.park(key, due);
                } else if selection.free > 0 && client.room(now) > 0 {
                    selection.add(key, client, &mut self.busy, now);
                } else {
                    all = false;
                    break;
                }
            }
            passed = Some(row.id);
        }
        let read_all = all && (rows.len() as u64) < u64::from(read.limit);
        let Some(lane) = client.lanes.get_mut(&Reverse(read.priority)) else {
            return;
        };
        if read.revisit {
            lane.revisit = match (read_all, passed) {
                (true, _) => None,
                (false, Some(id)) => Some((id, read.up_to)),
                (false, None) => lane.revisit,
            };
        } else {
            lane.cursor = passed.map_or(lane.cursor, |id| lane.cursor.max(id));
            lane.exhausted = read_all;
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

    /// Takes note of how a request ended. What must be stored goes into `batch`; the answer is the next request of
    /// the same delivery, if its update was split. `jitter` is drawn uniformly from `[0, 1)`.
    pub fn complete(&mut self, report: Report, now: Timestamp, jitter: f64, batch: &mut Batch) -> Option<Dispatch> {
        let delivery = self.deliveries.get_mut(&report.ticket)?;
        let request = delivery.requests.get(delivery.part)?;
        let (status, asked, body) = match &report.result {
            Ok(answer) => {
                let asked = answer
                    .retry_after
                    .as_deref()
                    .and_then(|header| retry::retry_after(header, now));
                (
                    Some(answer.status),
                    asked,
                    Some(verdict::body_for_record(&answer.body, self.limits.body_bytes)),
                )
            }
            Err(_) => (None, None, None),
        };
        let (outcome, message) = match &report.result {
            Ok(answer) => {
                let verdict = verdict::judge(answer.status, &answer.body);
                (verdict.outcome, verdict.message)
            }
            Err(error) => (Outcome::Failed, Some(error.clone())),
        };
        let asked = asked.or((status == Some(503)).then_some(retry::LIMITER_REST));
        let response = batch.responses.len();
        batch.responses.push(ResponseRecord {
            key: delivery.key.clone(),
            outbox_ids: delivery.ids.clone(),
            part: u16::try_from(delivery.part + 1).unwrap_or(u16::MAX),
            parts: u16::try_from(delivery.requests.len()).unwrap_or(u16::MAX),
            method: request.method,
            request_bytes: request.bytes(),
            attempt: delivery
                .carried
                .iter()
                .map(|entry| entry.attempts)
                .max()
                .unwrap_or(0)
                .saturating_add(1),
            sent_at: report.sent_at,
            duration: report.duration,
            http_status: status,
            outcome,
            message: message.clone(),
            body,
        });
        let why = explain(outcome, status, message.as_deref());
        // A client that was removed while its request was in flight: what it answered is recorded all the same.
        let client = self.clients.get_mut(&delivery.key.client);
        if outcome == Outcome::Accepted && delivery.part + 1 < delivery.requests.len() {
            if let Some(client) = &client
                && !client.paused
                && self.enabled
            {
                delivery.part += 1;
                return Some(dispatch(
                    report.ticket,
                    delivery.requests[delivery.part].clone(),
                    &client.settings,
                ));
            }
            // The rest must wait: all of it is sent again then, which does no harm.
            batch.ended.push(Ended {
                ticket: report.ticket,
                again_at: Some(now),
            });
            return None;
        }
        let Some(client) = client else {
            settle_orphan(delivery, outcome, batch);
            // The client may be back by then.
            let again_at = (outcome != Outcome::Accepted).then_some(now);
            batch.ended.push(Ended {
                ticket: report.ticket,
                again_at,
            });
            return None;
        };
        let opening_before = client.breaker.opening().cloned();
        client.breaker.note(outcome, delivery.probe, asked, &why, now, jitter);
        client.breaker_moved |= client.breaker.opening() != opening_before.as_ref();
        if outcome == Outcome::Unauthorized && !client.paused {
            client.paused = true;
            batch.pauses.push((delivery.key.client.clone(), why.clone()));
        }
        let ending = Ending {
            outcome,
            counts: opening_before.is_none() && client.breaker.opening().is_none(),
            asked,
            at: now,
            not_before: client.breaker.opening().map(|opening| opening.next_try_at),
            jitter,
        };
        let mut again_at = None;
        for entry in &delivery.carried {
            match fate(entry, &ending, &client.settings) {
                Fate::Accepted => batch.accepted.push(entry.id),
                Fate::Held => again_at = Some(now),
                Fate::Retry { attempts, at } => {
                    batch.retries.push(Retry {
                        id: entry.id,
                        attempts,
                        next_attempt_at: at,
                        outcome,
                    });
                    again_at = Some(again_at.map_or(at, |other: Timestamp| other.max(at)));
                }
                Fate::Dead {
                    attempts,
                    why: given_up,
                } => batch.dead.push(Dead {
                    id: entry.id,
                    attempts,
                    reason: given_up.reason(&why, attempts, &client.settings),
                    outcome: Some(outcome),
                    response: Some(response),
                }),
            }
        }
        batch.ended.push(Ended {
            ticket: report.ticket,
            again_at,
        });
        None
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
            if let Some(client) = self.clients.get_mut(&delivery.key.client) {
                client.in_flight = client.in_flight.saturating_sub(1);
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

    /// How many profiles have a delivery under way.
    pub fn in_flight(&self) -> usize {
        self.busy.len()
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
            self.limits.max_in_flight.saturating_sub(self.busy.len())
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

struct Selection {
    free: usize,
    profiles: Vec<ProfileKey>,
}

impl Selection {
    fn add(
        &mut self,
        key: ProfileKey,
        client: &mut Client,
        busy: &mut HashMap<ProfileKey, Option<u64>>,
        now: Timestamp,
    ) {
        if client.breaker.admits(now) == Admission::Probe {
            client.breaker.probe_sent();
        }
        client.in_flight += 1;
        self.free -= 1;
        busy.insert(key.clone(), None);
        self.profiles.push(key);
    }
}

fn profile_key(client: &ClientCode, row: &Head) -> Result<ProfileKey, String> {
    let kind = IdKind::parse(&row.id_kind).map_err(|error| format!("invalid entry: {error}"))?;
    let id = ProfileId::parse(kind, &row.profile_id).map_err(|error| format!("invalid entry: {error}"))?;
    Ok(ProfileKey {
        client: client.clone(),
        kind,
        id,
    })
}

fn dispatch(ticket: u64, request: Request, settings: &ClientSettings) -> Dispatch {
    Dispatch {
        ticket,
        request,
        auth_token: settings.auth_token.clone(),
        timeout: settings.timeout,
    }
}

/// The client is gone: an accepted entry goes, any other waits for the client to be registered again or for the
/// sweep that finds entries without a client.
fn settle_orphan(delivery: &Delivery, outcome: Outcome, batch: &mut Batch) {
    if outcome == Outcome::Accepted {
        batch.accepted.extend(delivery.carried.iter().map(|entry| entry.id));
    }
}

fn explain(outcome: Outcome, status: Option<u16>, message: Option<&str>) -> String {
    match (status, message) {
        (Some(status), Some(message)) => format!("{} with HTTP status {status}: {message}", outcome.as_str()),
        (Some(status), None) => format!("{} with HTTP status {status}", outcome.as_str()),
        (None, Some(message)) => message.to_owned(),
        (None, None) => outcome.as_str().to_owned(),
    }
}

impl GivenUp {
    fn reason(self, last: &str, attempts: u32, settings: &ClientSettings) -> String {
        match self {
            Self::Rejected => last.to_owned(),
            Self::Unrecognised => format!("gave up after {attempts} answers that are not Target's; last: {last}"),
            Self::Attempts => format!("gave up after {attempts} attempts; last: {last}"),
            Self::Age => format!("gave up: older than max_age ({:?}); last: {last}", settings.max_age),
        }
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
