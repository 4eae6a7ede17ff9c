//! Updates that could be written nowhere: counted for each subtransaction, because what is rolled back was not lost.

/// What a transaction has lost so far.
#[derive(Debug, Default)]
pub struct Losses {
    /// Outermost first.
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    subtransaction: u32,
    count: u64,
    /// Of the last one.
    reason: String,
}

impl Losses {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { levels: Vec::new() }
    }

    /// So many more, in the innermost subtransaction.
    pub fn add(&mut self, subtransaction: u32, count: u64, reason: &str) {
        match self.levels.last_mut() {
            Some(level) if level.subtransaction == subtransaction => {
                level.count = level.count.saturating_add(count);
                reason.clone_into(&mut level.reason);
            }
            _ => self.levels.push(Level {
                subtransaction,
                count,
                reason: reason.to_owned(),
            }),
        }
    }

    /// The subtransaction is a part of its parent from now on.
    pub fn hand_over(&mut self, subtransaction: u32, parent: u32) {
        if let Some(level) = self.levels.pop_if(|level| level.subtransaction == subtransaction) {
            self.add(parent, level.count, &level.reason);
        }
    }

    /// The subtransaction was rolled back.
    pub fn forget(&mut self, subtransaction: u32) {
        self.levels.retain(|level| level.subtransaction != subtransaction);
    }

    /// How many there are, and why the last one was lost. Afterwards there are none.
    #[must_use]
    pub fn take(&mut self) -> Option<(u64, String)> {
        let mut sum: u64 = 0;
        let mut last = None;
        for level in self.levels.drain(..) {
            sum = sum.saturating_add(level.count);
            last = Some(level.reason);
        }
        last.map(|reason| (sum, reason))
    }

    /// The transaction was rolled back.
    pub fn clear(&mut self) {
        self.levels.clear();
    }
}
