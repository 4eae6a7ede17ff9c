//! The ledger, rule by rule; what it is for (never more than the quota in any 24 hours) is checked by the model in `drain`.

use std::time::Duration;

use proptest::prelude::*;
use target_profile_core::quota::{Adjustment, Class, Count, Ledger, Minute, Quota, SMALL_BLOCK, WINDOW};
use target_profile_core::time::Timestamp;

const MINUTE: i64 = 60_000;

/// So many milliseconds after the beginning of a minute.
fn at(millis: i64) -> Timestamp {
    Timestamp::from_unix_micros(1_700_000_040_000_000 + millis * 1_000)
}

fn minute(number: i64) -> Minute {
    Minute::of(at(number * MINUTE))
}

fn fresh(requests: u64) -> Count {
    Class::Fresh.count(requests)
}

fn backfill(requests: u64) -> Count {
    Class::Backfill.count(requests)
}

fn ledger(daily: u64, share: f64) -> Ledger {
    Ledger::load(Quota::new(daily, share), &[], at(0))
}

/// Selects, reserves and sends, as the drain does.
fn spend(ledger: &mut Ledger, count: Count) {
    ledger.plan(count);
    if let Some(lack) = ledger.lacks(count, 0) {
        assert_eq!(ledger.reserved(ledger.current(), lack), Count::ZERO);
    }
    assert_eq!(ledger.lacks(count, 0), None);
    ledger.charge(count);
}

#[test]
fn a_minute_counts_until_its_end_is_24_hours_old() {
    let mut ledger = ledger(3, 1.0);
    spend(&mut ledger, fresh(2));
    ledger.advance(at(59_999));
    spend(&mut ledger, fresh(1));
    assert_eq!(ledger.left(Class::Fresh), 0);
    let end = at(MINUTE).plus(WINDOW);
    assert_eq!(ledger.resumes_at(Class::Fresh), Some(end));
    ledger.advance(end.plus(Duration::ZERO));
    assert_eq!(ledger.left(Class::Fresh), 3);
    let mut just_before = Ledger::load(Quota::new(3, 1.0), &[(minute(0), fresh(3))], at(0));
    just_before.advance(Timestamp::from_unix_micros(end.unix_micros() - 1));
    assert_eq!(just_before.left(Class::Fresh), 0);
}

#[test]
fn the_oldest_minutes_free_it_first_as_many_as_it_takes() {
    let stored = [(minute(0), fresh(2)), (minute(1), fresh(3)), (minute(5), fresh(4))];
    let ledger = |daily| Ledger::load(Quota::new(daily, 1.0), &stored, at(10 * MINUTE));
    let until = |number| Some(minute(number).counts_until());
    assert_eq!(ledger(10).resumes_at(Class::Fresh), None);
    assert_eq!(ledger(9).resumes_at(Class::Fresh), until(0));
    assert_eq!(ledger(8).resumes_at(Class::Fresh), until(0));
    assert_eq!(
        ledger(7).resumes_at(Class::Fresh),
        until(1),
        "the quota was lowered meanwhile"
    );
    assert_eq!(ledger(4).resumes_at(Class::Fresh), until(5));
}

#[test]
fn backfills_have_their_share_and_no_more() {
    let mut ledger = ledger(10, 0.35);
    assert_eq!((ledger.left(Class::Fresh), ledger.left(Class::Backfill)), (10, 3));
    spend(&mut ledger, backfill(3));
    assert_eq!((ledger.left(Class::Fresh), ledger.left(Class::Backfill)), (7, 0));
    assert_eq!(ledger.resumes_at(Class::Fresh), None);
    assert_eq!(ledger.resumes_at(Class::Backfill), Some(minute(0).counts_until()));
    spend(&mut ledger, fresh(7));
    assert_eq!(ledger.resumes_at(Class::Fresh), Some(minute(0).counts_until()));
}

#[test]
fn a_share_of_nothing_is_still_one_request() {
    assert_eq!(ledger(3, 0.1).left(Class::Backfill), 1);
    assert_eq!(ledger(1, 1.0).left(Class::Backfill), 1);
    assert_eq!(Class::of(-1), Class::Backfill);
    assert_eq!(Class::of(0), Class::Fresh);
}

#[test]
fn what_is_planned_is_no_longer_left() {
    let mut ledger = ledger(5, 1.0);
    ledger.plan(fresh(4));
    assert_eq!(ledger.left(Class::Fresh), 1);
    ledger.unplan(fresh(3));
    assert_eq!(ledger.left(Class::Fresh), 4);
}

#[test]
fn a_block_is_a_hundredth_of_the_quota_at_most_and_small_when_little_goes_on() {
    for (daily, pace, block) in [
        (5, 1_000, 0),
        (400, 1_000, 4),
        (1_000_000, 0, SMALL_BLOCK),
        (1_000_000, 700, 700),
        (1_000_000, 50_000, 10_000),
    ] {
        let lack = ledger(daily, 1.0).lacks(fresh(2), pace).unwrap();
        assert_eq!(lack, fresh(2 + block), "quota {daily}, pace {pace}");
    }
    let lack = ledger(1_000_000, 0.5).lacks(backfill(2), 100).unwrap();
    assert_eq!(lack, backfill(102));
}

