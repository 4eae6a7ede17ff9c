//! Claiming: reading in one snapshot what the drain asks for. Nothing is written. Only the memory of this worker knows what is in
//! flight.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use target_profile_core::client_code::ClientCode;
use target_profile_core::drain::{
    Admission, Dispatch, Drain, Entry, Head, LARGE_BYTES, LaneRead, MERGE_LIMIT, Reading,
};
use target_profile_core::error::Error;
use target_profile_core::horizon::Snapshot;
use target_profile_core::id::ProfileKey;
use target_profile_core::limits::STORED_BYTES;
use target_profile_core::settlement::Batch;
use target_profile_core::time::Timestamp;
use target_profile_core::wal::end_of_records;

use super::queries::{FIND_LANES, READ_ENTRIES, READ_LANES, SNAPSHOT};
use super::{installation, memory, overtaking, tables};
use crate::pg::enqueue::jsonb;
use crate::pg::support::clock::from_postgres;
use crate::pg::support::errors::Fault;

/// One claim: the requests to be sent now. `None`: the clients have changed, or `outbox` was dropped, and the worker must read its
/// state again before it sends.
///
/// `clients_are_current` is called after the snapshot has been taken. A change of a client, such as a pause, is announced before the
/// call that makes it returns. So an entry that the snapshot shows is never sent with settings that were replaced before it was written.
pub fn claim(
    client: &mut SpiClient<'_>,
    drain: &mut Drain,
    outbox: pg_sys::Oid,
    clients_are_current: impl FnOnce() -> bool,
    now: Timestamp,
    batch: &mut Batch,
    lack: &mut Option<usize>,
) -> Result<Option<Vec<Dispatch>>, Fault> {
    tables::read(&[tables::OUTBOX, tables::OVERTAKEN, tables::SUPERSEDED]);
    if !clients_are_current() || installation::outbox(client)? != Some(outbox) {
        return Ok(None);
    }
    let (snapshot, last_id) = read_snapshot(client)?;
    drain.observe(&snapshot, last_id);
    find_lanes(client, drain)?;
    let reads = drain.reads(now);
    let heads = if reads.is_empty() {
        Vec::new()
    } else {
        read_lanes(client, &reads)?
    };
    let profiles = drain.select(&reads, &heads, now, batch);
    if profiles.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let reading = read_entries(client, drain, profiles, lack)?;
    Ok(Some(drain.claim_read(reading, batch)))
}

/// Makes durable what the claim has seen: with `synchronous_commit = off` a commit is visible before it is on disk, and what
/// is sent must not be undone by a crash. Costs nothing when it is on disk already.
pub fn flush_wal() {
    // SAFETY: plain functions of the WAL, outside of a transaction. The size of a segment is set before any process is started.
    unsafe {
        let segment = u64::try_from(pg_sys::wal_segment_size).unwrap_or(0);
        let end = end_of_records(pg_sys::GetXLogInsertRecPtr(), u64::from(pg_sys::XLOG_BLCKSZ), segment);
        pg_sys::XLogFlush(end);
    }
}

fn read_snapshot(client: &SpiClient<'_>) -> Result<(Snapshot, i64), Fault> {
    SNAPSHOT.with(|statement| {
        let (snapshot, last_id) = statement.select(client, &[])?.first().get_two::<String, i64>()?;
        let snapshot = snapshot
            .as_deref()
            .and_then(Snapshot::parse)
            .ok_or(Fault::Internal("pg_current_snapshot"))?;
        // Read after the snapshot: what runs from its xmax on is not listed in it.
        // SAFETY: a plain reader of shared memory.
        let next_xid = unsafe { pg_sys::ReadNextFullTransactionId() }.value;
        Ok((
            snapshot.with_next_xid(next_xid),
            last_id.ok_or(Fault::Internal("outbox_id_seq"))?,
        ))
    })
}

fn find_lanes(client: &SpiClient<'_>, drain: &mut Drain) -> Result<(), Fault> {
    loop {
        let gaps = drain.unknown_lanes();
        if gaps.is_empty() {
            return Ok(());
        }
        let mut codes = Vec::with_capacity(gaps.len());
        let (mut above, mut below) = (Vec::with_capacity(gaps.len()), Vec::with_capacity(gaps.len()));
        for (code, low, high) in gaps {
            codes.push(code.as_str().to_owned());
            above.push(low);
            below.push(high);
        }
        FIND_LANES.with(|statement| {
            for row in statement.select(client, &[codes.into(), above.into(), below.into()])? {
                let (Some(code), Some(priority)) = (row.get::<&str>(1)?, row.get::<i16>(2)?) else {
                    continue;
                };
                drain.found_lane(&ClientCode::parse(code)?, priority);
            }
            Ok::<_, Fault>(())
        })?;
    }
}

fn read_lanes(client: &SpiClient<'_>, reads: &[LaneRead]) -> Result<Vec<Head>, Fault> {
    let codes: Vec<String> = reads.iter().map(|read| read.client.as_str().to_owned()).collect();
    let priorities: Vec<i16> = reads.iter().map(|read| read.priority).collect();
    let from: Vec<i64> = reads.iter().map(|read| read.from).collect();
    let up_to: Vec<i64> = reads.iter().map(|read| read.up_to).collect();
    let limits: Vec<i32> = reads
        .iter()
        .map(|read| i32::try_from(read.limit).unwrap_or(i32::MAX))
        .collect();
    READ_LANES.with(|statement| {
        let rows = statement.select(
            client,
            &[
                codes.into(),
                priorities.into(),
                from.into(),
                up_to.into(),
                limits.into(),
            ],
        )?;
        let mut heads = Vec::with_capacity(rows.len());
        for row in rows {
            heads.push(Head {
                read: place(row.get(1)?)?,
                id: row.get(2)?.ok_or(Fault::Internal("outbox.id"))?,
                id_kind: row.get(3)?.ok_or(Fault::Internal("outbox.id_kind"))?,
                profile_id: row.get(4)?.ok_or(Fault::Internal("outbox.profile_id"))?,
                enqueued_at: time(row.get(5)?).ok_or(Fault::Internal("outbox.enqueued_at"))?,
                next_attempt_at: time(row.get(6)?),
            });
        }
        // The plan is a nested loop, so the rows come in this order. Sorting what is sorted is cheap; ORDER BY would copy the rows.
        heads.sort_by_key(|head| (head.read, head.id));
        Ok(heads)
    })
}

