//! Shared memory: what the launcher, the workers and the sessions tell each other.

pub mod capacity;
pub mod holds;
pub mod reports;
pub mod slots;
pub mod summons;
