//! The types that the drain takes and returns.

use std::time::Duration;

use crate::attrs::FlatAttrs;
use crate::client_code::ClientCode;
use crate::error::Error;
use crate::quota::{Count, Minute};
use crate::request::Request;
use crate::secret::Secret;
use crate::settings::ClientSettings;
use crate::time::Timestamp;

/// What the drain as a whole may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Requests in flight at a time, over all clients.
    pub max_in_flight: usize,
    /// How much of an answer's body is recorded, bytes.
    pub body_bytes: usize,
}

/// A registered client.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Its settings.
    pub settings: ClientSettings,
    /// Whether nothing is to be sent for it.
    pub paused: bool,
    /// When it was resumed last.
    pub resumed_at: Option<Timestamp>,
    /// What was reserved of its quota, by minutes. It counts when the client is not known yet, else not: then the drain
    /// knows better.
    pub charged: Vec<(Minute, Count)>,
}

/// A range of one lane to be read in the order of ids: the query is
/// `client_code = client AND priority = priority AND id >= from AND id <= up_to ORDER BY id LIMIT limit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneRead {
    /// Whose lane.
    pub client: ClientCode,
    /// Which of its lanes.
    pub priority: i16,
    /// Ids from this one on.
    pub from: i64,
    /// Ids up to and including this one.
    pub up_to: i64,
    /// The most rows that are read.
    pub limit: u32,
    pub(super) part: LanePart,
}

/// Which part of a lane is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LanePart {
    /// What was drawn since it was read last.
    Front,
    /// What has been read before.
    Again,
    /// What lies beyond the last id drawn.
    Beyond,
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
    /// What is to be sent of it, or why nothing can be.
    pub attrs: Result<FlatAttrs, Error>,
    /// Attempts that counted against it.
    pub attempts: u32,
    /// When it was written, or when it was taken back from the dead letters.
    pub enqueued_at: Timestamp,
    /// It was a dead letter, and is without the attributes that newer updates have set since.
    pub retried: bool,
    /// Says whose entry it was and what it held when it was read: a row that has another is another entry by now. Of no meaning if it is
    /// too large to be read.
    pub version: i64,
}

/// A request to be sent now.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// Names it in [`Drain::complete`](super::Drain::complete).
    pub ticket: u64,
    /// When it is handed to the network: what the quota and the records go by. Set by [`Drain::send`](super::Drain::send).
    pub sent_at: Timestamp,
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
