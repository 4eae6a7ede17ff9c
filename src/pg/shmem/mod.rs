//! Shared memory: what the launcher, the workers and the sessions tell each other.

pub mod capacity;
pub mod condition;
pub mod holds;
pub mod launcher_requests;
pub mod reports;
pub mod slots;
