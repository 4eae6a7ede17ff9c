//! A lane: the entries of one client with one priority, read in the order of their ids.
//!
//! A cursor per lane is what keeps a claim's cost independent of the backlog, of dead rows that a long
//! snapshot keeps and of other clients: nothing is read twice, except the short ranges in which a transaction may have
//! committed late (see [`crate::horizon`]) and the rare sweep.

/// How many rows of a range that is read again are read in one cycle.
pub const REVISIT_LIMIT: u32 = 1_000;

/// How far one lane has been read. It lives in the worker's memory only: after a restart reading starts at the front.
#[derive(Debug, Default, Clone)]
pub struct Lane {
    /// All ids up to here have been read.
    pub cursor: i64,
    /// Nothing was left behind the cursor when it was read last.
    pub exhausted: bool,
    /// A range, both ends as (above, up to), to be read again.
    pub revisit: Option<(i64, i64)>,
}

impl Lane {
    /// Asks for what lies above `id` to be read again.
    pub fn reread_above(&mut self, id: i64) {
        if id >= self.cursor {
            return;
        }
        self.revisit = Some(match self.revisit {
            None => (id, self.cursor),
            Some((above, up_to)) => (above.min(id), up_to.max(self.cursor)),
        });
    }

    /// Whether a read may find something.
    pub fn may_have_more(&self) -> bool {
        !self.exhausted || self.revisit.is_some()
    }
}
