//! Entries that row triggers collect in the backend, so that a statement costs one INSERT and not one for each row.
//!
//! They are written by the statement trigger at the end of the statement. What is still there (the statement trigger is gone or
//! disabled, the rows came by logical replication or straight into a partition) is written at a bound, before its
//! subtransaction commits and before the transaction commits or is prepared; what an aborted subtransaction has collected goes
//! with it.
//!
//! An entry gets its id when it is collected: so the order of ids is the order of the changes, whichever subtransaction, or
//! another way into the outbox, writes first.
//!
//! Whoever writes a row must not fail for what becomes of its update. While the outbox is as it was made, an insertion does not fail.
//! Whatever else may is done in a subtransaction, one for many rows: the INSERT into an outbox that somebody has altered or locked, and
//! the one into `dead_letter` of what was refused. A subtransaction cannot begin where another one ends: there, what has to be written
//! so is handed to its parent.

use std::cell::{Cell, RefCell};
use std::ffi::{CString, c_void};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use pgrx::prelude::*;
use target_profile_core::attrs::FlatAttrs;
use target_profile_core::burial::{DeadLetter, Unsendable};
use target_profile_core::collected::{BURY_BYTES, Collected, SUBTRANSACTIONS};
use target_profile_core::id::ProfileId;
use target_profile_core::losses::Losses;

use super::burial;
use super::burial::Buried;
use super::outbox;
use super::outbox::{NewEntry, Origin, Otherwise};
use super::owner::Outbox;
use super::{ids, row_version};
use crate::pg::support::allocator::with_reserve;
use crate::pg::support::backend;
use crate::pg::support::errors::{Fault, or_raise};
use crate::pg::support::session::with_settings;
use crate::pg::support::subtransaction;

