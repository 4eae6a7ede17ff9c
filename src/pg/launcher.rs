//! Which databases get a worker.
//!
//! For now the databases are named by `target_profile.databases`, and their workers are started with the server. The launcher that
//! finds every database with the extension by itself takes this file's place; the worker does not care who starts it.

use std::time::Duration;

use pgrx::bgworkers::{BackgroundWorkerBuilder, BgWorkerStartTime};
use pgrx::prelude::*;

use super::settings;

/// How long the postmaster waits before it starts a worker again that has ended.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Registers a worker for each database of the setting; called once, in the postmaster.
pub fn register() {
    for (index, database) in settings::databases().iter().enumerate() {
        BackgroundWorkerBuilder::new(&format!("target_profile worker: {database}"))
            .set_type("target_profile worker")
            .set_library("target_profile")
            .set_function("target_profile_worker_main")
            .set_argument(i32::try_from(index).ok().and_then(IntoDatum::into_datum))
            .enable_spi_access()
            // Not on a standby: there it starts at promotion.
            .set_start_time(BgWorkerStartTime::RecoveryFinished)
            .set_restart_time(Some(RESTART_AFTER))
            .load();
    }
}
