//! The pace of the worker's turns. Each turn costs a flush of the WAL and some transactions, however little it has to do: beside commits
//! that come faster than turns, fewer and larger ones leave more of the processor and of the disk to those who commit.

use std::time::Duration;

use crate::time::Timestamp;

/// Beside commits, turns may take one part in so many of the time.
const SHARE: u32 = 4;

/// What turns may take beyond their share before the first rest: a commit after a while is sent at once, and so are some in a row.
const SAVED: Duration = Duration::from_millis(5);

/// No entry waits longer than that for more of them.
pub const LONGEST_REST: Duration = Duration::from_millis(4);

/// For so long after a turn that has found commits, more of them are expected. A backlog without them is drained without rests.
const EXPECTED: Duration = Duration::from_millis(20);

/// How much time turns have taken lately.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    /// The turns' share of the time that has passed, so far as they have not taken it.
    saved: Duration,
    /// What they have taken beyond it.
    owed: Duration,
    last: Option<Timestamp>,
    commits_at: Option<Timestamp>,
}

impl Pace {
    /// Takes note of a turn, and whether it was told of commits.
    pub fn turn(&mut self, began: Timestamp, ended: Timestamp, commits: bool) {
        let share = self.last.map_or(SAVED, |last| ended.since(last) / SHARE);
        let credit = (self.saved + share).min(SAVED + self.owed);
        let debit = self.owed + ended.since(began);
        self.saved = credit.saturating_sub(debit).min(SAVED);
        // A turn that took long is no reason to take a rest after each of those that follow.
        self.owed = debit.saturating_sub(credit).min(LONGEST_REST / SHARE);
        self.last = Some(ended);
        if commits {
            self.commits_at = Some(ended);
        }
    }

    /// How long to wait before the next turn for which there is a reason.
    pub fn rest(&self) -> Duration {
        let expected = self
            .last
            .zip(self.commits_at)
            .is_some_and(|(last, at)| last.since(at) < EXPECTED);
        if expected { self.owed * SHARE } else { Duration::ZERO }
    }
}
