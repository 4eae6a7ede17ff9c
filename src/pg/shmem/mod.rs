//! Shared memory of the launcher, the workers and the sessions.

pub mod capacity;
pub mod condition;
pub mod holds;
pub mod launcher_requests;
pub mod reports;
pub mod slots;
