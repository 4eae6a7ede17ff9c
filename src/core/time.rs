//! Points in time, as Postgres counts them: microseconds, in UTC.

use std::time::Duration;

/// A point in time: microseconds since 1970-01-01 00:00 UTC, may be negative.
///
/// The core never reads a clock; whoever calls it says what time it is.
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

    /// How long ago `earlier` was, zero when it lies in the future (a clock that stepped back).
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// How long somebody who names that many microseconds is willing to wait: none if it is negative, and the longest time that there is
/// for what no clock can count to, such as Postgres' infinity.
pub fn patience(micros: i128) -> Duration {
    Duration::from_micros(u64::try_from(micros.max(0)).unwrap_or(u64::MAX))
}
