//! What the views `status` and `worker` show: of the worker's shared memory, and of what the core makes of the tables.

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::iter::TableIterator;
use pgrx::prelude::*;
use target_profile_core::breaker::Opening;
use target_profile_core::quota::{Count, Minute, Quota};
use target_profile_core::status::{ClientStatus, Facts, Pause, Server, standing};
use target_profile_core::time::Timestamp;

use crate::pg::shmem::capacity::SLOTS;
use crate::pg::shmem::slots;
use crate::pg::shmem::slots::Slot;
use crate::pg::shmem::{launcher_requests, reports};
use crate::pg::support::backend;
use crate::pg::support::clock::{from_postgres, now, to_postgres};
use crate::pg::support::databases;
use crate::pg::support::databases::database_name;
use crate::pg::support::errors::or_raise;
use crate::pg::support::process;
use crate::pg::support::text::Text;
use crate::pg::support::{settings, versions};

/// The identifier that initdb gave to this cluster.
#[pg_extern(schema = "target_profile", stable, parallel_safe)]
fn _system_identifier() -> i64 {
    // SAFETY: a plain reader of the control file's copy in memory. Postgres shows it as a bigint, too.
    unsafe { pg_sys::GetSystemIdentifier() }.cast_signed()
}

/// One row for each database that has a worker or is meant to have one, and for this one in any case.
#[pg_extern(schema = "target_profile", volatile, parallel_restricted)]
#[allow(clippy::type_complexity, reason = "pgrx reads the columns from the signature")]
fn _workers() -> TableIterator<
    'static,
    (
        name!(database, String),
        name!(pid, Option<i32>),
        name!(state, String),
        name!(since, Option<TimestampWithTimeZone>),
        name!(last_error, Option<String>),
        name!(last_error_at, Option<TimestampWithTimeZone>),
    ),
> {
    let mut rows = Vec::new();
    let mut mine = Some(process::my_database());
    // What the worker knows of it may be old, or there is no worker.
    let sql_version = or_raise(Spi::connect(versions::of_sql));
    for report in if slots::is_ready() { reports::all() } else { Vec::new() } {
        mine = mine.filter(|database| *database != report.database);
        let sql_version = if report.database == process::my_database() {
            sql_version.clone()
        } else {
            Some(report.sql_version()).filter(|version| !version.is_empty())
        };
        let lost = reports::lost(report.database);
        let last_error_at = report.last_error_at.max(lost.map_or(0, |lost| lost.at));
        rows.push((
            database_name(report.database),
            (report.pid != 0).then_some(report.pid),
            report.state.as_str().to_owned(),
            time(report.since),
            told(sql_version.as_deref(), Some(error_of(&report)), lost),
            time(last_error_at),
        ));
    }
    if let Some(database) = mine {
        let (state, error) = absence();
        let lost = if slots::is_ready() {
            reports::lost(database)
        } else {
            None
        };
        let error = told(sql_version.as_deref(), Some(error), lost);
        let last_error_at = lost.and_then(|lost| time(lost.at));
        rows.push((
            database_name(database),
            None,
            state.to_owned(),
            None,
            error,
            last_error_at,
        ));
    }
    TableIterator::new(rows)
}

/// The worker's report, or why there is no worker.
fn error_of(report: &reports::WorkerReport) -> String {
    let error = report.last_error();
    if error.is_empty() && report.state == reports::State::NotAdopted {
        "this database may not send: the first target_profile.add_client, or target_profile.adopt() in a copy, makes it the one that may"
            .to_owned()
    } else {
        error
    }
}

