//! The state of this process, and waking another one.

use pgrx::pg_sys;

/// The number of this process.
pub fn my_pid() -> i32 {
    // SAFETY: a plain variable of the process.
    unsafe { pg_sys::MyProcPid }
}

/// Whether this server was started by pg_upgrade.
pub fn is_binary_upgrade() -> bool {
    // SAFETY: a plain flag, set before any library is loaded.
    unsafe { pg_sys::IsBinaryUpgrade }
}

/// Whether the library is being loaded from `shared_preload_libraries`.
pub fn is_being_preloaded() -> bool {
    // SAFETY: a plain flag of the postmaster.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress }
}

/// With `RUST_BACKTRACE` in the server's environment, errors of Postgres that pass through this library would show its paths
/// in their DETAIL. Backtraces of panics stay as they are.
pub fn keep_backtraces_from_clients() {
    if std::env::var_os("RUST_LIB_BACKTRACE").is_none() {
        // SAFETY: the process has one thread while libraries are loaded.
        unsafe { std::env::set_var("RUST_LIB_BACKTRACE", "0") };
    }
}

/// Wakes the process at that place among Postgres' processes. Cannot fail: it runs inside commits.
pub fn set_latch(process: i32) {
    // SAFETY: the place is one of Postgres' processes (it wrote it itself), whose latches live in shared memory as long as the
    // server; waking another process that has the place by now does no harm.
    unsafe {
        let process = (*pg_sys::ProcGlobal).allProcs.offset(process as isize);
        pg_sys::SetLatch(&raw mut (*process).procLatch);
    }
}

/// The number of the process at that place.
pub fn pid_at(process: i32) -> i32 {
    // SAFETY: a place that a process of this server wrote; see above.
    unsafe { (*(*pg_sys::ProcGlobal).allProcs.offset(process as isize)).pid }
}

/// The database of this process, 0 for none.
pub fn my_database() -> u32 {
    // SAFETY: a plain variable of the process.
    unsafe { pg_sys::MyDatabaseId }.to_u32()
}

/// The place of this process among Postgres' processes.
pub fn my_place() -> i32 {
    // SAFETY: both are set in every process that is connected to shared memory; MyProc lies in that array.
    let place = unsafe { pg_sys::MyProc.offset_from((*pg_sys::ProcGlobal).allProcs) };
    i32::try_from(place).unwrap_or(-1)
}
