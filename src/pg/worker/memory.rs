//! How much memory is available, and returning memory to the system.
//!
//! What is written in Rust cannot go on when an allocation fails: the process ends ([`allocator`](crate::pg::support::allocator)). So the worker looks
//! whether there is room before it takes something on, and has an ordinary error if there is none.

use std::ptr;

/// A turn takes less.
pub const TURN_BYTES: usize = 16 * 1024 * 1024;

/// Whether so much can be had now.
pub fn has_room(bytes: usize) -> bool {
    // SAFETY: a new mapping, which nothing has touched, and which is gone again at once.
    unsafe {
        let mapped = libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if mapped == libc::MAP_FAILED {
            return false;
        }
        libc::munmap(mapped, bytes);
    }
    true
}

/// Gives back what was freed. Otherwise the process would go on to have what its largest update took.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a plain function of the allocator.
    unsafe {
        libc::malloc_trim(0);
    }
}
