//! `target_profile.result` and `wait`: the state of an entry.

use std::time::Instant;

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::iter::TableIterator;
use pgrx::prelude::*;
use target_profile_core::client_code::ClientCode;
use target_profile_core::id::{IdKind, ProfileKey};
use target_profile_core::time::patience;

use crate::pg::enqueue::owner::as_owner;
use crate::pg::enqueue::writer;
use crate::pg::shmem::condition;
use crate::pg::shmem::slots;
use crate::pg::shmem::slots::Slot;
use crate::pg::support::backend;
use crate::pg::support::errors::{Fault, or_raise};
use crate::pg::support::snapshot::with_latest_snapshot;
use crate::pg::support::statement::{Statement, statement};
use crate::pg::support::text::Text;
use crate::pg::support::wait_event;

thread_local! {
    static RESULT: Statement = const {
        statement!("result/result.sql", INT8OID, OIDOID)
    };
    static RESULT_0_1: Statement = const {
        statement!("result/result_0_1.sql", INT8OID)
    };
    static WAITING: Statement = const {
        statement!("result/waiting_entry.sql", INT8OID)
    };
}

/// The row of `result(id)`.
type ResultRow = (
    String,
    Option<i64>,
    Option<i32>,
    Option<String>,
    Option<TimestampWithTimeZone>,
);

/// Whether the entry is part of a request that is under way.
#[pg_extern(schema = "target_profile", stable, parallel_restricted)]
pub fn _in_flight(client_code: Text<'_>, id_kind: Text<'_>, profile_id: Text<'_>, id: i64) -> bool {
    let key =
        ClientCode::parse(&client_code).and_then(|code| ProfileKey::new(code, IdKind::parse(&id_kind)?, &profile_id));
    match (Slot::of_my_database(), key) {
        (Some(slot), Ok(key)) => slot.is_in_flight(key.fingerprint(), id),
        _ => false,
    }
}

/// Waits until the entry is settled, at most `timeout`, and says what became of it as `result` does. Below zero it only looks, as
/// `result` has it do for a role that may not read the tables.
#[pg_extern(schema = "target_profile", volatile, parallel_unsafe)]
#[allow(clippy::type_complexity, reason = "pgrx reads the columns from the signature")]
pub fn wait(
    id: Option<i64>,
    timeout: default!(Option<Interval>, "'30 seconds'"),
) -> TableIterator<
    'static,
    (
        name!(state, String),
        name!(response_id, Option<i64>),
        name!(http_status, Option<i32>),
        name!(message, Option<String>),
        name!(finished_at, Option<TimestampWithTimeZone>),
    ),
> {
    TableIterator::new(or_raise(found(id, timeout)))
}

fn found(id: Option<i64>, timeout: Option<Interval>) -> Result<Option<ResultRow>, Fault> {
    let timeout = timeout.ok_or(Fault::NullArgument("timeout"))?;
    if timeout.as_micros() < 0 {
        let asked_by = backend::current_role();
        return id.map_or(Ok(None), |id| as_owner(|| fate(id, asked_by)));
    }
    wait_for(id.ok_or(Fault::NullArgument("id"))?, timeout).map(Some)
}

fn wait_for(id: i64, timeout: Interval) -> Result<ResultRow, Fault> {
    let patience = patience(timeout.as_micros());
    let start = Instant::now();
    if backend::has_fixed_snapshot() {
        return Err(Fault::WaitInFixedSnapshot);
    }
    if is_own(id)? {
        return Err(Fault::WaitForOwn(id));
    }
    if !slots::is_ready() {
        let row = now(id)?.ok_or(Fault::UnknownEntry(id))?;
        return if is_settled(&row) {
            Ok(row)
        } else {
            Err(Fault::NotPreloaded)
        };
    }
    let row = loop {
        // The worker says when it has settled something. As long as there is none, or it is another one: that one comes.
        let slot = Slot::of_my_database();
        let condition = slot.map_or_else(slots::changed_condition, Slot::settled_condition);
        condition.prepare();
        let row = now(id)?.ok_or(Fault::UnknownEntry(id))?;
        let left = patience.saturating_sub(start.elapsed());
        if is_settled(&row) || left.is_zero() {
            break row;
        }
        if Slot::of_my_database() != slot {
            continue;
        }
        condition.wait(left, wait_event::named(c"TargetProfileWait"));
    };
    condition::cancel();
    Ok(row)
}

fn is_settled(row: &ResultRow) -> bool {
    !matches!(row.0.as_str(), "waiting" | "in flight")
}

/// What is committed about the entry now.
fn now(id: i64) -> Result<Option<ResultRow>, Fault> {
    let asked_by = backend::current_role();
    as_owner(|| with_latest_snapshot(|| fate(id, asked_by)))
}

/// What became of the entry, as far as that role may know.
fn fate(id: i64, asked_by: pg_sys::Oid) -> Result<Option<ResultRow>, Fault> {
    Spi::connect(|client| {
        let rows = if writer::is_recorded() {
            RESULT.with(|statement| statement.select(client, &[id.into(), asked_by.into()]))?
        } else {
            RESULT_0_1.with(|statement| statement.select(client, &[id.into()]))?
        };
        if rows.is_empty() {
            return Ok(None);
        }
        let row = rows.first();
        Ok(Some((
            row.get(1)?.ok_or(Fault::Internal("result.state"))?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
            row.get(5)?,
        )))
    })
}

/// Whether this transaction has enqueued the entry itself.
fn is_own(id: i64) -> Result<bool, Fault> {
    let writer: Option<pg_sys::TransactionId> = as_owner(|| {
        with_latest_snapshot(|| {
            Spi::connect(|client| {
                WAITING.with(|statement| {
                    let rows = statement.select(client, &[id.into()])?;
                    if rows.is_empty() {
                        Ok(None)
                    } else {
                        Ok(rows.first().get_one()?)
                    }
                })
            })
        })
    })?;
    Ok(writer.is_some_and(backend::is_current_transaction))
}
