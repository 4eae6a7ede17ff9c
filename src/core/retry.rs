//! When to try again: capped exponential backoff with full jitter, unless the server says when.
//!
//! Full jitter (a uniform draw between zero and the cap of this attempt) spreads the retries of entries that
//! failed together, so that they do not come back together.

use std::time::{Duration, UNIX_EPOCH};

use crate::time::Timestamp;

/// The cap of the first retry; doubled by each further one.
pub const BACKOFF_BASE: Duration = Duration::from_secs(1);

/// No retry waits longer than this unless the server asks for it: an endpoint that comes back is noticed
/// within five minutes.
pub const BACKOFF_CAP: Duration = Duration::from_secs(300);

/// What a 503 without `Retry-After` waits: Adobe's limiter answers 503 and wants a minute of rest [doc, bulk].
pub const LIMITER_REST: Duration = Duration::from_secs(60);

/// The longest `Retry-After` that is believed: beyond a day, a fault of the server is likelier than a wish.
pub const RETRY_AFTER_CAP: Duration = Duration::from_secs(24 * 3600);

/// The wait before the retry that follows `failures` failures (1 for the first), for a `jitter` drawn
/// uniformly from `[0, 1)`. A `jitter` outside of it is brought into it.
pub fn backoff(failures: u32, jitter: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    let cap = BACKOFF_BASE.saturating_mul(1 << doublings).min(BACKOFF_CAP);
    let jitter = if jitter.is_finite() {
        jitter.clamp(0.0, 1.0)
    } else {
        1.0
    };
    cap.mul_f64(jitter)
}

/// What the value of a `Retry-After` header asks for at `now`: seconds, or an HTTP date in any of its three forms
/// (RFC 9110 section 5.6.7). Anything else, and no time at all, asks for nothing.
pub fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    let asked = if !header.is_empty() && header.bytes().all(|b| b.is_ascii_digit()) {
        Duration::from_secs(header.parse().unwrap_or(u64::MAX))
    } else {
        date(header)?.since(now)
    };
    // "At once" is no pause: each retry would use up quota. A date that is over is more likely of a clock that is wrong.
    Some(asked.min(RETRY_AFTER_CAP)).filter(|asked| !asked.is_zero())
}

fn date(text: &str) -> Option<Timestamp> {
    let since_1970 = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since_1970.as_micros())
        .ok()
        .map(Timestamp::from_unix_micros)
}
