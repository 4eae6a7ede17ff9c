//! A table and a clock for the tests of the drain.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use target_profile_core::attrs::FlatAttrs;
use target_profile_core::drain::{
    Admission, Answer, Dispatch, Drain, Entry, Head, MERGE_LIMIT, Reading, Registration, Report,
};
use target_profile_core::endpoint::Endpoint;
use target_profile_core::horizon::Snapshot;
use target_profile_core::quota::Minute;
use target_profile_core::settings::ClientRow;
use target_profile_core::settlement::{Activity, Batch};
use target_profile_core::time::Timestamp;

/// A point in time: so many milliseconds after the tests' beginning.
pub fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_micros(1_700_000_000_000_000 + millis * 1_000)
}

/// A client with ordinary settings.
pub fn row_of(code: &str) -> ClientRow {
    ClientRow {
        client_code: code.to_owned(),
        endpoint: Endpoint::DEFAULT.to_owned(),
        auth_token: None,
        method: "auto".to_owned(),
        daily_quota: 1_000_000,
        backfill_share: 0.5,
        delay: 0,
        arrays: "json".to_owned(),
        null_value: None,
        max_attempts: 20,
        max_age: 7 * 24 * 3_600 * 1_000_000,
        max_in_flight: 8,
        timeout: 10_000_000,
    }
}

/// A client, registered so; nothing of its quota is used.
pub fn registered(row: ClientRow, paused: bool) -> Registration {
    Registration {
        settings: row.check().unwrap(),
        paused,
        resumed_at: None,
        charged: Vec::new(),
    }
}

/// A row of the outbox, as far as the drain reads it.
#[derive(Debug, Clone)]
pub struct Row {
    pub client: String,
    pub profile: String,
    pub id_kind: String,
    pub priority: i16,
    pub attrs: String,
    pub attempts: u32,
    pub enqueued_at: Timestamp,
    pub next_attempt_at: Option<Timestamp>,
}

/// The outbox of one writer: what is put is committed.
#[derive(Debug)]
pub struct Outbox {
    pub now: Timestamp,
    pub rows: BTreeMap<i64, Row>,
    pub dead: BTreeMap<i64, String>,
    pub accepted: Vec<i64>,
    /// The activity of the only client.
    pub activity: BTreeMap<Minute, Activity>,
    /// How many heads of lanes were read.
    pub heads: Cell<usize>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            now: at(0),
            rows: BTreeMap::new(),
            dead: BTreeMap::new(),
            accepted: Vec::new(),
            activity: BTreeMap::new(),
            heads: Cell::new(0),
        }
    }
}

impl Outbox {
    pub fn put(&mut self, client: &str, profile: &str, priority: i16, id: i64, attrs: &str) {
        let row = Row {
            client: client.to_owned(),
            profile: profile.to_owned(),
            id_kind: "mbox3rdPartyId".to_owned(),
            priority,
            attrs: attrs.to_owned(),
            attempts: 0,
            enqueued_at: at(0),
            next_attempt_at: None,
        };
        self.rows.insert(id, row);
    }

    /// The claim of the drain's cycle, and the start of sending.
    pub fn claim(&self, drain: &mut Drain, now: Timestamp, batch: &mut Batch) -> Vec<Dispatch> {
        let dispatches = self.claim_only(drain, now, batch);
        let reservations = drain.reservations(&dispatches, now);
        drain.reserved(reservations);
        assert!(drain.reservations(&dispatches, now).is_empty());
        drain.send(dispatches, now)
    }

