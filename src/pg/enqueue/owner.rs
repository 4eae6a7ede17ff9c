//! Doing something with the rights of the extension's owner.
//!
//! A writer needs no rights on the tables, and a trigger works whoever writes the row. Only our own INSERT and SELECT run so; values
//! are turned into text before, with the caller's rights, because a type's cast to json may be the caller's code. Names are resolved in
//! pg_catalog, not by the caller's `search_path`.
//!
//! Not a security-restricted operation: what the owner has put on the tables runs in the sessions of those who write, as with any other
//! table, and a deferred constraint among it would make their writes fail. The worker, which nobody has asked to come, does restrict it
//! (`src/pg/worker/identity.rs`).

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::pg::support::backend;
use crate::pg::support::catalog::Known;
use crate::pg::support::errors::Fault;
use crate::pg::support::extension;
use crate::pg::support::session::{PINNED_PATH, with_settings};

/// Runs `work` as the owner of the outbox and with a pinned `search_path`, and goes back to the caller's identity and settings however
/// it ends.
///
/// # Errors
/// There is no outbox: the extension is being dropped.
pub fn as_owner<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    as_owner_of(c"outbox", work)
}

/// The same as the owner of another table of the extension: of the one that `work` is about. If one was given away, what its new owner
/// puts on it runs with his rights and not with those of who has the rest. Locked first: until the transaction ends it cannot be given
/// to somebody whose code is waiting for that.
///
/// # Errors
/// There is no such table.
pub fn as_owner_of<T>(table: &CStr, work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    let _back = Identity::assume(owner_of_locked(table)?);
    with_settings(&PINNED_PATH, work)
}

fn owner_of_locked(table: &CStr) -> Result<pg_sys::Oid, Fault> {
    let missing = || Fault::NoTable(table.to_string_lossy().into_owned());
    let mut locked = None;
    loop {
        let found = extension::table(table).ok_or_else(missing)?;
        if locked == Some(found) {
            return owner_of(found).ok_or_else(missing);
        }
        // `work` is about to lock it as well.
        backend::lock(found, pg_sys::AccessShareLock);
        locked = Some(found);
    }
}

/// As the owner of the outbox, for `work` that runs no code of a user's and looks up no name: nothing is locked, and no setting changes.
///
/// # Errors
/// As [`as_owner`].
pub fn as_owner_unpinned<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    let outbox = Outbox::find().ok_or_else(Fault::no_outbox)?;
    let _back = Identity::assume(outbox.owner);
    work()
}

/// The tables that entries are written to.
#[derive(Clone, Copy)]
pub struct Outbox {
    /// The table.
    pub table: pg_sys::Oid,
    /// What its ids are drawn from.
    pub sequence: pg_sys::Oid,
    /// Who owns it.
    pub owner: pg_sys::Oid,
}

impl Outbox {
    /// Finds it among the relations of the extension, also under another name. `None`: it does not exist.
    pub fn find() -> Option<Self> {
        thread_local! {
            static OUTBOX: Known<Outbox> = const { Known::new() };
        }
        OUTBOX.with(|outbox| {
            outbox.get(|| {
                let table = extension::table(c"outbox")?;
                Some(Self {
                    table,
                    sequence: extension::sequence_of(table)?,
                    owner: owner_of(table)?,
                })
            })
        })
    }
}

/// A relation of the schema `target_profile`; `None`: it does not exist.
pub fn relation(name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: look-ups in the system cache, inside a transaction.
    let oid = unsafe {
        let schema = pg_sys::get_namespace_oid(c"target_profile".as_ptr(), true);
        pg_sys::get_relname_relid(name.as_ptr(), schema)
    };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// The extension, if the table is one of its own; `None`: somebody else has made a table of that name.
pub fn extension_of(table: pg_sys::Oid) -> Option<pg_sys::Oid> {
    thread_local! {
        static EXTENSION: Known<(pg_sys::Oid, pg_sys::Oid)> = const { Known::new() };
    }
    let look_up = || {
        // SAFETY: look-ups in the catalog, inside a transaction.
        let (of_table, ours) = unsafe {
            (
                pg_sys::getExtensionOfObject(pg_sys::RelationRelationId, table),
                pg_sys::get_extension_oid(c"target_profile".as_ptr(), true),
            )
        };
        (ours != pg_sys::InvalidOid && of_table == ours).then_some((table, ours))
    };
    let known = EXTENSION.with(|extension| extension.get(look_up))?;
    if known.0 == table {
        Some(known.1)
    } else {
        look_up().map(|known| known.1)
    }
}

fn owner_of(table: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: a look-up in the system cache, inside a transaction; the tuple is released when its copy has been made.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::RELOID as i32, table.into());
        if tuple.is_null() {
            return None;
        }
        let class = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>();
        let owner = (*class).relowner;
        pg_sys::ReleaseSysCache(tuple);
        Some(owner)
    }
}

struct Identity {
    user: pg_sys::Oid,
    context: i32,
}

impl Identity {
    fn assume(user: pg_sys::Oid) -> Self {
        let mut before = Self {
            user: pg_sys::InvalidOid,
            context: 0,
        };
        // SAFETY: plain getters and setters of the backend's identity, as referential integrity's triggers use them; an aborted
        // transaction restores it as well.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut before.user, &mut before.context);
            pg_sys::SetUserIdAndSecContext(
                user,
                before.context | (pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_NOFORCE_RLS) as i32,
            );
        }
        before
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        // SAFETY: what `assume` read.
        unsafe { pg_sys::SetUserIdAndSecContext(self.user, self.context) }
    }
}
