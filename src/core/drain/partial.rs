//! The attributes of a split update that have arrived, while other parts of it have not.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::attrs::FlatAttrs;

/// The attributes that are remembered in all. With more, other updates are forgotten, and sent again as a whole.
pub(super) const REMEMBERED: usize = 2 * crate::limits::FLAT_ATTRS;

/// Attributes that have arrived. Not their text, which may be megabytes: an attribute is known by 128 bits, of which two different ones
/// have the same as good as never.
#[derive(Debug, Default)]
pub(super) struct Partial(HashMap<u64, (u64, u64)>);

impl Partial {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn note(&mut self, attrs: &FlatAttrs) {
        self.0.extend(
            attrs
                .iter()
                .map(|(name, value)| (hash(&name), fingerprint(name, value))),
        );
    }

    /// Leaves out of `attrs` what has arrived.
    pub(super) fn drop_from(&mut self, attrs: &mut FlatAttrs) {
        attrs.drop_where(|name, value| self.0.get(&hash(&name)) == Some(&fingerprint(name, value)));
        // What is sent now counts as arrived only once it is accepted.
        for (name, _) in attrs.iter() {
            self.0.remove(&hash(&name));
        }
    }
}

fn fingerprint(name: &str, value: &str) -> (u64, u64) {
    (hash(&(0_u8, name, value)), hash(&(1_u8, name, value)))
}

fn hash(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}
