//! Brings the worker up to date with the extension, the settings and the clients.

use target_profile_core::settlement::Batch;
use target_profile_core::trouble::Source;

use super::clock::now;
use super::installation::Adoption;
use super::state::Worker;
use super::transaction::{Access, transaction};
use super::unsettled::Unsettled;
use super::{activity, installation, settle_rows};
use crate::pg::shmem::launcher_requests;
use crate::pg::shmem::reports::State;
use crate::pg::support::versions;
use crate::pg::support::warning::warn;

impl Worker {
    /// Is the extension there, is this database the one that may send, which clients are there?
    pub(super) fn look_around(&mut self) -> Result<(), String> {
        let version = self.slot.clients_version();
        let seen = self.clients_version;
        let mut sql_version = None;
        let found = transaction("looking around", Access::Read, |client| {
            installation::look_around(client, seen != Some(version), &mut sql_version)
        });
        if found.is_ok() || sql_version.is_some() {
            self.note_sql_version(sql_version);
        }
        let (standing, clients) = found?;
        if standing != self.standing && self.is_adopted() {
            // The outbox is gone, is another one, or is not ours to send.
            self.forget();
            self.standing = Adoption::NoExtension;
        }
        if standing != Adoption::NoExtension && !self.slot.serves() {
            self.slot.set_serves();
            // It may have another database looked into.
            launcher_requests::call();
        }
        if !matches!(standing, Adoption::Adopted(_)) {
            self.standing = standing;
            // A database that is adopted announces itself.
            self.clients_version = Some(version);
            if standing == Adoption::NotAdopted {
                self.show(State::NotAdopted);
            }
            return Ok(());
        }
        if !self.is_adopted() {
            self.standing = standing;
            if clients.is_none() {
                self.clients_version = None;
                return self.look_around();
            }
            // Breakers live in memory; what an earlier worker left of them is no longer so.
            transaction("starting", Access::Write, settle_rows::forget_breakers)?;
            match transaction("closing the books of the last worker", Access::Write, activity::close) {
                Ok(()) => {}
                // What was reserved counts all the same; the rest is for the statistics, and nobody waits for it.
                Err(failure) => self.remember(Source::House, &failure.to_string()),
            }
        }
        if let Some(clients) = clients {
            // The others do not wait for it.
            match clients.invalid.split_first() {
                Some(((code, fault), others)) => {
                    let others = match others.len() {
                        0 => String::new(),
                        count => format!("; so are {count} others"),
                    };
                    let error = format!("client \"{code}\" is left out, its settings are not valid: {fault}{others}");
                    self.remember(Source::Clients, &error);
                }
                None => self.is_over(Source::Clients),
            }
            self.drain.set_clients(clients.valid, now());
            self.hold_again();
            self.clients_version = Some(version);
        }
        Ok(())
    }

    /// What can be done with SQL objects of another version than the library's is done; what else there is to do is said, once in
    /// the log, and in the view as long as it is so.
    pub(super) fn note_sql_version(&mut self, version: Option<String>) {
        if version == self.sql_version {
            return;
        }
        self.slot
            .report(|report| report.set_sql_version(version.as_deref().unwrap_or_default()));
        if let Some(advice) = versions::advice_for(version.as_deref()) {
            warn(
                &format!(
                    "the library of target_profile and the SQL of this database differ: {}",
                    advice.finding
                ),
                &advice.hint(),
            );
        }
        self.sql_version = version;
    }

    /// The outbox is gone or is not ours to send: nothing of it may be remembered.
    pub(super) fn forget(&mut self) {
        self.drain.reset();
        self.batch = Batch::default();
        self.days.clear();
        self.unsettled = Unsettled::default();
        self.publish_in_flight();
    }
}
