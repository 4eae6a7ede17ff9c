//! Settling what the drain has decided, also when other sessions have locked or changed the rows.
//!
//! A batch is written in one transaction. If that meets a locked row, it is tried again without the entries that are locked. If another
//! row is locked (of a client, of `activity`), it is tried client by client. What cannot be written is kept and tried again, and the
//! other clients go on.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use target_profile_core::client_code::ClientCode;
use target_profile_core::drain::Dispatch;
use target_profile_core::quota::Minute;
use target_profile_core::settlement::{Activity, Batch, Left, Reservation};
use target_profile_core::trouble::Source;

use super::clock::now;
use super::settle_rows;
use super::settle_rows::{Manner, Stage};
use super::state::Worker;
use super::transaction::{Access, Failure, transaction};
use super::unsettled::LONGEST_PAUSE;
use super::{activity, memory, response_days};
use crate::pg::shmem::reports::State;
use crate::pg::support::clock::day_of;

/// How long after a locked row was met locked entries are left out at the first try.
const CAREFUL_FOR: Duration = Duration::from_secs(10);
/// After so many clients in a row with locked rows, a whole table is probably locked: the rest is not tried.
const LOCKED_CLIENTS_IN_A_ROW: usize = 4;

impl Worker {
    pub(super) fn settle(&mut self) -> Result<(), String> {
        self.drain.report(now(), &mut self.batch);
        self.set_aside();
        self.settle_batch()?;
        self.settle_kept()
    }

    /// Keeps what is to be settled for clients that are held until it is tried again.
    pub(super) fn set_aside(&mut self) {
        if self.unsettled.held.is_empty() || self.batch.is_empty() {
            return;
        }
        for (code, part) in std::mem::take(&mut self.batch).by_client() {
            if self.unsettled.held.contains(&code) {
                self.unsettled.keep(code, part);
            } else {
                self.batch.append(part);
            }
        }
    }

