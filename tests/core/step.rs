//! A clock that is set.

use std::time::Duration;

use proptest::prelude::*;
use target_profile_core::breaker::{Admission, Breaker};
use target_profile_core::quota::{Class, Count, Ledger, Minute, Quota, WINDOW};
use target_profile_core::step::{ClockStep, Following, Leap, TOLERANCE};
use target_profile_core::time::Timestamp;
use target_profile_core::verdict::Outcome;

use crate::outbox::at;

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

fn step(millis: i64) -> ClockStep {
    ClockStep::between(at(0), at(millis))
}

#[test]
fn what_is_less_than_a_tenth_of_a_second_is_no_step() {
    let tolerance = i64::try_from(TOLERANCE.as_millis()).unwrap();
    for (millis, noticed) in [
        (0, false),
        (tolerance - 1, false),
        (tolerance, true),
        (-tolerance, true),
        (1 - tolerance, false),
    ] {
        assert_eq!(step(millis).is_noticeable(), noticed, "{millis}");
    }
    assert_eq!(step(-5_000).of(at(7_000)), at(2_000));
    assert_eq!(step(-5_000).micros(), -5_000_000);
    assert_eq!(
        step(5_000).of(Timestamp::from_unix_micros(i64::MAX)).unix_micros(),
        i64::MAX
    );
}

#[test]
fn an_open_breaker_lets_its_probe_through_when_it_would_have() {
    let mut breaker = Breaker::default();
    breaker.note(
        Outcome::Throttled,
        false,
        Some(Duration::from_secs(60)),
        "full",
        at(0),
        0.5,
    );
    breaker.clock_set(step(-2 * DAY));
    assert_eq!(
        breaker.admits(at(1_000 - 2 * DAY)),
        Admission::NotBefore(at(60_000 - 2 * DAY))
    );
    assert_eq!(breaker.admits(at(60_000 - 2 * DAY)), Admission::Probe);
}

#[test]
fn ledgers_follow_by_whole_minutes_and_never_too_few() {
    let mut following = Following::default();
    // ClockStep by step: how far the clock is set, and by how many minutes the ledgers follow.
    for (millis, minutes) in [
        (5_000, 1),
        (54_000, 0),
        (1_500, 1),
        (-50_000, -1),
        (-11_000, -1),
        (2 * DAY, 2 * 24 * 60),
        (-2 * DAY, -2 * 24 * 60),
    ] {
        following.note(step(millis));
        assert_eq!(following.minutes(), minutes, "after {millis}");
        following.moved(following.minutes());
        assert_eq!(following.minutes(), 0);
    }
}

#[test]
fn a_whole_minute_is_one() {
    for minutes in [1, -1] {
        let mut following = Following::default();
        following.note(step(minutes * MINUTE));
        assert_eq!(following.minutes(), minutes);
    }
}

#[test]
fn a_leap_reaches_up_to_the_last_step_forward() {
    let mut leap = Leap::default();
    leap.note(at(10), step(DAY));
    leap.note(at(DAY + 100), step(DAY));
    assert_eq!(leap.corrected(at(DAY + 50)), at(3 * DAY + 50));
    leap.note(at(2 * DAY + 200), step(-DAY));
    assert_eq!(leap.corrected(at(DAY + 50)), at(2 * DAY + 50));
    assert_eq!(
        leap.corrected(at(DAY + 150)),
        at(DAY + 150),
        "a step back reaches no further"
    );
}

#[test]
fn a_leap_makes_nothing_older_and_is_taken_back() {
    let mut leap = Leap::default();
    assert_eq!(leap.corrected(at(5)), at(5));
    leap.note(at(10), step(2 * DAY));
    assert_eq!(leap.corrected(at(5)), at(5 + 2 * DAY), "written before");
    assert_eq!(leap.corrected(at(2 * DAY + 20)), at(2 * DAY + 20), "written since");
    leap.note(at(2 * DAY + 30), step(-2 * DAY));
    assert_eq!(leap.corrected(at(5)), at(5));
    leap.note(at(40), step(-DAY));
    leap.note(at(50 - DAY), step(DAY));
    assert_eq!(leap.corrected(at(45 - DAY)), at(45));
}

proptest! {
    /// The clock is set as it pleases while requests go out: in true time none of the rolling 24 hours has more than the quota,
    /// and none is held back for two minutes more than that.
    #[test]
    fn no_step_lends_quota(events in prop::collection::vec((0..8 * 60i64, prop_oneof![Just(0i64), -3 * DAY..3 * DAY, -90_000..90_000i64]), 1..60)) {
        let (mut now, mut offset) = (0i64, 0i64);
        let mut ledger = Ledger::load(Quota::new(3, 1.0), &[], at(0));
        let mut following = Following::default();
        let mut sent: Vec<i64> = Vec::new();
        for (minutes, millis) in events {
            now += minutes * MINUTE;
            if step(millis).is_noticeable() {
                offset += millis;
                following.note(step(millis));
                let minutes = following.minutes();
                ledger.follow(minutes);
                following.moved(minutes);
            }
            ledger.advance(at(now + offset));
            let lately = |window: i64| sent.iter().filter(|then| now - **then < window).count();
            let window = i64::try_from(WINDOW.as_millis()).unwrap();
            if ledger.left(Class::Fresh) > 0 {
                prop_assert!(lately(window) < 3, "a fourth request within 24 hours");
                let one = Count { all: 1, backfill: 0 };
                ledger.plan(one);
                let lack = ledger.lacks(one, 0).unwrap();
                ledger.reserved(ledger.current(), lack);
                ledger.charge(one);
                sent.push(now);
            } else {
                prop_assert!(lately(window + 3 * MINUTE) >= 3, "held back for nothing");
            }
        }
    }
}

#[test]
fn minutes_move() {
    assert_eq!(Minute::of(at(0)).plus(-3), Minute::of(at(-3 * MINUTE)));
}
