//! The table `client`, as the core's settings: checked when a row is written, cached where entries are written.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::AllocatedByPostgres;
use pgrx::datum::{DatumWithOid, Interval, TimestampWithTimeZone};
use pgrx::heap_tuple::PgHeapTuple;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use target_profile_core::secret::Secret;
use target_profile_core::settings::{ClientRow, ClientSettings, SettingError};

use super::owner::as_owner_of;
use super::wake;
use crate::pg::shmem::slots::Slot;
use crate::pg::support::errors::{Fault, or_raise};
use crate::pg::support::snapshot::with_latest_snapshot;
use crate::pg::support::statement::{Statement, statement};
use crate::pg::support::subtransaction;
use crate::pg::support::trigger_call::{Answer, answer};

thread_local! {
    static SELECT: Statement = const {
        statement!("enqueue/clients.sql", TEXTOID)
    };
    static CACHE: RefCell<Cache> = RefCell::new(Cache::default());
}

/// How long, in microseconds, a cached client is good at most: a change that nobody announced (a transaction that was prepared
/// first) is seen after that.
const CACHED_FOR: i64 = 10_000_000;

#[derive(Default)]
struct Cache {
    clients: HashMap<String, Rc<ClientSettings>>,
    version: Option<u64>,
    /// Filled in a transaction that sees what is committed, with somebody counting the commits: good for others, too.
    shareable: bool,
    transaction: u32,
    filled_at: i64,
}

/// The settings of a registered client.
///
/// # Errors
/// It is not registered, or its row is not valid.
pub fn registered(code: &str) -> Result<Rc<ClientSettings>, Fault> {
    CACHE.with_borrow_mut(|cache| {
        cache.forget_if_stale();
        if let Some(settings) = cache.clients.get(code) {
            return Ok(Rc::clone(settings));
        }
        let settings = Rc::new(select_one(code)?);
        if !wake::clients_changed_here() {
            cache.clients.insert(code.to_owned(), Rc::clone(&settings));
        }
        Ok(settings)
    })
}

/// The same for a row that is being written: whatever is wrong with the table of clients, it is no error of the write.
///
/// # Errors
/// As [`registered`], and what Postgres says.
pub fn registered_for_row(code: &str) -> Result<Rc<ClientSettings>, Fault> {
    let known = CACHE.with_borrow_mut(|cache| {
        cache.forget_if_stale();
        cache.clients.get(code).map(Rc::clone)
    });
    match known {
        Some(settings) => Ok(settings),
        None => subtransaction::attempt(std::panic::AssertUnwindSafe(|| registered(code))).map_err(Fault::Refused)?,
    }
}

impl Cache {
    /// Good while no commit has changed clients; where nobody counts the commits, for the current transaction; never in a
    /// transaction that changes clients itself.
    fn forget_if_stale(&mut self) {
        // SAFETY: plain readers of the transaction's state; entries are written in transactions only.
        let (transaction, now, fixed_snapshot) = unsafe {
            let fixed_snapshot = pg_sys::XactIsoLevel >= pg_sys::XACT_REPEATABLE_READ as i32;
            (
                local_transaction_id(),
                pg_sys::GetCurrentStatementStartTimestamp(),
                fixed_snapshot,
            )
        };
        let version = Slot::of_my_database().map(Slot::clients_version);
        let fresh = version == self.version
            && ((self.shareable && !fixed_snapshot) || transaction == self.transaction)
            && (0..CACHED_FOR).contains(&now.saturating_sub(self.filled_at))
            && !wake::clients_changed_here();
        if !fresh {
            self.clients.clear();
            self.version = version;
            self.shareable = version.is_some() && !fixed_snapshot;
            self.transaction = transaction;
            self.filled_at = now;
        }
    }
}

fn select_one(code: &str) -> Result<ClientSettings, Fault> {
    // The newest state, as a foreign key would see it: the statement's snapshot may be older than the version that the cache
    // is going to hold it for.
    let mut found = as_owner_of(c"client", || {
        with_latest_snapshot(|| Spi::connect(|client| select(client, Some(code))))
    })?;
    match found.pop() {
        None => Err(Fault::UnknownClient(code.to_owned())),
        Some(Registered {
            settings: Ok(settings), ..
        }) => Ok(settings),
        Some(Registered {
            code,
            settings: Err(fault),
            ..
        }) => Err(Fault::BadClient { client: code, fault }),
    }
}

/// One row of `client`.
pub struct Registered {
    /// Its code.
    pub code: String,
    /// Its settings, if they are valid.
    pub settings: Result<ClientSettings, SettingError>,
    /// Whether it is paused.
    pub paused: bool,
    /// When it was resumed last.
    pub resumed_at: Option<TimestampWithTimeZone>,
}