    pub(super) fn settle_batch(&mut self) -> Result<(), String> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.show(State::Active);
        let mut batch = std::mem::take(&mut self.batch);
        let careful = now() < self.unsettled.careful_until;
        let mut tried = self.write(&mut batch, careful);
        if !careful && matches!(&tried, Err((Stage::Rows, failure)) if failure.is_lock()) {
            self.unsettled.careful_until = now().plus(CAREFUL_FOR);
            tried = self.write(&mut batch, true);
        }
        match tried {
            Ok(left) => {
                self.note_settled(batch, left);
                Ok(())
            }
            Err((Stage::Rows, failure)) if failure.is_lock() => self.settle_by_client(batch),
            Err((_, failure)) => {
                self.batch = batch;
                Err(failure.into())
            }
        }
    }

    /// Settles client by client, so that the locked rows of one do not hold up the others.
    pub(super) fn settle_by_client(&mut self, batch: Batch) -> Result<(), String> {
        let mut in_a_row = 0;
        let mut failed = None;
        for (code, mut part) in batch.by_client() {
            if in_a_row >= LOCKED_CLIENTS_IN_A_ROW || failed.is_some() {
                self.batch.append(part);
                continue;
            }
            match self.write(&mut part, true) {
                Ok(left) => {
                    in_a_row = 0;
                    self.note_settled(part, left);
                }
                Err((Stage::Rows, failure)) if failure.is_lock() => {
                    in_a_row += 1;
                    self.hold(code, part, &failure);
                }
                Err((_, failure)) => {
                    self.batch.append(part);
                    failed = Some(failure);
                }
            }
        }
        match failed {
            Some(failure) => Err(failure.into()),
            None if in_a_row >= LOCKED_CLIENTS_IN_A_ROW && !self.batch.is_empty() => {
                Err("settling: rows of many clients are locked by other transactions".to_owned())
            }
            None => Ok(()),
        }
    }

    /// Nothing is sent for this client before the part is written.
    pub(super) fn hold(&mut self, code: ClientCode, part: Batch, failure: &Failure) {
        let error = format!("rows of client \"{code}\" are locked by another transaction, and it waits: {failure}");
        self.remember(Source::Locked, &error);
        self.drain.hold(&code);
        self.unsettled.held.insert(code.clone());
        self.unsettled.keep(code, part);
    }

    /// Clients that were registered again are held again.
    pub(super) fn hold_again(&mut self) {
        for code in &self.unsettled.held {
            self.drain.hold(code);
        }
    }

    /// Tries again what was kept.
    pub(super) fn settle_kept(&mut self) -> Result<(), String> {
        if self.unsettled.due().is_none_or(|due| due > now()) {
            return Ok(());
        }
        let pause = self.unsettled.pause;
        let mut in_a_row = 0;
        let mut failed = None;
        for (code, mut part) in std::mem::take(&mut self.unsettled.of) {
            if in_a_row >= LOCKED_CLIENTS_IN_A_ROW || failed.is_some() {
                self.unsettled.of.insert(code, part);
                continue;
            }
            match self.write(&mut part, true) {
                Ok(left) => {
                    in_a_row = 0;
                    self.unsettled.held.remove(&code);
                    self.drain.give_free(&code);
                    self.note_settled(part, left);
                }
                Err((stage, failure)) => {
                    self.unsettled.of.insert(code, part);
                    if stage == Stage::Rows && failure.is_lock() {
                        in_a_row += 1;
                    } else {
                        failed = Some(failure);
                    }
                }
            }
        }
        if self.unsettled.of.is_empty() {
            self.is_over(Source::Locked);
        } else {
            self.unsettled.careful_until = now().plus(CAREFUL_FOR);
            self.unsettled.next_try = now().plus(pause);
            self.unsettled.pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
        failed.map_or(Ok(()), |failure| Err(failure.into()))
    }

    pub(super) fn note_settled(&mut self, batch: Batch, left: Left) {
        let locked = !left.locked.is_empty() || !left.pauses.is_empty();
        let later = self.drain.settled_but(batch, left);
        if locked {
            for (code, part) in later.by_client() {
                let error =
                    format!("rows of client \"{code}\" are locked by another transaction: they are settled later");
                self.remember(Source::Locked, &error);
                self.unsettled.keep(code, part);
            }
        }
        if self.has_held_large && !self.drain.holds_large() {
            self.has_held_large = false;
            memory::give_back();
        }
        self.slot.announce_settled();
        self.publish_in_flight();
    }

    /// Writes a batch in one transaction; if it is the responses that cannot be written, they go elsewhere.
    pub(super) fn write(&mut self, batch: &mut Batch, careful: bool) -> Result<Left, (Stage, Failure)> {
        let drain = &self.drain;
        // An administrator may have resumed the client meanwhile.
        batch.pauses.retain(|(code, _)| drain.is_refused(code));
        self.ensure_days(batch).map_err(|failure| (Stage::Tables, failure))?;
        let mut tried = self.write_once(batch, careful);
        let mut days_made_anew = false;
        for _ in 0..3 {
            let Err((stage @ (Stage::Ids | Stage::Responses), failure)) = &tried else {
                break;
            };
            // Another table needs ids as well.
            if *stage == Stage::Ids && !failure.is_end_of_sequence() {
                break;
            }
            if failure.is_lock() || failure.is_of_server() || (self.stray && !failure.is_end_of_sequence()) {
                break;
            }
            self.days.clear();
            if failure.is_duplicate() && !self.ids_mended {
                // Only once: ids near the end of their range cannot be passed.
                self.ids_mended = true;
                for day in days_of(batch) {
                    transaction("drawing other ids for responses", Access::Write, |client| {
                        response_days::mend_response_ids(client, day)
                    })
                    .map_err(|failure| (Stage::Tables, failure))?;
                }
                self.ensure_days(batch).map_err(|failure| (Stage::Tables, failure))?;
            } else if failure.is_end_of_sequence() {
                transaction(
                    "setting the sequence of responses back",
                    Access::Write,
                    response_days::rewind_response_ids,
                )
                .map_err(|failure| (Stage::Tables, failure))?;
                self.ensure_days(batch).map_err(|failure| (Stage::Tables, failure))?;
            } else if !days_made_anew {
                // A partition may have been dropped or detached.
                days_made_anew = true;
                self.ensure_days(batch).map_err(|failure| (Stage::Tables, failure))?;
            } else {
                let error = format!(
                    "responses are recorded in target_profile.response_stray, since response cannot take them: {failure}"
                );
                self.remember(Source::Records, &error);
                transaction(
                    "making a table for responses",
                    Access::Write,
                    response_days::ensure_stray,
                )
                .map_err(|failure| (Stage::Tables, failure))?;
                self.stray = true;
            }
            tried = self.write_once(batch, careful);
        }
        if tried.is_ok() && !batch.responses.is_empty() && !self.stray {
            self.ids_mended = false;
            if self.days_are_well {
                self.is_over(Source::Records);
            }
        }
        tried
    }

    pub(super) fn write_once(&mut self, batch: &Batch, careful: bool) -> Result<Left, (Stage, Failure)> {
        let stage = Cell::new(Stage::Tables);
        let manner = Manner {
            careful,
            stray: self.stray,
        };
        let last = self.last_response;
        let drain = &self.drain;
        let written = transaction("settling", Access::Write, |client| {
            settle_rows::settle(client, batch, manner, last, drain, &stage)
        });
        match written {
            Ok((last, left)) => {
                self.last_response = last;
                Ok(left)
            }
            Err(failure) => {
                // A partition may have been dropped. A lock, or a full disk, is no sign of that.
                if !failure.is_lock() && !failure.is_of_server() {
                    self.days.clear();
                }
                Err((stage.get(), failure))
            }
        }
    }

    /// Creates the partitions of the batch. If one cannot be created, the default partition or one of a user's may take the row.
    pub(super) fn ensure_days(&mut self, batch: &Batch) -> Result<(), Failure> {
        if self.stray {
            return Ok(());
        }
        for day in days_of(batch) {
            if self.days.contains(&day) {
                continue;
            }
            let made = transaction("adding a day of responses", Access::Write, |client| {
                response_days::ensure_day(client, day)
            });
            self.days_are_well = made.is_ok();
            match made {
                Err(failure) if failure.is_lock() || failure.is_of_server() => return Err(failure),
                Err(failure) => self.remember(Source::Records, &failure.to_string()),
                Ok(()) => {}
            }
            self.days.insert(day);
        }
        Ok(())
    }

    /// From now on responses are written to `response` again.
    pub(super) fn try_days_again(&mut self) {
        if self.stray || !self.days_are_well {
            self.stray = false;
            self.days.clear();
        }
    }

    /// Reserves client by client. Clients whose rows are locked wait; the result is what the others may send.
    pub(super) fn reserve_by_client(
        &mut self,
        reservations: Vec<Reservation>,
        mut dispatches: Vec<Dispatch>,
    ) -> Result<Vec<Dispatch>, (Vec<Dispatch>, String)> {
        for reservation in reservations {
            let one = std::slice::from_ref(&reservation);
            let reserved = transaction("reserving quota", Access::Write, |client| {
                activity::reserve(client, one)
            });
            match reserved {
                Ok(()) => self.drain.reserved(vec![reservation]),
                Err(failure) if failure.is_lock() => {
                    let Reservation { client, minute, .. } = reservation;
                    dispatches = self.drain.withdraw_of(&client, dispatches);
                    // A row that adds nothing: it can be written once a reservation can.
                    self.hold(client.clone(), nothing_in(client, minute), &failure);
                }
                Err(failure) => return Err((dispatches, failure.into())),
            }
        }
        Ok(dispatches)
    }
}

fn nothing_in(client: ClientCode, minute: Minute) -> Batch {
    let mut batch = Batch::default();
    batch.activity.insert((client, minute), Activity::default());
    batch
}

fn days_of(batch: &Batch) -> BTreeSet<i32> {
    batch
        .responses
        .iter()
        .map(|response| day_of(response.sent_at))
        .collect()
}
