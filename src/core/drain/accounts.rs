//! Accounting: how much of each client's quota is reserved and used, how many requests were sent, and how they ended.

use std::time::Duration;

use super::client::Client;
use super::state::Drain;
use crate::client_code::ClientCode;
use crate::quota::{Adjustment, Class, Count, Ledger, Minute};
use crate::settlement::{Activity, Batch};
use crate::time::Timestamp;

/// While requests go out, the activity is written once in this time, not with every batch: its row would have a version
/// for each, and a long snapshot keeps them all.
const WRITE_EVERY: Duration = Duration::from_secs(1);

impl Drain {
    /// Clients of which some class has no quota left, and waits for it.
    pub fn held_by_quota(&self) -> impl Iterator<Item = &ClientCode> {
        self.clients
            .iter()
            .filter(|(_, client)| {
                [Class::Fresh, Class::Backfill]
                    .into_iter()
                    .any(|class| client.ledger.left(class) == 0)
            })
            .map(|(code, _)| code)
    }

    /// Takes the ledger of a client as it is stored, since an administrator may have corrected it. Not between a claim and its
    /// sending.
    pub fn reload_ledger(&mut self, code: &ClientCode, charged: &[(Minute, Count)], now: Timestamp) {
        if let Some(client) = self.clients.get_mut(code) {
            client.ledger = Ledger::load(Client::quota(&client.settings), charged, now);
        }
    }

    /// When [`Drain::report`] has activity to write, if nothing else is written before.
    pub fn report_due(&self) -> Option<Timestamp> {
        self.activity
            .values()
            .any(Activity::has_requests)
            .then(|| self.activity_written_at.plus(WRITE_EVERY))
    }

    pub(super) fn advance_ledgers(&mut self, now: Timestamp) {
        for (code, client) in &mut self.clients {
            if let Some((minute, unused)) = client.ledger.advance(now) {
                self.activity.entry((code.clone(), minute)).or_default().returned += unused;
            }
        }
    }

    pub(super) fn note_reserved(&mut self, code: ClientCode, minute: Minute, count: Count) {
        if count.is_zero() {
            return;
        }
        // Reserved for a client that was removed: the rest of the minute counts as sent.
        let Some(client) = self.clients.get_mut(&code) else {
            return;
        };
        let too_late = client.ledger.reserved(minute, count);
        if !too_late.is_zero() {
            self.activity.entry((code, minute)).or_default().returned += too_late;
        }
    }

    /// Writes into the activity that a delivery's request is part of.
    pub(super) fn activity_of(&mut self, ticket: u64, note: impl FnOnce(&mut Activity)) {
        if let Some(delivery) = self.deliveries.get(&ticket) {
            note(
                self.activity
                    .entry((delivery.key.client.clone(), delivery.minute))
                    .or_default(),
            );
        }
    }

    pub(super) fn report_activity(&mut self, now: Timestamp, batch: &mut Batch) {
        // Nothing is under way behind this batch.
        let quiet = batch.ended.len() + self.aside.len() >= self.busy.len();
        let since = self.activity_written_at;
        // A batch that could not be settled has its activity still, and will say that all of its responses are counted.
        let again = !batch.activity.is_empty();
        let due = quiet || again || now < since || now >= since.plus(WRITE_EVERY);
        if !due || !self.activity.values().any(Activity::has_requests) {
            return;
        }
        self.advance_ledgers(now);
        for (code, client) in &mut self.clients {
            let pace = std::mem::take(&mut client.recent);
            let adjustment = client.ledger.adjust(if quiet { 0 } else { pace });
            let minute = client.ledger.current();
            match adjustment {
                Some(Adjustment::More(count)) if pace > 0 => {
                    self.activity.entry((code.clone(), minute)).or_default().reserved += count;
                }
                Some(Adjustment::Fewer(count)) => {
                    self.activity.entry((code.clone(), minute)).or_default().returned += count;
                }
                _ => {}
            }
        }
        for (place, activity) in std::mem::take(&mut self.activity) {
            batch.activity.entry(place).or_default().add(&activity);
        }
        self.activity_written_at = now;
    }
}
