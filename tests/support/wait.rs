//! Waiting for a condition, with a deadline and a message.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// The shortest and the longest pause between two looks at a condition.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// Calls `look` until it gives a value, and returns that; panics with `what` when `deadline` has passed.
#[track_caller]
pub fn until<T>(what: &str, deadline: Duration, look: impl FnMut() -> Option<T>) -> T {
    match poll(deadline, look) {
        Some(value) => value,
        None => panic!("waited {deadline:?} in vain for {what}"),
    }
}

/// Calls `look` until it gives a value; `None` when `deadline` has passed. Looks at least once, and once more at the end.
pub fn poll<T>(deadline: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    let mut pause = PAUSES.0;
    loop {
        let last = Instant::now() >= end;
        if let Some(value) = look() {
            return Some(value);
        }
        if last {
            return None;
        }
        sleep(pause.min(end.saturating_duration_since(Instant::now())));
        pause = (pause * 2).min(PAUSES.1);
    }
}