thread_local! {
    static COLLECTED: RefCell<Collected<NewEntry>> = const { RefCell::new(Collected::new()) };
    static BURIED: RefCell<Collected<Buried>> = const { RefCell::new(Collected::with_bounds(usize::MAX, BURY_BYTES)) };
    static LOST: RefCell<Losses> = const { RefCell::new(Losses::new()) };
    /// How many subtransactions this transaction has used up.
    static USED: Cell<u32> = const { Cell::new(0) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// Where something is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the end of a statement: as long as subtransactions are left.
    Statement,
    /// Now: there is too much of it, or it is asked for.
    Now,
    /// Before the transaction commits or is prepared.
    End,
}

/// So often what was written makes others write more, before the rest is given up.
const ROUNDS: usize = 16;

/// Enqueues the update of a row that is being written: at once, if the outbox is as it was made.
///
/// # Errors
/// Only if the entry is to be written or nothing.
pub fn enqueue(origin: &Rc<Origin>, profile_id: ProfileId, attrs: FlatAttrs) -> Result<(), Fault> {
    let Some(entry) = entry(origin, profile_id, attrs, Otherwise::Bury)? else {
        return Ok(());
    };
    let mut entries = vec![entry];
    // Why it was not written is found when it is tried in another way.
    let _ = outbox::insert_plainly(&mut entries);
    if entries.is_empty() {
        return Ok(());
    }
    entries.into_iter().try_for_each(push)?;
    flush()
}

/// Keeps an entry until the statement ends.
///
/// # Errors
/// Only if the entry is to be written or nothing.
pub fn collect(
    origin: &Rc<Origin>,
    profile_id: ProfileId,
    attrs: FlatAttrs,
    otherwise: Otherwise,
) -> Result<(), Fault> {
    entry(origin, profile_id, attrs, otherwise)?.map_or(Ok(()), push)
}

/// `None`: it was buried, because there is no id for it.
fn entry(
    origin: &Rc<Origin>,
    profile_id: ProfileId,
    attrs: FlatAttrs,
    otherwise: Otherwise,
) -> Result<Option<NewEntry>, Fault> {
    register();
    let drawn = match otherwise {
        Otherwise::Raise => Ok(ids::draw()?),
        Otherwise::Bury => ids::draw_of_row(),
    };
    let entry = |id| NewEntry {
        id,
        writer: backend::current_role(),
        origin: Rc::clone(origin),
        profile_id,
        attrs,
        otherwise,
    };
    match drawn {
        Ok(id) => {
            outbox::tell_once_that_nothing_drains();
            Ok(Some(entry(id)))
        }
        Err(fault @ Fault::ReadOnly) => {
            lose(1, &fault.reason());
            Ok(None)
        }
        Err(fault) => {
            let reason = fault.reason();
            burial::warn_without_id(&reason);
            let letter = burial::of_entry(&entry(0), &reason);
            keep(Buried { id: None, letter })?;
            Ok(None)
        }
    }
}

fn push(entry: NewEntry) -> Result<(), Fault> {
    let is_full = COLLECTED.with_borrow_mut(|collected| {
        let bytes = entry.bytes();
        collected.push(current_subtransaction(), bytes, entry)
    });
    if is_full { write(Place::Now) } else { Ok(()) }
}

/// Has what is known of a row, which cannot be a valid update, become a dead letter: at once, as long as subtransactions are left, or at
/// the end of the statement. `false`: the update is lost, and the session has been warned.
///
/// # Errors
/// None but what ends any statement.
pub fn bury(update: Unsendable<'_>, reason: &str, at_once: bool) -> Result<bool, Fault> {
    register();
    // Dead letters are ordered as entries are.
    let id = match ids::draw_of_row() {
        Ok(id) => Some(id),
        // Without the reason, which may show an id: `last_error` has this, and pg_monitor reads it.
        Err(fault @ Fault::ReadOnly) => {
            lose(1, &fault.reason());
            return Ok(false);
        }
        Err(_) => None,
    };
    let letter = DeadLetter::of_row(update, reason);
    keep(Buried { id, letter })?;
    if at_once {
        flush()?;
    }
    Ok(true)
}

fn keep(buried: Buried) -> Result<(), Fault> {
    let is_full = BURIED.with_borrow_mut(|letters| {
        let bytes = buried.letter.bytes();
        letters.push(current_subtransaction(), bytes, buried)
    });
    if is_full { write(Place::Now) } else { Ok(()) }
}

/// Writes what the current subtransaction has collected, at the end of a statement.
///
/// # Errors
/// Only for entries that are to be written or nothing.
pub fn flush() -> Result<(), Fault> {
    write(Place::Statement)
}

/// Writes what the current subtransaction has collected.
///
/// # Errors
/// As [`flush`].
pub fn flush_now() -> Result<(), Fault> {
    write(Place::Now)
}

fn write(place: Place) -> Result<(), Fault> {
    // Not borrowed while something is written: a trigger that somebody has put on a table of ours may lead here again.
    let entries = COLLECTED.with_borrow_mut(|collected| collected.take(current_subtransaction()));
    if !entries.is_empty() {
        write_entries(entries, place)?;
    }
    if !may_begin(place) {
        return Ok(());
    }
    let letters = BURIED.with_borrow_mut(|letters| letters.take(current_subtransaction()));
    if !letters.is_empty() {
        write_letters(letters, place);
    }
    Ok(())
}

/// Whether a subtransaction may be used up.
fn may_begin(place: Place) -> bool {
    place != Place::Statement
        || USED.get() < SUBTRANSACTIONS
        || COLLECTED.with_borrow(Collected::is_over)
        || BURIED.with_borrow(Collected::is_over)
}

fn attempt<T>(place: Place, work: impl FnOnce() -> Result<T, Fault>) -> Result<T, String> {
    USED.set(USED.get().saturating_add(1));
    let work = AssertUnwindSafe(|| match work() {
        // Some of the rows may have been written: they go with the subtransaction.
        Err(fault @ Fault::Suppressed { .. }) => fault.raise(),
        done => done,
    });
    let done = if place == Place::End {
        // The statement's own timeout is over by then; a lock is waited for no longer than it would have been.
        let timeout = lock_timeout_at_end()
            .map(|timeout| timeout.to_string())
            .unwrap_or_default();
        let timeout = CString::new(timeout).unwrap_or_default();
        let settings = [(c"lock_timeout", timeout.as_c_str())];
        let settings = if timeout.is_empty() { &[] } else { settings.as_slice() };
        with_settings(settings, || subtransaction::attempt_at_end(work))
    } else {
        subtransaction::attempt(work)
    };
    done.and_then(|done| done.map_err(|fault| fault.reason()))
}

/// In milliseconds; `None`: as it is set.
fn lock_timeout_at_end() -> Option<i32> {
    // SAFETY: plain variables of the backend.
    let (statement, lock) = unsafe { (pg_sys::StatementTimeout, pg_sys::LockTimeout) };
    (statement > 0 && (lock == 0 || lock > statement)).then_some(statement)
}

fn write_entries(mut entries: Vec<NewEntry>, place: Place) -> Result<(), Fault> {
    if Outbox::find().is_none() {
        if is_dropped() {
            // Dropped meanwhile by this very transaction: the entries would have gone with it.
            return Ok(());
        }
    } else {
        outbox::insert_plainly(&mut entries)?;
        if entries.is_empty() {
            return Ok(());
        }
    }
    if entries.iter().any(|entry| entry.otherwise == Otherwise::Raise) {
        return outbox::insert_many(&entries);
    }
    if !may_begin(place) {
        COLLECTED.with_borrow_mut(|collected| {
            for entry in entries {
                // Whether it is full is asked again with the next one.
                let _ = collected.push(current_subtransaction(), entry.bytes(), entry);
            }
        });
        return Ok(());
    }
    if let Err(message) = attempt(place, || outbox::insert_many(&entries)) {
        let reason = format!("target_profile.outbox has refused it: {message}");
        let letters: Vec<Buried> = entries
            .iter()
            .map(|entry| Buried {
                id: Some(entry.id),
                letter: burial::of_entry(entry, &reason),
            })
            .collect();
        burial::warn_refused(letters.len(), &message);
        drop(entries);
        write_letters(letters, place);
    }
    Ok(())
}

fn write_letters(letters: Vec<Buried>, place: Place) {
    if is_dropped() {
        return;
    }
    let Err(refusal) = attempt(place, || burial::insert(&letters)) else {
        return;
    };
    let count = letters.len();
    let minimal: Vec<Buried> = letters
        .into_iter()
        .map(|buried| Buried {
            id: None,
            letter: buried.letter.minimal(&refusal),
        })
        .collect();
    if let Err(message) = attempt(place, || burial::insert(&minimal)) {
        lose(count, &message);
    }
}

fn lose(count: usize, message: &str) {
    register();
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    LOST.with_borrow_mut(|lost| lost.add(current_subtransaction(), count, message));
    burial::warn_lost(count, message);
}

/// Whether the extension was dropped in this transaction, or by one that it sees.
fn is_dropped() -> bool {
    // SAFETY: a look-up, inside a transaction.
    unsafe { pg_sys::get_extension_oid(c"target_profile".as_ptr(), true) == pg_sys::InvalidOid }
}

fn current_subtransaction() -> u32 {
    // SAFETY: a plain reader, inside a transaction.
    unsafe { pg_sys::GetCurrentSubTransactionId() }
}

/// Once per backend: callbacks are never taken away, and one more for each transaction would make all of them slow.
pub fn register() {
    if !REGISTERED.replace(true) {
        // SAFETY: plain functions of this library, which is never unloaded.
        unsafe {
            pg_sys::RegisterXactCallback(Some(at_transaction_end), std::ptr::null_mut());
            pg_sys::RegisterSubXactCallback(Some(at_subtransaction_end), std::ptr::null_mut());
        }
    }
}

/// Before the commit the transaction can still write, and deferred triggers have run.
#[pg_guard]
unsafe extern "C-unwind" fn at_transaction_end(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT | pg_sys::XactEvent::XACT_EVENT_PRE_PREPARE => {
            with_reserve(|| or_raise(write_all()));
        }
        pg_sys::XactEvent::XACT_EVENT_COMMIT
        | pg_sys::XactEvent::XACT_EVENT_PREPARE
        | pg_sys::XactEvent::XACT_EVENT_ABORT => {
            USED.set(0);
            row_version::forget();
            COLLECTED.with_borrow_mut(Collected::clear);
            BURIED.with_borrow_mut(Collected::clear);
            LOST.with_borrow_mut(Losses::clear);
        }
        _ => {}
    }
}

