//! Moves every time in the drain when the clock is set.

use super::state::Drain;
use crate::settlement::Batch;
use crate::step::ClockStep;
use crate::time::Timestamp;

impl Drain {
    /// The clock, which said `before`, was set. Everything that waits in memory waits as long as it would have. The quotas follow
    /// by [`Drain::move_ledgers`].
    pub fn clock_set(&mut self, before: Timestamp, step: ClockStep, batch: &mut Batch) {
        self.leap.note(before, step);
        self.activity_written_at = step.of(self.activity_written_at);
        for more in self
            .deliveries
            .values_mut()
            .filter_map(|delivery| delivery.more.as_mut())
        {
            more.due = step.of(more.due);
        }
        for again in batch.ended.iter_mut().filter_map(|ended| ended.again.as_mut()) {
            again.at = step.of(again.at);
        }
        for retry in &mut batch.retries {
            retry.next_attempt_at = step.of(retry.next_attempt_at);
        }
        for client in self.clients.values_mut() {
            client.breaker.clock_set(step);
            client.breaker_moved |= client.breaker.opening().is_some();
            client.budget.clock_set(step);
            client.parked.clock_set(step);
        }
    }

    /// The minutes that count against the quotas have moved, in the table too. Not called between a claim and its sending.
    pub fn move_ledgers(&mut self, minutes: i64, batch: &mut Batch) {
        for client in self.clients.values_mut() {
            client.ledger.follow(minutes);
        }
        for delivery in self.deliveries.values_mut() {
            delivery.minute = delivery.minute.plus(minutes);
        }
        for activity in [&mut self.activity, &mut batch.activity] {
            *activity = std::mem::take(activity)
                .into_iter()
                .map(|((code, minute), numbers)| ((code, minute.plus(minutes)), numbers))
                .collect();
        }
    }
}
