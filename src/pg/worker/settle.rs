//! Settling: one transaction that writes what the drain has decided.

use pgrx::datum::{Date, TimestampWithTimeZone};
use pgrx::spi::SpiClient;
use target_profile_core::breaker::Opening;
use target_profile_core::settlement::{Arrived, Batch, ResponseRecord};
use target_profile_core::time::Timestamp;

use super::activity;
use super::guests::yes;
use super::queries::{
    ANY_BREAKER, ANY_DEAD_LETTER, BREAKER_CLOSED, BREAKER_OPENED, BREAKERS_FORGOTTEN, DROP_PARTITIONS,
    ENSURE_PARTITION, OLDER_DEAD_LETTERS, OVERDUE_PARTITIONS, OVERTAKE, PAUSE_CLIENT, RESPONSE_IDS, SETTLE_ACCEPTED,
    SETTLE_DEAD, SETTLE_RESPONSES, SETTLE_RETRIES,
};
use crate::pg::burial::spare_ids;
use crate::pg::clock::to_postgres;
use crate::pg::errors::Fault;

/// Writes the whole batch. `last_response` is the last response that was recorded before; the answer is the same after.
pub fn settle(client: &mut SpiClient<'_>, batch: &Batch, last_response: i64) -> Result<i64, Fault> {
    let response_ids = responses(client, &batch.responses)?;
    let last_response = response_ids.iter().copied().fold(last_response, i64::max);
    if !batch.accepted.is_empty() {
        SETTLE_ACCEPTED.with(|statement| statement.update(client, &[batch.accepted.clone().into()]).map(|_| ()))?;
    }
    retries(client, batch)?;
    dead(client, batch, &response_ids)?;
    for (code, reason) in &batch.pauses {
        PAUSE_CLIENT.with(|statement| {
            statement
                .update(client, &[code.as_str().into(), reason.as_str().into()])
                .map(|_| ())
        })?;
    }
    for (code, opening) in &batch.breakers {
        breaker(client, code.as_str(), opening.as_ref())?;
    }
    overtake(client, &batch.arrived)?;
    if !batch.activity.is_empty() {
        let rows = batch
            .activity
            .iter()
            .map(|((code, minute), activity)| (code, *minute, *activity));
        activity::write(client, rows, last_response)?;
    }
    Ok(last_response)
}

/// Dead letters that are older than what has arrived no longer set those attributes.
fn overtake(client: &mut SpiClient<'_>, arrived: &[Arrived]) -> Result<(), Fault> {
    if arrived.is_empty() || !ANY_DEAD_LETTER.with(|statement| yes(statement, client))? {
        return Ok(());
    }
    let text = |of: fn(&Arrived) -> &str| -> Vec<String> { arrived.iter().map(|one| of(one).to_owned()).collect() };
    let newest: Vec<i64> = arrived.iter().map(|one| one.newest).collect();
    let (mut ids, mut names) = (Vec::new(), Vec::new());
    OLDER_DEAD_LETTERS.with(|statement| {
        let rows = statement.select(
            client,
            &[
                text(|one| one.key.client.as_str()).into(),
                text(|one| one.key.kind.as_str()).into(),
                text(|one| one.key.id.as_str()).into(),
                newest.into(),
            ],
        )?;
        for row in rows {
            let number = row.get::<i32>(1)?.and_then(|n| usize::try_from(n - 1).ok());
            let (Some(one), Some(id)) = (number.and_then(|n| arrived.get(n)), row.get::<i64>(2)?) else {
                return Err(Fault::Internal("older_dead_letters"));
            };
            for (name, _) in one.attrs.iter() {
                ids.push(id);
                names.push(name.to_owned());
            }
        }
        Ok(())
    })?;
    if ids.is_empty() {
        return Ok(());
    }
    OVERTAKE.with(|statement| statement.update(client, &[ids.into(), names.into()]).map(|_| ()))
}

fn responses(client: &mut SpiClient<'_>, responses: &[ResponseRecord]) -> Result<Vec<i64>, Fault> {
    if responses.is_empty() {
        return Ok(Vec::new());
    }
    let count = i32::try_from(responses.len()).unwrap_or(i32::MAX);
    let ids = RESPONSE_IDS.with(|statement| {
        let mut ids = Vec::with_capacity(responses.len());
        for row in statement.update(client, &[count.into()])? {
            ids.push(row.get::<i64>(1)?.ok_or(Fault::Internal("response_id_seq"))?);
        }
        Ok::<_, Fault>(ids)
    })?;
    // All ids of all responses in one array, of which each response has a slice (from 1, both ends included).
    let mut outbox_ids = Vec::new();
    let (mut from, mut to) = (Vec::new(), Vec::new());
    for response in responses {
        from.push(int(outbox_ids.len() + 1));
        outbox_ids.extend_from_slice(&response.outbox_ids);
        to.push(int(outbox_ids.len()));
    }
    let text = |of: fn(&ResponseRecord) -> &str| -> Vec<String> {
        responses.iter().map(|response| of(response).to_owned()).collect()
    };
    let sent_at = responses
        .iter()
        .map(|response| timestamp(response.sent_at))
        .collect::<Result<Vec<_>, _>>()?;
    let durations: Vec<i64> = responses
        .iter()
        .map(|response| i64::try_from(response.duration.as_micros()).unwrap_or(i64::MAX))
        .collect();
    let statuses: Vec<Option<i32>> = responses
        .iter()
        .map(|response| response.http_status.map(i32::from))
        .collect();
    let messages: Vec<Option<String>> = responses.iter().map(|response| response.message.clone()).collect();
    let bodies: Vec<Option<String>> = responses.iter().map(|response| response.body.clone()).collect();
    let attempts: Vec<i32> = responses
        .iter()
        .map(|response| i32::try_from(response.attempt).unwrap_or(i32::MAX))
        .collect();
    let parts = |of: fn(&ResponseRecord) -> u16| -> Vec<i16> {
        responses
            .iter()
            .map(|response| i16::try_from(of(response)).unwrap_or(i16::MAX))
            .collect()
    };
    SETTLE_RESPONSES.with(|statement| {
        statement
            .update(
                client,
                &[
                    ids.clone().into(),
                    text(|response| response.key.client.as_str()).into(),
                    text(|response| response.key.kind.as_str()).into(),
                    text(|response| response.key.id.as_str()).into(),
                    outbox_ids.into(),
                    from.into(),
                    to.into(),
                    parts(|response| response.part).into(),
                    parts(|response| response.parts).into(),
                    text(|response| response.method.as_str()).into(),
                    responses
                        .iter()
                        .map(|response| int(response.request_bytes))
                        .collect::<Vec<i32>>()
                        .into(),
                    attempts.into(),
                    sent_at.into(),
                    durations.into(),
                    statuses.into(),
                    text(|response| response.outcome.as_str()).into(),
                    messages.into(),
                    bodies.into(),
                ],
            )
            .map(|_| ())
    })?;
    Ok(ids)
}

