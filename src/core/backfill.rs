//! The decisions of a backfill: its priority, where a call begins, and what its next chunk is.

/// Below the triggers' 0, so that new changes are sent first and `backfill_share` limits the backfill.
pub const PRIORITY: i16 = -10;

/// The fewest and the most rows of a chunk. Its rows are locked for as long as it takes.
pub const CHUNK_ROWS: std::ops::RangeInclusive<i32> = 1..=100_000;

/// While so many locked rows wait, no further rows are read. Their ids are kept in one row of a table.
pub const LOCKED_AT_MOST: usize = 10_000;

/// After so many rows that are all still locked the others are not tried at once: a statement that has locked the whole table may take
/// its time.
pub const TRIED_IN_VAIN: usize = 20;

/// The priority of the entries of a table whose triggers' entries have another one: never above it.
#[must_use]
pub fn priority(watch: i16) -> i16 {
    watch.min(PRIORITY)
}

/// What a run sends: what must be the same for a later call to go on with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// In which order the rows are read: that of the id, and of its type.
    pub order: String,
    /// The condition, as it was given.
    pub condition: Option<String>,
    /// What it means to whoever gave it: the same words may mean something else to another role, or under another `search_path`.
    pub meaning: Option<String>,
}

/// Where a call begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// With the first row.
    New,
    /// Where the last call has stopped.
    Resume,
}

/// Why a call cannot go on with the run that is not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// That one sends other rows.
    OtherCondition,
    /// That one has the same condition, whose words mean something else now.
    OtherMeaning,
    /// That one reads them in another order.
    OtherOrder,
}

/// Where a call begins. `unfinished`: what the last run sends, if it has not finished.
///
/// # Errors
/// The last run is not finished, and is not the one that is asked for.
pub fn begin(unfinished: Option<&Extent>, asked: &Extent, restart: bool) -> Result<Begin, Refusal> {
    match unfinished {
        Some(last) if !restart => {
            if last.condition != asked.condition {
                Err(Refusal::OtherCondition)
            } else if last.meaning != asked.meaning {
                Err(Refusal::OtherMeaning)
            } else if last.order != asked.order {
                Err(Refusal::OtherOrder)
            } else {
                Ok(Begin::Resume)
            }
        }
        _ => Ok(Begin::New),
    }
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextRead {
    /// Read the rows that follow.
    Read,
    /// Try those again that others had locked.
    Again,
    /// Nothing.
    Finish,
}

/// `at_end`: no row follows. `locked`: how many locked rows wait to be tried again.
#[must_use]
pub const fn next(at_end: bool, locked: usize) -> NextRead {
    match (at_end, locked) {
        (true, 0) => NextRead::Finish,
        (false, 0..LOCKED_AT_MOST) => NextRead::Read,
        _ => NextRead::Again,
    }
}

/// How a chunk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkEnd {
    /// Another one follows.
    More,
    /// Another one follows, but not at once: others have locked every row that is left to try.
    Wait,
    /// The run was to stop.
    Stopped,
    /// No row is left.
    Finished,
}

impl ChunkEnd {
    /// That of a chunk that has tried `tried` rows again, of which `still_locked` could not be read.
    #[must_use]
    pub const fn after(at_end: bool, locked: usize, tried: usize, still_locked: usize) -> Self {
        match next(at_end, locked) {
            NextRead::Finish => Self::Finished,
            NextRead::Again if tried > 0 && still_locked == tried => Self::Wait,
            _ => Self::More,
        }
    }

    /// As the procedure reads it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::More => "more",
            Self::Wait => "wait",
            Self::Stopped => "stopped",
            Self::Finished => "finished",
        }
    }
}
