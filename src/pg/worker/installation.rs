//! Reads whether the extension is installed, whether this database may send, and the clients.

use pgrx::pg_sys;
use pgrx::spi::SpiClient;
use target_profile_core::drain::Registration;
use target_profile_core::settings::SettingError;

use super::queries::{
    ANY_DROPPED_TABLE, BURY_ORPHANS, FORGET_DROPPED_TABLES, IS_ADOPTED, IS_INSTALLED, ORPHANED_CLIENTS, RENAMED,
};
use super::{activity, tables};
use crate::pg::enqueue::clients;
use crate::pg::support::clock::from_postgres;
use crate::pg::support::errors::Fault;
use crate::pg::support::versions;

/// Whether and why the worker may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Adoption {
    NoExtension,
    NotAdopted,
    /// With the outbox that is drained.
    Adopted(pg_sys::Oid),
}

/// The clients as they are registered.
pub struct Clients {
    /// Those that can be served.
    pub valid: Vec<Registration>,
    /// Those that cannot, each with what is wrong.
    pub invalid: Vec<(String, SettingError)>,
}

/// How often, a millisecond apart, the caches of names are given time to hear of a commit.
const CACHE_LOOKS: u32 = 200;

/// The outbox of this database, if the extension is installed.
pub fn outbox(client: &SpiClient<'_>) -> Result<Option<pg_sys::Oid>, Fault> {
    for _ in 0..CACHE_LOOKS {
        let (oid, found_by_name) = IS_INSTALLED.with(|statement| {
            let rows = statement.select(client, &[])?;
            if rows.is_empty() {
                return Ok::<_, Fault>((None, true));
            }
            let (oid, found_by_name) = rows.first().get_two::<pg_sys::Oid, bool>()?;
            Ok((oid, found_by_name.unwrap_or(false)))
        })?;
        if found_by_name {
            return Ok(oid);
        }
        // A commit wakes the worker before it tells everybody which names have changed.
        // SAFETY: inside a transaction; sleeps and then hears what there is to be heard.
        unsafe {
            pg_sys::pg_usleep(1_000);
            pg_sys::AcceptInvalidationMessages();
        }
    }
    Err(Fault::Internal("the name of target_profile.outbox leads elsewhere"))
}

/// How this database stands, and its clients if it may send and they are asked for. `sql_version` is known even if the rest fails
/// because of it.
pub fn look_around(
    client: &mut SpiClient<'_>,
    with_clients: bool,
    sql_version: &mut Option<String>,
) -> Result<(Adoption, Option<Clients>), Fault> {
    tables::read(&[tables::BINDING, tables::CLIENT, tables::ACTIVITY]);
    *sql_version = versions::of_sql(client)?;
    if let Some(name) = renamed(client)? {
        return Err(Fault::Renamed(name));
    }
    let Some(outbox) = outbox(client)? else {
        return Ok((Adoption::NoExtension, None));
    };
    if !IS_ADOPTED.with(|statement| statement.is_true(client))? {
        return Ok((Adoption::NotAdopted, None));
    }
    let standing = Adoption::Adopted(outbox);
    if !with_clients {
        return Ok((standing, None));
    }
    let mut clients = Clients {
        valid: Vec::new(),
        invalid: Vec::new(),
    };
    let mut ledgers = activity::ledgers(client)?;
    for row in clients::select(client, None)? {
        match row.settings {
            Ok(settings) => clients.valid.push(Registration {
                charged: ledgers.remove(&row.code).unwrap_or_default(),
                settings,
                paused: row.paused,
                resumed_at: row.resumed_at.map(|at| from_postgres(at.into_inner())),
            }),
            Err(fault) => clients.invalid.push((row.code, fault)),
        }
    }
    Ok((standing, Some(clients)))
}

/// What of the extension somebody has renamed, and how it is called now.
fn renamed(client: &SpiClient<'_>) -> Result<Option<String>, Fault> {
    RENAMED.with(|statement| {
        let rows = statement.select(client, &[])?;
        if rows.is_empty() {
            return Ok(None);
        }
        Ok(rows.first().get_one()?)
    })
}

/// Whether the record of a dropped table is left.
pub fn has_dropped_tables(client: &SpiClient<'_>) -> Result<bool, Fault> {
    ANY_DROPPED_TABLE.with(|statement| statement.is_true(client))
}

/// A watch ends with its table, and so do its backfills.
pub fn forget_dropped_tables(client: &mut SpiClient<'_>) -> Result<(), Fault> {
    FORGET_DROPPED_TABLES.with(|statement| statement.update(client, &[]).map(|_| ()))
}

/// Clients that have entries and are not registered.
pub fn orphaned_clients(client: &mut SpiClient<'_>) -> Result<Vec<String>, Fault> {
    tables::read(&[tables::OUTBOX, tables::CLIENT]);
    ORPHANED_CLIENTS.with(|statement| {
        let mut codes = Vec::new();
        for row in statement.select(client, &[])? {
            codes.extend(row.get::<String>(1)?);
        }
        Ok(codes)
    })
}

/// Moves the entries of such a client to the dead letters.
pub fn bury_orphans(client: &mut SpiClient<'_>, code: &str) -> Result<(), Fault> {
    BURY_ORPHANS.with(|statement| statement.update(client, &[code.into()]).map(|_| ()))
}
