//! Statements that want a database for themselves, those that rename what goes by its name ([`renames`]), and those that alter a sequence of
//! ours ([`sequences`]).
//!
//! A background worker counts as a session, and Postgres does not end it as it ends autovacuum: `DROP DATABASE`, `ALTER DATABASE …
//! RENAME` and `SET TABLESPACE`, and `CREATE DATABASE … TEMPLATE` would fail after five seconds. So before such a statement runs, the
//! session takes a hold of the database, waits until its worker has gone, and releases the hold when its transaction ends.
//!
//! Only for the owner of the database: for another role the statement fails, so it must not stop the worker.

use std::ffi::{CStr, c_char};
use std::time::{Duration, Instant};

use pgrx::prelude::*;
use pgrx::{PgList, is_a};

use super::{renames, sequences};
use crate::pg::enqueue::wake;
use crate::pg::shmem::condition;
use crate::pg::shmem::holds;
use crate::pg::shmem::slots;
use crate::pg::shmem::slots::Slot;
use crate::pg::support::process;
use crate::pg::support::wait_event;

/// A worker that has not gone by itself after that long is in a statement that waits for a lock: it is ended.
const LEAVES_BY_ITSELF_WITHIN: Duration = Duration::from_millis(600);

/// After that long the statement runs all the same; Postgres then says who is in its way.
const WAIT_AT_MOST: Duration = Duration::from_secs(5);

/// Between two looks whether the process is out of Postgres' list, which nobody announces.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

static mut PREVIOUS: pg_sys::ProcessUtility_hook_type = None;

/// Puts the hook in; called once, in the postmaster.
pub fn install() {
    // SAFETY: the postmaster has one thread; its children inherit both.
    unsafe {
        PREVIOUS = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(process_utility);
    }
}

unsafe extern "C-unwind" {
    /// tcop/utility.h. Declared here because pgrx's binding takes every error of the statement apart and puts it together again, without
    /// its context, its position and the names in it: what the server says to everybody must not change.
    fn standard_ProcessUtility(
        pstmt: *mut pg_sys::PlannedStmt,
        query: *const c_char,
        read_only_tree: bool,
        context: pg_sys::ProcessUtilityContext::Type,
        params: pg_sys::ParamListInfo,
        query_env: *mut pg_sys::QueryEnvironment,
        dest: *mut pg_sys::DestReceiver,
        qc: *mut pg_sys::QueryCompletion,
    );
}

/// No pg_guard, for the same reason: an error of the statement passes over this frame, in which there is nothing to be dropped.
#[allow(clippy::too_many_arguments, reason = "Postgres' signature")]
unsafe extern "C-unwind" fn process_utility(
    pstmt: *mut pg_sys::PlannedStmt,
    query: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    params: pg_sys::ParamListInfo,
    query_env: *mut pg_sys::QueryEnvironment,
    dest: *mut pg_sys::DestReceiver,
    qc: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: the statement is valid while this call lasts, and the rest is what this hook was called with.
    unsafe {
        let statement = (*pstmt).utilityStmt;
        let is_rename = is_a(statement, pg_sys::NodeTag::T_RenameStmt);
        before(statement);
        let next = PREVIOUS.unwrap_or(standard_ProcessUtility);
        next(pstmt, query, read_only_tree, context, params, query_env, dest, qc);
        // Looked at before: after a COMMIT the statement may be gone.
        if is_rename {
            after(statement);
        }
    }
}

/// Called after a rename has run.
#[pg_guard]
unsafe extern "C-unwind" fn after(statement: *mut pg_sys::Node) {
    // SAFETY: the statement is valid: the caller has it from Postgres.
    unsafe { renames::after(statement) }
}

/// Called before a statement runs.
#[pg_guard]
unsafe extern "C-unwind" fn before(statement: *mut pg_sys::Node) {
    // SAFETY: the caller's.
    unsafe {
        renames::before(statement);
        sequences::before(statement);
    }
    // SAFETY: the caller's.
    match unsafe { Concern::of(statement) } {
        Concern::Nothing => {}
        Concern::Databases => wake::databases_at_commit(),
        Concern::Alone(name) => {
            wake::databases_at_commit();
            if let Some(database) = owned_database(name)
                && wake::release_at_end()
                && holds::hold(database)
            {
                wait_until_nobody_serves(database);
            }
        }
        // For a database without a place there is nobody to tell: what creates the extension does that itself.
        Concern::Extensions if Slot::of_my_database().is_some() => wake::clients_at_commit(),
        Concern::Prepared if Slot::of_my_database().is_some() => wake::at_commit(),
        Concern::Extensions | Concern::Prepared => {}
    }
}

/// What a statement means for the workers.
enum Concern<'a> {
    Nothing,
    /// There may be other databases after it.
    Databases,
    /// It wants this database for itself.
    Alone(&'a CStr),
    /// The extension may be gone, or be another version, after it.
    Extensions,
    /// What was prepared, entries perhaps, is committed.
    Prepared,
}

