//! The drain against a model: an outbox whose transactions draw ids and commit in any order, an endpoint that answers
//! anything in any order, and a worker that crashes. Every step is checked against what the drain promises.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use proptest::prelude::*;
use target_profile_core::attrs::FlatAttrs;
use target_profile_core::client_code::ClientCode;
use target_profile_core::drain::{
    Answer, Dispatch, Drain, Entry, Head, Limits, MERGE_LIMIT, OVERTAKEN, Registration, Report,
};
use target_profile_core::horizon::Snapshot;
use target_profile_core::id::{IdKind, ProfileKey};
use target_profile_core::quota::{Count, Minute, WINDOW};
use target_profile_core::settings::{ClientRow, ClientSettings};
use target_profile_core::settlement::{Batch, Left, Reservation};
use target_profile_core::time::Timestamp;

use crate::outbox::{at, row_of};

/// So many requests at once, over all clients: fewer than the clients may have together.
const MAX_IN_FLIGHT: usize = 5;
const CLIENTS: [&str; 3] = ["acme", "umbrella", "initech"];
/// Whatever is sent for this profile is rejected, at all times.
const POISON: &str = "poison";
const PROFILES: [&str; 5] = ["ada", "bob", "cy", "dee", POISON];
const PRIORITIES: [i16; 3] = [-10, 0, 7];
const ATTRS: [&str; 3] = ["a", "b", "c"];

/// One entry to be written: whose, how urgent, and which attributes it sets.
#[derive(Debug, Clone, Copy)]
struct Write {
    client: usize,
    profile: usize,
    priority: usize,
    attrs: u8,
}

/// How the endpoint treats a request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Treatment {
    Accept,
    Reject,
    NotFound,
    Redirect,
    Gibberish,
    Unauthorized,
    Throttle(u32),
    Limiter,
    Fail,
    NoAnswer,
    /// The values arrive, the answer does not.
    AnswerLost,
}

/// Where a claim fails.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Failure {
    Lanes,
    Entries,
    Reservation,
    /// The worker dies when the reservation is durable, before anything is sent.
    CrashAfterReservation,
}

#[derive(Debug, Clone)]
enum Step {
    Begin,
    Write(usize, Write),
    Commit(usize),
    Abort(usize),
    /// A transaction of one entry.
    Autocommit(Write),
    /// A claim, during which a transaction may begin, write and perhaps commit after the snapshot was taken.
    Claim(Option<(Write, bool)>),
    /// A claim that fails halfway.
    ClaimFails(Failure),
    Answer(usize, Treatment),
    Settle,
    /// Somebody locks a waiting entry: it cannot be settled.
    Lock(usize),
    /// He gives all of them free.
    Unlock,
    Wait(u64),
    /// The clock is set back.
    SetBack(u64),
    Crash(u8),
    /// A dead letter goes back to the outbox.
    RetryDead(usize),
    Pause(usize),
    Resume(usize),
    Remove(usize),
    Add(usize),
    Enable(bool),
}

#[derive(Debug, Clone)]
struct Row {
    id: i64,
    key: ProfileKey,
    priority: i16,
    attrs: u8,
    enqueued_at: Timestamp,
    attempts: u32,
    next_attempt_at: Option<Timestamp>,
    retried: bool,
}

/// When an entry was written and when it could be seen, on the count of all events.
#[derive(Debug, Clone, Copy)]
struct Life {
    drawn: u64,
    committed: Option<u64>,
}

#[derive(Debug)]
struct Tx {
    xid: u64,
    rows: Vec<Row>,
}

struct InFlight {
    dispatch: Dispatch,
    key: ProfileKey,
    can_wait: bool,
}

struct World {
    now: Timestamp,
    event: u64,
    next_xid: u64,
    latest_completed: u64,
    last_id: i64,
    open: Vec<Tx>,
    outbox: BTreeMap<i64, Row>,
    lives: HashMap<i64, Life>,
    /// Every row ever written, by profile and attribute.
    values: HashMap<(ProfileKey, usize), Vec<i64>>,
    dead: BTreeMap<i64, (String, Row)>,
    /// Attributes of dead letters that newer entries have set since.
    overtaken: BTreeMap<i64, BTreeSet<String>>,
    accepted: BTreeSet<i64>,
    /// The table `activity`: what is reserved.
    reserved: BTreeMap<(ClientCode, Minute), Count>,
    /// When requests of each client were sent, and whether all of their entries could wait.
    sent: [Vec<(Timestamp, bool)>; 3],
    /// Values are so large that an update of two attributes takes two requests.
    padded: bool,
    /// For each attribute of each profile the entries whose values arrived, in this order.
    arrived: HashMap<(ProfileKey, usize), Vec<i64>>,
    paused: [bool; 3],
    registered: [bool; 3],
    enabled: bool,
    drain: Drain,
    batch: Batch,
    /// What could not be settled yet.
    later: Batch,
    /// Entries that somebody has locked.
    locked: BTreeSet<i64>,
    in_flight: Vec<InFlight>,
    /// From dispatch until the batch that ends the delivery is settled.
    under_way: BTreeMap<ProfileKey, u64>,
    ended: Vec<ProfileKey>,
    /// The entries that are part of what is under way.
    carried: HashMap<ProfileKey, BTreeSet<i64>>,
    woken: bool,
    /// The state of each entry, as `result` would tell it.
    states: BTreeMap<i64, &'static str>,
    edges: BTreeSet<(String, String)>,
    jitter: f64,
    requests: usize,
}

