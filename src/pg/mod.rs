//! Everything that talks to Postgres. It stores and wakes; what to send, when, and what an answer means is decided in
//! `target_profile_core`.
//!
//! The way of an entry: [`update`] or [`trigger`] (bulk: → [`collector`]) → [`outbox`] → commit → [`wake`] → [`worker`].
//! Workers are started by the [`launcher`], and go when a statement wants their database for itself ([`utility`]).

// The only place of the project that needs it; `undocumented_unsafe_blocks` asks for the reason each time.
#![allow(unsafe_code)]

pub mod allocator;
pub mod backfill;
pub mod burial;
pub mod catalog;
pub mod clients;
pub mod clock;
pub mod collector;
pub mod dead_letters;
mod deferred;
pub mod errors;
mod expression;
mod generated;
pub mod holds;
pub mod ids;
pub mod insertion;
pub mod jsonb;
pub mod launcher;
mod list;
pub mod outbox;
mod own_objects;
pub mod owner;
pub mod pins;
mod references;
mod renames;
pub mod report;
pub mod result;
pub mod row_id;
mod row_update;
mod row_version;
mod sequences;
pub mod session;
pub mod settings;
pub mod shared;
pub mod snapshot;
pub mod statement;
pub mod status;
pub mod subtransaction;
pub mod summons;
pub mod trigger;
mod trigger_call;
mod unguarded;
pub mod update;
pub mod utility;
pub mod value;
pub mod versions;
pub mod wait_event;
pub mod wake;
pub mod watch;
pub mod wiring;
pub mod worker;
pub mod writer;

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
