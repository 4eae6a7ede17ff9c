//! Reading the entries of a profile, as far as there is room for them.

use super::fate::Carried;
use super::holding::{Admission, ENTRY_BYTES, Holding, Invalid, LARGE_BYTES, MERGED_BYTES, Passed, Reading, estimate};
use super::messages::Entry;
use super::state::Drain;
use crate::error::Error;
use crate::limits::STORED_BYTES;

impl Drain {
    /// Whether to read the next entry of a profile (an index). `bytes` is its stored size.
    pub fn admit(&mut self, reading: &mut Reading, profile: usize, stored: usize) -> Admission {
        let Some(read) = reading.0.get_mut(profile) else {
            return Admission::Pass;
        };
        if read.passed != Passed::None {
            return Admission::Pass;
        }
        if stored > STORED_BYTES {
            return Admission::TooLarge;
        }
        let is_large = stored > LARGE_BYTES;
        let begun = !read.carried.is_empty();
        let left = self.holding.left_to(&read.key.client);
        read.passed = if begun && (read.large || is_large || read.memory + stored > MERGED_BYTES) {
            Passed::More
        } else if is_large && self.holding.has_large() {
            Passed::Aside
        } else if is_large {
            read.large = true;
            self.holding.take_large();
            Passed::None
        } else if estimate(stored) > left {
            if begun { Passed::More } else { Passed::Short }
        } else {
            Passed::None
        };
        if read.passed == Passed::None {
            Admission::Read
        } else {
            Admission::Pass
        }
    }

    /// An entry that was read.
    pub fn add(&mut self, reading: &mut Reading, entry: Entry) {
        let Some(read) = reading.0.get_mut(entry.profile) else {
            return;
        };
        match entry.attrs {
            Ok(attrs) => {
                let before = read.memory;
                if read.carried.is_empty() {
                    read.memory = attrs.memory();
                    read.merged = attrs;
                } else {
                    read.memory = read.memory.saturating_add_signed(read.merged.merge(attrs));
                }
                read.carried.push(Carried {
                    id: entry.id,
                    attempts: entry.attempts,
                    enqueued_at: entry.enqueued_at,
                    version: entry.version,
                });
                if !read.large {
                    let more = estimate(read.memory).saturating_sub(if before > 0 { estimate(before) } else { 0 });
                    self.holding.take(&read.key.client, more + ENTRY_BYTES);
                }
            }
            Err(error) => read.invalid.push(Invalid {
                id: entry.id,
                // Comparing it would read the whole of it. It is buried as what it is by then.
                version: (!matches!(error, Error::ValueTooLarge { .. })).then_some(entry.version),
                attempts: entry.attempts,
                reason: match error {
                    Error::NothingToSend if entry.retried => super::OVERTAKEN.to_owned(),
                    error => format!("invalid entry: {error}"),
                },
            }),
        }
    }

    /// The next entry of a profile (an index) cannot be read at present. The profile has a turn again when its lane is read anew.
    pub fn pass(&mut self, reading: &mut Reading, profile: usize) {
        if let Some(read) = reading.0.get_mut(profile)
            && read.passed == Passed::None
        {
            read.passed = if read.carried.is_empty() {
                Passed::Later
            } else {
                Passed::More
            };
        }
    }

    /// Whether a large update is under way.
    pub fn holds_large(&self) -> bool {
        self.holding.has_large()
    }

    /// What is held by what is under way. Ordinary updates only.
    pub fn held_bytes(&self) -> usize {
        self.holding.bytes()
    }

    /// Counts anew what is held by what is under way.
    pub(super) fn recount(&mut self) {
        let mut holding = Holding::default();
        for delivery in self.deliveries.values() {
            if delivery.large {
                holding.take_large();
            } else {
                holding.take(&delivery.key.client, delivery.held);
            }
        }
        self.holding = holding;
        if !self.holding.has_large() {
            self.bring_back();
        }
    }

    /// The same after a delivery may have ended: there may be room now.
    pub(super) fn recount_after_end(&mut self) {
        self.recount();
        for client in self.clients.values_mut() {
            client.short = false;
        }
    }
}