#[test]
fn no_block_reaches_beyond_the_quota() {
    let stored = [(minute(-5), fresh(9_990))];
    let ledger = Ledger::load(Quota::new(10_000, 1.0), &stored, at(0));
    assert_eq!(ledger.lacks(fresh(3), 1_000), Some(fresh(10)));
    let stored = [(minute(-5), backfill(4_995))];
    let ledger = Ledger::load(Quota::new(10_000, 0.5), &stored, at(0));
    let lack = ledger.lacks(backfill(3), 1_000).unwrap();
    assert_eq!(lack.backfill, 5);
}

#[test]
fn what_was_reserved_for_nothing_is_given_back_when_its_minute_is_over() {
    let mut ledger = ledger(1_000_000, 1.0);
    spend(&mut ledger, fresh(1));
    assert_eq!(ledger.advance(at(59_999)), None);
    assert_eq!(ledger.advance(at(MINUTE)), Some((minute(0), fresh(SMALL_BLOCK))));
    assert_eq!(ledger.used(), fresh(1));
    assert!(
        ledger.lacks(fresh(1), 0).is_some(),
        "a reservation is good in its minute only"
    );
    assert_eq!(ledger.reserved(minute(0), fresh(7)), fresh(7), "it came too late");
}

#[test]
fn after_a_crash_all_that_was_reserved_counts_as_sent() {
    let mut ledger = Ledger::load(Quota::new(100, 1.0), &[(minute(0), fresh(40))], at(5_000));
    assert_eq!(ledger.used(), fresh(40));
    assert!(ledger.lacks(fresh(1), 0).is_some());
    spend(&mut ledger, fresh(60));
    assert_eq!(ledger.left(Class::Fresh), 0);
}

#[test]
fn a_clock_that_is_set_back_frees_nothing() {
    let mut ledger = ledger(5, 1.0);
    ledger.advance(at(10 * MINUTE));
    spend(&mut ledger, fresh(5));
    ledger.advance(at(0));
    assert_eq!(ledger.current(), minute(10));
    assert_eq!(ledger.left(Class::Fresh), 0);
    let later = Ledger::load(Quota::new(5, 1.0), &[(minute(10), fresh(2))], at(0));
    assert_eq!((later.current(), later.used()), (minute(10), fresh(2)));
}

#[test]
fn a_reserve_is_kept_while_requests_go_out_and_shrinks_afterwards() {
    let mut ledger = ledger(1_000_000, 1.0);
    spend(&mut ledger, fresh(1));
    assert_eq!(ledger.adjust(0), None, "the small block is there");
    assert_eq!(ledger.adjust(500), Some(Adjustment::More(fresh(500 - SMALL_BLOCK))));
    ledger.reserved(minute(0), fresh(500));
    assert_eq!(ledger.adjust(500), None);
    let Some(Adjustment::Fewer(fewer)) = ledger.adjust(0) else {
        panic!("the reserve of a pace that is over is given back");
    };
    assert_eq!(fewer, fresh(500));
    assert_eq!(ledger.adjust(0), None);
}

#[test]
fn what_was_not_sent_is_refunded_in_its_minute() {
    let mut ledger = ledger(10, 1.0);
    spend(&mut ledger, fresh(3));
    ledger.refund(minute(0), fresh(2));
    assert_eq!(ledger.used(), fresh(1));
    ledger.advance(at(MINUTE));
    ledger.refund(minute(0), fresh(1));
    assert_eq!(ledger.used(), fresh(1), "an older minute is left alone");
}

#[test]
fn a_forecast_goes_by_pace_and_quota() {
    let hours = |h: u64| Some(Duration::from_secs(h * 3_600));
    let now = at(0);
    let ledger = ledger(1_000, 1.0);
    assert_eq!(ledger.forecast(0, 0.0, now), hours(0));
    assert_eq!(ledger.forecast(500, 0.0, now), None, "no pace to go by");
    assert_eq!(ledger.forecast(360, 0.1, now), hours(1));
    // Used up an hour ago (to the minute), all at once.
    let stored = [(minute(-61), fresh(1_000))];
    let full = Ledger::load(Quota::new(1_000, 1.0), &stored, now);
    assert_eq!(full.forecast(1, 0.0, now), hours(23));
    assert_eq!(full.forecast(1_000, 0.0, now), hours(23));
    assert_eq!(full.forecast(1_001, 0.0, now), hours(47));
    assert_eq!(full.forecast(3_000, 0.0, now), hours(71));
    // Half of it, a minute's end ago.
    let half = Ledger::load(Quota::new(1_000, 1.0), &[(minute(-1), fresh(500))], now);
    assert_eq!(half.forecast(500, 0.0, now), None);
    assert_eq!(half.forecast(501, 0.0, now), hours(24));
}

