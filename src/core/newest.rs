//! The way from one version of a row to the newest one that is to be sent, when a transaction has updated the row several times.
//!
//! Each version tells where the next one is. The triggers of all of them come here, and must not follow all of them each time: what was
//! found for one is used for those before it.

use std::collections::HashSet;

/// Where a version is in its table: block and offset.
pub type Place = (u32, u16);

/// So many places are remembered.
pub const REMEMBERED: usize = 1 << 20;

/// What is known of the versions of one row.
#[derive(Debug)]
pub struct Known {
    /// Those before `best`.
    older: HashSet<Place>,
    best: Place,
    last: Place,
}

/// The way through the versions of a row, one after another.
#[derive(Debug)]
pub struct Way {
    known: Option<Known>,
    older: HashSet<Place>,
    /// Where it has led since it was at `best`, which `older` ends before.
    since: Vec<Place>,
    best: Option<Place>,
    at: Place,
}

impl Way {
    /// Begins at a version that is itself to be sent, unless a newer one is.
    #[must_use]
    pub fn new(start: Place, known: Option<Known>) -> Self {
        Self {
            known,
            older: HashSet::new(),
            since: Vec::new(),
            best: None,
            at: start,
        }
    }

    /// Goes to the last version that is known, if this one is known to be older; where that is.
    pub fn shortcut(&mut self) -> Option<Place> {
        let at = self.at;
        let known = self.known.take_if(|known| known.older.contains(&at))?;
        let older = std::mem::replace(&mut self.older, known.older);
        self.older.extend(older);
        self.older.extend(self.since.drain(..));
        self.since.push(known.best);
        self.best = Some(known.best);
        self.at = known.last;
        Some(known.last)
    }

    /// Goes to the next version, which is to be sent or not.
    pub fn go_on(&mut self, place: Place, is_sent: bool) {
        self.since.push(self.at);
        if is_sent {
            self.older.extend(self.since.drain(..));
            self.best = Some(place);
        }
        self.at = place;
    }

    /// The newest version that is to be sent; `None`: the one that the way began at.
    #[must_use]
    pub fn best(&self) -> Option<Place> {
        self.best
    }

    /// What is known now, unless it is too much.
    #[must_use]
    pub fn end(self) -> Option<Known> {
        match self.best {
            None => self.known,
            Some(best) => Some(Known {
                older: self.older,
                best,
                last: self.at,
            }),
        }
        .filter(|known| known.older.len() <= REMEMBERED)
    }
}
