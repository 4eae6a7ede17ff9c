//! What is written after requests have ended. A batch is written in one short transaction of the worker.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::attrs::FlatAttrs;
use crate::breaker::Opening;
use crate::client_code::ClientCode;
use crate::id::ProfileKey;
use crate::quota::{Count, Minute};
use crate::request::Method;
use crate::time::Timestamp;
use crate::verdict::Outcome;

/// One answered (or failed) request, as the table `response` keeps it.
#[derive(Debug, Clone)]
pub struct ResponseRecord {
    /// The profile.
    pub key: ProfileKey,
    /// The outbox entries that were merged into the request.
    pub outbox_ids: Vec<i64>,
    /// Which part of a split update this is, from 1.
    pub part: u16,
    /// How many parts the update was split into; 1 for nearly all.
    pub parts: u16,
    /// GET or POST.
    pub method: Method,
    /// Bytes of the URL (GET) or of the body (POST).
    pub request_bytes: usize,
    /// Which attempt of its most tried entry this was, from 1.
    pub attempt: u32,
    /// When the request was handed to the network.
    pub sent_at: Timestamp,
    /// From then until the answer was read or given up.
    pub duration: Duration,
    /// The HTTP status, `None` when there was no answer.
    pub http_status: Option<u16>,
    /// What it means.
    pub outcome: Outcome,
    /// The server's message, or what went wrong on the way.
    pub message: Option<String>,
    /// The start of the answer's body.
    pub body: Option<String>,
}

/// An entry that Target has accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its outbox id.
    pub id: i64,
    /// The client that the entry belongs to.
    pub client: ClientCode,
    /// Its version when it was read: the entry is deleted only if it still has that.
    pub version: i64,
}

/// An entry that stays in the outbox and is sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Its outbox id.
    pub id: i64,
    /// The client that the entry belongs to.
    pub client: ClientCode,
    /// Its version when it was read: the failure counts only against that.
    pub version: i64,
    /// Attempts that count against it.
    pub attempts: u32,
    /// Not before this point in time.
    pub next_attempt_at: Timestamp,
    /// How the last request ended.
    pub outcome: Outcome,
}

/// An entry that leaves the outbox for the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    /// Its outbox id.
    pub id: i64,
    /// The client that the entry belongs to.
    pub client: ClientCode,
    /// Its version when it was read, if all of it was: the entry is deleted only if it still has that.
    pub version: Option<i64>,
    /// Attempts that count against it.
    pub attempts: u32,
    /// Why, for a person.
    pub reason: String,
    /// How the last request ended, `None` if none was sent.
    pub outcome: Option<Outcome>,
    /// The response that decided it: an index into [`Batch::responses`].
    pub response: Option<usize>,
    /// The id of that response, if it was recorded before.
    pub recorded: Option<i64>,
}

/// What a settlement has left as it was, because others have changed or locked it.
#[derive(Debug, Default)]
pub struct Left {
    /// Entries that another session has locked, and those that were sent with them: they are settled later.
    pub locked: BTreeSet<i64>,
    /// Entries that were changed since they were read: they count as new entries, and are sent.
    pub changed: BTreeSet<i64>,
    /// Clients whose row is locked: they are paused later.
    pub pauses: BTreeSet<ClientCode>,
    /// The ids of the responses of the batch, in its order.
    pub responses: Vec<i64>,
}

/// A part of a client's quota that is set aside for requests of one minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The client whose quota it is.
    pub client: ClientCode,
    /// The minute in which it can be used.
    pub minute: Minute,
    /// How many requests.
    pub count: Count,
}

/// What is to be added to the activity of one client in one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Activity {
    /// Reserved; in force once it is durable.
    pub reserved: Count,
    /// Given back of what was reserved.
    pub returned: Count,
    /// Requests handed to the network.
    pub sent: Count,
    /// How many of them ended how.
    pub outcomes: Outcomes,
}

/// A number for each [`Outcome`], in the order of [`Outcome::ALL`].
pub type Outcomes = [u64; Outcome::ALL.len()];

impl Activity {
    /// Whether it tells of requests, and not only of what was reserved.
    pub fn has_requests(&self) -> bool {
        !self.sent.is_zero() || self.outcomes.iter().any(|&n| n > 0)
    }

    /// How many requests ended like that.
    pub fn ended_as(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// Adds another's numbers.
    pub fn add(&mut self, other: &Self) {
        self.reserved += other.reserved;
        self.returned += other.returned;
        self.sent += other.sent;
        for (mine, theirs) in self.outcomes.iter_mut().zip(other.outcomes) {
            *mine += theirs;
        }
    }
}

/// Attributes that Target has, or may have: dead letters of the profile that are older than the entries which set them no longer do.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// The profile.
    pub key: ProfileKey,
    /// The outbox ids in the request, in their order.
    pub ids: Vec<i64>,
    /// What arrived.
    pub attrs: FlatAttrs,
}

/// The size of the responses, in bytes, from which a batch is full.
const BATCH_BYTES: usize = 1024 * 1024;

