//! Settling: one transaction that writes what the drain has decided.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use pgrx::datum::{DatumWithOid, TimestampWithTimeZone};
use pgrx::spi::SpiClient;
use target_profile_core::breaker::Opening;
use target_profile_core::client_code::ClientCode;
use target_profile_core::drain::Drain;
use target_profile_core::secret::Secret;
use target_profile_core::settlement::{Accepted, Batch, Dead, Left, ResponseRecord, Retry};

use super::queries::{
    ANY_BREAKER, BREAKER_CLOSED, BREAKER_OPENED, BREAKERS_FORGOTTEN, ENTRIES_LEFT, IS_UNPAUSED, LOCK_CLIENT,
    LOCK_ENTRIES, PAUSE_CLIENT, RESPONSE_IDS, SETTLE_ACCEPTED, SETTLE_ACCEPTED_BURIED, SETTLE_DEAD, SETTLE_DEAD_0_1,
    SETTLE_RESPONSES, SETTLE_RESPONSES_0_1, SETTLE_RETRIES, SETTLE_STRAY_RESPONSES,
};
use super::rows::{ActivityRow, DeadRow, ResponseRow};
use super::tables;
use super::{activity, overtaking};
use crate::pg::enqueue::burial::spare_ids;
use crate::pg::enqueue::writer;
use crate::pg::support::clock::{from_postgres, timestamp};
use crate::pg::support::errors::Fault;
use crate::pg::support::rows::Rows;

/// How far a settlement has come: what failed decides what is tried next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The tables are being locked.
    Tables,
    /// Ids are being drawn for the responses.
    Ids,
    /// The responses are being written.
    Responses,
    /// All else.
    Rows,
}

/// How a batch is settled.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Entries that somebody has locked are left out. That writes each row twice, so it is done when it must.
    pub careful: bool,
    /// Responses go to the table for those that `response` cannot take.
    pub stray: bool,
}

/// Writes the whole batch, but for what others have changed or locked since it was read. `last_response` is the last response that
/// was recorded before; the answer has the same after.
pub fn settle(
    client: &mut SpiClient<'_>,
    batch: &Batch,
    manner: Manner,
    last_response: i64,
    drain: &Drain,
    stage: &Cell<Stage>,
) -> Result<(i64, Left), Fault> {
    lock_tables(batch);
    stage.set(Stage::Ids);
    let response_ids = response_ids(client, batch.responses.len())?;
    stage.set(Stage::Responses);
    responses(client, &batch.responses, &response_ids, manner.stray)?;
    stage.set(Stage::Rows);
    tables::be_impatient();
    let last_response = response_ids.iter().copied().fold(last_response, i64::max);
    // While the entries are there, which say what each has set.
    overtaking::overtake(client, &batch.arrived)?;
    let mut left = entries(client, batch, manner.careful.then_some(drain), &response_ids)?;
    left.responses = response_ids;
    for (code, reason) in &batch.pauses {
        if !pause(client, drain, code, reason)? {
            left.pauses.insert(code.clone());
        }
    }
    for (code, opening) in &batch.breakers {
        breaker(client, code.as_str(), opening.as_ref())?;
    }
    if !batch.activity.is_empty() {
        let rows: Vec<ActivityRow<'_>> = batch
            .activity
            .iter()
            .map(|((client, minute), activity)| ActivityRow {
                client,
                minute: *minute,
                activity: *activity,
            })
            .collect();
        activity::write(client, &rows, last_response)?;
    }
    Ok((last_response, left))
}

fn lock_tables(batch: &Batch) {
    let mut names = Vec::new();
    if !batch.accepted.is_empty() || !batch.retries.is_empty() || !batch.dead.is_empty() {
        names.push(tables::OUTBOX);
    }
    if !batch.responses.is_empty() {
        names.push(tables::RESPONSE);
    }
    if !batch.accepted.is_empty() || !batch.dead.is_empty() || !batch.arrived.is_empty() {
        names.extend([tables::DEAD_LETTER, tables::OVERTAKEN, tables::SUPERSEDED]);
    }
    if !batch.activity.is_empty() {
        names.push(tables::ACTIVITY);
    }
    tables::write(&names);
}

