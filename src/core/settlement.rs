//! What the outbox must be told after requests have ended: one batch is one short transaction of the worker.

use std::time::Duration;

use crate::breaker::Opening;
use crate::client_code::ClientCode;
use crate::id::ProfileKey;
use crate::request::Method;
use crate::time::Timestamp;
use crate::verdict::Outcome;

/// One answered (or failed) request, as the table `response` keeps it.
#[derive(Debug, Clone)]
pub struct ResponseRecord {
    /// Whose profile.
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

/// An entry that stays in the outbox and is sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Its outbox id.
    pub id: i64,
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
    /// Attempts that count against it.
    pub attempts: u32,
    /// Why, for a person.
    pub reason: String,
    /// How the last request ended, `None` if none was sent.
    pub outcome: Option<Outcome>,
    /// The response that decided it: an index into [`Batch::responses`].
    pub response: Option<usize>,
}

/// Everything that one transaction of the worker settles.
#[derive(Debug, Default)]
pub struct Batch {
    /// Rows for `response`.
    pub responses: Vec<ResponseRecord>,
    /// Entries that Target has accepted.
    pub accepted: Vec<i64>,
    /// Entries to be sent again.
    pub retries: Vec<Retry>,
    /// Entries given up.
    pub dead: Vec<Dead>,
    /// Clients to pause, each with the reason: Target does not let them in.
    pub pauses: Vec<(ClientCode, String)>,
    /// Breakers that opened, moved or closed (`None`).
    pub breakers: Vec<(ClientCode, Option<Opening>)>,
    /// Deliveries that end with this batch.
    pub(crate) ended: Vec<Ended>,
}

/// A delivery that ends, and what becomes of its profile.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) ticket: u64,
    pub(crate) again_at: Option<Timestamp>,
}

impl Batch {
    /// Whether there is nothing to settle.
    pub fn is_empty(&self) -> bool {
        self.responses.is_empty()
            && self.dead.is_empty()
            && self.breakers.is_empty()
            && self.pauses.is_empty()
            && self.ended.is_empty()
    }
}
