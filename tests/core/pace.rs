//! When the worker rests between its turns.

use std::time::Duration;

use proptest::prelude::*;
use target_profile_core::pace::{LONGEST_REST, Pace};
use target_profile_core::time::Timestamp;

const MS: u64 = 1_000;

/// Turns that take `takes` each, one every `every` microseconds unless there is a rest; the rests.
fn rests(every: u64, takes: u64, turns: usize, commits: impl Fn(usize) -> bool) -> Vec<Duration> {
    let mut pace = Pace::default();
    let mut now = crate::outbox::at(0);
    let later = |from: Timestamp, micros: u64| from.plus(Duration::from_micros(micros));
    (0..turns)
        .map(|number| {
            let began = now;
            now = later(now, takes);
            pace.turn(began, now, commits(number));
            let rest = pace.rest();
            now = now.plus(rest.max(Duration::from_micros(every.saturating_sub(takes))));
            rest
        })
        .collect()
}

#[test]
fn nobody_rests_beside_few_commits() {
    // A hundred a second, each with a turn that sends and one that settles.
    assert!(rests(5 * MS, MS, 1_000, |_| true).iter().all(Duration::is_zero));
}

#[test]
fn the_first_commits_after_a_pause_are_sent_at_once() {
    let rests = rests(MS, MS, 6, |_| true);
    assert!(rests.iter().take(5).all(Duration::is_zero), "{rests:?}");
}

#[test]
fn a_backlog_is_drained_without_a_rest() {
    assert!(rests(0, MS, 1_000, |_| false).iter().all(Duration::is_zero));
    let after_the_last_commit = rests(0, MS, 100, |number| number < 20);
    assert!(after_the_last_commit[19] > Duration::ZERO);
    assert!(after_the_last_commit[45..].iter().all(Duration::is_zero));
}

#[test]
fn beside_many_commits_turns_take_a_quarter_of_the_time() {
    for takes in [100, 300, MS] {
        let rests = rests(0, takes, 1_000, |_| true);
        let rested: Duration = rests.iter().sum();
        let turned = Duration::from_micros(takes) * 1_000;
        let share = turned.as_secs_f64() / (turned + rested).as_secs_f64();
        assert!((0.24..0.27).contains(&share), "{takes} µs: {share}");
    }
}

#[test]
fn a_turn_that_took_long_is_forgotten_after_one_rest() {
    let mut pace = Pace::default();
    let (began, ended) = (crate::outbox::at(0), crate::outbox::at(10_000));
    pace.turn(began, ended, true);
    assert_eq!(pace.rest(), LONGEST_REST);
    let next = ended.plus(LONGEST_REST);
    pace.turn(next, next, true);
    assert_eq!(pace.rest(), Duration::ZERO);
}

proptest! {
    #[test]
    fn no_rest_is_longer_than_it_may_be(turns in prop::collection::vec((-20_000_i64..20_000, 0_i64..50_000, any::<bool>()), 1..50)) {
        let mut pace = Pace::default();
        let mut now = 1_700_000_000_000_000;
        for (pause, takes, commits) in turns {
            now += pause;
            let (began, ended) = (Timestamp::from_unix_micros(now), Timestamp::from_unix_micros(now + takes));
            now += takes;
            pace.turn(began, ended, commits);
            prop_assert!(pace.rest() <= LONGEST_REST);
        }
    }
}
