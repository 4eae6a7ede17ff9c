//! File descriptors: the sockets share the process' limit with Postgres' own files, and Postgres stops the whole server when it
//! cannot open a file of WAL.

/// So many are left to Postgres and to what the network needs beside its sockets. A worker has some forty files open.
pub const RESERVED: u64 = 128;

/// The file descriptors that a worker asks for: more than the most requests in flight and as many idle connections.
pub const WANTED: u64 = 4_096;

/// How many of `wanted` requests may be in flight at a time where a process may have `limit` files open. One always may.
pub fn in_flight(wanted: usize, limit: u64) -> usize {
    let room = usize::try_from(limit.saturating_sub(RESERVED)).unwrap_or(usize::MAX);
    wanted.min(room.max(1))
}

/// Whether idle connections must make room: the lowest descriptor that is free says how many are in use.
pub const fn is_tight(lowest_free: u64, limit: u64) -> bool {
    lowest_free.saturating_add(RESERVED / 2) >= limit
}