fn code(client: usize) -> ClientCode {
    ClientCode::parse(CLIENTS[client]).unwrap()
}

/// The clients differ in what matters here.
fn settings(client: usize) -> ClientSettings {
    let row = row_of(CLIENTS[client]);
    let row = match client {
        0 => ClientRow {
            max_in_flight: 1,
            ..row
        },
        1 => ClientRow {
            max_in_flight: 3,
            delay: 700_000,
            method: "post".to_owned(),
            ..row
        },
        _ => ClientRow {
            max_in_flight: 4,
            max_attempts: 4,
            daily_quota: 25,
            backfill_share: 0.3,
            ..row
        },
    };
    row.check().unwrap()
}

fn new_drain() -> Drain {
    Drain::new(Limits {
        max_in_flight: MAX_IN_FLIGHT,
        body_bytes: 100,
    })
}

impl World {
    fn new(jitter: f64, padded: bool) -> Self {
        let mut world = Self {
            now: at(1_000_000),
            event: 0,
            next_xid: 100,
            latest_completed: 99,
            last_id: 0,
            open: Vec::new(),
            outbox: BTreeMap::new(),
            lives: HashMap::new(),
            values: HashMap::new(),
            dead: BTreeMap::new(),
            overtaken: BTreeMap::new(),
            accepted: BTreeSet::new(),
            reserved: BTreeMap::new(),
            sent: Default::default(),
            padded,
            arrived: HashMap::new(),
            paused: [false; 3],
            registered: [true; 3],
            enabled: true,
            drain: new_drain(),
            batch: Batch::default(),
            later: Batch::default(),
            locked: BTreeSet::new(),
            in_flight: Vec::new(),
            under_way: BTreeMap::new(),
            ended: Vec::new(),
            carried: HashMap::new(),
            woken: true,
            states: BTreeMap::new(),
            edges: crate::status::diagram(0),
            jitter,
            requests: 0,
        };
        world.tell_clients();
        world
    }

    fn tell_clients(&mut self) {
        let clients = (0..3)
            .filter(|&i| self.registered[i])
            .map(|i| Registration {
                settings: settings(i),
                paused: self.paused[i],
                resumed_at: None,
                charged: self.charged(&code(i)),
            })
            .collect();
        self.drain.set_clients(clients, self.now);
        self.drain.set_enabled(self.enabled);
    }

    /// Every entry is in a state that the diagram of docs/monitoring.md leads to from the one it was in.
    fn check_states(&mut self) {
        for id in self.lives.keys().copied().collect::<Vec<_>>() {
            let state = if let Some(row) = self.outbox.get(&id) {
                let carried = self.carried.get(&row.key).is_some_and(|ids| ids.contains(&id));
                if carried { "in flight" } else { "waiting" }
            } else if self.dead.contains_key(&id) {
                "dead"
            } else if self.accepted.contains(&id) {
                "accepted"
            } else {
                continue;
            };
            let before = self.states.insert(id, state).unwrap_or("[*]");
            assert!(
                before == state || self.edges.contains(&(before.to_owned(), state.to_owned())),
                "{id} went from {before} to {state}"
            );
        }
    }

    /// What the worker reads of the ledger when it starts.
    fn charged(&self, code: &ClientCode) -> Vec<(Minute, Count)> {
        self.reserved
            .iter()
            .filter(|((client, _), _)| client == code)
            .map(|((_, minute), count)| (*minute, *count))
            .collect()
    }

    fn reserve(&mut self, reservations: &[Reservation]) {
        for Reservation { client, minute, count } in reservations {
            *self.reserved.entry((client.clone(), *minute)).or_default() += *count;
        }
    }

    /// One more request of this client: none of its rolling 24 hours may hold more than the quota.
    fn note_sent(&mut self, key: &ProfileKey, can_wait: bool) {
        let client = CLIENTS.iter().position(|code| *code == key.client.as_str()).unwrap();
        self.sent[client].push((self.now, can_wait));
        let settings = settings(client);
        let share = (settings.daily_quota as f64 * settings.backfill_share) as usize;
        for (limit, only_waiting) in [(usize::try_from(settings.daily_quota).unwrap(), false), (share, true)] {
            let mut times: Vec<Timestamp> = self.sent[client]
                .iter()
                .filter(|(_, waits)| *waits || !only_waiting)
                .map(|(at, _)| *at)
                .collect();
            times.sort_unstable();
            for window in times.windows(limit + 1) {
                assert!(
                    window[limit].since(window[0]) >= WINDOW,
                    "{} requests of {} within 24 hours, of which {limit} are allowed",
                    limit + 1,
                    CLIENTS[client]
                );
            }
        }
    }

    fn tick(&mut self) -> u64 {
        self.event += 1;
        self.event
    }