/// Reads entries as far as the drain has room for them. `lack` is set to the size of an entry that the memory of the machine is too small for.
fn read_entries(
    client: &SpiClient<'_>,
    drain: &mut Drain,
    profiles: Vec<ProfileKey>,
    lack: &mut Option<usize>,
) -> Result<Reading, Fault> {
    let codes: Vec<String> = profiles.iter().map(|key| key.client.as_str().to_owned()).collect();
    let kinds: Vec<String> = profiles.iter().map(|key| key.kind.as_str().to_owned()).collect();
    let ids: Vec<String> = profiles.iter().map(|key| key.id.as_str().to_owned()).collect();
    let limit = i32::try_from(MERGE_LIMIT).unwrap_or(i32::MAX);
    let versions: Vec<i64> = profiles.iter().map(version_of_profile).collect();
    let mut reading = Reading::new(profiles);
    READ_ENTRIES.with(|statement| {
        let args = [codes.into(), kinds.into(), ids.into(), limit.into()];
        statement.each(client, &args, |row| {
            let profile = place(row.get(1)?)?;
            let stored = row.get_datum_by_ordinal(3)?.ok_or(Fault::Internal("outbox.attrs"))?;
            // SAFETY: a jsonb, which is not fetched for this.
            let bytes = unsafe { pg_sys::toast_raw_datum_size(stored) };
            if bytes > LARGE_BYTES && bytes <= STORED_BYTES && !memory::has_room(LARGE_TAKES * bytes) {
                *lack = Some(bytes);
                drain.pass(&mut reading, profile);
                return Ok(());
            }
            let admission = drain.admit(&mut reading, profile, bytes);
            if admission == Admission::Pass {
                return Ok(());
            }
            let id: i64 = row.get(2)?.ok_or(Fault::Internal("outbox.id"))?;
            let retried = row.get(6)?.unwrap_or(false);
            let (attrs, version) = match admission {
                // SAFETY: a jsonb.
                Admission::Read => unsafe {
                    let of_profile = versions.get(profile).copied().unwrap_or(0);
                    (jsonb::stored(stored), version_of_entry(of_profile, stored))
                },
                _ => (Err(Error::ValueTooLarge { bytes }), 0),
            };
            let attrs = match attrs {
                Ok(attrs) if retried => {
                    let key = reading.key(profile).ok_or(Fault::Internal("ordinality"))?;
                    overtaking::without_overtaken(client, id, key, attrs)?
                }
                other => other,
            };
            let entry = Entry {
                profile,
                id,
                version,
                attrs,
                attempts: row.get::<i32>(4)?.and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
                enqueued_at: time(row.get(5)?).ok_or(Fault::Internal("outbox.enqueued_at"))?,
                retried,
            };
            drain.add(&mut reading, entry);
            Ok(())
        })
    })?;
    Ok(reading)
}

/// The version of an entry is a hash of its profile and its attributes. An entry is settled only if it still has the version that was read:
/// sql/queries/settle/settle_accepted.sql computes the same hash. This is the profile's part of it.
fn version_of_profile(key: &ProfileKey) -> i64 {
    [key.client.as_str(), key.kind.as_str(), key.id.as_str()]
        .into_iter()
        .fold(0, |version, part| {
            // SAFETY: a function of pg_catalog, called with the types that it takes: a text and a bigint.
            unsafe {
                hash(
                    pg_sys::F_HASHTEXTEXTENDED,
                    part.into_datum().unwrap_or(pg_sys::Datum::null()),
                    version,
                )
            }
        })
}

/// The whole version: the profile's part, and the attributes.
///
/// # Safety
/// A `jsonb`.
unsafe fn version_of_entry(of_profile: i64, attrs: pg_sys::Datum) -> i64 {
    // SAFETY: the caller's promise.
    unsafe { hash(pg_sys::F_JSONB_HASH_EXTENDED, attrs, of_profile) }
}

/// # Safety
/// An extended hash function, and a value of its type that is not NULL.
unsafe fn hash(function: u32, value: pg_sys::Datum, seed: i64) -> i64 {
    // SAFETY: the caller's promise. The columns of text have the collation C.
    unsafe {
        pg_sys::OidFunctionCall2Coll(
            pg_sys::Oid::from(function),
            pg_sys::C_COLLATION_OID,
            value,
            pg_sys::Datum::from(seed),
        )
    }
    .value() as i64
}

/// The memory that reading a large entry takes, as a multiple of its stored size: the fetched value, the uncompressed one, the attributes
/// and the requests.
const LARGE_TAKES: usize = 4;

/// An ordinality, counted from 0.
fn place(number: Option<i32>) -> Result<usize, Fault> {
    number
        .and_then(|n| usize::try_from(n - 1).ok())
        .ok_or(Fault::Internal("ordinality"))
}

fn time(time: Option<TimestampWithTimeZone>) -> Option<Timestamp> {
    time.map(|time| from_postgres(time.into_inner()))
}
