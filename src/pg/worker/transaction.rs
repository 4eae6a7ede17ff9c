//! One transaction of the worker: the only place that starts, commits and aborts one, and the only one that catches errors.

use std::ffi::CStr;
use std::panic::AssertUnwindSafe;

use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;

use super::identity::Identity;
use crate::pg::support::allocator::with_reserve;
use crate::pg::support::backend;
use crate::pg::support::errors::Fault;
use crate::pg::support::pins;

/// What a transaction may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read, all of it in one snapshot: no transaction id, no WAL.
    Read,
    /// Write.
    Write,
}

/// Why a transaction was undone.
#[derive(Debug)]
pub struct Failure {
    text: String,
    /// None: it was no error of Postgres.
    code: Option<PgSqlErrorCode>,
}

impl Failure {
    /// Somebody has locked what it needs.
    pub fn is_lock(&self) -> bool {
        matches!(
            self.code,
            Some(PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE | PgSqlErrorCode::ERRCODE_T_R_DEADLOCK_DETECTED)
        )
    }

    /// The server as a whole cannot go on (no room on the disk, no memory, a shutdown): no table is at fault.
    pub fn is_of_server(&self) -> bool {
        const CLASSES: [i32; 3] = [class(b'5', b'3'), class(b'5', b'7'), class(b'5', b'8')];
        self.code.is_some_and(|code| CLASSES.contains(&(code as i32 & 0xfff)))
    }

    /// There is such a row already.
    pub fn is_duplicate(&self) -> bool {
        self.code == Some(PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION)
    }

    /// A sequence has come to its end.
    pub fn is_end_of_sequence(&self) -> bool {
        self.code == Some(PgSqlErrorCode::ERRCODE_SEQUENCE_GENERATOR_LIMIT_EXCEEDED)
    }
}

/// The class of a SQLSTATE, by its first two characters, as Postgres encodes it: six bits each.
const fn class(first: u8, second: u8) -> i32 {
    (first - b'0') as i32 | (((second - b'0') as i32) << 6)
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Failure> for String {
    fn from(failure: Failure) -> Self {
        failure.text
    }
}

/// Runs `work` in a transaction of its own. An error of any kind aborts it and comes back.
pub fn transaction<T>(
    activity: &str,
    access: Access,
    work: impl FnOnce(&mut SpiClient<'_>) -> Result<T, Fault>,
) -> Result<T, Failure> {
    begin(activity, access);
    admit_cancels();
    let result = PgTryBuilder::new(AssertUnwindSafe(|| {
        let done = with_reserve(|| {
            Identity::assume().and_then(|identity| {
                let done = Spi::connect_mut(work)?;
                identity.commit();
                Ok(done)
            })
        });
        done.map_err(|fault| (fault.to_string(), None))
    }))
    .catch_others(|caught| Err(describe(&caught)))
    .execute();
    let result = result.map_err(|error| {
        // SAFETY: aborts what `begin` has started, in any state that an error may leave.
        unsafe { pg_sys::AbortCurrentTransaction() };
        let (error, code) = error;
        Failure {
            text: format!("{activity}: {error}"),
            code,
        }
    });
    ignore_cancels();
    // SAFETY: outside of a transaction. The statistics are what autovacuum decides by.
    unsafe {
        pg_sys::pgstat_report_stat(false);
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_IDLE, std::ptr::null());
    }
    look_again();
    result
}

/// From now on pg_cancel_backend finds nothing to cancel: between transactions its error would end the process. Each error within
/// a transaction undoes this, so it is set and not counted.
pub fn ignore_cancels() {
    // SAFETY: a plain variable of the process, which its signal handlers do not touch.
    unsafe { (&raw mut pg_sys::QueryCancelHoldoffCount).write_volatile(1) };
}

/// From now on it cancels. What came before meant another transaction.
fn admit_cancels() {
    // SAFETY: the same; and the flag, which a handler may set again at any time.
    unsafe {
        (&raw mut pg_sys::QueryCancelPending).write_volatile(0);
        (&raw mut pg_sys::QueryCancelHoldoffCount).write_volatile(0);
    }
}

/// Has the loop run once more before it sleeps. A wait inside a transaction, for a lock or for a page that another process reads, resets the
/// latch, which a commit may have set meanwhile.
pub fn look_again() {
    backend::set_latch();
}

fn begin(activity: &str, access: Access) {
    let activity = std::ffi::CString::new(activity).unwrap_or_default();
    // SAFETY: outside of a transaction, as every background worker starts one.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        pg_sys::XactReadOnly = access == Access::Read;
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, activity.as_ptr());
    }
}

fn describe(caught: &CaughtError) -> (String, Option<PgSqlErrorCode>) {
    match caught {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => {
            (report.message().to_owned(), Some(report.sql_error_code()))
        }
        CaughtError::RustPanic { ereport, .. } => (ereport.message().to_owned(), None),
    }
}

/// Has the session be that of whom it was started for. `ALTER DATABASE` and `ALTER ROLE … SET role` and `SET session_authorization` are
/// meant for users, and their code could lead this process anywhere.
pub fn be_oneself() {
    // SAFETY: at the start of the session, in a transaction of its own, which looks up the role's name and nothing else. The role second: it
    // is good for the authorization that is set.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        let name = pg_sys::GetUserNameFromId(pg_sys::GetAuthenticatedUserId(), false);
        pins::set(c"session_authorization", CStr::from_ptr(name));
        pins::set(c"role", c"none");
        pg_sys::CommitTransactionCommand();
    }
}

/// Runs `work` with all signals blocked. Threads that it starts keep them blocked; this thread gets its mask back.
pub fn with_signals_blocked<T>(work: impl FnOnce() -> T) -> T {
    let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: fills in two sets and swaps the thread's mask.
    unsafe {
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let done = work();
    // SAFETY: the mask from above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    done
}