proptest! {
    /// However it is used, what it holds reserved is never more than the quota, nor what may be sent.
    #[test]
    fn nothing_beyond_the_quota_is_reserved_or_left(
        daily in 1..3_000u64,
        share in 0.05..1.0f64,
        steps in prop::collection::vec((0..3 * MINUTE, 1..60u64, any::<bool>(), 0..500u64), 1..60),
    ) {
        let mut ledger = ledger(daily, share);
        let limit = ((daily as f64 * share) as u64).max(1);
        let mut table: std::collections::BTreeMap<Minute, Count> = Default::default();
        let mut now = at(0);
        for (wait, wanted, waits, pace) in steps {
            now = now.plus(Duration::from_millis(u64::try_from(wait).unwrap()));
            if let Some((over, unused)) = ledger.advance(now) {
                *table.entry(over).or_default() -= unused;
            }
            let class = if waits { Class::Backfill } else { Class::Fresh };
            let count = class.count(wanted.min(ledger.left(class)));
            ledger.plan(count);
            if let Some(lack) = ledger.lacks(count, pace) {
                *table.entry(ledger.current()).or_default() += lack;
                ledger.reserved(ledger.current(), lack);
            }
            prop_assert_eq!(ledger.lacks(count, pace), None);
            ledger.charge(count);
            match ledger.adjust(pace) {
                Some(Adjustment::More(more)) => {
                    *table.entry(ledger.current()).or_default() += more;
                    ledger.reserved(ledger.current(), more);
                }
                Some(Adjustment::Fewer(fewer)) => *table.entry(ledger.current()).or_default() -= fewer,
                None => {}
            }
            let held: Count = table.values().fold(Count::ZERO, |sum, count| sum + *count);
            prop_assert!(held.all <= daily && held.backfill <= limit, "{held:?} of {daily} and {limit}");
            prop_assert!(ledger.used().all <= held.all && ledger.used().backfill <= held.backfill);
            prop_assert!(held.all - ledger.used().all <= 3 * (daily / 100).max(1), "a crash would over-count {held:?}");
        }
    }
}

#[test]
fn what_is_stored_of_this_minute_is_reserved_and_charged() {
    let ledger = Ledger::load(Quota::new(1_000_000, 1.0), &[(minute(0), fresh(5))], at(0));
    assert_eq!(ledger.lacks(fresh(1), 0), Some(fresh(1 + SMALL_BLOCK)));
}

#[test]
fn another_quota_counts_at_once() {
    let mut ledger = ledger(3, 1.0);
    spend(&mut ledger, fresh(3));
    assert_eq!(ledger.left(Class::Fresh), 0);
    ledger.set_quota(Quota::new(5, 1.0));
    assert_eq!(ledger.left(Class::Fresh), 2);
}

#[test]
fn what_is_planned_is_not_taken_for_free() {
    let mut ledger = Ledger::load(Quota::new(3, 1.0), &[(minute(-1), fresh(2))], at(0));
    ledger.plan(fresh(1));
    assert_eq!(ledger.resumes_at(Class::Fresh), Some(at(0).plus(WINDOW)));
}

/// With so much charged and so much in reserve, what is changed at a pace of 100 a second.
fn adjusted(charged: Count, unused: Count) -> Option<Adjustment> {
    let mut ledger = ledger(1_000_000, 1.0);
    ledger.reserved(minute(0), charged + unused);
    ledger.charge(charged);
    ledger.adjust(100)
}

#[test]
fn a_reserve_from_half_a_block_to_two_is_left_alone() {
    for (unused, change) in [
        (49, Some(Adjustment::More(fresh(51)))),
        (50, None),
        (200, None),
        (201, Some(Adjustment::Fewer(fresh(101)))),
    ] {
        assert_eq!(adjusted(fresh(1), fresh(unused)), change, "{unused}");
    }
    // The same for a backfill, whose requests count on both limits.
    assert_eq!(adjusted(backfill(1), backfill(200)), None);
    assert_eq!(adjusted(backfill(1), fresh(150)), None);
    assert_eq!(
        adjusted(backfill(1), backfill(49)),
        Some(Adjustment::More(backfill(51)))
    );
    // Where none is under way, nothing is kept for it.
    let fewer = Count { all: 0, backfill: 10 };
    assert_eq!(
        adjusted(fresh(1), fresh(90) + backfill(10)),
        Some(Adjustment::Fewer(fewer))
    );
}

#[test]
fn a_reserve_leaves_free_what_is_planned() {
    let mut ledger = ledger(10_000, 1.0);
    ledger.reserved(minute(0), fresh(9_950));
    ledger.charge(fresh(9_950));
    ledger.plan(fresh(30));
    assert_eq!(ledger.adjust(100), Some(Adjustment::More(fresh(20))));
}

#[test]
fn a_forecast_of_more_than_a_day_goes_on_minute_by_minute() {
    let stored = [(minute(-61), fresh(400)), (minute(-1), fresh(600))];
    let full = Ledger::load(Quota::new(1_000, 1.0), &stored, at(0));
    for (requests, hours) in [
        (400, 23),
        (401, 24),
        (1_000, 24),
        (1_001, 47),
        (1_400, 47),
        (1_401, 48),
        (2_401, 72),
    ] {
        let expected = Some(Duration::from_secs(hours * 3_600));
        assert_eq!(full.forecast(requests, 0.0, at(0)), expected, "{requests}");
    }
}
