//! The state of a worker between two turns. None of it has to survive the process.

use std::collections::{BTreeSet, VecDeque};

use target_profile_core::drain::{Drain, Report};
use target_profile_core::pace::Pace;
use target_profile_core::settlement::Batch;
use target_profile_core::step::Following;
use target_profile_core::time::Timestamp;
use target_profile_core::trouble::Troubles;

use super::installation::Adoption;
use super::retention::Retention;
use super::unsettled::Unsettled;
use crate::pg::shmem::reports::State;
use crate::pg::shmem::slots::Slot;
use crate::pg::support::settings::WorkerSettings;

/// The worker of one database.
pub(super) struct Worker {
    pub(super) slot: Slot,
    pub(super) settings: WorkerSettings,
    pub(super) drain: Drain,
    /// What has to be settled. It is kept until it is written.
    pub(super) batch: Batch,
    /// Memory was allocated for a large update, and is not returned to the system yet.
    pub(super) has_held_large: bool,
    /// Answers that have arrived and are not judged yet.
    pub(super) answers: VecDeque<Report>,
    pub(super) standing: Adoption,
    /// A subscription writes into the extension's tables.
    pub(super) is_subscriber: bool,
    /// The version of the SQL objects at the last look.
    pub(super) sql_version: Option<String>,
    /// The version of the clients that the drain has; `None`: they must be read again.
    pub(super) clients_version: Option<u64>,
    /// What could not be settled, because another session has its rows locked.
    pub(super) unsettled: Unsettled,
    /// Days of `response` that have their partition.
    pub(super) days: BTreeSet<i32>,
    /// Whether those partitions could be created.
    pub(super) days_are_well: bool,
    /// `response` does not take the responses: they are written to `response_stray`.
    pub(super) stray: bool,
    /// The sequence of responses has been moved past ids that `response` has already.
    pub(super) ids_mended: bool,
    /// The last response that was recorded.
    pub(super) last_response: i64,
    pub(super) next_poll: Timestamp,
    pub(super) retention: Retention,
    pub(super) troubles: Troubles,
    /// The view `worker` may show an error.
    pub(super) shows_error: bool,
    /// Errors in a row.
    pub(super) errors: u32,
    pub(super) not_before: Timestamp,
    /// The minutes by which the ledgers of the quotas are to follow the clock.
    pub(super) following: Following,
    pub(super) state: Option<State>,
    /// The pause between turns while there are many commits.
    pub(super) pace: Pace,
    /// Commits have woken this turn.
    pub(super) told_of_work: bool,
}

impl Worker {
    pub(super) fn new(slot: Slot) -> Self {
        let settings = WorkerSettings::take();
        let mut drain = Drain::new(settings.limits.clone());
        drain.set_enabled(settings.enabled);
        let start = Timestamp::from_unix_micros(0);
        Self {
            slot,
            settings,
            drain,
            batch: Batch::default(),
            answers: VecDeque::new(),
            has_held_large: false,
            standing: Adoption::NoExtension,
            is_subscriber: false,
            sql_version: None,
            clients_version: None,
            unsettled: Unsettled::default(),
            days: BTreeSet::new(),
            days_are_well: true,
            stray: false,
            ids_mended: false,
            last_response: 0,
            next_poll: start,
            retention: Retention::default(),
            troubles: Troubles::default(),
            shows_error: true,
            errors: 0,
            not_before: start,
            following: Following::default(),
            state: None,
            pace: Pace::default(),
            told_of_work: false,
        }
    }
}
