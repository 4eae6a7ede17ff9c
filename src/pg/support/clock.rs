//! The clock, and the two ways of counting time: from 1970 in the core, from 2000 in Postgres.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys;
use target_profile_core::time::Timestamp;

use super::errors::Fault;

/// Microseconds between 1970-01-01 and 2000-01-01, where Postgres' time begins.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// Now, as Postgres counts.
pub fn postgres_now() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// Now.
pub fn now() -> Timestamp {
    Timestamp::from_unix_micros(postgres_now().saturating_add(POSTGRES_EPOCH))
}

/// As Postgres counts.
pub fn to_postgres(time: Timestamp) -> i64 {
    time.unix_micros().saturating_sub(POSTGRES_EPOCH)
}

/// From what Postgres counts.
pub fn from_postgres(time: i64) -> Timestamp {
    Timestamp::from_unix_micros(time.saturating_add(POSTGRES_EPOCH))
}

/// The day (UTC) of a point in time, as Postgres' `date` counts: days since 2000-01-01.
pub fn day_of(time: Timestamp) -> i32 {
    i32::try_from(to_postgres(time).div_euclid(86_400_000_000)).unwrap_or(0)
}

/// As Postgres' type.
pub fn timestamp(time: Timestamp) -> Result<TimestampWithTimeZone, Fault> {
    TimestampWithTimeZone::try_from(to_postgres(time))
        .map_err(|_| Fault::Internal("a point in time outside of Postgres' range"))
}