/// Everything that one transaction of the worker settles.
#[derive(Debug, Default)]
pub struct Batch {
    /// Rows for `response`.
    pub responses: Vec<ResponseRecord>,
    /// Entries that Target has accepted.
    pub accepted: Vec<Accepted>,
    /// Entries to be sent again.
    pub retries: Vec<Retry>,
    /// Entries given up.
    pub dead: Vec<Dead>,
    /// Clients to pause, each with the reason: Target does not let them in.
    pub pauses: Vec<(ClientCode, String)>,
    /// Breakers that opened, moved or closed (`None`).
    pub breakers: Vec<(ClientCode, Option<Opening>)>,
    /// What has arrived.
    pub arrived: Vec<Arrived>,
    /// What was sent and how it ended, by client and minute.
    pub activity: BTreeMap<(ClientCode, Minute), Activity>,
    /// Deliveries that end with this batch.
    pub(crate) ended: Vec<Ended>,
    /// What the responses take, bytes.
    response_bytes: usize,
}

/// A delivery that ends, and what becomes of its profile.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) client: ClientCode,
    pub(crate) ticket: u64,
    pub(crate) again: Option<Again>,
}

/// A profile's next turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Again {
    pub(crate) at: Timestamp,
    /// It failed, so the next request is a retry.
    pub(crate) retry: bool,
}

impl Again {
    /// Not "now": the clock may be set back before it comes to that.
    pub(crate) const AT_ONCE: Self = Self {
        at: Timestamp::from_unix_micros(0),
        retry: false,
    };
}

impl Batch {
    /// An entry that is found to be dead when it is read, and not by an answer: that may be more than once before it is settled.
    pub(crate) fn bury(&mut self, client: &ClientCode, id: i64, version: Option<i64>, attempts: u32, reason: String) {
        if !self.dead.iter().any(|dead| dead.id == id) {
            self.dead.push(Dead {
                id,
                client: client.clone(),
                version,
                attempts,
                reason,
                outcome: None,
                response: None,
                recorded: None,
            });
        }
    }

    /// Adds what is to be settled by `other`.
    pub fn append(&mut self, other: Self) {
        let before = self.responses.len();
        self.responses.extend(other.responses);
        self.response_bytes += other.response_bytes;
        self.accepted.extend(other.accepted);
        self.retries.extend(other.retries);
        self.dead.extend(other.dead.into_iter().map(|dead| Dead {
            response: dead.response.map(|index| index + before),
            ..dead
        }));
        for (code, reason) in other.pauses {
            if !self.pauses.iter().any(|(paused, _)| *paused == code) {
                self.pauses.push((code, reason));
            }
        }
        // The later one is how it stands.
        self.breakers
            .retain(|(code, _)| !other.breakers.iter().any(|(later, _)| later == code));
        self.breakers.extend(other.breakers);
        self.arrived.extend(other.arrived);
        for (place, activity) in other.activity {
            self.activity.entry(place).or_default().add(&activity);
        }
        self.ended.extend(other.ended);
    }

    /// The same, client by client.
    pub fn by_client(self) -> BTreeMap<ClientCode, Self> {
        let mut parts: BTreeMap<ClientCode, Self> = BTreeMap::new();
        let mut place = Vec::with_capacity(self.responses.len());
        for response in self.responses {
            let part = parts.entry(response.key.client.clone()).or_default();
            place.push(part.responses.len());
            part.record(response);
        }
        for accepted in self.accepted {
            parts
                .entry(accepted.client.clone())
                .or_default()
                .accepted
                .push(accepted);
        }
        for retry in self.retries {
            parts.entry(retry.client.clone()).or_default().retries.push(retry);
        }
        for dead in self.dead {
            let response = dead.response.and_then(|index| place.get(index).copied());
            let part = parts.entry(dead.client.clone()).or_default();
            part.dead.push(Dead { response, ..dead });
        }
        for pause in self.pauses {
            parts.entry(pause.0.clone()).or_default().pauses.push(pause);
        }
        for breaker in self.breakers {
            parts.entry(breaker.0.clone()).or_default().breakers.push(breaker);
        }
        for arrived in self.arrived {
            parts
                .entry(arrived.key.client.clone())
                .or_default()
                .arrived
                .push(arrived);
        }
        for ((code, minute), activity) in self.activity {
            let part = parts.entry(code.clone()).or_default();
            part.activity.insert((code, minute), activity);
        }
        for ended in self.ended {
            parts.entry(ended.client.clone()).or_default().ended.push(ended);
        }
        parts
    }

    /// A response.
    pub(crate) fn record(&mut self, response: ResponseRecord) {
        let texts = [&response.message, &response.body];
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        self.response_bytes += size_of::<ResponseRecord>() + size_of_val(&response.outbox_ids[..]) + texts;
        self.responses.push(response);
    }

    /// Whether it is to be settled before more answers are judged. Settling takes several times its size.
    pub fn is_full(&self) -> bool {
        self.response_bytes >= BATCH_BYTES
    }

    /// Whether there is nothing to settle.
    pub fn is_empty(&self) -> bool {
        self.responses.is_empty()
            && self.dead.is_empty()
            && self.breakers.is_empty()
            && self.pauses.is_empty()
            && self.accepted.is_empty()
            && self.retries.is_empty()
            && self.activity.is_empty()
            && self.ended.is_empty()
    }
}
