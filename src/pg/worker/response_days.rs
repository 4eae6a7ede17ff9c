//! The partitions of `response`, one a day: created before the responses, and dropped after `response_retention`.

use pgrx::datum::Date;
use pgrx::spi::SpiClient;
use target_profile_core::time::Timestamp;

use super::queries::{
    DROP_PARTITION, ENSURE_PARTITION, ENSURE_STRAY, MEND_RESPONSE_IDS, OVERDUE_PARTITIONS, REWIND_RESPONSE_IDS,
};
use crate::pg::support::clock::timestamp;
use crate::pg::support::errors::Fault;

/// Makes the partition of `response` for a day (days since 2000-01-01) if there is none.
pub fn ensure_day(client: &mut SpiClient<'_>, day: i32) -> Result<(), Fault> {
    // SAFETY: a date is that number of days.
    let day = unsafe { Date::from_pg_epoch_days(day) };
    ENSURE_PARTITION.with(|statement| statement.update(client, &[day.into()]).map(|_| ()))
}

/// Makes the table for responses that `response` cannot take, if there is none.
pub fn ensure_stray(client: &mut SpiClient<'_>) -> Result<(), Fault> {
    ENSURE_STRAY.with(|statement| statement.update(client, &[]).map(|_| ()))
}

/// Has the next ids of responses drawn above those that the day holds already.
pub fn mend_response_ids(client: &mut SpiClient<'_>, day: i32) -> Result<(), Fault> {
    let midnight = Timestamp::from_unix_micros(i64::from(day).saturating_add(10_957).saturating_mul(86_400_000_000));
    MEND_RESPONSE_IDS.with(|statement| statement.update(client, &[timestamp(midnight)?.into()]).map(|_| ()))
}

/// The sequence of responses has come to its end: it goes back to where there is room.
pub fn rewind_response_ids(client: &mut SpiClient<'_>) -> Result<(), Fault> {
    REWIND_RESPONSE_IDS.with(|statement| statement.update(client, &[]).map(|_| ()))
}

/// Partitions of `response` that end before that point in time, but for those named; the oldest, at most so many.
pub fn overdue_partitions(
    client: &mut SpiClient<'_>,
    before: Timestamp,
    but: &[String],
    limit: usize,
) -> Result<Vec<String>, Fault> {
    let args = [
        timestamp(before)?.into(),
        but.to_vec().into(),
        i64::try_from(limit).unwrap_or(i64::MAX).into(),
    ];
    OVERDUE_PARTITIONS.with(|statement| {
        let mut names = Vec::new();
        for row in statement.select(client, &args)? {
            names.extend(row.get::<String>(1)?);
        }
        Ok(names)
    })
}

/// Drops them.
pub fn drop_partitions(client: &mut SpiClient<'_>, names: &[String]) -> Result<(), Fault> {
    DROP_PARTITION.with(|statement| {
        for name in names {
            statement.update(client, &[name.as_str().into()])?;
        }
        Ok(())
    })
}
