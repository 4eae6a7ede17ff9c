//! The bell between the two threads.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use target_profile_client::bell::Bell;

use crate::PATIENCE;

/// One thread counts up and rings; the other is woken by the bell alone. The queue is a plain number, without the fence that a channel
/// has, so the order is the bell's own. A wake-up that is lost, as it is when the look into the queue passes the lowering of the flag,
/// ends the count.
#[test]
fn no_wake_up_is_lost() {
    const ROUNDS: u64 = 100_000;
    let bell = Arc::new(Bell::new().unwrap());
    let (queued, seen) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (its_bell, its_queued, its_seen) = (Arc::clone(&bell), Arc::clone(&queued), Arc::clone(&seen));
    let other = thread::spawn(move || {
        for round in 1..=ROUNDS {
            its_queued.store(round, Ordering::Release);
            its_bell.ring();
            if round % 2 == 1 {
                // The second of a pair comes while the first one is looked for, a little later each time.
                (0..round / 2 % 400).for_each(|_| std::hint::spin_loop());
                continue;
            }
            while its_seen.load(Ordering::Acquire) < round {
                std::hint::spin_loop();
            }
        }
    });
    let timeout = Timespec::try_from(PATIENCE / 4).unwrap();
    let mut last = 0;
    while last < ROUNDS {
        let fd = bell.as_fd();
        let silent = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).unwrap() == 0;
        if silent && queued.load(Ordering::Acquire) > last {
            seen.store(u64::MAX, Ordering::Release);
            panic!("something waits after round {last}, and nobody has rung");
        }
        bell.silence();
        last = queued.load(Ordering::Acquire);
        seen.store(last, Ordering::Release);
    }
    other.join().unwrap();
}

#[test]
fn it_is_readable_from_a_ring_to_the_next_look() {
    let bell = Bell::new().unwrap();
    let is_readable = || {
        let fd = bell.as_fd();
        let now = Timespec::try_from(Duration::ZERO).unwrap();
        poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&now)).unwrap() == 1
    };
    assert!(!is_readable());
    for _ in 0..3 {
        bell.ring();
        bell.ring();
        assert!(is_readable());
        bell.silence();
        assert!(!is_readable());
    }
}
