//! The ids of entries: drawn from the outbox' sequence.
//!
//! The write of a row must not fail because the sequence has come to its end. An error of a draw is undone without a subtransaction, which
//! would cost more than the draw: a draw holds nothing but a buffer and its lock, and a resource owner of its own releases these.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;

use pgrx::PgTryBuilder;
use pgrx::pg_sys;

use super::owner::Outbox;
use crate::pg::support::backend;
use crate::pg::support::errors::Fault;
use crate::pg::support::{subtransaction, unguarded};

/// An id for an entry that this transaction is going to write.
///
/// # Errors
/// The transaction may not write, or there is no outbox. That the sequence gives none is raised by Postgres.
pub fn draw() -> Result<i64, Fault> {
    must_be_writable()?;
    let outbox = Outbox::find().ok_or_else(Fault::no_outbox)?;
    // SAFETY: inside a transaction that may write. The transaction's id comes before the entry's, which the worker counts on
    // (target_profile_core::horizon).
    Ok(unsafe {
        unguarded::guarded(|| {
            unguarded::GetTopTransactionId();
            unguarded::nextval_internal(outbox.sequence, false)
        })
    })
}

/// An id for an entry of a row that is being written. An error of the sequence does not fail the write. The first id in a transaction is drawn in
/// a subtransaction (which has no id): it may wait for a lock.
///
/// # Errors
/// Why there is none.
pub fn draw_of_row() -> Result<i64, Fault> {
    thread_local! {
        static LOCKED: Cell<u32> = const { Cell::new(0) };
    }
    let transaction = backend::local_transaction_id();
    if LOCKED.get() == transaction {
        // SAFETY: the lock is held.
        return unsafe { undoing(draw) }.map_err(Fault::Refused)?;
    }
    let id = subtransaction::attempt(draw).map_err(Fault::Refused)??;
    LOCKED.set(transaction);
    Ok(id)
}

/// Other ids, after passing over so many of the sequence. `false`: it gives none, and the rest stay as they are.
///
/// # Safety
/// Inside a transaction that may write and has drawn from the sequence.
pub unsafe fn redraw<'i>(sequence: pg_sys::Oid, passed_over: u64, ids: impl Iterator<Item = &'i mut i64>) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        undoing(|| {
            unguarded::guarded(|| {
                for _ in 0..passed_over {
                    unguarded::nextval_internal(sequence, false);
                }
                for id in ids {
                    *id = unguarded::nextval_internal(sequence, false);
                }
            });
        })
        .is_ok()
    }
}

/// Draws, and releases what a draw that fails has held.
///
/// # Errors
/// What Postgres says. What ends more than a subtransaction ends more than this, see [`subtransaction::attempt`].
///
/// # Safety
/// Inside a transaction, without a lightweight lock; and nothing is done but drawing from a sequence that the transaction has locked.
unsafe fn undoing<T>(draw: impl FnOnce() -> T) -> Result<T, String> {
    thread_local! {
        /// That of the transaction: it goes with it.
        static OWNER: Cell<(u32, pg_sys::ResourceOwner)> = const { Cell::new((0, std::ptr::null_mut())) };
    }
    // SAFETY: the caller's promise. As a subtransaction is rolled back, as far as a draw has anything to be rolled back.
    unsafe {
        let transaction = backend::local_transaction_id();
        let owner = match OWNER.get() {
            (of, owner) if of == transaction => owner,
            _ => {
                let owner =
                    pg_sys::ResourceOwnerCreate(pg_sys::TopTransactionResourceOwner, c"target_profile ids".as_ptr());
                OWNER.set((transaction, owner));
                owner
            }
        };
        let outer = pg_sys::CurrentResourceOwner;
        let context = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentResourceOwner = owner;
        PgTryBuilder::new(AssertUnwindSafe(|| Ok(draw())))
            .catch_others(|error| {
                let message = subtransaction::message(Box::new(error));
                pg_sys::CurrentMemoryContext = context;
                LWLockReleaseAll();
                for phase in [
                    pg_sys::ResourceReleasePhase::RESOURCE_RELEASE_BEFORE_LOCKS,
                    pg_sys::ResourceReleasePhase::RESOURCE_RELEASE_LOCKS,
                    pg_sys::ResourceReleasePhase::RESOURCE_RELEASE_AFTER_LOCKS,
                ] {
                    pg_sys::ResourceOwnerRelease(owner, phase, false, false);
                }
                // Nobody releases by the same one twice.
                pg_sys::CurrentResourceOwner = outer;
                pg_sys::ResourceOwnerDelete(owner);
                OWNER.set((0, std::ptr::null_mut()));
                Err(message)
            })
            .finally(|| pg_sys::CurrentResourceOwner = outer)
            .execute()
    }
}

unsafe extern "C-unwind" {
    /// storage/lwlock.h: releases all that are held, as after an error.
    fn LWLockReleaseAll();
}

/// Whether the transaction may write.
///
/// # Errors
/// It may not.
pub fn must_be_writable() -> Result<(), Fault> {
    if backend::is_read_only() || backend::is_standby() {
        Err(Fault::ReadOnly)
    } else {
        Ok(())
    }
}
