//! Whether an entry is accepted, retried or given up after its request.

use std::time::Duration;

use crate::retry;
use crate::settings::ClientSettings;
use crate::time::Timestamp;
use crate::verdict::Outcome;

/// Answers that are not Target's are tried again this often in all: a maintenance page goes away, a wrong endpoint does not.
pub const UNRECOGNISED_ATTEMPTS: u32 = 3;

/// An entry that was part of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// Its outbox id.
    pub id: i64,
    /// Attempts that counted against it before this one.
    pub attempts: u32,
    /// When it was written.
    pub enqueued_at: Timestamp,
    /// As what it was read.
    pub version: i64,
}

/// How a request ended, as far as it matters to its entries.
#[derive(Debug, Clone, Copy)]
pub struct RequestEnd {
    /// What the answer means.
    pub outcome: Outcome,
    /// Whether the client's breaker is closed after it: only then is the entry held answerable.
    pub counts: bool,
    /// What the server's `Retry-After` asks for.
    pub asked: Option<Duration>,
    /// When it ended.
    pub at: Timestamp,
    /// Not before this point: when an open breaker lets the next probe through.
    pub not_before: Option<Timestamp>,
    /// Drawn uniformly from `[0, 1)`.
    pub jitter: f64,
}

/// What becomes of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Target has accepted it: the entry is deleted.
    Accepted,
    /// Sent again, not before the time given.
    Retry {
        /// Attempts that count against it now.
        attempts: u32,
        /// The earliest next attempt.
        at: Timestamp,
    },
    /// Stays as it is: its client is paused.
    Held,
    /// Goes to the dead letters.
    Dead {
        /// Attempts that count against it now.
        attempts: u32,
        /// Why it is given up.
        why: GivenUp,
    },
}

/// Why an entry is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// Target rejected it for good.
    Rejected,
    /// No answer that Target would give, several times.
    Unrecognised,
    /// `max_attempts` reached.
    Attempts,
    /// Older than `max_age`.
    Age,
}

/// The fate of `entry` after a request that ended so.
pub fn fate(entry: &Carried, ending: &RequestEnd, settings: &ClientSettings) -> Fate {
    let attempts = entry.attempts.saturating_add(u32::from(ending.counts));
    let dead = |why| Fate::Dead { attempts, why };
    match ending.outcome {
        Outcome::Accepted => return Fate::Accepted,
        Outcome::Unauthorized => return Fate::Held,
        Outcome::Rejected if ending.counts => return dead(GivenUp::Rejected),
        Outcome::Unrecognised if ending.counts && attempts >= UNRECOGNISED_ATTEMPTS => {
            return dead(GivenUp::Unrecognised);
        }
        Outcome::Failed | Outcome::Throttled | Outcome::Unrecognised if ending.counts => {
            if attempts >= settings.max_attempts {
                return dead(GivenUp::Attempts);
            }
            if ending.at.since(entry.enqueued_at) > settings.max_age {
                return dead(GivenUp::Age);
            }
        }
        _ => {}
    }
    let wait = ending
        .asked
        .unwrap_or_else(|| retry::backoff(entry.attempts.saturating_add(1), ending.jitter));
    let at = ending.at.plus(wait);
    // A little later than the probe, so that the probe takes another entry: one that is itself at fault must not keep
    // the breaker open.
    let at = ending
        .not_before
        .map_or(at, |probe| at.max(probe.plus(Duration::from_millis(100))));
    Fate::Retry { attempts, at }
}