/// Settles the entries. What is left: those that have changed since they were read, and with `care` those that are locked, of which
/// the drain says what else they hold up.
fn entries(
    client: &mut SpiClient<'_>,
    batch: &Batch,
    care: Option<&Drain>,
    response_ids: &[i64],
) -> Result<Left, Fault> {
    let mut left = Left::default();
    let all: BTreeMap<i64, Option<i64>> = batch
        .accepted
        .iter()
        .map(|entry| (entry.id, Some(entry.version)))
        .chain(batch.retries.iter().map(|entry| (entry.id, Some(entry.version))))
        .chain(batch.dead.iter().map(|entry| (entry.id, entry.version)))
        .collect();
    if all.is_empty() {
        return Ok(left);
    }
    let args = || {
        let ids: Vec<i64> = all.keys().copied().collect();
        let versions: Vec<Option<i64>> = all.values().copied().collect();
        [ids.into(), versions.into()]
    };
    if let Some(drain) = care {
        let mut ids = BTreeSet::new();
        LOCK_ENTRIES.with(|statement| {
            for row in statement.update(client, &args())? {
                ids.extend(row.get::<i64>(1)?);
            }
            Ok::<_, Fault>(())
        })?;
        if ids.len() < all.len() {
            (left, _) = entries_left(client, &args(), |id| ids.contains(&id))?;
            left.locked = drain.bound_to(batch, std::mem::take(&mut left.locked));
        }
    }
    let locked = left.locked.clone();
    let is_free = |id: i64| !locked.contains(&id);
    let accepted_there = accepted(client, batch.accepted.iter().filter(|entry| is_free(entry.id)))?;
    let retried = retries(client, batch.retries.iter().filter(|entry| is_free(entry.id)))?;
    let dead_there = dead(
        client,
        batch.dead.iter().filter(|entry| is_free(entry.id)),
        response_ids,
    )?;
    let is_complete =
        accepted_there && dead_there && retried == batch.retries.iter().filter(|entry| is_free(entry.id)).count();
    if !is_complete {
        let (changed, same) = entries_left(client, &args(), |_| true)?;
        let is_suppressed = |id: &i64| is_free(*id) && same.contains(id);
        let ended = batch.accepted.iter().map(|entry| &entry.id);
        if ended.chain(batch.dead.iter().map(|entry| &entry.id)).any(is_suppressed) {
            return Err(Fault::Suppressed {
                statement: "DELETE from",
                table: "outbox",
            });
        }
        if batch.retries.iter().filter(|entry| is_suppressed(&entry.id)).count() > retried {
            return Err(Fault::Suppressed {
                statement: "UPDATE of",
                table: "outbox",
            });
        }
        // With care they are known, and nobody can have changed what is locked here.
        if care.is_none() {
            left = changed;
        }
    }
    Ok(left)
}

/// Those that are still there: locked by others if they are what they were read as and not free, or else changed. And those that are free
/// and what they were read as.
fn entries_left(
    client: &mut SpiClient<'_>,
    args: &[DatumWithOid<'_>; 2],
    is_free: impl Fn(i64) -> bool,
) -> Result<(Left, BTreeSet<i64>), Fault> {
    let (mut left, mut same_and_free) = (Left::default(), BTreeSet::new());
    ENTRIES_LEFT.with(|statement| {
        for row in statement.update(client, args)? {
            let (Some(id), Some(same)) = (row.get::<i64>(1)?, row.get::<bool>(2)?) else {
                return Err(Fault::Internal("entries_left"));
            };
            match (same, is_free(id)) {
                (true, false) => left.locked.insert(id),
                (false, _) => left.changed.insert(id),
                (true, true) => same_and_free.insert(id),
            };
        }
        Ok(())
    })?;
    Ok((left, same_and_free))
}

/// Whether all of them were there. One that is not may be a dead letter by now, since its client was removed.
fn accepted<'a>(client: &mut SpiClient<'_>, entries: impl Iterator<Item = &'a Accepted>) -> Result<bool, Fault> {
    let (ids, versions): (Vec<i64>, Vec<i64>) = entries.map(|entry| (entry.id, entry.version)).unzip();
    let count = ids.len();
    if count == 0 {
        return Ok(true);
    }
    let args = [ids.into(), versions.into()];
    let all_there =
        SETTLE_ACCEPTED.with(|statement| Ok::<_, Fault>(statement.update(client, &args)?.len() == count))?;
    if !all_there {
        SETTLE_ACCEPTED_BURIED.with(|statement| statement.update(client, &args).map(|_| ()))?;
    }
    Ok(all_there)
}

