//! How much shared memory there is for.

/// Databases that can have a worker. Each takes 20 kB of shared memory, nearly all of it for what is in flight.
pub const SLOTS: usize = 64;
