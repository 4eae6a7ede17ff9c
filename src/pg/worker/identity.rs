//! The role that the worker acts as: the owner of its tables.
//!
//! The process is connected as the bootstrap superuser, and whoever owns a table can attach code to it that runs in whatever writes
//! there: triggers that fire always, rules, defaults, constraints, index expressions, policies. So each transaction acts as that owner, as
//! a logical replication worker does. If he is no superuser, it is a security-restricted operation: his code can then neither go back
//! to the session's role nor leave anything behind that runs later. What it does to the settings of the session ends with the
//! transaction in any case.
//!
//! Until it is known whose the outbox is, nothing runs but look-ups in the catalog, with names resolved in pg_catalog.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use pgrx::prelude::*;

use super::installation;
use super::queries::FOREIGN_OWNER;
use crate::pg::enqueue::owner::{Outbox, extension_of};
use crate::pg::support::backend;
use crate::pg::support::errors::Fault;

/// What is to be put back when the transaction ends. An abort of the transaction does it as well.
pub struct Identity {
    user: pg_sys::Oid,
    context: i32,
    settings: i32,
}

impl Identity {
    /// Inside a transaction that has no snapshot yet: the outbox is locked first, so that its owner, and all that is read after, is that
    /// of the same moment. `None` of the extension: the process stays who it is, and finds that out.
    ///
    /// # Errors
    /// Something of the extension belongs to somebody else.
    pub fn assume() -> Result<Self, Fault> {
        let outbox = Self::look()?;
        let mut identity = Self {
            user: pg_sys::InvalidOid,
            context: 0,
            settings: 0,
        };
        // SAFETY: inside a transaction; a nesting level for settings, as functions with SET clauses have one, and plain getters and setters
        // of the process' identity. An abort puts all of them back.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut identity.user, &mut identity.context);
            identity.settings = pg_sys::NewGUCNestLevel();
            if let Some((outbox, extension)) = outbox {
                check(extension, outbox.owner)?;
                let restricted = if pg_sys::superuser_arg(outbox.owner) {
                    0
                } else {
                    pg_sys::SECURITY_RESTRICTED_OPERATION
                };
                let context = pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_NOFORCE_RLS | restricted;
                pg_sys::SetUserIdAndSecContext(outbox.owner, identity.context | context as i32);
            }
        }
        Ok(identity)
    }

    /// The outbox, and a snapshot that is younger than its lock.
    fn look() -> Result<Option<(Outbox, pg_sys::Oid)>, Fault> {
        for _ in 0..2 {
            let outbox = locked_outbox();
            // SAFETY: inside a transaction.
            unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
            // A snapshot sees a commit before the caches of names hear of it: what the snapshot shows must not be reached as
            // the superuser that the process still is.
            if outbox.is_some() || Spi::connect(installation::outbox)?.is_none() {
                return Ok(outbox);
            }
            // SAFETY: the one pushed above.
            unsafe { pg_sys::PopActiveSnapshot() };
        }
        Err(Fault::Internal(
            "target_profile.outbox or its sequence is not where it was made",
        ))
    }

    /// Commits. Deferred triggers, if any, run as the owner still.
    pub fn commit(self) {
        // SAFETY: what `assume` has begun, in the order in which it has to end. The commit itself would keep the settings.
        unsafe {
            pg_sys::AtEOXact_GUC(false, self.settings);
            pg_sys::PopActiveSnapshot();
            pg_sys::CommitTransactionCommand();
            pg_sys::SetUserIdAndSecContext(self.user, self.context);
        }
    }
}

/// The outbox with its extension, locked against ALTER OWNER and against being rebuilt; `None`: no outbox has its own name.
fn locked_outbox() -> Option<(Outbox, pg_sys::Oid)> {
    let mut locked = None;
    loop {
        let outbox = Outbox::find()?;
        // A user's own table of that name is left alone.
        let extension = extension_of(outbox.table)?;
        if locked == Some(outbox.table) {
            return Some((outbox, extension));
        }
        backend::lock(outbox.table, pg_sys::AccessShareLock);
        locked = Some(outbox.table);
    }
}

thread_local! {
    /// Changes whenever an owner may have changed, or what a role may do.
    static GENERATION: Cell<u64> = const { Cell::new(1) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    /// The relations that were looked at; `None`: any may be among them.
    static RELATIONS: RefCell<Option<HashSet<pg_sys::Oid>>> = const { RefCell::new(None) };
    /// The generation, the extension and the owner for which all was well.
    static CHECKED: Cell<Option<(u64, pg_sys::Oid, pg_sys::Oid)>> = const { Cell::new(None) };
}

/// What the extension has must belong to one role: code that another one attaches must not run with the rights of this one.
///
/// # Safety
/// With a snapshot, inside a transaction.
unsafe fn check(extension: pg_sys::Oid, owner: pg_sys::Oid) -> Result<(), Fault> {
    register();
    let now = Some((GENERATION.get(), extension, owner));
    if CHECKED.get() == now {
        return Ok(());
    }
    // What changes while it is looked at counts.
    RELATIONS.set(None);
    CHECKED.set(None);
    let relations = Spi::connect(|client| {
        FOREIGN_OWNER.with(|statement| {
            let mut relations = HashSet::new();
            for row in statement.select(client, &[extension.into(), owner.into()])? {
                if let Some(object) = row.get::<String>(2)? {
                    return Err(Fault::ForeignOwner {
                        object,
                        owner: row.get(3)?.unwrap_or_default(),
                    });
                }
                relations.extend(row.get::<pg_sys::Oid>(1)?);
            }
            Ok(relations)
        })
    })?;
    RELATIONS.set(Some(relations));
    CHECKED.set(now);
    Ok(())
}

fn register() {
    if !REGISTERED.replace(true) {
        // SAFETY: plain functions of this library, which is never unloaded; once per process.
        unsafe {
            pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), pg_sys::Datum::from(0));
            for cache in [
                pg_sys::SysCacheIdentifier::PROCOID,
                pg_sys::SysCacheIdentifier::AUTHOID,
                pg_sys::SysCacheIdentifier::AUTHMEMROLEMEM,
            ] {
                pg_sys::CacheRegisterSyscacheCallback(cache as i32, Some(row_changed), pg_sys::Datum::from(0));
            }
        }
    }
}

/// Invalidations of other relations, as of each temporary table, come here, too.
#[pg_guard]
unsafe extern "C-unwind" fn relation_changed(_arg: pg_sys::Datum, relation: pg_sys::Oid) {
    let is_other = relation != pg_sys::InvalidOid
        && RELATIONS.with(|relations| {
            relations
                .try_borrow()
                .is_ok_and(|relations| relations.as_ref().is_some_and(|known| !known.contains(&relation)))
        });
    if !is_other {
        GENERATION.set(GENERATION.get() + 1);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn row_changed(_arg: pg_sys::Datum, _cache: i32, _hash: u32) {
    GENERATION.set(GENERATION.get() + 1);
}
