//! The memory that answers may take until the worker has read them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use target_profile_core::limits::{ANSWER_FLOOR_BYTES, ANSWERS_BYTES, VERDICT_BODY_BYTES};

/// The bytes that all answers hold together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers(Arc<AtomicUsize>);

impl Answers {
    /// For one more answer, which holds nothing yet.
    pub(crate) fn next(&self) -> Held {
        Held {
            all: self.clone(),
            bytes: 0,
        }
    }
}

/// What one answer holds.
#[derive(Debug)]
pub(crate) struct Held {
    all: Answers,
    bytes: usize,
}

impl Held {
    /// How much of a chunk of so many bytes may be kept: what the verdict needs, and less when others hold much already. It is
    /// taken as kept.
    pub(crate) fn take(&mut self, chunk: usize) -> usize {
        let wanted = chunk.min(VERDICT_BODY_BYTES.saturating_sub(self.bytes));
        let floor = ANSWER_FLOOR_BYTES.saturating_sub(self.bytes);
        // Only the I/O thread adds, so the sum cannot grow in between.
        let left = ANSWERS_BYTES.saturating_sub(self.all.0.load(Ordering::Relaxed));
        let taken = wanted.min(left.max(floor));
        self.bytes += taken;
        self.all.0.fetch_add(taken, Ordering::Relaxed);
        taken
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
