//! The wake-up at commit.
//!
//! What a transaction has done is remembered in flags of the backend, and told to the worker when the transaction has
//! committed: the callback is registered once per backend, touches atomics only and cannot fail. No NOTIFY, which makes
//! commits wait for one another.

use std::cell::Cell;
use std::ffi::c_void;

use pgrx::prelude::*;

use crate::pg::shmem::slots;
use crate::pg::shmem::slots::Slot;
use crate::pg::shmem::{holds, launcher_requests};
use crate::pg::support::process;

thread_local! {
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
    static WORK: Cell<bool> = const { Cell::new(false) };
    static CLIENTS: Cell<bool> = const { Cell::new(false) };
    static ALL: Cell<bool> = const { Cell::new(false) };
    static DATABASES: Cell<bool> = const { Cell::new(false) };
    static HOLDING: Cell<bool> = const { Cell::new(false) };
}

/// Wakes the worker when this transaction commits, and not if it aborts.
pub fn at_commit() {
    if register() {
        WORK.set(true);
    }
}

/// The same, when clients were changed.
pub fn clients_at_commit() {
    if register() {
        WORK.set(true);
        CLIENTS.set(true);
    }
}

/// The same, when entries came back with ids that the worker has passed.
pub fn all_at_commit() {
    if register() {
        WORK.set(true);
        ALL.set(true);
    }
}

/// Has the launcher list the databases again when this transaction commits.
pub fn databases_at_commit() {
    if register() {
        DATABASES.set(true);
    }
}

/// Releases the holds of this session when this transaction ends. `false`: no transaction has begun.
pub fn release_at_end() -> bool {
    let registered = register();
    if registered {
        HOLDING.set(true);
    }
    registered
}

/// Whether this transaction has changed clients.
pub fn clients_changed_here() -> bool {
    CLIENTS.get()
}

/// `false`: there is nobody to tell.
fn register() -> bool {
    if !slots::is_ready() {
        return false;
    }
    if !REGISTERED.replace(true) {
        // SAFETY: the callback is a plain function of this library, which is never unloaded.
        unsafe { pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut()) }
    }
    true
}

/// Runs at the end of every transaction of this backend. No pg_guard: it calls nothing that could raise an error.
unsafe extern "C-unwind" fn at_transaction_end(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    let committed = match event {
        pg_sys::XactEvent::XACT_EVENT_COMMIT => true,
        // What is prepared commits later, in another session, whose COMMIT PREPARED tells the worker.
        pg_sys::XactEvent::XACT_EVENT_ABORT | pg_sys::XactEvent::XACT_EVENT_PREPARE => false,
        _ => return,
    };
    let (work, clients, all) = (WORK.replace(false), CLIENTS.replace(false), ALL.replace(false));
    if committed && work {
        tell(clients, all);
    }
    if DATABASES.replace(false) && committed {
        launcher_requests::call_to_list();
    }
    // After the list was called for: the launcher must not start a worker for a database that is gone.
    if HOLDING.replace(false) {
        holds::release_mine();
    }
}

/// Tells the worker of this database; the launcher if there is none.
fn tell(clients: bool, all: bool) {
    let slot = Slot::of_my_database();
    if let Some(slot) = slot {
        if clients {
            slot.announce_clients();
        }
        if all {
            slot.announce_all();
        }
        slot.announce_work();
        if clients {
            // It may have left word of work alone, because nothing may be sent: this may be what lets it be sent.
            slot.wake();
        }
    }
    // After the worker was woken: one that ends announces it first, and then looks once more.
    if slot.is_some_and(|slot| slot.is_served() && slot.is_mine()) {
        return;
    }
    if clients {
        launcher_requests::call_for(process::my_database());
    } else {
        launcher_requests::call_once_for(process::my_database());
    }
}

/// Has the worker look around when this transaction commits: for what the extension's own SQL changes.
#[pg_extern(schema = "target_profile")]
fn _wake() {
    clients_at_commit();
}

/// Has the worker read the whole outbox when this transaction commits.
#[pg_extern(schema = "target_profile")]
fn _wake_for_all() {
    all_at_commit();
}
