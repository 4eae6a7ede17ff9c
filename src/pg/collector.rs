//! Entries that row triggers collect in the backend, so that a statement costs one INSERT and not one for each row.
//!
//! They are written by the statement trigger at the end of the statement. What is still there (the statement trigger is gone or
//! disabled, the rows came by logical replication or straight into a partition) is written at a bound, before its
//! subtransaction commits and before the transaction commits or is prepared; what an aborted subtransaction has collected goes
//! with it.
//!
//! An entry gets its id when it is collected: so the order of ids is the order of the changes, whichever subtransaction, or
//! another way into the outbox, writes first.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::rc::Rc;

use pgrx::prelude::*;
use target_profile_core::attrs::FlatAttrs;
use target_profile_core::collected::Collected;
use target_profile_core::id::ProfileId;

use super::errors::{Fault, or_raise};
use super::outbox::{self, Entry, Origin};
use super::writer;

thread_local! {
    static COLLECTED: RefCell<Collected<Entry>> = const { RefCell::new(Collected::new()) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// Keeps an entry until the statement ends.
///
/// # Errors
/// As [`outbox::enqueue`].
pub fn collect(origin: &Rc<Origin>, profile_id: ProfileId, attrs: FlatAttrs) -> Result<(), Fault> {
    register();
    let entry = Entry {
        id: outbox::draw_id()?,
        writer: writer::current(),
        origin: Rc::clone(origin),
        profile_id,
        attrs,
    };
    let subtransaction = current_subtransaction();
    let is_full = COLLECTED.with_borrow_mut(|collected| collected.push(subtransaction, entry.bytes(), entry));
    if is_full { flush() } else { Ok(()) }
}

/// Writes what the current subtransaction has collected.
///
/// # Errors
/// As [`outbox::enqueue`].
pub fn flush() -> Result<(), Fault> {
    // Not borrowed while the INSERT runs: a trigger that somebody has put on the outbox may lead here again.
    let entries = COLLECTED.with_borrow_mut(|collected| collected.take(current_subtransaction()));
    if entries.is_empty() {
        return Ok(());
    }
    outbox::enqueue_many(&entries)
}

fn current_subtransaction() -> u32 {
    // SAFETY: a plain reader, inside a transaction.
    unsafe { pg_sys::GetCurrentSubTransactionId() }
}

/// Once per backend: callbacks are never taken away, and one more for each transaction would make all of them slow.
fn register() {
    if !REGISTERED.replace(true) {
        // SAFETY: plain functions of this library, which is never unloaded.
        unsafe {
            pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut());
            pg_sys::RegisterSubXactCallback(Some(at_subtransaction_end), std::ptr::null_mut());
        }
    }
}

/// Before the commit the transaction can still write, and deferred triggers have run. An error here aborts it: the outbox cannot be
/// written.
#[pg_guard]
unsafe extern "C-unwind" fn at_transaction_end(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT | pg_sys::XactEvent::XACT_EVENT_PRE_PREPARE => or_raise(flush()),
        pg_sys::XactEvent::XACT_EVENT_ABORT => COLLECTED.with_borrow_mut(Collected::clear),
        _ => {}
    }
}

/// The same for a savepoint or a block with an exception handler.
#[pg_guard]
unsafe extern "C-unwind" fn at_subtransaction_end(
    event: pg_sys::SubXactEvent::Type,
    subtransaction: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    match event {
        pg_sys::SubXactEvent::SUBXACT_EVENT_PRE_COMMIT_SUB => or_raise(flush()),
        pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => {
            COLLECTED.with_borrow_mut(|collected| collected.forget(subtransaction));
        }
        _ => {}
    }
}
