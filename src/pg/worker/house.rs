//! What is due now and then, whatever is sent.

use std::time::Duration;

use target_profile_core::client_code::ClientCode;
use target_profile_core::time::Timestamp;

use super::clock::now;
use super::transaction::{Access, transaction};
use super::{Worker, activity, guests, settle};

impl Worker {
    /// What is due now and then: entries of clients that were removed, days of responses that are over.
    pub(super) fn keep_house(&mut self) -> Result<(), String> {
        // What another server writes here is not touched.
        let orphaned = if self.is_subscriber {
            Vec::new()
        } else {
            transaction("looking for orphans", Access::Read, guests::orphaned_clients)?
        };
        for code in orphaned {
            transaction("burying orphans", Access::Write, |client| {
                guests::bury_orphans(client, &code)
            })?;
        }
        if now() >= self.next_retention {
            let before = ago(self.settings.retention);
            if transaction("looking for old responses", Access::Read, |client| {
                settle::has_partitions_before(client, before)
            })? {
                transaction("dropping old responses", Access::Write, |client| {
                    settle::drop_partitions_before(client, before)
                })?;
                self.days.clear();
            }
            let before = ago(self.settings.activity_retention);
            transaction("forgetting old activity", Access::Write, |client| {
                activity::forget(client, before)
            })?;
            self.next_retention = now().plus(Duration::from_secs(3600));
        }
        Ok(())
    }

    /// Of clients that wait for their quota: somebody may have mended the table, or the clock.
    pub(super) fn reread_ledgers(&mut self) -> Result<(), String> {
        let held: Vec<ClientCode> = self.drain.held_by_quota().cloned().collect();
        if held.is_empty() {
            return Ok(());
        }
        let mut ledgers = transaction("reading the quota", Access::Read, activity::ledgers)?;
        for code in held {
            let charged = ledgers.remove(code.as_str()).unwrap_or_default();
            self.drain.reload_ledger(&code, &charged, now());
        }
        Ok(())
    }
}

/// That long ago.
fn ago(retention: Duration) -> Timestamp {
    let retention = i64::try_from(retention.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_unix_micros(now().unix_micros().saturating_sub(retention))
}