fn retries(client: &mut SpiClient<'_>, batch: &Batch) -> Result<(), Fault> {
    if batch.retries.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = batch.retries.iter().map(|retry| retry.id).collect();
    let attempts: Vec<i32> = batch
        .retries
        .iter()
        .map(|retry| i32::try_from(retry.attempts).unwrap_or(i32::MAX))
        .collect();
    let at = batch
        .retries
        .iter()
        .map(|retry| timestamp(retry.next_attempt_at))
        .collect::<Result<Vec<_>, _>>()?;
    let outcomes: Vec<String> = batch
        .retries
        .iter()
        .map(|retry| retry.outcome.as_str().to_owned())
        .collect();
    SETTLE_RETRIES.with(|statement| {
        statement
            .update(client, &[ids.into(), attempts.into(), at.into(), outcomes.into()])
            .map(|_| ())
    })
}

fn dead(client: &mut SpiClient<'_>, batch: &Batch, response_ids: &[i64]) -> Result<(), Fault> {
    if batch.dead.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = batch.dead.iter().map(|dead| dead.id).collect();
    let attempts: Vec<i32> = batch
        .dead
        .iter()
        .map(|dead| i32::try_from(dead.attempts).unwrap_or(i32::MAX))
        .collect();
    let reasons: Vec<String> = batch.dead.iter().map(|dead| dead.reason.clone()).collect();
    let outcomes: Vec<Option<String>> = batch
        .dead
        .iter()
        .map(|dead| dead.outcome.map(|outcome| outcome.as_str().to_owned()))
        .collect();
    let responses: Vec<Option<i64>> = batch
        .dead
        .iter()
        .map(|dead| dead.response.and_then(|index| response_ids.get(index).copied()))
        .collect();
    SETTLE_DEAD.with(|statement| {
        statement
            .update(
                client,
                &[
                    ids.into(),
                    attempts.into(),
                    reasons.into(),
                    outcomes.into(),
                    responses.into(),
                    spare_ids(batch.dead.len()).into(),
                ],
            )
            .map(|_| ())
    })
}

fn breaker(client: &mut SpiClient<'_>, code: &str, opening: Option<&Opening>) -> Result<(), Fault> {
    match opening {
        None => BREAKER_CLOSED.with(|statement| statement.update(client, &[code.into()]).map(|_| ())),
        Some(opening) => BREAKER_OPENED.with(|statement| {
            statement
                .update(
                    client,
                    &[
                        code.into(),
                        timestamp(opening.since)?.into(),
                        timestamp(opening.next_try_at)?.into(),
                        opening.reason.as_str().into(),
                    ],
                )
                .map(|_| ())
        }),
    }
}

/// What an earlier worker has left of its breakers.
pub fn forget_breakers(client: &mut SpiClient<'_>) -> Result<(), Fault> {
    if ANY_BREAKER.with(|statement| yes(statement, client))? {
        BREAKERS_FORGOTTEN.with(|statement| statement.update(client, &[]).map(|_| ()))?;
    }
    Ok(())
}

/// Makes the partition of `response` for a day (days since 2000-01-01) if there is none.
pub fn ensure_day(client: &mut SpiClient<'_>, day: i32) -> Result<(), Fault> {
    // SAFETY: a date is that number of days.
    let day = unsafe { Date::from_pg_epoch_days(day) };
    ENSURE_PARTITION.with(|statement| statement.update(client, &[day.into()]).map(|_| ()))
}

/// Whether there are partitions of `response` that end before that point in Postgres' time.
pub fn has_partitions_before(client: &mut SpiClient<'_>, before: Timestamp) -> Result<bool, Fault> {
    let before = timestamp(before)?;
    OVERDUE_PARTITIONS.with(|statement| {
        Ok(statement
            .select(client, &[before.into()])?
            .first()
            .get_one::<bool>()?
            .unwrap_or(false))
    })
}

/// Drops them.
pub fn drop_partitions_before(client: &mut SpiClient<'_>, before: Timestamp) -> Result<(), Fault> {
    let before = timestamp(before)?;
    DROP_PARTITIONS.with(|statement| statement.update(client, &[before.into()]).map(|_| ()))
}

/// As Postgres' type.
pub fn timestamp(time: Timestamp) -> Result<TimestampWithTimeZone, Fault> {
    TimestampWithTimeZone::try_from(to_postgres(time))
        .map_err(|_| Fault::Internal("a point in time outside of Postgres' range"))
}

fn int(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