impl Concern<'_> {
    /// # Safety
    /// A valid statement, which outlives the answer.
    unsafe fn of(statement: *mut pg_sys::Node) -> Self {
        // SAFETY: each cast follows a look at the node's tag; names in nodes are C strings.
        unsafe {
            if is_a(statement, pg_sys::NodeTag::T_DropdbStmt) {
                let statement = statement.cast::<pg_sys::DropdbStmt>();
                Self::Alone(CStr::from_ptr((*statement).dbname))
            } else if is_a(statement, pg_sys::NodeTag::T_CreatedbStmt) {
                let template = option((*statement.cast::<pg_sys::CreatedbStmt>()).options, c"template");
                Self::Alone(template.unwrap_or(c"template1"))
            } else if is_a(statement, pg_sys::NodeTag::T_AlterDatabaseStmt) {
                let statement = statement.cast::<pg_sys::AlterDatabaseStmt>();
                match option((*statement).options, c"tablespace") {
                    Some(_) => Self::Alone(CStr::from_ptr((*statement).dbname)),
                    None => Self::Databases,
                }
            } else if is_a(statement, pg_sys::NodeTag::T_RenameStmt) {
                let statement = statement.cast::<pg_sys::RenameStmt>();
                match (*statement).renameType {
                    pg_sys::ObjectType::OBJECT_DATABASE => Self::Alone(CStr::from_ptr((*statement).subname)),
                    _ => Self::Nothing,
                }
            } else if is_a(statement, pg_sys::NodeTag::T_DropStmt) {
                match (*statement.cast::<pg_sys::DropStmt>()).removeType {
                    pg_sys::ObjectType::OBJECT_EXTENSION => Self::Extensions,
                    _ => Self::Nothing,
                }
            } else if is_a(statement, pg_sys::NodeTag::T_AlterExtensionStmt) {
                Self::Extensions
            } else if is_a(statement, pg_sys::NodeTag::T_TransactionStmt) {
                match (*statement.cast::<pg_sys::TransactionStmt>()).kind {
                    pg_sys::TransactionStmtKind::TRANS_STMT_COMMIT_PREPARED => Self::Prepared,
                    _ => Self::Nothing,
                }
            } else {
                Self::Nothing
            }
        }
    }
}

/// The text of an option, if it is there.
///
/// # Safety
/// A list of DefElem, which outlives the answer.
unsafe fn option<'a>(options: *mut pg_sys::List, name: &CStr) -> Option<&'a CStr> {
    // SAFETY: see above; `defGetString` gives a C string that lives as long as the statement.
    unsafe {
        let options = PgList::<pg_sys::DefElem>::from_pg(options);
        let option = options
            .iter_ptr()
            .find(|option| CStr::from_ptr((**option).defname) == name && !(**option).arg.is_null())?;
        Some(CStr::from_ptr(pg_sys::defGetString(option)))
    }
}

/// The database of that name, if it belongs to the caller and he is not in it for a statement that refuses that.
fn owned_database(name: &CStr) -> Option<u32> {
    // SAFETY: look-ups in the system cache. Inside a transaction: statements about databases have one.
    unsafe {
        if !pg_sys::IsTransactionState() {
            return None;
        }
        let database = pg_sys::get_database_oid(name.as_ptr(), true);
        if database == pg_sys::InvalidOid {
            return None;
        }
        #[cfg(any(feature = "pg14", feature = "pg15"))]
        let owned = pg_sys::pg_database_ownercheck(database, pg_sys::GetUserId());
        #[cfg(not(any(feature = "pg14", feature = "pg15")))]
        let owned = pg_sys::object_ownercheck(pg_sys::DatabaseRelationId, database, pg_sys::GetUserId());
        owned.then(|| database.to_u32())
    }
}

/// Waits until the worker of a held database has gone, at most `WAIT_AT_MOST`.
fn wait_until_nobody_serves(database: u32) {
    let Some(slot) = Slot::of(database) else {
        return;
    };
    let began = Instant::now();
    let mut pid = None;
    let mut ended = false;
    slot.wake();
    let condition = slots::changed_condition();
    condition.prepare();
    while began.elapsed() < WAIT_AT_MOST {
        let process = slot.process();
        pid = process.map(process::pid_at).or(pid);
        // It leaves the slot a moment before it leaves Postgres' list, which is what the statement looks at.
        let is_there = process.is_some() || pid.is_some_and(is_process);
        if !is_there {
            break;
        }
        if let Some(pid) = pid
            && !ended
            && began.elapsed() >= LEAVES_BY_ITSELF_WITHIN
        {
            ended = true;
            terminate(pid);
        }
        let pause = match process {
            Some(_) if !ended => LEAVES_BY_ITSELF_WITHIN.saturating_sub(began.elapsed()),
            Some(_) => WAIT_AT_MOST.saturating_sub(began.elapsed()),
            None => LOOK_AGAIN,
        };
        condition.wait(pause.max(LOOK_AGAIN), wait_event::named(c"TargetProfileWorkerStop"));
    }
    condition::cancel();
}

/// Whether Postgres lists a process of that number.
fn is_process(pid: i32) -> bool {
    // SAFETY: a look at the list.
    !unsafe { pg_sys::BackendPidGetProc(pid) }.is_null()
}

fn terminate(pid: i32) {
    if is_process(pid) {
        // SAFETY: as pg_terminate_backend does it: a process of this server.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }
}
