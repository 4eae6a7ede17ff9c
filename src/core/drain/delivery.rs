//! A delivery: the update of one profile, from its turn to its settlement.

use super::fate::Carried;
use super::holding::held;
use super::parked::Wait;
use crate::attrs::FlatAttrs;
use crate::id::ProfileKey;
use crate::quota::{Class, Count, Minute};
use crate::request::{Method, Plan, Request};

/// A profile's turn: what it was picked as.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    pub(super) wait: Wait,
    /// The single request that an open breaker lets through.
    pub(super) probe: bool,
    /// A retry that the budget has paid for.
    pub(super) paid: bool,
}

/// A profile that was picked.
#[derive(Debug)]
pub(super) enum Busy {
    /// Its entries are not yet claimed.
    Selected(Turn),
    /// The ticket of its delivery.
    UnderWay(u64),
    /// Its update is large, and another large one is under way.
    Aside,
}

/// One profile's merged entries on their way.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) key: ProfileKey,
    pub(super) turn: Turn,
    /// In the order of ids.
    pub(super) carried: Vec<Carried>,
    pub(super) ids: Vec<i64>,
    /// How it is split into requests, of which one at a time is made.
    pub(super) plan: Plan,
    /// The request under way: an index.
    pub(super) part: usize,
    pub(super) method: Method,
    pub(super) request_bytes: usize,
    /// Its attributes.
    pub(super) sent: FlatAttrs,
    /// Those of the requests behind it.
    pub(super) left: FlatAttrs,
    /// The memory that it takes.
    pub(super) held: usize,
    /// It is not one of the ordinary ones, which share their memory.
    pub(super) large: bool,
    /// The number of parts that quota is reserved for.
    pub(super) parts_paid: u32,
    pub(super) parts_sent: u32,
    /// The minute that the parts are charged to, once they are.
    pub(super) minute: Minute,
    /// More entries of the profile are known to wait.
    pub(super) more: Option<Wait>,
    /// Its last answer has come; only the settling of it is missing.
    pub(super) ended: bool,
    /// It could not be settled, because one of its entries is locked.
    pub(super) unsettled: bool,
}

impl Delivery {
    pub(super) fn class(&self) -> Class {
        Class::of(self.turn.wait.priority)
    }

    /// Nothing of it is sent any more.
    pub(super) fn forget_attrs(&mut self) {
        self.sent = FlatAttrs::default();
        self.left = FlatAttrs::default();
        self.large = false;
        self.held = held(0, self.ids.len(), 0);
    }

    pub(super) fn planned(&self) -> Count {
        self.class().count(u64::from(self.parts_paid))
    }

    /// Another entry of the profile was read, that did not go with this delivery.
    pub(super) fn note_more(&mut self, wait: Wait) {
        self.more = Some(match self.more {
            None => wait,
            Some(other) => Wait {
                due: other.due.min(wait.due),
                priority: other.priority.max(wait.priority),
                id: other.id.min(wait.id),
                retry: other.retry && wait.retry,
            },
        });
    }

    /// Makes the next request.
    pub(super) fn next_request(&mut self) -> Option<Request> {
        let request = self.plan.next(&self.key, &self.left)?;
        self.sent = self.left.take_first(request.attrs);
        self.method = request.method;
        self.request_bytes = request.bytes();
        Some(request)
    }
}