fn write_all() -> Result<(), Fault> {
    let is_done = || COLLECTED.with_borrow(Collected::is_empty) && BURIED.with_borrow(Collected::is_empty);
    for _ in 0..ROUNDS {
        if is_done() {
            break;
        }
        write(Place::End)?;
    }
    let left = COLLECTED.with_borrow_mut(|collected| collected.take(current_subtransaction()).len())
        + BURIED.with_borrow_mut(|letters| letters.take(current_subtransaction()).len());
    if left > 0 {
        lose(
            left,
            "a trigger on a table of target_profile writes rows of watched tables without end",
        );
    }
    if let Some((count, reason)) = LOST.with_borrow_mut(Losses::take) {
        burial::count_lost(count, &reason);
    }
    Ok(())
}

/// The same for a savepoint or a block with an exception handler.
#[pg_guard]
unsafe extern "C-unwind" fn at_subtransaction_end(
    event: pg_sys::SubXactEvent::Type,
    subtransaction: pg_sys::SubTransactionId,
    parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    match event {
        pg_sys::SubXactEvent::SUBXACT_EVENT_PRE_COMMIT_SUB => {
            with_reserve(|| or_raise(write_or_hand_over(subtransaction, parent)));
        }
        pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB => {
            row_version::forget();
            COLLECTED.with_borrow_mut(|collected| collected.forget(subtransaction));
            BURIED.with_borrow_mut(|letters| letters.forget(subtransaction));
            LOST.with_borrow_mut(|lost| lost.forget(subtransaction));
        }
        _ => {}
    }
}

fn write_or_hand_over(subtransaction: u32, parent: u32) -> Result<(), Fault> {
    let mut entries = COLLECTED.with_borrow_mut(|collected| collected.take(subtransaction));
    if !entries.is_empty() && Outbox::find().is_some() {
        outbox::insert_plainly(&mut entries)?;
    }
    if !entries.is_empty() {
        COLLECTED.with_borrow_mut(|collected| {
            for entry in entries {
                let _ = collected.push(subtransaction, entry.bytes(), entry);
            }
            collected.hand_over(subtransaction, parent);
        });
    }
    BURIED.with_borrow_mut(|letters| letters.hand_over(subtransaction, parent));
    LOST.with_borrow_mut(|lost| lost.hand_over(subtransaction, parent));
    Ok(())
}
