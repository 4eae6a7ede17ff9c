//! The breaker's edges, each once.

use std::time::Duration;

use target_profile_core::breaker::{Admission, Breaker, FAILURES_TO_OPEN, REJECTIONS_TO_OPEN};
use target_profile_core::verdict::Outcome;

use crate::outbox::at;

const SECOND: Duration = Duration::from_secs(1);

/// An outcome of a request that was no probe.
fn note(breaker: &mut Breaker, outcome: Outcome, millis: i64) {
    breaker.note(outcome, false, None, outcome.as_str(), at(millis), 1.0);
}

fn probe(breaker: &mut Breaker, outcome: Outcome, asked: Option<Duration>, millis: i64) {
    assert_eq!(breaker.admits(at(millis)), Admission::Probe);
    breaker.probe_sent();
    assert_eq!(breaker.admits(at(millis)), Admission::ProbeUnderWay);
    breaker.note(outcome, true, asked, outcome.as_str(), at(millis), 1.0);
}

/// Opened at 0; the first probe is due after `backoff(1)`.
fn opened() -> Breaker {
    let mut breaker = Breaker::default();
    for _ in 0..FAILURES_TO_OPEN {
        assert_eq!(breaker.admits(at(0)), Admission::All);
        note(&mut breaker, Outcome::Failed, 0);
    }
    breaker
}

#[test]
fn failures_in_a_row_open_it() {
    for outcome in [Outcome::Failed, Outcome::Unrecognised] {
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES_TO_OPEN {
            note(&mut breaker, outcome, 0);
        }
        assert_eq!(breaker.opening(), None);
        note(&mut breaker, outcome, 5);
        let opening = breaker.opening().unwrap();
        assert_eq!((opening.since, opening.next_try_at), (at(5), at(1_005)));
        assert_eq!(opening.reason, outcome.as_str());
        assert_eq!(breaker.admits(at(1_004)), Admission::NotBefore(at(1_005)));
        assert_eq!(breaker.admits(at(1_005)), Admission::Probe);
    }
}

#[test]
fn anything_accepted_or_rejected_in_between_starts_the_count_of_failures_again() {
    for outcome in [Outcome::Accepted, Outcome::Rejected] {
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            for _ in 1..FAILURES_TO_OPEN {
                note(&mut breaker, Outcome::Failed, 0);
            }
            if breaker.opening().is_none() {
                note(&mut breaker, outcome, 0);
            }
        }
        assert_eq!(breaker.opening(), None, "{outcome:?}");
    }
}

#[test]
fn unauthorized_is_none_of_its_business() {
    let mut breaker = Breaker::default();
    for _ in 0..100 {
        note(&mut breaker, Outcome::Unauthorized, 0);
    }
    assert_eq!(breaker.admits(at(0)), Admission::All);
    let mut breaker = opened();
    probe(&mut breaker, Outcome::Unauthorized, None, 20_000);
    assert_eq!(breaker.admits(at(20_000)), Admission::Probe, "the probe has ended");
}

#[test]
fn throttling_opens_it_at_once() {
    let mut breaker = Breaker::default();
    breaker.note(Outcome::Throttled, false, Some(60 * SECOND), "slow down", at(0), 0.0);
    assert_eq!(breaker.admits(at(0)), Admission::NotBefore(at(60_000)));
    let mut breaker = Breaker::default();
    note(&mut breaker, Outcome::Throttled, 0);
    assert_eq!(breaker.admits(at(0)), Admission::NotBefore(at(1_000)));
}

#[test]
fn rejections_in_a_row_open_it_unless_something_is_accepted() {
    let mut breaker = Breaker::default();
    for _ in 1..REJECTIONS_TO_OPEN {
        note(&mut breaker, Outcome::Rejected, 0);
    }
    assert_eq!(breaker.opening(), None);
    let mut lucky = breaker.clone();
    note(&mut lucky, Outcome::Accepted, 0);
    note(&mut lucky, Outcome::Rejected, 0);
    assert_eq!(lucky.opening(), None);
    note(&mut breaker, Outcome::Rejected, 0);
    assert_eq!(breaker.admits(at(0)), Admission::NotBefore(at(1_000)));
    probe(&mut breaker, Outcome::Rejected, None, 1_000);
    assert_eq!(
        breaker.admits(at(1_000)),
        Admission::NotBefore(at(3_000)),
        "still nothing but rejections"
    );
    assert_eq!(breaker.opening().unwrap().since, at(0));
}

#[test]
fn an_accepted_probe_closes_it() {
    let mut breaker = opened();
    probe(&mut breaker, Outcome::Accepted, None, 16_000);
    assert_eq!(breaker.opening(), None);
    assert_eq!(breaker.admits(at(16_000)), Admission::All);
    note(&mut breaker, Outcome::Failed, 16_000);
    assert_eq!(breaker.opening(), None, "the count starts again");
}

#[test]
fn a_failed_probe_keeps_it_open_for_longer() {
    let mut breaker = opened();
    probe(&mut breaker, Outcome::Failed, None, 1_000);
    assert_eq!(breaker.admits(at(1_000)), Admission::NotBefore(at(3_000)));
    probe(&mut breaker, Outcome::Throttled, Some(SECOND), 3_000);
    let opening = breaker.opening().unwrap();
    assert_eq!((opening.since, opening.next_try_at), (at(0), at(4_000)));
    assert_eq!(opening.reason, "throttled");
}

#[test]
fn a_rejected_probe_closes_what_failures_opened() {
    let mut breaker = opened();
    probe(&mut breaker, Outcome::Rejected, None, 16_000);
    assert_eq!(breaker.admits(at(16_000)), Admission::All);
}

#[test]
fn stragglers_do_not_move_it_but_may_ask_for_time() {
    let mut breaker = opened();
    for _ in 0..50 {
        note(&mut breaker, Outcome::Failed, 100);
    }
    note(&mut breaker, Outcome::Rejected, 100);
    assert_eq!(breaker.admits(at(0)), Admission::NotBefore(at(1_000)));
    breaker.note(Outcome::Throttled, false, Some(SECOND / 2), "x", at(100), 0.0);
    assert_eq!(
        breaker.admits(at(0)),
        Admission::NotBefore(at(1_000)),
        "less time than it has anyway"
    );
    breaker.note(Outcome::Throttled, false, Some(60 * SECOND), "x", at(10_000), 0.0);
    assert_eq!(breaker.admits(at(0)), Admission::NotBefore(at(70_000)));
    assert_eq!(breaker.opening().unwrap().reason, "failed");
    probe(&mut breaker, Outcome::Failed, None, 70_000);
    assert_eq!(
        breaker.admits(at(70_000)),
        Admission::NotBefore(at(72_000)),
        "stragglers make no probe wait longer"
    );
    note(&mut breaker, Outcome::Accepted, 11_000);
    assert_eq!(breaker.opening(), None);
}

#[test]
fn a_probe_that_found_nothing_to_send_makes_room_for_another() {
    let mut breaker = opened();
    breaker.probe_sent();
    breaker.probe_void();
    assert_eq!(breaker.admits(at(16_000)), Admission::Probe);
}
