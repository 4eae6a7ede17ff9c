//! Periodic work beside sending: retention, orphaned entries, dropped tables.

use std::time::Duration;

use target_profile_core::client_code::ClientCode;
use target_profile_core::time::Timestamp;
use target_profile_core::trouble::Source;

use super::clock::now;
use super::state::Worker;
use super::transaction::{Access, transaction};
use super::{activity, installation, response_days};

/// How often old records are looked for.
const EVERY: Duration = Duration::from_secs(3600);
/// How long one turn deletes old records. The rest is deleted in a later turn.
const AT_A_TIME: Duration = Duration::from_millis(250);
/// The time between two such turns, in which the worker sends.
const PAUSE_BETWEEN_STEPS: Duration = Duration::from_millis(750);
/// A partition that is locked, or that another object depends on, is tried again after this time.
const RETRY_DROP_AFTER: Duration = Duration::from_secs(30);
/// Partitions that one transaction drops. Each takes several locks, and the lock table is limited.
const DAYS_AT_A_TIME: usize = 4;
/// Rows that one transaction deletes.
const ROWS: i64 = 10_000;

impl Worker {
    /// Entries of clients that were removed.
    pub(super) fn bury_orphans(&mut self) {
        // What another server writes here is not touched.
        if self.is_subscriber {
            return;
        }
        let mut failed = None;
        match transaction("looking for orphans", Access::Read, installation::orphaned_clients) {
            Ok(orphaned) => {
                for code in orphaned {
                    let buried = transaction("burying orphans", Access::Write, |client| {
                        installation::bury_orphans(client, &code)
                    });
                    failed = failed.or(buried.err());
                }
            }
            Err(failure) => failed = Some(failure),
        }
        match failed {
            // It does not stop the sending.
            Some(failure) => self.remember(Source::Orphans, &failure.to_string()),
            None => self.is_over(Source::Orphans),
        }
    }

    /// Deletes a part of what is too old: days of responses and minutes of activity.
    pub(super) fn keep_house(&mut self) {
        let until = now().plus(AT_A_TIME);
        let done = self
            .drop_days(until)
            .and_then(|more| if more { Ok(true) } else { self.forget_rows(until) })
            .and_then(|more| if more { Ok(true) } else { forget_dropped_tables() });
        match done {
            Ok(true) => self.retention.due = now().plus(PAUSE_BETWEEN_STEPS),
            Ok(false) => {
                let pause = match self.retention.trouble.take() {
                    Some(trouble) => {
                        self.remember(Source::House, &trouble);
                        RETRY_DROP_AFTER
                    }
                    None => {
                        self.is_over(Source::House);
                        EVERY
                    }
                };
                self.retention.begin(now().plus(pause));
            }
            Err(error) => {
                // A partition that cannot be dropped does not stop the sending.
                self.remember(Source::House, &error);
                self.retention.due = now().plus(RETRY_DROP_AFTER);
            }
        }
    }

    /// Whether there are more.
    pub(super) fn drop_days(&mut self, until: Timestamp) -> Result<bool, String> {
        let before = ago(self.settings.retention);
        loop {
            let kept = &self.retention.kept;
            let names = transaction("looking for old responses", Access::Read, |client| {
                response_days::overdue_partitions(client, before, kept, DAYS_AT_A_TIME)
            })?;
            if names.is_empty() {
                return Ok(false);
            }
            self.days.clear();
            let drop = |names: &[String]| {
                transaction("dropping old responses", Access::Write, |client| {
                    response_days::drop_partitions(client, names)
                })
            };
            match drop(&names) {
                Ok(()) => {}
                // Another session reads one of the partitions, or all of them.
                Err(failure) if failure.is_lock() => {
                    self.retention.kept.extend(names.into_iter().next());
                    return Err(failure.into());
                }
                Err(_) => {
                    for name in names {
                        if let Err(failure) = drop(std::slice::from_ref(&name)) {
                            self.retention.trouble.get_or_insert(failure.to_string());
                            self.retention.kept.push(name);
                        }
                    }
                }
            }
            if now() >= until {
                return Ok(true);
            }
        }
    }

    /// Whether there are more.
    pub(super) fn forget_rows(&mut self, until: Timestamp) -> Result<bool, String> {
        let before = ago(self.settings.activity_retention);
        loop {
            let more = transaction("forgetting old activity", Access::Write, |client| {
                activity::forget(client, before, ROWS)
            })?;
            if !more || now() >= until {
                return Ok(more);
            }
        }
    }

    /// Reads the ledgers of clients that wait for their quota again: an administrator may have corrected the table or the clock.
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

/// The point in time that long ago.
fn ago(retention: Duration) -> Timestamp {
    let retention = i64::try_from(retention.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_unix_micros(now().unix_micros().saturating_sub(retention))
}

/// Deletes the watches of tables that were dropped.
fn forget_dropped_tables() -> Result<bool, String> {
    if transaction("looking for dropped tables", Access::Read, |client| {
        installation::has_dropped_tables(client)
    })? {
        transaction("forgetting dropped tables", Access::Write, |client| {
            installation::forget_dropped_tables(client)
        })?;
    }
    Ok(false)
}