    fn begin(&mut self) -> usize {
        self.open.push(Tx {
            xid: self.next_xid,
            rows: Vec::new(),
        });
        self.next_xid += 1;
        self.open.len() - 1
    }

    fn write(&mut self, tx: usize, write: Write) {
        let drawn = self.tick();
        self.last_id += 1;
        let id = self.last_id;
        let key = ProfileKey::new(code(write.client), IdKind::Mbox3rdPartyId, PROFILES[write.profile]).unwrap();
        for attr in (0..ATTRS.len()).filter(|attr| write.attrs & (1 << attr) != 0) {
            self.values.entry((key.clone(), attr)).or_default().push(id);
        }
        let priority = PRIORITIES[write.priority];
        let row = Row {
            id,
            key,
            priority,
            attrs: write.attrs,
            enqueued_at: self.now,
            attempts: 0,
            next_attempt_at: None,
            retried: false,
        };
        self.lives.insert(id, Life { drawn, committed: None });
        self.open[tx].rows.push(row);
    }

    fn end(&mut self, tx: usize, commit: bool) {
        let committed = self.tick();
        let tx = self.open.remove(tx);
        self.latest_completed = self.latest_completed.max(tx.xid);
        if commit {
            for row in tx.rows {
                self.lives.get_mut(&row.id).unwrap().committed = Some(committed);
                self.outbox.insert(row.id, row);
            }
            self.woken = true;
        }
        self.check_states();
    }

    /// What `pg_current_snapshot()` says: transactions from the first one that has not completed on are not listed,
    /// whether they are running or not.
    fn snapshot(&self) -> String {
        let xmax = self.latest_completed + 1;
        let mut running: Vec<u64> = self.open.iter().map(|tx| tx.xid).filter(|&xid| xid < xmax).collect();
        running.sort_unstable();
        let list: Vec<String> = running.iter().map(u64::to_string).collect();
        format!("{}:{xmax}:{}", running.first().unwrap_or(&xmax), list.join(","))
    }

    /// Steps 1 and 2 of the cycle, and the start of 3.
    fn claim(&mut self, race: Option<(Write, bool)>, fails: Option<Failure>) -> Claimed {
        let mut claimed = Claimed::default();
        if std::mem::take(&mut self.woken) {
            self.drain.new_work();
        }
        if !self.drain.wants_to_claim(self.now) {
            return claimed;
        }
        claimed.ran = true;
        let snapshot = self.snapshot();
        let visible = self.outbox.clone();
        if let Some((write, commit)) = race {
            let tx = self.begin();
            self.write(tx, write);
            if commit {
                self.end(tx, true);
            }
        }
        let snapshot = Snapshot::parse(&snapshot).unwrap().with_next_xid(self.next_xid);
        self.drain.observe(&snapshot, self.last_id);
        loop {
            let gaps = self.drain.unknown_lanes();
            if gaps.is_empty() {
                break;
            }
            if fails == Some(Failure::Lanes) {
                self.drain.unselect();
                return claimed;
            }
            for (client, above, below) in gaps {
                // The highest in each gap, as the query finds it.
                let lane = visible
                    .values()
                    .filter(|row| row.key.client == client)
                    .map(|row| row.priority)
                    .filter(|&p| i32::from(p) > above && i32::from(p) < below)
                    .max();
                if let Some(priority) = lane {
                    self.drain.found_lane(&client, priority);
                    claimed.moved = true;
                }
            }
        }
        let reads = self.drain.reads(self.now);
        let mut heads = Vec::new();
        for (index, read) in reads.iter().enumerate() {
            let rows = visible
                .values()
                .filter(|r| r.key.client == read.client && r.priority == read.priority)
                .filter(|r| r.id >= read.from && r.id <= read.up_to)
                .take(read.limit as usize);
            heads.extend(rows.map(|row| Head {
                read: index,
                id: row.id,
                id_kind: row.key.kind.as_str().to_owned(),
                profile_id: row.key.id.as_str().to_owned(),
                enqueued_at: row.enqueued_at,
                next_attempt_at: row.next_attempt_at,
            }));
        }
        claimed.moved |= !reads.is_empty();
        let profiles = self.drain.select(&reads, &heads, self.now, &mut self.batch);
        claimed.moved |= !profiles.is_empty();
        if fails == Some(Failure::Entries) {
            self.drain.unselect();
            return claimed;
        }
        let mut entries = Vec::new();
        let mut expected: HashMap<ProfileKey, BTreeMap<String, String>> = HashMap::new();
        for (index, key) in profiles.iter().enumerate() {
            assert!(
                !self.under_way.contains_key(key),
                "{key:?} has a delivery under way already"
            );
            let merged = expected.entry(key.clone()).or_default();
            for row in visible.values().filter(|row| row.key == *key).take(MERGE_LIMIT) {
                let left = self.values_left(row);
                merged.extend(left.clone());
                entries.push(Entry {
                    profile: index,
                    id: row.id,
                    attrs: FlatAttrs::from_stored_json(&json_text(&left)),
                    attempts: row.attempts,
                    enqueued_at: row.enqueued_at,
                    retried: row.retried,
                    version: i64::from(row.attrs),
                });
            }
        }
        let dispatches = self.drain.claim(profiles, entries, &mut self.batch);
        let reservations = self.drain.reservations(&dispatches, self.now);
        if fails == Some(Failure::Reservation) {
            self.drain.withdraw(&dispatches);
            return claimed;
        }
        self.reserve(&reservations);
        if fails == Some(Failure::CrashAfterReservation) {
            self.crash(0);
            return claimed;
        }
        self.drain.reserved(reservations);
        assert!(self.drain.reservations(&dispatches, self.now).is_empty());
        for dispatch in self.drain.send(dispatches, self.now) {
            assert_eq!(dispatch.sent_at, self.now);
            let (key, pairs) = decode(&dispatch);
            let visible_of_key = &expected[&key];
            if self.padded {
                assert!(
                    pairs
                        .iter()
                        .all(|(name, value)| visible_of_key.get(name) == Some(value))
                );
            } else {
                assert_eq!(
                    &pairs, visible_of_key,
                    "one request holds all that is visible of {key:?}"
                );
            }
            assert!(
                self.under_way.insert(key.clone(), dispatch.ticket).is_none(),
                "{key:?} twice at once"
            );
            // Not those of which nothing is left to send.
            let carried = visible
                .values()
                .filter(|row| row.key == key && !self.values_left(row).is_empty())
                .map(|row| row.id)
                .collect();
            self.carried.insert(key.clone(), carried);
            let can_wait = visible
                .values()
                .filter(|row| row.key == key)
                .all(|row| row.priority < 0);
            self.note_sent(&key, can_wait);
            self.requests += 1;
            claimed.sent += 1;
            self.in_flight.push(InFlight {
                dispatch,
                key,
                can_wait,
            });
        }
        assert!(
            self.in_flight.len() <= MAX_IN_FLIGHT,
            "more than {MAX_IN_FLIGHT} in flight"
        );
        self.check_states();
        for (client, name) in CLIENTS.iter().enumerate() {
            let in_flight = self.in_flight_of(client);
            assert!(
                in_flight <= settings(client).max_in_flight,
                "{in_flight} in flight of {}",
                name
            );
        }
        claimed
    }

