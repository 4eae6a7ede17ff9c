//! Looking around: is the extension there, may this database send, which clients are there?

use pgrx::spi::SpiClient;
use target_profile_core::drain::Registration;
use target_profile_core::settings::SettingError;

use super::queries::{BURY_ORPHANS, IS_ADOPTED, IS_INSTALLED, ORPHANED_CLIENTS};
use super::{Standing, activity};
use crate::pg::clients;
use crate::pg::clock::from_postgres;
use crate::pg::errors::Fault;
use crate::pg::statement::Statement;

/// The clients as they are registered.
pub struct Clients {
    /// Those that can be served.
    pub valid: Vec<Registration>,
    /// Those that cannot, each with what is wrong.
    pub invalid: Vec<(String, SettingError)>,
}

/// How this database stands, and its clients if it may send and they are asked for.
pub fn look_around(client: &mut SpiClient<'_>, with_clients: bool) -> Result<(Standing, Option<Clients>), Fault> {
    if !IS_INSTALLED.with(|statement| yes(statement, client))? {
        return Ok((Standing::NoExtension, None));
    }
    if !IS_ADOPTED.with(|statement| yes(statement, client))? {
        return Ok((Standing::NotAdopted, None));
    }
    if !with_clients {
        return Ok((Standing::Adopted, None));
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
    Ok((Standing::Adopted, Some(clients)))
}

/// Clients that have entries and are not registered.
pub fn orphaned_clients(client: &mut SpiClient<'_>) -> Result<Vec<String>, Fault> {
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

/// The answer of a statement that says true or false.
pub fn yes(statement: &Statement, client: &SpiClient<'_>) -> Result<bool, Fault> {
    Ok(statement
        .select(client, &[])?
        .first()
        .get_one::<bool>()?
        .unwrap_or(false))
}
