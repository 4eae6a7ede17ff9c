//! The pace of the worker's turns. Each turn costs some transactions and a flush of the WAL, however little it has to do: beside commits
//! that come faster than turns, fewer and larger ones leave more of the machine to those who commit.
//!
//! Turns are counted, not timed: on a slow disk or a busy machine each takes longer, and rests would only add to that.

use std::time::Duration;

use crate::time::Timestamp;

/// Beside commits there is one turn in so long. An entry takes two, one that sends it and one that settles it: up to 125 a second, one at a
/// time, never wait.
pub const BEAT: Duration = Duration::from_millis(4);

/// So many turns may come at once after a while without.
pub const AT_ONCE: u32 = 10;

/// The time after a turn with commits in which more commits are expected. A backlog without commits is drained without rests.
const EXPECTED: Duration = Duration::from_millis(20);

/// How many turns there have been lately.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    /// Time that has passed and that no turn was counted for.
    saved: Duration,
    /// Time that turns have taken in advance.
    owed: Duration,
    last: Option<Timestamp>,
    commits_at: Option<Timestamp>,
}

impl Pace {
    /// Notes that a turn has ended, and whether commits had woken it.
    pub fn turn(&mut self, ended: Timestamp, commits: bool) {
        let most = BEAT * AT_ONCE;
        let passed = self.last.map_or(most, |last| ended.since(last)) + self.saved;
        let debit = self.owed + BEAT;
        self.saved = passed.saturating_sub(debit).min(most);
        self.owed = debit.saturating_sub(passed).min(BEAT);
        self.last = Some(ended);
        if commits {
            self.commits_at = Some(ended);
        }
    }

    /// How long to rest before the next turn: at most [`BEAT`].
    pub fn rest(&self) -> Duration {
        let expected = self
            .last
            .zip(self.commits_at)
            .is_some_and(|(last, at)| last.since(at) < EXPECTED);
        if expected { self.owed } else { Duration::ZERO }
    }
}