    /// How many requests of a client are on their way: what has been answered and is not settled leaves its place to others.
    fn in_flight_of(&self, client: usize) -> usize {
        let of_client = self.in_flight.iter().filter(|flight| flight.key.client == code(client));
        of_client.count()
    }

    /// The values of a request reach Target: none of them may be older than one that is there.
    fn arrive(&mut self, dispatch: &Dispatch) {
        let (key, pairs) = decode(dispatch);
        for (name, value) in pairs {
            let attr = ATTRS.iter().position(|attr| *attr == name).unwrap();
            let id: i64 = value.trim_end_matches('x').parse().unwrap();
            let committed = self.lives[&id].committed.expect("only committed values are sent");
            let before = self.arrived.entry((key.clone(), attr)).or_default();
            // What Target refused in the end was given up, though it may have come through before a crash.
            let refused = |id: &i64| matches!(self.dead.get(id), Some((reason, _)) if reason.contains("rejected"));
            for other in before.iter().filter(|other| !refused(other)) {
                assert!(
                    committed > self.lives[other].drawn,
                    "{key:?} {name}: {id} was committed before {other} was written, and arrives after it",
                );
            }
            before.push(id);
        }
    }

    fn answer(&mut self, index: usize, treatment: Treatment) {
        let InFlight {
            dispatch,
            key,
            can_wait,
        } = self.in_flight.swap_remove(index);
        let answer = |status: u16, retry_after: Option<String>, body: &str| {
            Ok(Answer {
                status,
                retry_after,
                body: body.as_bytes().to_vec(),
            })
        };
        let treatment = if key.id.as_str() == POISON && treatment == Treatment::Accept {
            Treatment::Reject
        } else {
            treatment
        };
        if matches!(treatment, Treatment::Accept | Treatment::AnswerLost) {
            self.arrive(&dispatch);
        }
        let result = match treatment {
            Treatment::Accept => answer(200, None, "trueRequest successfully submitted"),
            Treatment::Reject => answer(200, None, "falseInvalid"),
            Treatment::NotFound => answer(404, None, ""),
            Treatment::Redirect => answer(302, None, ""),
            Treatment::Gibberish => answer(200, None, "<html>Welcome</html>"),
            Treatment::Unauthorized => answer(401, None, ""),
            Treatment::Throttle(seconds) => answer(429, Some(seconds.to_string()), ""),
            Treatment::Limiter => answer(503, None, ""),
            Treatment::Fail => answer(500, None, "oops"),
            Treatment::NoAnswer | Treatment::AnswerLost => Err("timeout".to_owned()),
        };
        let report = Report {
            ticket: dispatch.ticket,
            sent_at: self.now,
            duration: Duration::ZERO,
            result,
        };
        self.jitter = (self.jitter * 7.3 + 0.19).fract();
        let next = self.drain.complete(report, self.now, self.jitter, &mut self.batch);
        if let Some(dispatch) = next {
            assert!(self.padded, "nothing was split");
            self.note_sent(&key, can_wait);
            self.in_flight.push(InFlight {
                dispatch,
                key,
                can_wait,
            });
            return;
        }
        self.ended.push(key);
    }

