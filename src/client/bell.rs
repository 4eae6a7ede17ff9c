//! The descriptor that wakes the worker's thread: it is readable while answers wait in the queue.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// An eventfd that is written at most once between two looks.
///
/// Whoever rings has put something into a queue before; whoever silences looks into the queue after. Nothing may stay in
/// the queue with the descriptor silent. Both sides exchange the flag, and exchanges of one flag have one order. If the ringing
/// one comes first, the silencing one reads what it wrote and so sees what was queued before. If it comes
/// second, it finds the flag down and writes the descriptor. A plain store would not do in place of the second exchange: a
/// processor may let the look into the queue pass it, and then both sides miss each other.
#[derive(Debug)]
pub struct Bell {
    fd: OwnedFd,
    rung: AtomicBool,
}

impl Bell {
    /// A silent one.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self {
            fd,
            rung: AtomicBool::new(false),
        })
    }

    /// Something was queued.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // Only a counter at its maximum would refuse, and then the descriptor is readable anyway.
            let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
        }
    }

    /// The queue is about to be looked into.
    pub fn silence(&self) {
        let mut count = [0u8; 8];
        // Empty already is fine: the descriptor does not block.
        let _ = rustix::io::read(&self.fd, &mut count);
        // After the read: what is queued from here on rings again.
        self.rung.swap(false, Ordering::AcqRel);
    }

    /// Readable after [`Bell::ring`], until [`Bell::silence`].
    pub fn wake_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
