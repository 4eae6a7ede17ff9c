//! Locks the tables that a transaction reads or writes, before it takes its snapshot.

use std::ffi::CStr;

use pgrx::pg_sys;

pub const OUTBOX: &CStr = c"outbox";
pub const CLIENT: &CStr = c"client";
pub const BINDING: &CStr = c"binding";
pub const ACTIVITY: &CStr = c"activity";
pub const RESPONSE: &CStr = c"response";
pub const DEAD_LETTER: &CStr = c"dead_letter";
pub const OVERTAKEN: &CStr = c"overtaken";
pub const SUPERSEDED: &CStr = c"superseded";

/// How long a row that somebody has locked is waited for. The others need not wait with it: what it belongs to is settled later.
const ROW_PATIENCE: &CStr = c"100ms";

/// Locks these tables to be read, in the order given, and has the transaction see what is committed by then.
///
/// A table that is built anew (`ALTER TABLE`, `pg_repack`) holds its rows as of then. Whoever takes a snapshot, waits for that to
/// end and then reads, sees none of them, or sees those that are long settled.
pub fn read(names: &[&CStr]) {
    lock(names, pg_sys::AccessShareLock as i32);
}

/// The same, to be written.
pub fn write(names: &[&CStr]) {
    lock(names, pg_sys::RowExclusiveLock as i32);
}

fn lock(names: &[&CStr], mode: i32) {
    for name in names {
        // SAFETY: inside a transaction with a snapshot, as all of the worker's work is. The names live as long as the program, and
        // are not written to. A table that is not there is left to the statement that needs it.
        unsafe {
            let table = pg_sys::makeRangeVar(c"target_profile".as_ptr().cast_mut(), name.as_ptr().cast_mut(), -1);
            pg_sys::RangeVarGetRelidExtended(
                table,
                mode,
                pg_sys::RVROption::RVR_MISSING_OK,
                None,
                std::ptr::null_mut(),
            );
        }
    }
    // SAFETY: replaces the snapshot that the transaction began with by one that is taken now.
    unsafe {
        pg_sys::PopActiveSnapshot();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
    }
}

/// From now on the transaction waits for rows only a moment.
pub fn be_impatient() {
    // SAFETY: a valid value of a setting, for this transaction.
    unsafe {
        pg_sys::set_config_option(
            c"lock_timeout".as_ptr(),
            ROW_PATIENCE.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_LOCAL,
            true,
            0,
            false,
        );
    }
}
