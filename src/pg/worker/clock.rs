//! The worker's clock. It shows the time of day, but does not step while that is set. Steps are noticed at the beginning of a turn, and
//! everything that waits follows them there.

use std::cell::Cell;
use std::time::Duration;

use target_profile_core::step::ClockStep;
use target_profile_core::time::Timestamp;

use crate::pg::support::clock;

/// Two readings that lie farther apart were interrupted. Microseconds.
const APART_AT_MOST: i64 = 10_000;

thread_local! {
    /// The time of day when the machine was started, as of the last look; none before the first one.
    static OFFSET: Cell<Option<i64>> = const { Cell::new(None) };
}

/// Now.
pub fn now() -> Timestamp {
    let offset = OFFSET.get().unwrap_or_else(|| {
        let offset = measure();
        OFFSET.set(Some(offset));
        offset
    });
    Timestamp::from_unix_micros(uptime().saturating_add(offset))
}

/// Looks whether the clock was set, and goes by what it says from now on. The answer is what it would have said, and how far it was
/// set.
pub fn follow() -> Option<(Timestamp, ClockStep)> {
    let before = now();
    OFFSET.set(Some(measure()));
    let step = ClockStep::between(before, now());
    step.is_noticeable().then_some((before, step))
}

/// The time of day at an uptime of zero.
fn measure() -> i64 {
    loop {
        let up = uptime();
        let day = clock::now().unix_micros();
        if uptime().saturating_sub(up) < APART_AT_MOST {
            return day.saturating_sub(up);
        }
    }
}

/// Microseconds since the machine was started, time asleep included; nobody sets that.
fn uptime() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills in the time. It fails for no clock that the system has.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    let seconds = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0));
    let up = seconds.saturating_add(Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0)));
    i64::try_from(up.as_micros()).unwrap_or(i64::MAX)
}