    fn settle(&mut self) {
        self.drain.report(self.now, &mut self.batch);
        let mut batch = std::mem::take(&mut self.batch);
        batch.append(std::mem::take(&mut self.later));
        let to_settle = batch.accepted.iter().map(|entry| entry.id);
        let to_settle = to_settle.chain(batch.retries.iter().map(|entry| entry.id));
        let to_settle = to_settle.chain(batch.dead.iter().map(|entry| entry.id));
        let locked = to_settle.filter(|id| self.locked.contains(id)).collect();
        let left = Left {
            locked: self.drain.bound_to(&batch, locked),
            responses: (1..).take(batch.responses.len()).collect(),
            ..Left::default()
        };
        for ((client, minute), activity) in &batch.activity {
            let reserved = self.reserved.entry((client.clone(), *minute)).or_default();
            *reserved += activity.reserved;
            assert!(reserved.all >= activity.returned.all && reserved.backfill >= activity.returned.backfill);
            *reserved -= activity.returned;
        }
        // While the entries are there, which say what each has set.
        for arrived in &batch.arrived {
            let dead = self.dead.values().map(|(_, row)| row);
            let retried = self.outbox.values().filter(|row| row.retried);
            let older: Vec<i64> = dead
                .chain(retried)
                .filter(|row| row.key == arrived.key)
                .map(|row| row.id)
                .collect();
            for id in older {
                let is_set = |name: &str| {
                    let newer = arrived.ids.iter().filter(|&&carried| carried > id);
                    newer
                        .map(|carried| self.outbox.get(carried))
                        .any(|row| row.is_none_or(|row| sets(row, name)))
                };
                let names = arrived
                    .attrs
                    .iter()
                    .map(|(name, _)| name)
                    .filter(|name| is_set(name))
                    .map(str::to_owned);
                let names: Vec<String> = names.collect();
                self.overtaken.entry(id).or_default().extend(names);
            }
        }
        for id in batch.accepted.iter().map(|accepted| &accepted.id) {
            if left.locked.contains(id) || self.accepted.contains(id) {
                continue;
            }
            assert!(
                self.outbox.remove(id).is_some(),
                "{id} was accepted and is not in the outbox"
            );
            self.accepted.insert(*id);
        }
        for dead in &batch.dead {
            // What is locked may be found dead more than once.
            if left.locked.contains(&dead.id) || self.dead.contains_key(&dead.id) {
                continue;
            }
            let row = self.outbox.remove(&dead.id).expect("what is dead was in the outbox");
            self.dead.insert(dead.id, (dead.reason.clone(), row));
        }
        for retry in &batch.retries {
            if left.locked.contains(&retry.id) {
                continue;
            }
            let row = self.outbox.get_mut(&retry.id).expect("a retry of an entry that waits");
            assert!(retry.attempts >= row.attempts, "attempts never go down");
            row.attempts = retry.attempts;
            row.next_attempt_at = Some(retry.next_attempt_at);
        }
        for (client, _) in &batch.pauses {
            let index = CLIENTS.iter().position(|code| *code == client.as_str()).unwrap();
            self.paused[index] = true;
        }
        let paused = !batch.pauses.is_empty();
        for key in std::mem::take(&mut self.ended) {
            if self.carried.get(&key).is_some_and(|ids| !ids.is_disjoint(&left.locked)) {
                self.ended.push(key);
                continue;
            }
            assert!(self.under_way.remove(&key).is_some());
            self.carried.remove(&key);
        }
        self.later = self.drain.settled_but(batch, left);
        if paused {
            self.tell_clients();
        }
        self.check_states();
    }

