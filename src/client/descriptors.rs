//! How many file descriptors this process may have, and how many it has.

use std::os::fd::{AsFd, AsRawFd};

use rustix::process::{Resource, getrlimit, setrlimit};
use target_profile_core::descriptors::{WANTED, is_tight};

/// How many files this process may have open.
pub fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Takes more, as far as the system lets every process have them. Postgres counts on those that it was started with, so the
/// others are the network's.
pub fn raise() {
    let mut limits = getrlimit(Resource::Nofile);
    let wanted = WANTED.min(limits.maximum.unwrap_or(u64::MAX));
    if limits.current.is_some_and(|current| current < wanted) {
        limits.current = Some(wanted);
        // Without them there is what there was.
        let _ = setrlimit(Resource::Nofile, limits);
    }
}

/// Whether there are hardly any left.
pub(crate) fn are_scarce(any: impl AsFd) -> bool {
    match rustix::io::fcntl_dupfd_cloexec(any, 0) {
        Ok(lowest) => is_tight(u64::try_from(lowest.as_raw_fd()).unwrap_or(0), limit()),
        Err(_) => true,
    }
}
