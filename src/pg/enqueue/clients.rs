//! The table `client`, as the core's settings: checked when a row is written, cached where entries are written.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::AllocatedByPostgres;
use pgrx::datum::{Interval, TimestampWithTimeZone, UnboxDatum};
use pgrx::heap_tuple::PgHeapTuple;
use pgrx::prelude::*;
use pgrx::spi::{SpiClient, SpiHeapTupleData};
use target_profile_core::secret::Secret;
use target_profile_core::settings::{ClientRow, ClientSettings, SettingError};

use super::owner::as_owner_of;
use super::wake;
use crate::pg::shmem::slots::Slot;
use crate::pg::support::backend;
use crate::pg::support::errors::{Fault, or_raise};
use crate::pg::support::snapshot::with_latest_snapshot;
use crate::pg::support::statement::{Statement, statement};
use crate::pg::support::subtransaction;
use crate::pg::support::text;
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

/// The same for a row that is being written: an error of the table `client` must not be an error of the write.
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
        let fixed_snapshot = backend::has_fixed_snapshot();
        let (transaction, now) = (backend::local_transaction_id(), backend::statement_start());
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
    SELECT.with(|statement| {
        let mut rows = Vec::new();
        for row in statement.select(client, &[code.into()])? {
            let settings = read(&row)?;
            rows.push(Registered {
                code: settings.client_code.clone(),
                settings: settings.check(),
                paused: row.find::<TimestampWithTimeZone>("paused_at")?.is_some(),
                resumed_at: row.find("resumed_at")?,
            });
        }
        Ok(rows)
    })
}

/// What a column of `client` holds.
trait Value: FromDatum + IntoDatum + for<'t> UnboxDatum<As<'t> = Self> + 'static {}
impl<T: FromDatum + IntoDatum + for<'t> UnboxDatum<As<'t> = Self> + 'static> Value for T {}

/// A row of `client`, of which a column is found by its name.
trait Columns {
    fn find<T: Value>(&self, name: &'static str) -> Result<Option<T>, Fault>;

    fn need<T: Value>(&self, name: &'static str) -> Result<T, Fault> {
        self.find(name)?.ok_or(Fault::NullArgument(name))
    }
}

impl Columns for SpiHeapTupleData<'_> {
    fn find<T: Value>(&self, name: &'static str) -> Result<Option<T>, Fault> {
        Ok(self.get_by_name(name)?)
    }
}

impl Columns for PgHeapTuple<'_, AllocatedByPostgres> {
    fn find<T: Value>(&self, name: &'static str) -> Result<Option<T>, Fault> {
        self.get_by_name(name)
            .map_err(|_| Fault::Internal("a column of target_profile.client has another type"))
    }
}

fn read(row: &impl Columns) -> Result<ClientRow, Fault> {
    Ok(ClientRow {
        client_code: row.need("client_code")?,
        endpoint: row.need("endpoint")?,
        auth_token: row.find::<String>("auth_token")?.map(Secret::new),
        method: row.need("method")?,
        daily_quota: row.need("daily_quota")?,
        backfill_share: row.need("backfill_share")?,
        delay: micros(row.need("delay")?),
        arrays: row.need("arrays")?,
        null_value: row.find("null_value")?,
        max_attempts: row.need("max_attempts")?,
        max_age: micros(row.need("max_age")?),
        max_in_flight: row.need("max_in_flight")?,
        timeout: micros(row.need("timeout")?),
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
    let row = read(new)?;
    for text in [&row.client_code, &row.endpoint, &row.method, &row.arrays] {
        text::verify(text.as_bytes());
    }
    for text in [row.auth_token.as_ref().map(Secret::expose), row.null_value.as_deref()] {
        text::verify(text.unwrap_or_default().as_bytes());
    }
    row.check()?;
    // Not CHECK constraints: those show the failing row, and with it the token.
    let paused_by: Option<String> = new.find("paused_by")?;
    let paused_at: Option<TimestampWithTimeZone> = new.find("paused_at")?;
    let known = paused_by
        .as_deref()
        .is_none_or(|by| matches!(by, "admin" | "unauthorized"));
    if !known || paused_by.is_some() != paused_at.is_some() {
        return Err(Fault::Pause);
    }
    new.need::<TimestampWithTimeZone>("registered_at").map(drop)
}

/// An interval in microseconds, a month counted as 30 days.
fn micros(interval: Interval) -> i64 {
    i64::try_from(interval.as_micros()).unwrap_or(i64::MAX)
}
