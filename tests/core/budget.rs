//! The retry budget.

use std::time::Duration;

use target_profile_core::budget::{BURST, PER_SECOND, RetryBudget};
use target_profile_core::step::ClockStep;

use crate::outbox::at;

fn spent() -> RetryBudget {
    let mut budget = RetryBudget::default();
    budget.fill(at(0));
    for _ in 0..BURST {
        assert!(budget.admits());
        budget.spend();
    }
    assert!(!budget.admits());
    budget
}

#[test]
fn time_brings_one_retry_a_second_up_to_the_burst() {
    let mut budget = spent();
    assert_eq!(budget.admits_at(at(0)), at(1_000 / i64::try_from(PER_SECOND).unwrap()));
    budget.fill(at(999));
    assert!(!budget.admits());
    assert_eq!(budget.admits_at(at(999)), at(1_000));
    budget.fill(at(0).plus(Duration::from_micros(999_900)));
    assert!(!budget.admits());
    budget.fill(at(1_000));
    assert!(budget.admits());
    assert_eq!(budget.admits_at(at(1_000)), at(1_000));
    budget.spend();
    budget.fill(at(10_000_000));
    for _ in 0..BURST {
        assert!(budget.admits());
        budget.spend();
    }
    assert!(!budget.admits(), "no more than the burst is saved up");
}

#[test]
fn five_accepted_updates_pay_for_a_retry() {
    let mut budget = spent();
    for _ in 0..4 {
        budget.earn();
        assert!(!budget.admits());
    }
    budget.earn();
    assert!(budget.admits());
}

#[test]
fn an_accepted_retry_gives_back_what_it_cost() {
    let mut budget = spent();
    budget.give_back();
    assert!(budget.admits());
    budget.spend();
    assert!(!budget.admits());
}

#[test]
fn a_clock_that_is_set_back_stops_no_retries() {
    let mut budget = spent();
    budget.fill(at(-3_600_000));
    assert_eq!(budget.admits_at(at(-3_600_000)), at(-3_599_000));
    budget.fill(at(-3_599_000));
    assert!(budget.admits());
}

#[test]
fn what_time_brings_is_a_thousandth_of_a_retry_a_millisecond() {
    let mut budget = spent();
    budget.fill(at(99_950));
    for _ in 0..99 {
        assert!(budget.admits());
        budget.spend();
    }
    assert!(!budget.admits());
}

#[test]
fn a_clock_that_is_set_brings_no_retries() {
    let mut budget = spent();
    budget.clock_set(ClockStep::between(at(0), at(3_600_000)));
    budget.fill(at(3_600_500));
    assert!(!budget.admits());
    budget.fill(at(3_601_000));
    assert!(budget.admits());
}