/// The last error, after what there is to do about SQL of another version, and before what was lost.
fn told(sql_version: Option<&str>, error: Option<String>, lost: Option<reports::Loss>) -> Option<String> {
    let advice = versions::advice_for(sql_version).map(|advice| advice.line());
    let told: Vec<String> = advice
        .into_iter()
        .chain(error.filter(|error| !error.is_empty()))
        .chain(lost.map(|lost| lost.line()))
        .collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// Why the launcher has no place for this database, which has the extension.
fn absence() -> (&'static str, String) {
    let standby = backend::is_standby();
    if !slots::is_ready() {
        (
            "not preloaded",
            "target_profile is not in shared_preload_libraries".to_owned(),
        )
    } else if standby {
        ("standby", "the launcher starts when this server is promoted".to_owned())
    } else if !databases::may_serve_mine() {
        (
            "excluded",
            "target_profile.databases leaves this database out".to_owned(),
        )
    } else if !launcher_requests::is_launcher_running() {
        (
            "stopped",
            "the launcher does not run; it needs one of max_worker_processes, and starts again by itself should it have ended"
                .to_owned(),
        )
    } else {
        (
            "stopped",
            format!(
                "the launcher has not come to this database: it was created a moment ago, is a template, or {SLOTS} databases have \
                 a worker"
            ),
        )
    }
}

/// How a client stands, from what the tables say of it.
#[pg_extern(schema = "target_profile", volatile, parallel_restricted)]
#[allow(
    clippy::too_many_arguments,
    reason = "the columns of the view's tables, by their names"
)]
#[allow(clippy::type_complexity, reason = "pgrx reads the columns from the signature")]
fn _standing(
    adopted: Option<bool>,
    paused_at: Option<TimestampWithTimeZone>,
    paused_by: Option<Text<'_>>,
    pause_reason: Option<Text<'_>>,
    failing_since: Option<TimestampWithTimeZone>,
    next_probe_at: Option<TimestampWithTimeZone>,
    failure: Option<Text<'_>>,
    waiting: Option<i64>,
    waiting_fresh: Option<i64>,
    daily_quota: Option<i64>,
    backfill_share: Option<f64>,
    minutes: Option<Vec<TimestampWithTimeZone>>,
    sent: Option<Vec<i32>>,
    sent_backfill: Option<Vec<i32>>,
) -> TableIterator<
    'static,
    (
        name!(state, String),
        name!(reason, Option<String>),
        name!(since, Option<TimestampWithTimeZone>),
        name!(next_try_at, Option<TimestampWithTimeZone>),
        name!(quota_used, i64),
        name!(quota_left, i64),
        name!(quota_resumes_at, Option<TimestampWithTimeZone>),
        name!(forecast, Option<Interval>),
    ),
> {
    let sent = sent
        .unwrap_or_default()
        .into_iter()
        .zip(sent_backfill.unwrap_or_default());
    let sent = minutes
        .unwrap_or_default()
        .into_iter()
        .zip(sent)
        .map(|(minute, (all, backfill))| {
            let count = Count {
                all: u64::from(all.unsigned_abs()),
                backfill: u64::from(backfill.unsigned_abs()),
            };
            (Minute::of(point(minute)), count)
        })
        .collect();
    let facts = Facts {
        adopted: adopted.unwrap_or(false),
        server: server(),
        pause: paused_at.map(|at| Pause {
            at: point(at),
            unauthorized: paused_by.as_deref() == Some("unauthorized"),
            reason: pause_reason.as_deref().map(ToOwned::to_owned),
        }),
        opening: failing_since.map(|since| Opening {
            since: point(since),
            next_try_at: next_probe_at.map_or(point(since), point),
            reason: failure.as_deref().unwrap_or_default().to_owned(),
        }),
        waiting: number(waiting),
        waiting_fresh: number(waiting_fresh),
        quota: Quota::new(number(daily_quota), backfill_share.unwrap_or(1.0)),
        sent,
    };
    let ClientStatus {
        state,
        reason,
        since,
        next_try_at,
        quota_used,
        quota_left,
        quota_resumes_at,
        forecast,
    } = standing(&facts, now());
    let shown = |at: Option<Timestamp>| at.and_then(|at| TimestampWithTimeZone::try_from(to_postgres(at)).ok());
    let forecast = forecast.and_then(|after| {
        let micros = i64::try_from(after.as_micros()).ok()?;
        Interval::new(0, 0, micros).ok()
    });
    TableIterator::once((
        state.as_str().to_owned(),
        reason,
        shown(since),
        shown(next_try_at),
        i64::try_from(quota_used).unwrap_or(i64::MAX),
        i64::try_from(quota_left).unwrap_or(i64::MAX),
        shown(quota_resumes_at),
        forecast,
    ))
}

fn point(at: TimestampWithTimeZone) -> Timestamp {
    from_postgres(at.into_inner())
}

fn number(count: Option<i64>) -> u64 {
    count.and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
}

/// Whether and why this server sends.
fn server() -> Server {
    let standby = backend::is_standby();
    if !slots::is_ready() {
        Server::NotPreloaded
    } else if !settings::enabled() {
        Server::Disabled
    } else if standby {
        Server::Standby
    } else if Slot::of_my_database().is_some_and(Slot::is_served) {
        Server::Sends
    } else {
        Server::NoWorker
    }
}

fn time(postgres_time: i64) -> Option<TimestampWithTimeZone> {
    if postgres_time == 0 {
        None
    } else {
        TimestampWithTimeZone::try_from(postgres_time).ok()
    }
}