    /// The worker dies. What was under way has arrived or not; nobody reads the answers.
    fn crash(&mut self, arrived: u8) {
        for (index, flight) in std::mem::take(&mut self.in_flight).into_iter().enumerate() {
            if arrived & (1 << (index % 8)) != 0 {
                self.arrive(&flight.dispatch);
            }
        }
        self.under_way.clear();
        self.carried.clear();
        self.ended.clear();
        self.batch = Batch::default();
        self.later = Batch::default();
        self.drain = new_drain();
        self.woken = false;
        self.tell_clients();
        self.check_states();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Begin => _ = self.begin(),
            Step::Write(tx, write) if !self.open.is_empty() => self.write(tx % self.open.len(), write),
            Step::Commit(tx) if !self.open.is_empty() => self.end(tx % self.open.len(), true),
            Step::Abort(tx) if !self.open.is_empty() => self.end(tx % self.open.len(), false),
            Step::Autocommit(write) => {
                let tx = self.begin();
                self.write(tx, write);
                self.end(tx, true);
            }
            Step::Claim(race) => {
                self.claim(race, None);
                if race.is_none() {
                    self.claim_until_nothing_is_due();
                }
            }
            Step::ClaimFails(failure) => _ = self.claim(None, Some(failure)),
            Step::Answer(index, treatment) if !self.in_flight.is_empty() => {
                self.answer(index % self.in_flight.len(), treatment);
            }
            Step::Settle => self.settle(),
            Step::Lock(index) if !self.outbox.is_empty() => {
                let id = *self.outbox.keys().nth(index % self.outbox.len()).unwrap();
                self.locked.insert(id);
            }
            Step::Unlock => self.locked.clear(),
            Step::Wait(millis) => self.now = self.now.plus(Duration::from_millis(millis)),
            Step::SetBack(millis) => {
                self.now = Timestamp::from_unix_micros(self.now.unix_micros() - i64::try_from(millis).unwrap() * 1_000);
            }
            Step::RetryDead(index) if !self.dead.is_empty() => {
                let id = *self.dead.keys().nth(index % self.dead.len()).unwrap();
                let (_, row) = self.dead.remove(&id).unwrap();
                let row = Row {
                    attempts: 0,
                    next_attempt_at: None,
                    enqueued_at: self.now,
                    retried: true,
                    ..row
                };
                self.outbox.insert(id, row);
                self.drain.sweep();
                self.check_states();
            }
            Step::Crash(arrived) => self.crash(arrived),
            Step::Pause(client) => {
                self.paused[client] = true;
                self.tell_clients();
            }
            Step::Resume(client) => {
                self.paused[client] = false;
                self.tell_clients();
            }
            Step::Remove(client) => {
                self.registered[client] = false;
                self.tell_clients();
            }
            Step::Add(client) => {
                self.registered[client] = true;
                self.tell_clients();
            }
            Step::Enable(enabled) => {
                self.enabled = enabled;
                self.tell_clients();
            }
            Step::Write(..)
            | Step::Commit(_)
            | Step::Abort(_)
            | Step::Answer(..)
            | Step::Lock(_)
            | Step::RetryDead(_) => {}
        }
    }

    /// Repeats the claim at one point in time: it must come to an end, and leave nothing behind that could go.
    fn claim_until_nothing_is_due(&mut self) {
        let mut claims = 0;
        while self.woken || self.drain.wants_to_claim(self.now) {
            let claimed = self.claim(None, None);
            assert!(
                claimed.moved || !self.drain.wants_to_claim(self.now),
                "a claim that does nothing asks for another"
            );
            claims += 1;
            assert!(
                claims < 20 + self.outbox.len(),
                "claims go on and on without time passing"
            );
        }
        if self.enabled && self.in_flight.len() < MAX_IN_FLIGHT {
            for client in 0..3 {
                self.check_nothing_is_left(client);
            }
        }
    }

    fn check_nothing_is_left(&self, client: usize) {
        let in_flight = self.in_flight_of(client);
        // A client that was refused is paused at once, though the table says so only when the batch is settled.
        let refused = self.batch.pauses.iter().any(|(refused, _)| *refused == code(client));
        if refused || self.paused[client] || !self.registered[client] || in_flight >= settings(client).max_in_flight {
            return;
        }
        let mut profiles: BTreeMap<&ProfileKey, (Timestamp, bool)> = BTreeMap::new();
        for row in self.outbox.values().filter(|row| row.key.client == code(client)) {
            let due = row
                .next_attempt_at
                .unwrap_or(row.enqueued_at)
                .max(row.enqueued_at.plus(settings(client).delay));
            let to_settle = [&self.batch, &self.later];
            let ended = to_settle.iter().any(|batch| {
                batch.dead.iter().any(|dead| dead.id == row.id)
                    || batch.accepted.iter().any(|accepted| accepted.id == row.id)
            });
            let (latest, free) = profiles
                .entry(&row.key)
                .or_insert((due, !self.under_way.contains_key(&row.key)));
            *latest = due.max(*latest);
            *free &= !ended;
        }
        for (key, (due, free)) in profiles {
            if !free {
                continue;
            }
            if self.drain.held_by_quota().any(|held| *held == code(client)) {
                assert!(
                    in_flight > 0 || self.drain.next_wake(self.now).is_some(),
                    "{key:?} waits for quota and nobody will wake for it"
                );
            } else if self.drain.opening(&code(client)).is_none() {
                assert!(due > self.now, "{key:?} could be sent and is not");
                assert!(
                    self.drain.next_wake(self.now).is_some(),
                    "{key:?} waits and nobody will wake for it"
                );
            } else if in_flight == 0 {
                let wake = self.drain.next_wake(self.now);
                assert!(wake.is_some(), "{key:?} waits for a probe and nobody will wake for it");
            }
        }
    }

    /// The endpoint works again, everybody is let in, and time passes: the outbox must become empty.
    fn heal(&mut self) {
        while !self.open.is_empty() {
            self.end(0, true);
        }
        self.registered = [true; 3];
        self.paused = [false; 3];
        self.enabled = true;
        self.tell_clients();
        let wrong_before: BTreeSet<i64> = self.dead.keys().copied().collect();
        let doomed: BTreeSet<i64> = self
            .batch
            .dead
            .iter()
            .chain(&self.later.dead)
            .map(|dead| dead.id)
            .collect();
        self.locked.clear();
        let paused = !self.batch.pauses.is_empty();
        let mut rounds = 0;
        loop {
            self.claim_until_nothing_is_due();
            while !self.in_flight.is_empty() {
                self.answer(self.in_flight.len() - 1, Treatment::Accept);
            }
            self.settle();
            if paused && self.paused != [false; 3] {
                self.paused = [false; 3];
                self.tell_clients();
            }
            match self.drain.next_wake(self.now) {
                None if self.in_flight.is_empty() => break,
                None => {}
                Some(wake) => self.now = self.now.max(wake),
            }
            rounds += 1;
            assert!(
                rounds < 500 + 4 * self.outbox.len(),
                "the outbox does not become empty: {:?}",
                self.outbox
            );
        }
        assert!(self.outbox.is_empty(), "left behind: {:?}", self.outbox);
        for (id, (reason, _)) in &self.dead {
            if !wrong_before.contains(id) && !doomed.contains(id) {
                assert!(
                    reason.contains("Invalid") || reason == OVERTAKEN,
                    "{id} died while all was well: {reason}"
                );
            }
        }
        self.check_final_values();
    }

    /// What Target holds at the end is the value of an entry that no other had to follow.
    fn check_final_values(&self) {
        for ((key, attr), ids) in &self.values {
            let committed: Vec<i64> = ids
                .iter()
                .copied()
                .filter(|id| self.lives[id].committed.is_some())
                .collect();
            for id in &committed {
                assert!(
                    self.accepted.contains(id) || self.dead.contains_key(id),
                    "{id} vanished"
                );
            }
            let delivered = committed.iter().filter(|id| self.accepted.contains(id));
            let held = self.arrived.get(&(key.clone(), *attr)).and_then(|ids| ids.last());
            for id in delivered {
                let held = held.expect("an accepted value has arrived");
                assert!(
                    self.lives[held].committed.unwrap() > self.lives[id].drawn,
                    "{key:?} {}: {held} is the last one, and was committed before {id} was written",
                    ATTRS[*attr],
                );
            }
        }
    }
}