    /// The claim of the drain's cycle.
    pub fn claim_only(&self, drain: &mut Drain, now: Timestamp, batch: &mut Batch) -> Vec<Dispatch> {
        let last_id = self.rows.keys().next_back().copied().unwrap_or(0);
        drain.observe(&Snapshot::parse("1:1:").unwrap(), last_id);
        loop {
            let gaps = drain.unknown_lanes();
            if gaps.is_empty() {
                break;
            }
            for (client, above, below) in gaps {
                let inside = |p: &i16| i32::from(*p) > above && i32::from(*p) < below;
                let of_client = self.rows.values().filter(|row| row.client == client.as_str());
                if let Some(priority) = of_client.map(|row| row.priority).filter(inside).max() {
                    drain.found_lane(&client, priority);
                }
            }
        }
        let reads = drain.reads(now);
        let mut heads = Vec::new();
        for (read, lane) in reads.iter().enumerate() {
            let behind = self.rows.range(lane.from..);
            let rows = behind
                .take_while(|(id, _)| **id <= lane.up_to)
                .filter(|(_, row)| row.client == lane.client.as_str() && row.priority == lane.priority)
                .take(lane.limit as usize);
            heads.extend(rows.map(|(id, row)| Head {
                read,
                id: *id,
                id_kind: row.id_kind.clone(),
                profile_id: row.profile.clone(),
                enqueued_at: row.enqueued_at,
                next_attempt_at: row.next_attempt_at,
            }));
        }
        self.heads.set(self.heads.get() + heads.len());
        let profiles = drain.select(&reads, &heads, now, batch);
        type Key<'r> = (&'r str, &'r str, &'r str);
        let mut rows_of: HashMap<Key<'_>, Vec<(i64, &Row)>> = HashMap::new();
        for (id, row) in self.rows.iter().filter(|_| !profiles.is_empty()) {
            let profile = (row.client.as_str(), row.id_kind.as_str(), row.profile.as_str());
            rows_of.entry(profile).or_default().push((*id, row));
        }
        let mut reading = Reading::new(profiles.clone());
        for (profile, key) in profiles.iter().enumerate() {
            let rows = rows_of.get(&(key.client.as_str(), key.kind.as_str(), key.id.as_str()));
            for (id, row) in rows.into_iter().flatten().take(MERGE_LIMIT) {
                // As the worker: what is not admitted is not read.
                if drain.admit(&mut reading, profile, row.attrs.len()) != Admission::Read {
                    continue;
                }
                let entry = Entry {
                    profile,
                    id: *id,
                    attrs: FlatAttrs::from_stored_json(&row.attrs),
                    attempts: row.attempts,
                    enqueued_at: row.enqueued_at,
                    retried: false,
                    version: 0,
                };
                drain.add(&mut reading, entry);
            }
        }
        drain.claim_read(reading, batch)
    }

    /// The settlement of the drain's cycle.
    pub fn settle(&mut self, drain: &mut Drain, batch: &mut Batch) {
        drain.report(self.now, batch);
        let batch = std::mem::take(batch);
        for ((_, minute), activity) in &batch.activity {
            self.activity.entry(*minute).or_default().add(activity);
        }
        for id in batch.accepted.iter().map(|accepted| &accepted.id) {
            self.rows.remove(id).unwrap();
            self.accepted.push(*id);
        }
        for dead in &batch.dead {
            self.rows.remove(&dead.id).unwrap();
            self.dead.insert(dead.id, dead.reason.clone());
        }
        for retry in &batch.retries {
            let row = self.rows.get_mut(&retry.id).unwrap();
            row.attempts = retry.attempts;
            row.next_attempt_at = Some(retry.next_attempt_at);
        }
        drain.settled(batch);
    }
}

/// The report of a request that was answered so.
pub fn answered(ticket: u64, sent_at: Timestamp, status: u16, body: &str) -> Report {
    let answer = Answer {
        status,
        retry_after: None,
        body: body.as_bytes().to_vec(),
    };
    Report {
        ticket,
        sent_at,
        duration: Duration::from_millis(5),
        result: Ok(answer),
    }
}

/// The report of a request that Target accepted.
pub fn accepted(ticket: u64, sent_at: Timestamp) -> Report {
    answered(ticket, sent_at, 200, "trueRequest successfully submitted")
}
