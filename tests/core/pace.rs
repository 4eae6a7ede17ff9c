//! When the worker rests between its turns.

use std::time::Duration;

use proptest::prelude::*;
use target_profile_core::pace::{AT_ONCE, BEAT, Pace};
use target_profile_core::time::Timestamp;

/// Turns that take `takes` microseconds each, one every `every` microseconds unless there is a rest; the rests.
fn rests(every: u64, takes: u64, turns: usize, commits: impl Fn(usize) -> bool) -> Vec<Duration> {
    let mut pace = Pace::default();
    let mut now = crate::outbox::at(0);
    (0..turns)
        .map(|number| {
            now = now.plus(Duration::from_micros(takes));
            pace.turn(now, commits(number));
            let rest = pace.rest();
            now = now.plus(rest.max(Duration::from_micros(every.saturating_sub(takes))));
            rest
        })
        .collect()
}

#[test]
fn nobody_rests_beside_a_hundred_commits_a_second() {
    // Each with a turn that sends and one that settles, however long they take.
    for takes in [100, 1_000, 4_900] {
        assert!(rests(5_000, takes, 1_000, |_| true).iter().all(Duration::is_zero));
    }
    // The two in a row.
    let mut pace = Pace::default();
    for number in 0..1_000 {
        for after in [1, 2] {
            pace.turn(crate::outbox::at(10 * number + after), true);
            assert_eq!(pace.rest(), Duration::ZERO);
        }
    }
}

#[test]
fn the_first_turns_after_a_pause_come_at_once() {
    let rests = rests(0, 100, 30, |_| true);
    let without = rests.iter().take_while(|rest| rest.is_zero()).count();
    assert_eq!(without, AT_ONCE as usize, "{rests:?}");
}

#[test]
fn a_backlog_is_drained_without_a_rest() {
    assert!(rests(0, 100, 1_000, |_| false).iter().all(Duration::is_zero));
    let after_the_last_commit = rests(0, 1_000, 100, |number| number < 20);
    assert!(after_the_last_commit[19] > Duration::ZERO);
    assert!(after_the_last_commit[45..].iter().all(Duration::is_zero));
}

#[test]
fn beside_many_commits_there_is_one_turn_a_beat() {
    for takes in [100, 1_000, 3_000] {
        let rests = rests(0, takes, 1_000, |_| true);
        let took: Duration = rests.iter().sum::<Duration>() + Duration::from_micros(takes) * 1_000;
        let beats = took.as_secs_f64() / BEAT.as_secs_f64();
        assert!((985.0..1_001.0).contains(&beats), "{takes} µs: {beats}");
    }
    // Turns that take longer than that follow each other.
    assert!(rests(0, 5_000, 1_000, |_| true).iter().all(Duration::is_zero));
}

proptest! {
    #[test]
    fn no_rest_is_longer_than_a_beat(turns in prop::collection::vec((-20_000_i64..70_000, any::<bool>()), 1..50)) {
        let mut pace = Pace::default();
        let mut now = 1_700_000_000_000_000;
        for (pause, commits) in turns {
            now += pause;
            pace.turn(Timestamp::from_unix_micros(now), commits);
            prop_assert!(pace.rest() <= BEAT);
        }
    }
}

#[test]
fn more_commits_are_expected_for_twenty_milliseconds() {
    let start = 1_700_000_000_000_000;
    for (since, rests) in [(19_999, true), (20_000, false)] {
        let mut pace = Pace::default();
        for _ in 0..20 {
            pace.turn(Timestamp::from_unix_micros(start), true);
        }
        for _ in 0..20 {
            pace.turn(Timestamp::from_unix_micros(start + since), false);
        }
        assert_eq!(pace.rest() > Duration::ZERO, rests, "{since}");
    }
}
