//! Entries that a transaction has collected and not yet written, by the subtransaction that collected them.
//!
//! A subtransaction writes what it has collected itself, or discards it when it aborts. It does not write what its parents have
//! collected, since an abort would discard that, too.

/// So many entries are written at once.
pub const FLUSH_ROWS: usize = 1_000;

/// So many bytes of entries are written at once.
pub const FLUSH_BYTES: usize = 1024 * 1024;

/// So many bytes of dead letters are written at once. More than of entries: they are written in a subtransaction, of which a
/// transaction should not have many.
pub const BURY_BYTES: usize = 4 * 1024 * 1024;

/// So many subtransactions a transaction may use up for what is written at the end of its statements. A backend keeps the ids of 64
/// where others can see them; with more, every snapshot of every session has to look them up. More are used up only where the memory
/// would grow without bound.
pub const SUBTRANSACTIONS: u32 = 16;

/// Entries, each kept for the subtransaction that collected it.
#[derive(Debug)]
pub struct Collected<T> {
    rows: usize,
    bytes: usize,
    /// Outermost first: a subtransaction collects only while it is the innermost.
    levels: Vec<Level<T>>,
}

#[derive(Debug)]
struct Level<T> {
    subtransaction: u32,
    bytes: usize,
    entries: Vec<T>,
}

impl<T> Default for Collected<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Collected<T> {
    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self::with_bounds(FLUSH_ROWS, FLUSH_BYTES)
    }

    /// The same with bounds of its own.
    #[must_use]
    pub const fn with_bounds(rows: usize, bytes: usize) -> Self {
        Self {
            rows,
            bytes,
            levels: Vec::new(),
        }
    }

    /// Keeps an entry of the innermost subtransaction. The answer is whether it is time to write what that one has collected.
    #[must_use]
    pub fn push(&mut self, subtransaction: u32, bytes: usize, entry: T) -> bool {
        let level = match self.levels.pop() {
            Some(level) if level.subtransaction == subtransaction => level,
            outer => {
                self.levels.extend(outer);
                Level {
                    subtransaction,
                    bytes: 0,
                    entries: Vec::new(),
                }
            }
        };
        self.levels.push(level);
        self.levels.last_mut().is_some_and(|level| {
            level.bytes = level.bytes.saturating_add(bytes);
            level.entries.push(entry);
            level.entries.len() >= self.rows || level.bytes >= self.bytes
        })
    }

    /// What the subtransaction has collected belongs to its parent from now on, and is discarded if the parent aborts.
    pub fn hand_over(&mut self, subtransaction: u32, parent: u32) {
        let Some(inner) = self.levels.pop_if(|level| level.subtransaction == subtransaction) else {
            return;
        };
        match self.levels.last_mut() {
            Some(outer) if outer.subtransaction == parent => {
                outer.bytes = outer.bytes.saturating_add(inner.bytes);
                outer.entries.extend(inner.entries);
            }
            _ => self.levels.push(Level {
                subtransaction: parent,
                ..inner
            }),
        }
    }

    /// Whether more is kept than is written at once, by all subtransactions together: what a child collects then must not be handed over
    /// as well.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let held = self
            .levels
            .iter()
            .fold(0, |sum: usize, level| sum.saturating_add(level.bytes));
        held >= self.bytes
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// Takes out what the subtransaction has collected, in that order.
    #[must_use]
    pub fn take(&mut self, subtransaction: u32) -> Vec<T> {
        self.levels
            .pop_if(|level| level.subtransaction == subtransaction)
            .map_or_else(Vec::new, |level| level.entries)
    }

    /// Forgets what the subtransaction has collected.
    pub fn forget(&mut self, subtransaction: u32) {
        self.levels.retain(|level| level.subtransaction != subtransaction);
    }

    /// Forgets everything: the transaction is over.
    pub fn clear(&mut self) {
        self.levels.clear();
    }
}