/// What a claim did.
#[derive(Debug, Default)]
struct Claimed {
    ran: bool,
    /// It read, found or sent something.
    moved: bool,
    sent: usize,
}

impl World {
    /// The attributes of an entry that newer ones have not set since it was a dead letter; each value names the entry.
    fn values_left(&self, row: &Row) -> BTreeMap<String, String> {
        let padding = if self.padded { "x".repeat(35_000) } else { String::new() };
        (0..ATTRS.len())
            .filter(|attr| row.attrs & (1 << attr) != 0)
            .map(|attr| (ATTRS[attr].to_owned(), format!("{}{padding}", row.id)))
            .filter(|(name, _)| !row.retried || !self.overtaken.get(&row.id).is_some_and(|gone| gone.contains(name)))
            .collect()
    }
}

fn sets(row: &Row, name: &str) -> bool {
    ATTRS
        .iter()
        .position(|attr| *attr == name)
        .is_some_and(|attr| row.attrs & (1 << attr) != 0)
}

fn json_text(values: &BTreeMap<String, String>) -> String {
    let members: Vec<String> = values
        .iter()
        .map(|(name, value)| format!("\"{name}\": \"{value}\""))
        .collect();
    format!("{{{}}}", members.join(", "))
}

/// What a request says, read as the endpoint reads it.
fn decode(dispatch: &Dispatch) -> (ProfileKey, BTreeMap<String, String>) {
    let url = url::Url::parse(&dispatch.request.url).unwrap();
    let client = url.path_segments().unwrap().nth(1).unwrap();
    let text = dispatch.request.body.as_deref().or(url.query()).unwrap();
    let mut pairs: BTreeMap<String, String> = url::form_urlencoded::parse(text.as_bytes()).into_owned().collect();
    let id = pairs.remove("mbox3rdPartyId").unwrap();
    let key = ProfileKey::new(ClientCode::parse(client).unwrap(), IdKind::Mbox3rdPartyId, &id).unwrap();
    (
        key,
        pairs
            .into_iter()
            .map(|(name, value)| (name.replacen("profile.", "", 1), value))
            .collect(),
    )
}

fn any_write() -> impl Strategy<Value = Write> {
    (0..3usize, prop_oneof![9 => 0..4usize, 1 => Just(4)], 0..3usize, 1..8u8).prop_map(
        |(client, profile, priority, attrs)| Write {
            client,
            profile,
            priority,
            attrs,
        },
    )
}

fn any_treatment() -> impl Strategy<Value = Treatment> {
    prop_oneof![
        12 => Just(Treatment::Accept),
        1 => Just(Treatment::Reject),
        1 => Just(Treatment::NotFound),
        1 => Just(Treatment::Redirect),
        1 => Just(Treatment::Gibberish),
        1 => Just(Treatment::Unauthorized),
        1 => (0..100u32).prop_map(Treatment::Throttle),
        1 => Just(Treatment::Limiter),
        3 => Just(Treatment::Fail),
        2 => Just(Treatment::NoAnswer),
        3 => Just(Treatment::AnswerLost),
    ]
}

