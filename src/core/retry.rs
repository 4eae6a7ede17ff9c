//! When to try again: capped exponential backoff with full jitter, unless the server says when.
//!
//! Full jitter (a uniform draw between zero and the cap of this attempt) spreads the retries of entries that
//! failed together, so that they do not come back together.

use std::time::Duration;

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

/// What the value of a `Retry-After` header asks for at `now`: seconds, or an HTTP date in its preferred form
/// (`Sun, 06 Nov 1994 08:49:37 GMT`, RFC 9110 section 10.2.3). Anything else asks for nothing.
pub fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    let asked = if !header.is_empty() && header.bytes().all(|b| b.is_ascii_digit()) {
        Duration::from_secs(header.parse().unwrap_or(u64::MAX))
    } else {
        // One that is over is more likely of a clock that is wrong than of a server that wants it at once.
        Some(http_date(header)?.since(now)).filter(|asked| !asked.is_zero())?
    };
    Some(asked.min(RETRY_AFTER_CAP))
}

fn http_date(text: &str) -> Option<Timestamp> {
    let (_weekday, rest) = text.split_once(", ")?;
    let mut parts = rest.split(' ');
    let day: i64 = digits(parts.next()?, 2)?;
    let month = match parts.next()? {
        "Jan" => 1,
        "Feb" => 2,
        "Mar" => 3,
        "Apr" => 4,
        "May" => 5,
        "Jun" => 6,
        "Jul" => 7,
        "Aug" => 8,
        "Sep" => 9,
        "Oct" => 10,
        "Nov" => 11,
        "Dec" => 12,
        _ => return None,
    };
    let year: i64 = digits(parts.next()?, 4)?;
    let mut clock = parts.next()?.split(':');
    let (hour, minute, second) = (
        digits(clock.next()?, 2)?,
        digits(clock.next()?, 2)?,
        digits(clock.next()?, 2)?,
    );
    if parts.next()? != "GMT" || parts.next().is_some() || clock.next().is_some() {
        return None;
    }
    if !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = ((days_from_civil(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(Timestamp::from_unix_micros(seconds * 1_000_000))
}

fn digits(text: &str, len: usize) -> Option<i64> {
    (text.len() == len && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Days since 1970-01-01 of a date of the Gregorian calendar, counted in years that begin in March, so that
/// the leap day is a year's last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}
