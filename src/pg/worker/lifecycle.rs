//! The worker as a process: its start, its signals, its sleep and its end.

use std::time::Duration;

use pgrx::bgworkers::BackgroundWorker;
#[cfg(not(feature = "pg18"))]
use pgrx::pg_sys::pqsignal;
#[cfg(feature = "pg18")]
use pgrx::pg_sys::pqsignal_be as pqsignal;
use pgrx::prelude::*;
use target_profile_core::launcher::WorkerEnd;
use target_profile_core::time::Timestamp;

use super::clock::now;
use super::state::Worker;
use super::{network, transaction};
use crate::pg::shmem::reports::State;
use crate::pg::shmem::slots::Slot;
use crate::pg::shmem::{holds, launcher_requests};
use crate::pg::support::clock::postgres_now;
use crate::pg::support::process;
use crate::pg::support::{allocator, pins, wait_event};

/// Where a worker process starts. Its argument is the OID of its database.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn target_profile_worker_main(arg: pg_sys::Datum) {
    install_signal_handlers();
    let Ok(database) = u32::try_from(arg.value()) else {
        return;
    };
    let Some(slot) = Slot::of(database) else {
        // The launcher that has started this process is no more, and the next one has decided otherwise.
        return;
    };
    // Before it connects: a statement that needs the database for itself must see the worker, and there must not be two workers.
    // SAFETY: the callback is a plain function of this library.
    unsafe { pg_sys::before_shmem_exit(Some(at_exit), pg_sys::Datum::from(database)) };
    if !slot.enter(process::my_place()) {
        return;
    }
    if Slot::of(database) != Some(slot) {
        // The next launcher has given it to another database a moment ago.
        slot.leave();
        return;
    }
    if holds::is_held(database) {
        slot.set_ending(WorkerEnd::Asked);
        return;
    }
    transaction::ignore_cancels();
    pins::worker();
    BackgroundWorker::connect_worker_to_spi_by_oid(Some(pg_sys::Oid::from(database)), None);
    transaction::be_oneself();
    target_profile_client::descriptors::raise();
    slot.report(|report| {
        report.pid = process::my_pid();
        report.state = State::Starting;
        report.since = postgres_now();
    });
    Worker::new(slot).run()
}

unsafe extern "C-unwind" {
    /// tcop/tcopprot.h: Postgres' own handler of SIGTERM. Declared here because pgrx binds it as a Rust function, which cannot be
    /// a signal handler; the same for the next.
    pub(super) fn die(signal: i32);
    /// postmaster/interrupt.h: sets a flag and the latch.
    pub(super) fn SignalHandlerForConfigReload(signal: i32);
}

/// For the launcher, too.
pub fn install_signal_handlers() {
    // SAFETY: Postgres' own handlers, installed before signals are let in: `die` also interrupts a query, and its FATAL ends
    // with exit code 1.
    unsafe {
        pqsignal(pg_sys::SIGTERM as i32, Some(die));
        pqsignal(pg_sys::SIGHUP as i32, Some(SignalHandlerForConfigReload));
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

/// Runs when the process exits.
#[pg_guard]
unsafe extern "C-unwind" fn at_exit(_code: i32, database: pg_sys::Datum) {
    network::stop();
    let slot = u32::try_from(database.value()).ok().and_then(Slot::of);
    if let Some(slot) = slot
        && slot.process() == Some(process::my_place())
    {
        slot.report(|report| {
            report.pid = 0;
            report.state = State::Stopped;
            report.since = postgres_now();
            report.set_in_flight(std::iter::empty());
            if allocator::has_failed() {
                report.set_error(
                    "out of memory: the worker has ended, and is started again",
                    report.since,
                );
            }
        });
        slot.leave();
        // One that the launcher has not started itself is known to it only by this.
        launcher_requests::call();
    }
}

/// Reads the configuration again after a SIGHUP. Returns whether there was one.
pub fn reload_if_asked() -> bool {
    // SAFETY: the flag is set by the SIGHUP handler of this process, and cleared before the file is read.
    let asked = unsafe {
        let asked = (&raw const pg_sys::ConfigReloadPending).read_volatile() != 0;
        (&raw mut pg_sys::ConfigReloadPending).write_volatile(0);
        asked
    };
    if asked {
        // SAFETY: between transactions, as every background process does it.
        unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) };
    }
    asked
}

/// Ends this process for good: the postmaster does not start it again. Outside of a transaction.
pub fn exit() -> ! {
    // SAFETY: runs the callbacks and does not return, though the binding for PostgreSQL 18 does not say so.
    unsafe {
        pg_sys::proc_exit(0);
        #[cfg(feature = "pg18")]
        std::process::abort()
    }
}

/// Sleeps so long, or until the latch is set.
pub fn rest(time: Duration) {
    sleep_until(now().plus(time), None);
}

/// Sleeps until then, or until the latch is set, or the descriptor says that there are answers.
pub fn sleep_until(until: Timestamp, fd: Option<i32>) {
    // Rounded up: a wait that ends too early would spin.
    let timeout = i64::try_from(until.since(now()).as_micros().div_ceil(1000)).unwrap_or(i64::MAX);
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    let events = if fd.is_some() {
        events | pg_sys::WL_SOCKET_READABLE
    } else {
        events
    };
    // SAFETY: this process' own latch, and a descriptor that lives as long as the transport, which this thread owns.
    unsafe {
        pg_sys::WaitLatchOrSocket(
            pg_sys::MyLatch,
            events as i32,
            fd.unwrap_or(pg_sys::PGINVALID_SOCKET),
            timeout.min(3_600_000),
            wait_event::named(c"TargetProfileWorkerMain"),
        );
    }
}
