//! The rows that the worker writes, as its statements take them.

use pgrx::datum::TimestampWithTimeZone;
use target_profile_core::client_code::ClientCode;
use target_profile_core::quota::Minute;
use target_profile_core::settlement::{Activity, Dead, ResponseRecord, Retry};
use target_profile_core::verdict::Outcome;

use crate::pg::support::clock::timestamp;
use crate::pg::support::rows::{int2, int4, rows};

/// A row of `response`.
pub struct ResponseRow<'a> {
    /// Its id.
    pub id: i64,
    /// Where its entries begin in the array `outbox_ids`, which all rows share. From 1, as SQL counts.
    pub ids_from: usize,
    /// Where they end; that one is included.
    pub ids_to: usize,
    /// All else.
    pub record: &'a ResponseRecord,
}

rows! {
    ResponseRow<'_> as row {
        id: i64 = row.id;
        client_code: &str = row.record.key.client.as_str();
        id_kind: &str = row.record.key.kind.as_str();
        profile_id: &str = row.record.key.id.as_str();
        ids_from: i32 = int4(row.ids_from);
        ids_to: i32 = int4(row.ids_to);
        part: i16 = int2(row.record.part);
        parts: i16 = int2(row.record.parts);
        method: &str = row.record.method.as_str();
        request_bytes: i32 = int4(row.record.request_bytes);
        attempt: i32 = int4(row.record.attempt);
        sent_at: TimestampWithTimeZone = timestamp(row.record.sent_at)?;
        duration: i64 = i64::try_from(row.record.duration.as_micros()).unwrap_or(i64::MAX);
        http_status: Option<i32> = row.record.http_status.map(i32::from);
        outcome: &str = row.record.outcome.as_str();
        message: Option<&str> = row.record.message.as_deref();
        body: Option<&str> = row.record.body.as_deref();
    }
}

rows! {
    &Retry as retry {
        id: i64 = retry.id;
        attempts: i32 = int4(retry.attempts);
        next_attempt_at: TimestampWithTimeZone = timestamp(retry.next_attempt_at)?;
        outcome: &str = retry.outcome.as_str();
        version: i64 = retry.version;
    }
}

/// A row of `dead_letter`, of which the outbox has the rest.
pub struct DeadRow<'a> {
    /// The entry that is given up.
    pub dead: &'a Dead,
    /// The response that decided it.
    pub response_id: Option<i64>,
    /// The id of the dead letter if another one has the entry's.
    pub spare_id: i64,
}

rows! {
    DeadRow<'_> as row {
        id: i64 = row.dead.id;
        attempts: i32 = int4(row.dead.attempts);
        reason: &str = row.dead.reason.as_str();
        outcome: Option<&str> = row.dead.outcome.map(|outcome| outcome.as_str());
        response_id: Option<i64> = row.response_id;
        version: Option<i64> = row.dead.version;
        spare_id: i64 = row.spare_id;
    }
}

/// What is added to a row of `activity`.
pub struct ActivityRow<'a> {
    /// The client whose activity it is.
    pub client: &'a ClientCode,
    /// The minute.
    pub minute: Minute,
    /// The numbers.
    pub activity: Activity,
}

rows! {
    ActivityRow<'_> as row {
        client_code: &str = row.client.as_str();
        minute: TimestampWithTimeZone = timestamp(row.minute.start())?;
        reserved: i32 = difference(row.activity.reserved.all, row.activity.returned.all);
        reserved_backfill: i32 = difference(row.activity.reserved.backfill, row.activity.returned.backfill);
        sent: i32 = int4(row.activity.sent.all);
        sent_backfill: i32 = int4(row.activity.sent.backfill);
        accepted: i32 = int4(row.activity.ended_as(Outcome::Accepted));
        rejected: i32 = int4(row.activity.ended_as(Outcome::Rejected));
        unrecognised: i32 = int4(row.activity.ended_as(Outcome::Unrecognised));
        unauthorized: i32 = int4(row.activity.ended_as(Outcome::Unauthorized));
        throttled: i32 = int4(row.activity.ended_as(Outcome::Throttled));
        failed: i32 = int4(row.activity.ended_as(Outcome::Failed));
    }
}

/// More may be returned than was reserved in the same step.
fn difference(more: u64, fewer: u64) -> i32 {
    let more = i64::try_from(more).unwrap_or(i64::MAX);
    let fewer = i64::try_from(fewer).unwrap_or(i64::MAX);
    int4(more.saturating_sub(fewer))
}