/// Whether the client is paused now, or need not be: not if somebody has its row locked.
fn pause(client: &mut SpiClient<'_>, drain: &Drain, code: &ClientCode, reason: &str) -> Result<bool, Fault> {
    let args = [code.as_str().into()];
    let refused = LOCK_CLIENT.with(|statement| {
        let rows = statement.update(client, &args)?;
        if rows.is_empty() {
            return Ok::<_, Fault>(None);
        }
        let row = rows.first();
        let (endpoint, auth_token) = (row.get::<String>(1)?, row.get::<String>(2)?.map(Secret::new));
        let resumed_at = row
            .get::<TimestampWithTimeZone>(3)?
            .map(|at| from_postgres(at.into_inner()));
        let endpoint = endpoint.ok_or(Fault::Internal("client.endpoint"))?;
        Ok(Some(drain.is_refused_as(
            code,
            &endpoint,
            auth_token.as_ref(),
            resumed_at,
        )))
    })?;
    if let Some(refused) = refused {
        if refused {
            PAUSE_CLIENT.with(|statement| {
                statement
                    .update(client, &[code.as_str().into(), reason.into()])
                    .map(|_| ())
            })?;
        }
        return Ok(true);
    }
    IS_UNPAUSED.with(|statement| {
        let rows = statement.update(client, &args)?;
        Ok(!rows.first().get_one::<bool>()?.unwrap_or(false))
    })
}

fn response_ids(client: &mut SpiClient<'_>, count: usize) -> Result<Vec<i64>, Fault> {
    if count == 0 {
        return Ok(Vec::new());
    }
    RESPONSE_IDS.with(|statement| {
        let mut ids = Vec::with_capacity(count);
        for row in statement.update(client, &[i32::try_from(count).unwrap_or(i32::MAX).into()])? {
            ids.push(row.get::<i64>(1)?.ok_or(Fault::Internal("response_id_seq"))?);
        }
        Ok(ids)
    })
}

fn responses(client: &mut SpiClient<'_>, responses: &[ResponseRecord], ids: &[i64], stray: bool) -> Result<(), Fault> {
    if responses.is_empty() {
        return Ok(());
    }
    let mut outbox_ids = Vec::new();
    let mut rows = Vec::with_capacity(responses.len());
    for (record, &id) in responses.iter().zip(ids) {
        let ids_from = outbox_ids.len() + 1;
        outbox_ids.extend_from_slice(&record.outbox_ids);
        rows.push(ResponseRow {
            id,
            ids_from,
            ids_to: outbox_ids.len(),
            record,
        });
    }
    let mut args = ResponseRow::arrays(&rows)?;
    args.push(outbox_ids.into());
    let statement = if stray {
        &SETTLE_STRAY_RESPONSES
    } else if writer::is_recorded() {
        &SETTLE_RESPONSES
    } else {
        &SETTLE_RESPONSES_0_1
    };
    statement.with(|statement| {
        let written = statement.update(client, &args)?;
        if written.len() < responses.len() {
            return Err(Fault::Suppressed {
                statement: "INSERT into",
                table: "response",
            });
        }
        Ok(())
    })
}

/// How many of them were there.
fn retries<'a>(client: &mut SpiClient<'_>, entries: impl Iterator<Item = &'a Retry>) -> Result<usize, Fault> {
    let entries: Vec<&Retry> = entries.collect();
    if entries.is_empty() {
        return Ok(0);
    }
    SETTLE_RETRIES.with(|statement| Ok(statement.update(client, &<&Retry>::arrays(&entries)?)?.len()))
}

/// Whether all of them were there.
fn dead<'a>(
    client: &mut SpiClient<'_>,
    entries: impl Iterator<Item = &'a Dead>,
    response_ids: &[i64],
) -> Result<bool, Fault> {
    let entries: Vec<&Dead> = entries.collect();
    if entries.is_empty() {
        return Ok(true);
    }
    let spare = spare_ids(entries.len());
    let ids: Vec<i64> = entries.iter().map(|dead| dead.id).collect();
    overtaking::follow(client, &ids, &spare)?;
    let rows: Vec<DeadRow<'_>> = entries
        .iter()
        .zip(spare)
        .map(|(dead, spare_id)| {
            let in_batch = dead.response.and_then(|index| response_ids.get(index).copied());
            DeadRow {
                dead,
                response_id: in_batch.or(dead.recorded),
                spare_id,
            }
        })
        .collect();
    let statement = if writer::is_recorded() {
        &SETTLE_DEAD
    } else {
        &SETTLE_DEAD_0_1
    };
    statement.with(|statement| {
        let rows = statement.update(client, &DeadRow::arrays(&rows)?)?;
        let (gone, buried) = rows.first().get_two::<i64, i64>()?;
        if gone != buried {
            return Err(Fault::Suppressed {
                statement: "INSERT into",
                table: "dead_letter",
            });
        }
        Ok(gone.and_then(|gone| usize::try_from(gone).ok()) == Some(entries.len()))
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
    if ANY_BREAKER.with(|statement| statement.is_true(client))? {
        BREAKERS_FORGOTTEN.with(|statement| statement.update(client, &[]).map(|_| ()))?;
    }
    Ok(())
}
