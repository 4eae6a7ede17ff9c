//! Points in time, as Postgres counts them: microseconds, in UTC.

use std::fmt;
use std::time::Duration;

/// A point in time: microseconds since 1970-01-01 00:00 UTC, may be negative.
///
/// The core never reads a clock; its caller passes the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The point in time that is `micros` microseconds after 1970-01-01 00:00 UTC.
    pub const fn from_unix_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01 00:00 UTC.
    pub const fn unix_micros(self) -> i64 {
        self.0
    }

    /// This much later; stops at the end of the representable range instead of wrapping.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The time since `earlier`; zero when that is in the future, after a clock was set back.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// A length of time as a message shows it and as PostgreSQL reads it: `7 days`, `90 s`, `0.5 ms`.
///
/// In the largest unit of which it is a whole number from seconds up; below one second in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    micros: i64,
}

impl Span {
    /// So many microseconds; may be negative.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self { micros }
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self::from_micros(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SECOND: u64 = 1_000_000;
        const UNITS: [(u64, &str, &str); 3] = [
            (86_400 * SECOND, "day", "days"),
            (3_600 * SECOND, "hour", "hours"),
            (60 * SECOND, "minute", "minutes"),
        ];
        let micros = self.micros.unsigned_abs();
        if self.micros < 0 {
            f.write_str("-")?;
        }
        if let Some((unit, one, many)) = UNITS
            .into_iter()
            .find(|(unit, ..)| micros > 0 && micros.is_multiple_of(*unit))
        {
            let count = micros / unit;
            return write!(f, "{count} {}", if count == 1 { one } else { many });
        }
        let (unit, digits, name) = if micros == 0 || micros >= SECOND {
            (SECOND, 6, "s")
        } else {
            (1_000, 3, "ms")
        };
        let fraction = format!("{:0digits$}", micros % unit);
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() { "" } else { "." };
        write!(f, "{}{point}{fraction} {name}", micros / unit)
    }
}

/// How long somebody who names that many microseconds is willing to wait: none if it is negative, and the longest time that there is
/// for what no clock can count to, such as Postgres' infinity.
pub fn patience(micros: i128) -> Duration {
    Duration::from_micros(u64::try_from(micros.max(0)).unwrap_or(u64::MAX))
}
