//! The memory of the deliveries, and how much more may be read.
//!
//! Entries can be of any size, so what is read is limited by bytes. Ordinary updates share [`HELD_BYTES`]. A client may use as much as all
//! clients have left: a single one gets half, and a later one gets a part even if the endpoints of the others hang. An update with an
//! entry that is larger than [`LARGE_BYTES`] does not count there; one such update at a time is read.

use std::collections::HashMap;

use super::fate::Carried;
use crate::attrs::FlatAttrs;
use crate::client_code::ClientCode;
use crate::id::ProfileKey;
use crate::limits::POST_BODY_BYTES;

/// What ordinary deliveries may hold together, in bytes.
pub const HELD_BYTES: usize = 8 * 1024 * 1024;

/// An entry that is stored in more bytes is large.
pub const LARGE_BYTES: usize = 256 * 1024;

/// Entries of a profile are merged up to this many bytes. The rest is sent with the next request.
pub(super) const MERGED_BYTES: usize = 4 * LARGE_BYTES;

/// What a delivery takes beside its attributes and requests, and what each of its entries does.
const DELIVERY_BYTES: usize = 1_024;
pub(super) const ENTRY_BYTES: usize = 2 * (size_of::<Carried>() + size_of::<i64>());

/// What is held.
#[derive(Debug, Default)]
pub(super) struct Holding {
    of: HashMap<ClientCode, usize>,
    all: usize,
    /// Some large update is held.
    large: bool,
}

impl Holding {
    pub(super) fn take(&mut self, client: &ClientCode, bytes: usize) {
        self.all += bytes;
        match self.of.get_mut(client) {
            Some(own) => *own += bytes,
            None => {
                self.of.insert(client.clone(), bytes);
            }
        }
    }

    pub(super) fn take_large(&mut self) {
        self.large = true;
    }

    pub(super) fn has_large(&self) -> bool {
        self.large
    }

    pub(super) fn bytes(&self) -> usize {
        self.all
    }

    /// How much more the client may take.
    pub(super) fn left_to(&self, client: &ClientCode) -> usize {
        let own = self.of.get(client).copied().unwrap_or(0);
        HELD_BYTES.saturating_sub(self.all).saturating_sub(own)
    }
}

/// The memory that an entry of that many bytes takes: itself, and its encoded request, in two copies.
pub(super) const fn estimate(stored: usize) -> usize {
    let encoded = 3 * stored + 512;
    let request = if encoded < POST_BODY_BYTES {
        encoded
    } else {
        POST_BODY_BYTES
    };
    stored + ENTRY_BYTES + DELIVERY_BYTES + 2 * request
}

/// What a delivery holds, once its first request is made.
pub(super) fn held(attrs: usize, entries: usize, request: usize) -> usize {
    attrs + entries * ENTRY_BYTES + DELIVERY_BYTES + 2 * request
}

/// What is to be done with the next entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is read, and given to [`Drain::add`](super::state::Drain::add).
    Read,
    /// It is not: its turn has not come. Nor has that of those behind it, of the same profile.
    Pass,
    /// It can never be sent, and is given to [`Drain::add`](super::state::Drain::add) with an error, without being read.
    TooLarge,
}

/// Why entries of a profile were passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    /// None was.
    None,
    /// What came before is enough for one update.
    More,
    /// There is no room now.
    Short,
    /// The machine has no memory for it.
    Later,
    /// It is large, and another large one is held.
    Aside,
}

/// Entries of the selected profiles, as they are read: merged at once, since most of what entries of one profile hold is the same.
#[derive(Debug)]
pub struct Reading(pub(super) Vec<Read>);

/// What was read of one profile.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) key: ProfileKey,
    pub(super) merged: FlatAttrs,
    pub(super) memory: usize,
    pub(super) carried: Vec<Carried>,
    pub(super) invalid: Vec<Invalid>,
    pub(super) large: bool,
    pub(super) passed: Passed,
}

/// An entry that can never be sent.
#[derive(Debug)]
pub(super) struct Invalid {
    pub(super) id: i64,
    pub(super) version: Option<i64>,
    pub(super) attempts: u32,
    pub(super) reason: String,
}

impl Reading {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(profiles: Vec<ProfileKey>) -> Self {
        let read = |key| Read {
            key,
            merged: FlatAttrs::default(),
            memory: 0,
            carried: Vec::new(),
            invalid: Vec::new(),
            large: false,
            passed: Passed::None,
        };
        Self(profiles.into_iter().map(read).collect())
    }

    /// The profile of that number.
    #[must_use]
    pub fn key(&self, profile: usize) -> Option<&ProfileKey> {
        self.0.get(profile).map(|read| &read.key)
    }
}