fn any_failure() -> impl Strategy<Value = Failure> {
    prop_oneof![
        Just(Failure::Lanes),
        Just(Failure::Entries),
        Just(Failure::Reservation),
        Just(Failure::CrashAfterReservation),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Begin),
        10 => (any::<usize>(), any_write()).prop_map(|(tx, write)| Step::Write(tx, write)),
        6 => any::<usize>().prop_map(Step::Commit),
        1 => any::<usize>().prop_map(Step::Abort),
        10 => any_write().prop_map(Step::Autocommit),
        10 => Just(Step::Claim(None)),
        4 => (any_write(), any::<bool>()).prop_map(|race| Step::Claim(Some(race))),
        2 => any_failure().prop_map(Step::ClaimFails),
        16 => (any::<usize>(), any_treatment()).prop_map(|(index, treatment)| Step::Answer(index, treatment)),
        10 => Just(Step::Settle),
        2 => any::<usize>().prop_map(Step::Lock),
        1 => Just(Step::Unlock),
        6 => prop_oneof![Just(1), 100..2_000u64, Just(60_000), Just(400_000), Just(86_000_000)].prop_map(Step::Wait),
        1 => prop_oneof![1..2_000u64, Just(5_000_000)].prop_map(Step::SetBack),
        3 => any::<usize>().prop_map(Step::RetryDead),
        1 => any::<u8>().prop_map(Step::Crash),
        1 => (0..3usize).prop_map(Step::Pause),
        3 => (0..3usize).prop_map(Step::Resume),
        1 => (0..3usize).prop_map(Step::Remove),
        3 => (0..3usize).prop_map(Step::Add),
        1 => any::<bool>().prop_map(Step::Enable),
        1 => Just(Step::Enable(true)),
    ]
}

fn run(steps: Vec<Step>, jitter: f64, padded: bool) {
    let mut world = World::new(jitter, padded);
    for step in steps {
        world.step(step);
    }
    world.heal();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, max_shrink_iters: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Order, coalescing, limits, liveness, and that nothing is lost: see the assertions of the model.
    #[test]
    fn nothing_is_lost_overtaken_or_sent_twice_at_once(
        steps in prop::collection::vec(any_step(), 1..150),
        jitter in 0.0..1.0f64,
    ) {
        run(steps, jitter, false);
    }

    /// Only writers and claims: most likely to meet a transaction that commits late.
    #[test]
    fn what_commits_late_is_found(
        steps in prop::collection::vec(
            prop_oneof![
                3 => Just(Step::Begin),
                3 => (any::<usize>(), any_write()).prop_map(|(tx, write)| Step::Write(tx, write)),
                3 => any::<usize>().prop_map(Step::Commit),
                3 => Just(Step::Claim(None)),
                1 => (any_write(), any::<bool>()).prop_map(|race| Step::Claim(Some(race))),
                2 => any::<usize>().prop_map(|index| Step::Answer(index, Treatment::Accept)),
                2 => Just(Step::Settle),
            ],
            1..60,
        ),
    ) {
        run(steps, 0.5, false);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 25, max_shrink_iters: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// The same with updates that need several requests each.
    #[test]
    fn nothing_of_a_split_update_is_lost_or_overtaken(
        steps in prop::collection::vec(any_step(), 1..80),
        jitter in 0.0..1.0f64,
    ) {
        run(steps, jitter, true);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// With room for few, the higher priority goes first, and among equals the older entry.
    #[test]
    fn the_highest_priority_goes_first(
        priorities in prop::collection::vec(-20..20i16, 1..120),
        max_in_flight in 1..5i32,
    ) {
        let row = ClientRow { max_in_flight, ..row_of("acme") };
        let mut drain = Drain::new(Limits { max_in_flight: 100, body_bytes: 0 });
        drain.set_clients(vec![crate::outbox::registered(row, false)], at(0));
        let mut waiting: Vec<(i16, usize)> = priorities.iter().copied().zip(1..).collect();
        waiting.sort_by_key(|&(priority, id)| (std::cmp::Reverse(priority), id));
        let mut outbox = crate::outbox::Outbox::default();
        for (priority, id) in &waiting {
            outbox.put("acme", &format!("p{id}"), *priority, i64::try_from(*id).unwrap(), "{\"a\": \"1\"}");
        }
        let mut batch = Batch::default();
        let mut order = Vec::new();
        while drain.wants_to_claim(at(0)) {
            let sent = outbox.claim(&mut drain, at(0), &mut batch);
            prop_assert!(sent.len() <= usize::try_from(max_in_flight).unwrap());
            // Those of one claim go out together.
            let mut together: Vec<usize> = sent
                .iter()
                .map(|dispatch| decode(dispatch).0.id.as_str()[1..].parse().unwrap())
                .collect();
            together.sort_by_key(|id| waiting.iter().position(|(_, other)| other == id));
            order.extend(together);
            for dispatch in sent {
                let report = crate::outbox::accepted(dispatch.ticket, at(0));
                drain.complete(report, at(0), 0.5, &mut batch);
            }
            outbox.settle(&mut drain, &mut batch);
        }
        prop_assert_eq!(order, waiting.into_iter().map(|(_, id)| id).collect::<Vec<_>>());
    }
}
