//! Moves everything that waits when the clock was set.

use target_profile_core::step::Following;
use target_profile_core::time::Timestamp;

use super::activity;
use super::clock::{follow, now};
use super::installation;
use super::installation::Adoption;
use super::state::Worker;
use super::transaction::{Access, transaction};

impl Worker {
    /// The clock may have been set: what waits here waits as long as it would have.
    pub(super) fn follow_clock(&mut self) {
        if let Some((before, step)) = follow() {
            pgrx::log!(
                "target_profile: the clock was set by {} ms, and what waits goes by it",
                step.micros() / 1_000
            );
            self.drain.clock_set(before, step, &mut self.batch);
            for time in [&mut self.next_poll, &mut self.not_before] {
                *time = step.of(*time);
            }
            self.retention.clock_set(step);
            self.unsettled.clock_set(step);
            self.following.note(step);
        }
    }

    /// What counts against the quotas follows the clock, before anything is sent by it.
    pub(super) fn move_ledgers(&mut self) -> Result<(), String> {
        let Adoption::Adopted(outbox) = self.standing else {
            self.following = Following::default();
            return Ok(());
        };
        let minutes = self.following.minutes();
        if minutes == 0 {
            return Ok(());
        }
        // By the clock as it was.
        let before = now().unix_micros().saturating_sub(minutes.saturating_mul(60_000_000));
        transaction("moving the quota with the clock", Access::Write, |client| {
            if installation::outbox(client)? == Some(outbox) {
                activity::follow(client, Timestamp::from_unix_micros(before), minutes)?;
            }
            Ok(())
        })?;
        self.drain.move_ledgers(minutes, &mut self.batch);
        self.following.moved(minutes);
        Ok(())
    }
}
