//! Another id for an entry whose id is taken: the sequence was set back, below ids that are still in the outbox.

/// How often one insertion draws anew.
const ATTEMPTS: u32 = 20;

/// How many values of the sequence the attempt passes over before it draws, the first attempt being 0; `None`: it is not made any more.
/// Each attempt passes over twice as many as the last, because many ids in a row are taken: all of them together pass over a million,
/// which takes a fraction of a second.
pub fn passed_over(attempt: u32) -> Option<u64> {
    (attempt < ATTEMPTS).then(|| (1 << attempt) - 1)
}
