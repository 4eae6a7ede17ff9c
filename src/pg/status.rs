//! What the views `status` and `worker` show of the worker's shared memory.

use pgrx::datum::TimestampWithTimeZone;
use pgrx::iter::TableIterator;
use pgrx::prelude::*;

use super::settings;
use super::shared::{self, State};

/// The identifier that initdb gave to this cluster.
#[pg_extern(schema = "target_profile", stable, parallel_safe)]
fn _system_identifier() -> i64 {
    // SAFETY: a plain reader of the control file's copy in memory. Postgres shows it as a bigint, too.
    unsafe { pg_sys::GetSystemIdentifier() }.cast_signed()
}

/// One row for each database that has a worker or is meant to have one.
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
    if !shared::is_ready() {
        let error = "target_profile is not in shared_preload_libraries".to_owned();
        rows.push((
            database_name(my_database()),
            None,
            "not preloaded".to_owned(),
            None,
            Some(error),
            None,
        ));
        return TableIterator::new(rows);
    }
    let mut expected = settings::databases();
    for report in shared::reports() {
        let database = database_name(pg_sys::Oid::from(report.database));
        expected.retain(|name| *name != database);
        let error = report.last_error();
        rows.push((
            database,
            (report.pid != 0).then_some(report.pid),
            report.state.as_str().to_owned(),
            time(report.since),
            (!error.is_empty()).then_some(error),
            time(report.last_error_at),
        ));
    }
    for database in expected {
        let state = State::Stopped.as_str().to_owned();
        let error = "it has not started: does the database exist, and has max_worker_processes room?".to_owned();
        rows.push((database, None, state, None, Some(error), None));
    }
    TableIterator::new(rows)
}

fn time(postgres_time: i64) -> Option<TimestampWithTimeZone> {
    if postgres_time == 0 {
        None
    } else {
        TimestampWithTimeZone::try_from(postgres_time).ok()
    }
}

fn my_database() -> pg_sys::Oid {
    // SAFETY: a plain variable of the process.
    unsafe { pg_sys::MyDatabaseId }
}

/// Its name, or its number if it is gone.
fn database_name(oid: pg_sys::Oid) -> String {
    // SAFETY: a look-up inside a transaction; the answer is palloc'd or null.
    let name = unsafe { pg_sys::get_database_name(oid) };
    if name.is_null() {
        return oid.to_u32().to_string();
    }
    // SAFETY: a C string, see above.
    unsafe { std::ffi::CStr::from_ptr(name) }.to_string_lossy().into_owned()
}
