//! Writing an entry: the one INSERT of every way into the outbox.

use std::cell::Cell;

use pgrx::prelude::*;
use target_profile_core::attrs::FlatAttrs;
use target_profile_core::id::ProfileKey;

use super::errors::{Fault, warn};
use super::owner::as_owner;
use super::shared::{self, Slot};
use super::statement::Statement;
use super::wake;

thread_local! {
    static ENQUEUE: Statement = const {
        use pg_sys::BuiltinOid::{INT2OID, TEXTOID};
        Statement::new(
            include_str!("../../sql/queries/enqueue.sql"),
            &[TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT2OID, TEXTOID],
        )
    };
    static DEAD_LETTER: Statement = const {
        use pg_sys::BuiltinOid::{INT2OID, TEXTOID};
        Statement::new(
            include_str!("../../sql/queries/dead_letter.sql"),
            &[TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT2OID, TEXTOID, TEXTOID],
        )
    };
    static TOLD: Cell<bool> = const { Cell::new(false) };
}

/// Writes an entry in the caller's transaction and has the worker woken at its commit. The answer is the entry's id.
///
/// # Errors
/// The transaction may not write. Whatever else fails is raised by Postgres.
pub fn enqueue(key: &ProfileKey, attrs: &FlatAttrs, priority: i16, source: &str) -> Result<i64, Fault> {
    must_be_writable()?;
    tell_once_that_nothing_drains();
    let attrs = attrs.to_json_text();
    let id = as_owner(|| {
        Spi::connect_mut(|client| {
            // Before the id is drawn, which the worker counts on (target_profile_core::horizon).
            // SAFETY: inside a transaction that may write.
            unsafe { pg_sys::GetCurrentTransactionId() };
            ENQUEUE.with(|statement| {
                let id = statement
                    .update(
                        client,
                        &[
                            key.client.as_str().into(),
                            key.kind.as_str().into(),
                            key.id.as_str().into(),
                            attrs.into(),
                            priority.into(),
                            source.into(),
                        ],
                    )?
                    .first()
                    .get_one::<i64>()?;
                id.ok_or(Fault::Internal("outbox.id"))
            })
        })
    })?;
    wake::at_commit();
    Ok(id)
}

/// What is known of an update that cannot be sent.
#[derive(Debug, Default)]
pub struct Unsendable {
    /// The client code as it was given.
    pub client_code: Option<String>,
    /// The id kind as it was given.
    pub id_kind: Option<String>,
    /// The id as it was given.
    pub profile_id: Option<String>,
    /// The attributes as far as they could be read, as JSON.
    pub attrs: Option<String>,
}

/// Writes a dead letter in the caller's transaction, for a row that cannot be a valid update.
///
/// # Errors
/// As [`enqueue`].
pub fn bury(update: Unsendable, source: &str, reason: &str) -> Result<(), Fault> {
    must_be_writable()?;
    as_owner(|| {
        Spi::connect_mut(|client| {
            DEAD_LETTER.with(|statement| {
                statement.update(
                    client,
                    &[
                        update.client_code.into(),
                        update.id_kind.into(),
                        update.profile_id.into(),
                        update.attrs.into(),
                        0_i16.into(),
                        source.into(),
                        reason.into(),
                    ],
                )?;
                Ok(())
            })
        })
    })
}

fn must_be_writable() -> Result<(), Fault> {
    // SAFETY: plain readers of the backend's state.
    if unsafe { pg_sys::XactReadOnly || pg_sys::RecoveryInProgress() } {
        Err(Fault::ReadOnly)
    } else {
        Ok(())
    }
}

fn tell_once_that_nothing_drains() {
    if TOLD.get() || Slot::of_my_database().is_some() {
        return;
    }
    TOLD.set(true);
    if shared::is_ready() {
        warn(
            "nothing drains the outbox of this database: it has no worker",
            "Entries are kept and wait. Add the database to target_profile.databases and restart the server.",
        );
    } else {
        warn(
            "nothing drains the outbox: target_profile is not in shared_preload_libraries",
            "Entries are kept and wait. Add target_profile to shared_preload_libraries and restart the server.",
        );
    }
}
