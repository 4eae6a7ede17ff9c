//! What SQL calls by hand: updates, results, the state of clients and workers, dead letters.

pub mod dead_letters;
pub mod result;
pub mod status;
pub mod update;
