//! The books of the drain: what is reserved and used, what was sent and how it ended, and when that is written.

use std::collections::BTreeMap;
use std::time::Duration;

use target_profile_core::client_code::ClientCode;
use target_profile_core::quota::{Class, Count, Minute, SMALL_BLOCK};
use target_profile_core::settings::ClientRow;
use target_profile_core::settlement::Batch;
use target_profile_core::step::ClockStep;
use target_profile_core::time::Timestamp;
use target_profile_core::verdict::Outcome;

use crate::delivery::Scene;
use crate::outbox::{accepted, answered, at, row_of};

const MINUTE: i64 = 60_000;
const TRUE: &str = "trueRequest successfully submitted";

fn code(client: &str) -> ClientCode {
    ClientCode::parse(client).unwrap()
}

/// So many entries of as many profiles, from `first` on.
fn put(scene: &mut Scene, first: i64, count: usize) {
    for id in (first..).take(count) {
        scene.put(&format!("p{id}"), id, r#"{"a": "1"}"#);
    }
}

fn with_quota(daily_quota: i64) -> Scene {
    let row = ClientRow {
        daily_quota,
        ..row_of("acme")
    };
    Scene::new(vec![(row, false)])
}

/// What a report at that time writes.
fn reported(scene: &mut Scene, now: Timestamp) -> Batch {
    let mut batch = Batch::default();
    scene.drain.report(now, &mut batch);
    batch
}

#[test]
fn a_client_is_held_by_its_quota_once_it_is_used_up_and_not_after_it_was_mended() {
    let mut scene = with_quota(2);
    put(&mut scene, 1, 3);
    let sent = scene.claim_all(at(0));
    assert_eq!(sent.len(), 2);
    for dispatch in sent {
        scene.complete(accepted(dispatch.ticket, at(0)), at(0));
    }
    scene.settle();
    assert_eq!(scene.drain.held_by_quota().collect::<Vec<_>>(), [&code("acme")]);
    assert!(scene.claim_all(at(1)).is_empty());
    scene.drain.reload_ledger(&code("acme"), &[], at(1));
    assert_eq!(scene.drain.held_by_quota().count(), 0);
    assert_eq!(scene.claim_all(at(1)).len(), 1);
}

#[test]
fn requests_and_their_outcomes_are_counted() {
    let mut scene = Scene::acme();
    put(&mut scene, 1, 3);
    let sent = scene.claim_all(at(0));
    for (dispatch, (status, body)) in sent.iter().zip([(200, TRUE), (200, TRUE), (200, "falseno")]) {
        scene.complete(answered(dispatch.ticket, at(0), status, body), at(0));
    }
    scene.settle();
    let activity = scene.outbox.activity[&Minute::of(at(0))];
    assert_eq!(activity.sent, Class::Fresh.count(3));
    let outcomes =
        [Outcome::Accepted, Outcome::Rejected, Outcome::Failed].map(|outcome| activity.outcomes[outcome as usize]);
    assert_eq!(outcomes, [2, 1, 0]);
}

/// While more is under way it is written once a second, and at once when nothing is.
#[test]
fn activity_is_written_once_a_second_while_requests_go_out() {
    let mut scene = Scene::acme();
    scene.outbox.now = at(0);
    put(&mut scene, 1, 6);
    let sent = scene.claim_all(at(0));
    let answer = |scene: &mut Scene, number: usize, now: Timestamp| {
        scene.complete(accepted(sent[number].ticket, at(0)), now);
        let batch = std::mem::take(&mut scene.batch);
        scene.drain.settled(batch);
    };
    answer(&mut scene, 0, at(0));
    assert!(!reported(&mut scene, at(0)).activity.is_empty(), "the first");
    assert_eq!(scene.drain.report_due(), None);
    answer(&mut scene, 1, at(0));
    assert!(reported(&mut scene, at(0)).activity.is_empty());
    assert_eq!(scene.drain.report_due(), Some(at(1_000)));
    assert!(reported(&mut scene, at(999)).activity.is_empty());
    assert!(!reported(&mut scene, at(1_000)).activity.is_empty());
    answer(&mut scene, 2, at(1_010));
    // With what was to be written before and could not be, and where the clock was set back.
    let mut batch = Batch::default();
    batch
        .activity
        .insert((code("acme"), Minute::of(at(0))), Default::default());
    scene.drain.report(at(1_020), &mut batch);
    assert_eq!(
        batch.activity[&(code("acme"), Minute::of(at(0)))].outcomes[Outcome::Accepted as usize],
        1
    );
    answer(&mut scene, 3, at(1_030));
    assert!(!reported(&mut scene, at(-5_000)).activity.is_empty());
    // The last: nothing is under way behind it.
    answer(&mut scene, 4, at(-4_990));
    assert!(reported(&mut scene, at(-4_990)).activity.is_empty());
    answer(&mut scene, 5, at(-4_980));
    assert!(!reported(&mut scene, at(-4_980)).activity.is_empty());
    // What is only reserved is not written.
    assert!(reported(&mut scene, at(2 * MINUTE)).activity.is_empty());
}

/// What is reserved of a minute is what was sent, and little more.
#[test]
fn what_is_not_used_is_given_back() {
    let row = ClientRow {
        max_in_flight: 50,
        ..row_of("acme")
    };
    let (mut scene, mut id) = (Scene::new(vec![(row, false)]), 1);
    let mut reserved: BTreeMap<Minute, Count> = BTreeMap::new();
    for round in 0..40 {
        let now = at(round * 7_000);
        scene.outbox.now = now;
        put(&mut scene, id, 50);
        id += 50;
        while scene.drain.wants_to_claim(now) {
            let dispatches = scene.outbox.claim_only(&mut scene.drain, now, &mut scene.batch);
            let reservations = scene.drain.reservations(&dispatches, now);
            for reservation in &reservations {
                *reserved.entry(reservation.minute).or_default() += reservation.count;
            }
            scene.drain.reserved(reservations);
            for (number, dispatch) in scene.drain.send(dispatches, now).into_iter().enumerate() {
                scene.complete(accepted(dispatch.ticket, now), now);
                // A pace is known while others are under way, and more is reserved than is needed in the end.
                if number == 24 {
                    scene.settle();
                }
            }
            scene.settle();
        }
    }
    let last = scene.outbox.activity.keys().copied().max();
    for (&minute, activity) in &scene.outbox.activity {
        let held = reserved[&minute] + activity.reserved - activity.returned;
        assert!(held.all >= activity.sent.all, "{minute:?} {activity:?}");
        let spare = if Some(minute) == last { 2 * SMALL_BLOCK } else { 0 };
        assert!(held.all <= activity.sent.all + spare, "{minute:?} {activity:?}");
        assert_eq!(held.backfill, 0);
    }
    assert!(scene.outbox.activity.len() > 4);
}

#[test]
fn at_a_pace_more_is_reserved_in_advance_and_for_others_nothing() {
    let clients = ["acme", "beta"].map(|client| {
        let row = ClientRow {
            max_in_flight: 50,
            ..row_of(client)
        };
        (row, false)
    });
    let mut scene = Scene::new(clients.to_vec());
    scene.outbox.put("beta", "p0", 0, 1_000, r#"{"a": "1"}"#);
    put(&mut scene, 1, 40);
    let sent = scene.claim_all(at(0));
    assert_eq!(sent.len(), 41);
    for dispatch in sent {
        scene.complete(accepted(dispatch.ticket, at(0)), at(0));
    }
    scene.settle();
    // In the next minute acme goes on, and has others under way when it is reported.
    let now = at(MINUTE);
    scene.outbox.now = now;
    put(&mut scene, 101, 40);
    let sent = scene.claim_all(now);
    let mut batch = Batch::default();
    for dispatch in &sent[..20] {
        scene
            .drain
            .complete(accepted(dispatch.ticket, now), now, 0.5, &mut batch);
    }
    scene.drain.report(now, &mut batch);
    let reserved = |client: &str| {
        let place = (code(client), Minute::of(now));
        batch
            .activity
            .get(&place)
            .map_or(Count::ZERO, |activity| activity.reserved)
    };
    assert_eq!(reserved("beta"), Count::ZERO);
    assert!(reserved("acme").all > 0, "{:?}", batch.activity);
    scene.drain.settled(batch);
    // So the next ones wait for no reservation.
    put(&mut scene, 201, 10);
    let mut batch = Batch::default();
    let dispatches = scene.outbox.claim_only(&mut scene.drain, now, &mut batch);
    assert_eq!(dispatches.len(), 10);
    assert!(scene.drain.reservations(&dispatches, now).is_empty());
}

#[test]
fn ledgers_that_follow_the_clock_count_in_their_new_minutes() {
    let mut scene = with_quota(1);
    put(&mut scene, 1, 2);
    let sent = scene.one(at(0));
    scene.complete(accepted(sent.ticket, at(0)), at(0));
    scene
        .drain
        .clock_set(at(0), ClockStep::between(at(0), at(30 * MINUTE)), &mut scene.batch);
    scene.drain.move_ledgers(30, &mut scene.batch);
    scene.settle();
    let minutes: Vec<Minute> = scene.outbox.activity.keys().copied().collect();
    assert_eq!(minutes, [Minute::of(at(0)).plus(30)]);
    let due = scene.drain.next_wake(at(30 * MINUTE)).unwrap();
    assert_eq!(
        due,
        Minute::of(at(0)).plus(31).start().plus(Duration::from_secs(24 * 3_600))
    );
}

#[test]
fn breakers_are_reported_when_they_move_and_when_the_clock_moves_them() {
    let mut scene = Scene::acme();
    put(&mut scene, 1, 2);
    let sent = scene.claim_all(at(0));
    scene.complete(accepted(sent[0].ticket, at(0)), at(0));
    assert!(reported(&mut scene, at(0)).breakers.is_empty(), "it was closed and is");
    scene.complete(answered(sent[1].ticket, at(0), 503, ""), at(0));
    assert_eq!(reported(&mut scene, at(0)).breakers.len(), 1);
    assert!(reported(&mut scene, at(1)).breakers.is_empty());
    scene
        .drain
        .clock_set(at(2), ClockStep::between(at(0), at(5_000)), &mut scene.batch);
    let moved = reported(&mut scene, at(5_002)).breakers;
    assert_eq!(moved[0].1.as_ref().unwrap().since, at(5_000));
}