/// The rows of `client`: all, or one.
///
/// # Errors
/// The table is not what it must be.
pub fn select(client: &SpiClient<'_>, code: Option<&str>) -> Result<Vec<Registered>, Fault> {
    let missing = Fault::Internal;
    SELECT.with(|statement| {
        let code: DatumWithOid<'_> = code.into();
        let mut rows = Vec::new();
        for row in statement.select(client, &[code])? {
            let client_code: String = row.get(1)?.ok_or(missing("client.client_code"))?;
            let settings = ClientRow {
                client_code: client_code.clone(),
                endpoint: row.get(2)?.ok_or(missing("client.endpoint"))?,
                auth_token: row.get::<String>(3)?.map(Secret::new),
                method: row.get(4)?.ok_or(missing("client.method"))?,
                daily_quota: row.get(5)?.ok_or(missing("client.daily_quota"))?,
                backfill_share: row.get(6)?.ok_or(missing("client.backfill_share"))?,
                delay: micros(row.get(7)?.ok_or(missing("client.delay"))?),
                arrays: row.get(8)?.ok_or(missing("client.arrays"))?,
                null_value: row.get(9)?,
                max_attempts: row.get(10)?.ok_or(missing("client.max_attempts"))?,
                max_age: micros(row.get(11)?.ok_or(missing("client.max_age"))?),
                max_in_flight: row.get(12)?.ok_or(missing("client.max_in_flight"))?,
                timeout: micros(row.get(13)?.ok_or(missing("client.timeout"))?),
            };
            rows.push(Registered {
                code: client_code,
                settings: settings.check(),
                paused: row.get(14)?.ok_or(missing("client.paused_at"))?,
                resumed_at: row.get(15)?,
            });
        }
        Ok(rows)
    })
}

/// The triggers of the table `client`.
#[pg_schema]
pub mod target_profile {
    use pgrx::heap_tuple::PgHeapTuple;
    use pgrx::prelude::*;
    use pgrx::{AllocatedByRust, PgTrigger};

    use super::{Answer, answer, check, or_raise, wake};

    /// The row trigger on `client`: no value gets in that the core would not take.
    #[pg_extern(sql = r#"
CREATE FUNCTION target_profile._check_client() RETURNS trigger LANGUAGE c AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
    fn _check_client(call: pg_sys::FunctionCallInfo) -> Answer {
        // SAFETY: Postgres calls it.
        unsafe {
            answer("target_profile._check_client", call, |trigger| {
                let new = trigger.new()?;
                or_raise(check(&new));
                Some(new)
            })
        }
    }

    /// The statement trigger on `client`: the worker and the caches hear of a change when it commits.
    #[pg_extern(sql = r#"
CREATE FUNCTION target_profile._clients_changed() RETURNS trigger LANGUAGE c AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
    fn _clients_changed(call: pg_sys::FunctionCallInfo) -> Answer {
        fn on_event<'a>(_trigger: &'a PgTrigger<'a>) -> Option<PgHeapTuple<'a, AllocatedByRust>> {
            wake::clients_at_commit();
            None
        }
        // SAFETY: Postgres calls it.
        unsafe { answer("target_profile._clients_changed", call, on_event) }
    }
}

fn check(new: &PgHeapTuple<'_, AllocatedByPostgres>) -> Result<(), Fault> {
    let other_type = |_| Fault::Internal("a column of target_profile.client has another type");
    macro_rules! value {
        ($column:literal, $type:ty) => {
            new.get_by_name::<$type>($column)
                .map_err(other_type)?
                .ok_or(Fault::NullArgument($column))?
        };
    }
    ClientRow {
        client_code: value!("client_code", String),
        endpoint: value!("endpoint", String),
        auth_token: new
            .get_by_name::<String>("auth_token")
            .map_err(other_type)?
            .map(Secret::new),
        method: value!("method", String),
        daily_quota: value!("daily_quota", i64),
        backfill_share: value!("backfill_share", f64),
        delay: micros(value!("delay", Interval)),
        arrays: value!("arrays", String),
        null_value: new.get_by_name::<String>("null_value").map_err(other_type)?,
        max_attempts: value!("max_attempts", i32),
        max_age: micros(value!("max_age", Interval)),
        max_in_flight: value!("max_in_flight", i32),
        timeout: micros(value!("timeout", Interval)),
    }
    .check()?;
    // Not CHECK constraints: those show the failing row, and with it the token.
    let paused_by = new.get_by_name::<String>("paused_by").map_err(other_type)?;
    let paused_at = new
        .get_by_name::<TimestampWithTimeZone>("paused_at")
        .map_err(other_type)?;
    let known = paused_by
        .as_deref()
        .is_none_or(|by| matches!(by, "admin" | "unauthorized"));
    if !known || paused_by.is_some() != paused_at.is_some() {
        return Err(Fault::Pause);
    }
    value!("registered_at", TimestampWithTimeZone);
    Ok(())
}

/// An interval in microseconds, a month counted as 30 days.
fn micros(interval: Interval) -> i64 {
    i64::try_from(interval.as_micros()).unwrap_or(i64::MAX)
}

/// The number of this backend's current transaction, different for each.
///
/// # Safety
/// Inside a transaction.
pub unsafe fn local_transaction_id() -> u32 {
    #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
    // SAFETY: MyProc is set in every backend.
    unsafe {
        (*pg_sys::MyProc).lxid
    }
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    // SAFETY: MyProc is set in every backend.
    unsafe {
        (*pg_sys::MyProc).vxid.lxid
    }
}
