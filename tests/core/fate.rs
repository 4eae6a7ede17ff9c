//! What becomes of an entry, for each outcome.

use std::time::Duration;

use target_profile_core::drain::{Carried, Fate, GivenUp, RequestEnd, UNRECOGNISED_ATTEMPTS, fate};
use target_profile_core::settings::ClientSettings;
use target_profile_core::verdict::Outcome;

use crate::outbox::{at, row_of};

const NOW: i64 = 10_000;

/// 20 attempts, 7 days.
fn settings() -> ClientSettings {
    row_of("acme").check().unwrap()
}

fn tried(attempts: u32) -> Carried {
    Carried {
        id: 1,
        attempts,
        enqueued_at: at(0),
        version: 0,
    }
}

fn ending(outcome: Outcome) -> RequestEnd {
    RequestEnd {
        outcome,
        counts: true,
        asked: None,
        at: at(NOW),
        not_before: None,
        jitter: 1.0,
    }
}

fn retry(attempts: u32, millis: i64) -> Fate {
    Fate::Retry {
        attempts,
        at: at(millis),
    }
}

fn dead(attempts: u32, why: GivenUp) -> Fate {
    Fate::Dead { attempts, why }
}

#[test]
fn each_outcome_has_its_fate() {
    for (attempts, outcome, expected) in [
        (0, Outcome::Accepted, Fate::Accepted),
        (99, Outcome::Accepted, Fate::Accepted),
        (0, Outcome::Unauthorized, Fate::Held),
        (99, Outcome::Unauthorized, Fate::Held),
        (0, Outcome::Rejected, dead(1, GivenUp::Rejected)),
        (5, Outcome::Rejected, dead(6, GivenUp::Rejected)),
        (0, Outcome::Unrecognised, retry(1, NOW + 1_000)),
        (1, Outcome::Unrecognised, retry(2, NOW + 2_000)),
        (
            UNRECOGNISED_ATTEMPTS - 1,
            Outcome::Unrecognised,
            dead(UNRECOGNISED_ATTEMPTS, GivenUp::Unrecognised),
        ),
        (0, Outcome::Failed, retry(1, NOW + 1_000)),
        (3, Outcome::Failed, retry(4, NOW + 8_000)),
        (18, Outcome::Failed, retry(19, NOW + 300_000)),
        (19, Outcome::Failed, dead(20, GivenUp::Attempts)),
        (19, Outcome::Throttled, dead(20, GivenUp::Attempts)),
        (u32::MAX, Outcome::Failed, dead(u32::MAX, GivenUp::Attempts)),
    ] {
        assert_eq!(
            fate(&tried(attempts), &ending(outcome), &settings()),
            expected,
            "{attempts} {outcome:?}"
        );
    }
}

#[test]
fn while_the_breaker_is_open_no_attempt_counts() {
    for outcome in [
        Outcome::Rejected,
        Outcome::Unrecognised,
        Outcome::Failed,
        Outcome::Throttled,
    ] {
        let open = RequestEnd {
            counts: false,
            not_before: Some(at(NOW + 30_000)),
            ..ending(outcome)
        };
        let long_ago = Carried {
            enqueued_at: at(-1_000_000_000_000),
            ..tried(19)
        };
        assert_eq!(
            fate(&long_ago, &open, &settings()),
            retry(19, NOW + 300_000),
            "{outcome:?}"
        );
        assert_eq!(
            fate(&tried(0), &open, &settings()),
            retry(0, NOW + 30_100),
            "after the probe, {outcome:?}"
        );
    }
    let open = RequestEnd {
        counts: false,
        ..ending(Outcome::Accepted)
    };
    assert_eq!(fate(&tried(0), &open, &settings()), Fate::Accepted);
}

#[test]
fn what_the_server_asks_for_counts_more_than_the_backoff() {
    for asked in [0, 1, 3_600] {
        let ending = RequestEnd {
            asked: Some(Duration::from_secs(asked)),
            ..ending(Outcome::Throttled)
        };
        let expected = retry(4, NOW + i64::try_from(asked).unwrap() * 1_000);
        assert_eq!(fate(&tried(3), &ending, &settings()), expected);
    }
}

#[test]
fn age_is_a_reason_from_the_first_microsecond_beyond_it() {
    let week = i64::try_from(settings().max_age.as_millis()).unwrap();
    let entry = |millis| Carried {
        enqueued_at: at(millis),
        ..tried(0)
    };
    let failed = ending(Outcome::Failed);
    assert_eq!(fate(&entry(NOW - week), &failed, &settings()), retry(1, NOW + 1_000));
    assert_eq!(
        fate(&entry(NOW - week - 1), &failed, &settings()),
        dead(1, GivenUp::Age)
    );
    assert_eq!(
        fate(&entry(NOW + week), &failed, &settings()),
        retry(1, NOW + 1_000),
        "a clock that stepped back"
    );
    assert_eq!(
        fate(&entry(NOW - week - 1), &ending(Outcome::Accepted), &settings()),
        Fate::Accepted
    );
}
