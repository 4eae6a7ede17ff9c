//! The bell between the two threads.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use target_profile_client::bell::Bell;

use crate::PATIENCE;

/// Two threads throw a number to and fro; the one is woken by the bell alone. A wake-up that is lost, as it is when the look into the
/// queue passes the lowering of the flag, ends the game.
#[test]
fn no_wake_up_is_lost() {
    const ROUNDS: u64 = 300_000;
    let bell = Arc::new(Bell::new().unwrap());
    let (out, queue) = mpsc::channel();
    let seen = Arc::new(AtomicU64::new(0));
    let (its_bell, its_seen) = (Arc::clone(&bell), Arc::clone(&seen));
    let other = thread::spawn(move || {
        for round in 1..=ROUNDS {
            out.send(round).unwrap();
            its_bell.ring();
            // Ahead by one: the next is queued just when this one is taken.
            while its_seen.load(Ordering::Acquire) + 1 < round {
                if its_seen.load(Ordering::Acquire) == u64::MAX {
                    return;
                }
                std::hint::spin_loop();
            }
        }
    });
    let timeout = Timespec::try_from(PATIENCE).unwrap();
    let mut last = 0;
    while last < ROUNDS {
        let fd = bell.as_fd();
        if poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).unwrap() == 0 {
            seen.store(u64::MAX, Ordering::Release);
            let left = queue.try_iter().count();
            panic!("{left} wait in the queue after round {last}, and nobody has rung");
        }
        bell.silence();
        for round in queue.try_iter() {
            last = round;
            seen.store(round, Ordering::Release);
        }
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
