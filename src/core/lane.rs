//! A lane: the entries of one client with one priority, read in the order of their ids.
//!
//! A cursor per lane is what keeps a claim's cost independent of the backlog, of dead rows that a long
//! snapshot keeps and of other clients: nothing is read twice, except the short ranges in which a transaction may have
//! committed late (see [`crate::horizon`]) and the rare sweep.
//!
//! Whoever enqueues draws the id from the sequence, so the cursor goes no further than the last id drawn: what is drawn next
//! is always found behind it. Ids beyond come by another way (an `INSERT` by hand, logical replication, a sequence that was
//! set back). They are read with a cursor of their own, when the lane is found and at each sweep.

/// How many rows of a range that is read again are read in one cycle.
pub const REVISIT_LIMIT: u32 = 1_000;

/// How far one lane has been read. It lives in the worker's memory only: after a restart reading starts at the front.
#[derive(Debug, Clone)]
pub struct Lane {
    /// All ids below have been read.
    pub next: i64,
    /// Nothing was left from there on when it was read last.
    pub exhausted: bool,
    /// Of the ids beyond the last one drawn, all below have been read.
    pub next_beyond: i64,
    /// Nothing was left of them.
    pub exhausted_beyond: bool,
    /// A range, both ends included, to be read again.
    pub revisit: Option<(i64, i64)>,
    /// In that range nothing waits for what failures have made of it.
    pub forgiven: bool,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            next: i64::MIN,
            exhausted: false,
            next_beyond: i64::MIN,
            exhausted_beyond: false,
            revisit: None,
            forgiven: false,
        }
    }
}

impl Lane {
    /// Asks for what lies above `id` to be read again.
    pub fn reread_above(&mut self, id: i64) {
        self.reread_from(id.saturating_add(1));
    }

    /// Asks for `id` and what lies above it to be read again.
    pub fn reread_from(&mut self, id: i64) {
        let Some(last) = self.next.checked_sub(1).filter(|last| id <= *last) else {
            return;
        };
        self.revisit = Some(match self.revisit {
            None => (id, last),
            Some((from, up_to)) => (from.min(id), up_to.max(last)),
        });
    }

    /// Asks for every row to be read again.
    pub fn reread(&mut self) {
        self.reread_from(i64::MIN);
        self.reread_beyond();
    }

    /// Asks for what lies beyond the last id drawn to be read again.
    pub fn reread_beyond(&mut self) {
        self.next_beyond = i64::MIN;
        self.exhausted_beyond = false;
    }

    /// The sequence was set back: ids below the cursor will be drawn again.
    pub fn set_back(&mut self, drawn: i64) {
        self.reread();
        if self.next > drawn {
            self.next = drawn.saturating_add(1);
            self.exhausted = false;
        }
    }

    /// Whether a read may find something.
    pub fn may_have_more(&self) -> bool {
        !self.exhausted || !self.exhausted_beyond || self.revisit.is_some()
    }
}

/// The id behind this one; the last one there is stays.
pub fn behind(id: i64) -> i64 {
    id.saturating_add(1)
}

/// The open ranges of priorities between and around the `known` ones, which come highest first.
pub(crate) fn gaps(known: impl Iterator<Item = i32>) -> Vec<(i32, i32)> {
    let mut gaps = Vec::new();
    let mut below = i32::from(i16::MAX) + 1;
    for priority in known {
        if below - priority > 1 {
            gaps.push((priority, below));
        }
        below = priority;
    }
    if below > i32::from(i16::MIN) {
        gaps.push((i32::from(i16::MIN) - 1, below));
    }
    gaps
}
