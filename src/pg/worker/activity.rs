//! The table `activity`: the ledger of the quota, and what was sent and how it ended.

use std::collections::HashMap;

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::spi::SpiClient;
use target_profile_core::quota::{Count, Minute, WINDOW};
use target_profile_core::settlement::{Activity, Reservation};
use target_profile_core::time::Timestamp;

use super::queries::{
    ACTIVITY_IS_OPEN, ANY_OVERTAKEN, ANY_SUPERSEDED, CLOSE_ACTIVITY, DELETE_ACTIVITY, FORGET_OVERTAKEN,
    FORGET_SUPERSEDED, MOVE_ACTIVITY, OLD_ACTIVITY, READ_LEDGERS, WRITE_ACTIVITY,
};
use super::rows::ActivityRow;
use super::tables;
use crate::pg::enqueue::writer;
use crate::pg::support::clock::{from_postgres, timestamp};
use crate::pg::support::errors::Fault;
use crate::pg::support::rows::Rows;

/// For each client what is reserved of its quota, by minutes.
pub fn ledgers(client: &mut SpiClient<'_>) -> Result<HashMap<String, Vec<(Minute, Count)>>, Fault> {
    let missing = Fault::Internal;
    tables::read(&[tables::ACTIVITY]);
    READ_LEDGERS.with(|statement| {
        let mut ledgers: HashMap<String, Vec<(Minute, Count)>> = HashMap::new();
        for row in statement.select(client, &[])? {
            let code: String = row.get(1)?.ok_or(missing("activity.client_code"))?;
            let minute: TimestampWithTimeZone = row.get(2)?.ok_or(missing("activity.minute"))?;
            let count = |value: Option<i32>| u64::from(value.unwrap_or(0).unsigned_abs());
            let count = Count {
                all: count(row.get(3)?),
                backfill: count(row.get(4)?),
            };
            let minute = Minute::of(from_postgres(minute.into_inner()));
            ledgers.entry(code).or_default().push((minute, count));
        }
        Ok(ledgers)
    })
}

/// Reserves, before anything is sent.
pub fn reserve(client: &mut SpiClient<'_>, reservations: &[Reservation]) -> Result<(), Fault> {
    let rows: Vec<ActivityRow<'_>> = reservations
        .iter()
        .map(|reservation| ActivityRow {
            client: &reservation.client,
            minute: reservation.minute,
            activity: Activity {
                reserved: reservation.count,
                ..Activity::default()
            },
        })
        .collect();
    tables::write(&[tables::ACTIVITY]);
    tables::be_impatient();
    write(client, &rows, 0)
}

/// Adds to the numbers; `counted_to` is the last response in them.
pub fn write(client: &mut SpiClient<'_>, rows: &[ActivityRow<'_>], counted_to: i64) -> Result<(), Fault> {
    let mut args = ActivityRow::arrays(rows)?;
    args.push(counted_to.into());
    WRITE_ACTIVITY.with(|statement| {
        // What is not charged must not be sent.
        if statement.update(client, &args)?.len() < rows.len() {
            return Err(Fault::Suppressed {
                statement: "INSERT into",
                table: "activity",
            });
        }
        Ok(())
    })
}

/// Accounts for what an earlier worker has left open.
pub fn close(client: &mut SpiClient<'_>) -> Result<(), Fault> {
    if ACTIVITY_IS_OPEN.with(|statement| statement.is_true(client))? {
        CLOSE_ACTIVITY.with(|statement| statement.update(client, &[]).map(|_| ()))?;
    }
    Ok(())
}

/// The clock was set by so many minutes: what counts on `now`, by the clock as it was, moves along.
pub fn follow(client: &mut SpiClient<'_>, before: Timestamp, minutes: i64) -> Result<(), Fault> {
    let window = i64::try_from(WINDOW.as_micros()).unwrap_or(i64::MAX);
    let oldest = Timestamp::from_unix_micros(before.unix_micros().saturating_sub(window));
    let by = Interval::from_micros(minutes.saturating_mul(60_000_000));
    MOVE_ACTIVITY.with(|statement| {
        statement
            .update(client, &[timestamp(Minute::of(oldest).start())?.into(), by.into()])
            .map(|_| ())
    })
}

/// Forgets minutes before that point in time, and what is no longer known of dead letters, at most `limit` rows of each. Whether
/// there may be more.
pub fn forget(client: &mut SpiClient<'_>, before: Timestamp, limit: i64) -> Result<bool, Fault> {
    let before = timestamp(before)?;
    let is_full = |rows: usize| i64::try_from(rows).unwrap_or(i64::MAX) >= limit;
    let mut more = false;
    let old = OLD_ACTIVITY.with(|statement| {
        Ok::<_, Fault>(
            statement
                .select(client, &[before.into()])?
                .first()
                .get_one::<bool>()?
                .unwrap_or(false),
        )
    })?;
    if old {
        more |= DELETE_ACTIVITY.with(|statement| {
            let rows = statement.update(client, &[before.into(), limit.into()])?;
            Ok::<_, Fault>(is_full(rows.len()))
        })?;
    }
    if ANY_OVERTAKEN.with(|statement| statement.is_true(client))? {
        more |= FORGET_OVERTAKEN.with(|statement| {
            let rows = statement.update(client, &[limit.into()])?;
            Ok::<_, Fault>(is_full(rows.len()))
        })?;
    }
    if writer::is_recorded() && ANY_SUPERSEDED.with(|statement| statement.is_true(client))? {
        more |= FORGET_SUPERSEDED.with(|statement| {
            let rows = statement.update(client, &[limit.into()])?;
            Ok::<_, Fault>(is_full(rows.len()))
        })?;
    }
    Ok(more)
}
