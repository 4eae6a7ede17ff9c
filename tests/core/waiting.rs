//! More profiles that wait for their time, and more priorities, than a client is given memory for: nobody else waits for them, and each of
//! them goes when its time has come.

use std::collections::BTreeSet;

use target_profile_core::drain::{Dispatch, Registration};
use target_profile_core::lane::REVISIT_LIMIT;
use target_profile_core::settings::ClientRow;

use crate::delivery::Scene;
use crate::outbox::{accepted, at, registered, row_of};

const HOUR: i64 = 3_600_000;

/// More than are kept in memory.
const MANY: i64 = 10_500;

/// That many profiles, of which each waits until a time in milliseconds.
fn waiting(scene: &mut Scene, count: i64, until: impl Fn(i64) -> i64) {
    for id in 1..=count {
        scene.outbox.put("acme", &format!("p{id}"), 0, id, r#"{"a": "1"}"#);
        let row = scene.outbox.rows.get_mut(&id).unwrap();
        row.next_attempt_at = Some(at(until(id)));
        row.attempts = 1;
    }
    scene.drain.new_work();
}

/// Sends all that may be sent at a time, and has it accepted; the profiles in that order.
fn send_all(scene: &mut Scene, now: i64) -> Vec<String> {
    let mut sent = Vec::new();
    loop {
        let claimed = scene.claim_all(at(now));
        if claimed.is_empty() {
            return sent;
        }
        for Dispatch { ticket, request, .. } in claimed {
            let id = request.url.split("mbox3rdPartyId=").nth(1).unwrap();
            sent.push(id.split('&').next().unwrap().to_owned());
            scene.complete(accepted(ticket, at(now)), at(now));
        }
        scene.settle();
    }
}

#[test]
fn what_waits_beyond_the_memory_goes_when_its_time_has_come() {
    let delayed = ClientRow {
        delay: HOUR * 1_000,
        ..row_of("acme")
    };
    let mut scene = Scene::new(vec![(delayed, false)]);
    for id in 1..=MANY {
        scene.outbox.put("acme", &format!("p{id}"), 0, id, r#"{"a": "1"}"#);
    }
    scene.drain.new_work();
    assert!(send_all(&mut scene, 0).is_empty());
    assert!(scene.drain.next_wake(at(1)).is_some_and(|wake| wake == at(HOUR)));
    let sent = send_all(&mut scene, HOUR);
    let all: BTreeSet<&String> = sent.iter().collect();
    assert_eq!((sent.len(), all.len()), (10_500, 10_500), "each once");
    assert!(scene.outbox.rows.is_empty());
    // Every row was read once when it came, and those beyond the memory again with what was still there.
    assert!(scene.outbox.heads.get() < 30_000, "{}", scene.outbox.heads.get());
}

#[test]
fn whoever_comes_after_many_that_wait_does_not_wait() {
    let mut scene = Scene::acme();
    waiting(&mut scene, 3 * MANY, |_| HOUR);
    assert!(send_all(&mut scene, 0).is_empty());
    let before = scene.outbox.heads.get();
    for (nth, priority) in [0, 100, -5].into_iter().enumerate() {
        let id = 3 * MANY + 1 + i64::try_from(nth).unwrap();
        scene
            .outbox
            .put("acme", &format!("fresh{nth}"), priority, id, r#"{"a": "1"}"#);
        scene.drain.new_work();
        assert_eq!(send_all(&mut scene, 1), [format!("fresh{nth}")]);
    }
    assert!(scene.outbox.heads.get() - before < 10, "what waits is not read again");
    assert!(!scene.drain.wants_to_claim(at(1)));
    // Nor does a newer update of one that waits: all of its entries go, in their order.
    scene.outbox.put("acme", "p31000", 0, 40_000, r#"{"b": "2"}"#);
    scene.drain.new_work();
    let dispatch = scene.one(at(2));
    assert!(dispatch.request.url.contains("a=1") && dispatch.request.url.contains("b=2"));
}

#[test]
fn those_that_are_due_first_are_kept() {
    let mut scene = Scene::acme();
    // The sequence goes on, whatever is settled.
    scene.outbox.put("nobody", "p", 0, 99_999, r#"{"a": "1"}"#);
    // The last one read is the first one due.
    waiting(&mut scene, 2 * MANY, |id| HOUR - id);
    assert!(send_all(&mut scene, 0).is_empty());
    let heads = scene.outbox.heads.get();
    assert_eq!(send_all(&mut scene, HOUR - 2 * MANY), ["p21000"]);
    assert_eq!(send_all(&mut scene, HOUR - 2 * MANY + 2), ["p20998", "p20999"]);
    assert_eq!(
        scene.outbox.heads.get(),
        heads,
        "and the others are not read again for it"
    );
}

#[test]
fn all_that_wait_for_a_retry_are_tried_again_sooner_or_later() {
    let mut scene = Scene::acme();
    waiting(&mut scene, MANY + 50, |id| if id % 2 == 0 { HOUR } else { 2 * HOUR });
    let mut sent = BTreeSet::new();
    let mut now = 0;
    while !scene.outbox.rows.is_empty() {
        sent.extend(send_all(&mut scene, now));
        now += HOUR / 4;
        assert!(now < 400 * HOUR, "{} are left", scene.outbox.rows.len());
    }
    assert_eq!(sent.len(), 10_550);
}

#[test]
fn resume_has_everything_tried_at_once() {
    let mut scene = Scene::acme();
    waiting(&mut scene, MANY, |_| 20 * HOUR);
    assert!(send_all(&mut scene, 0).is_empty());
    let resumed = Registration {
        resumed_at: Some(at(1)),
        ..registered(row_of("acme"), false)
    };
    scene.drain.set_clients(vec![resumed], at(1));
    let mut sent = 0;
    // Retries have a budget, which fills with the requests that succeed and with time.
    for minute in 0..1_000 {
        sent += send_all(&mut scene, 1 + minute * 60_000).len();
        if scene.outbox.rows.is_empty() {
            break;
        }
    }
    assert_eq!(sent, 10_500, "long before their time");
}

#[test]
fn what_resume_has_let_go_goes_also_if_more_of_it_is_read() {
    let mut scene = Scene::acme();
    waiting(&mut scene, 1, |_| 20 * HOUR);
    assert!(send_all(&mut scene, 0).is_empty());
    let resumed = Registration {
        resumed_at: Some(at(1)),
        ..registered(row_of("acme"), false)
    };
    scene.drain.set_clients(vec![resumed], at(1));
    // A retry waits for its budget while an entry of a higher priority is read.
    scene.outbox.put("acme", "p1", 9, 2, r#"{"b": "1"}"#);
    scene.drain.new_work();
    let mut sent = Vec::new();
    for minute in 0..60 {
        sent.extend(send_all(&mut scene, 1 + minute * 60_000));
    }
    assert_eq!(sent, ["p1"]);
}

#[test]
fn resume_leaves_a_delay_as_it_is() {
    let delayed = || ClientRow {
        delay: HOUR * 1_000,
        ..row_of("acme")
    };
    let mut scene = Scene::new(vec![(delayed(), false)]);
    scene.put("ada", 1, r#"{"a": "1"}"#);
    assert!(send_all(&mut scene, 0).is_empty());
    let resumed = Registration {
        resumed_at: Some(at(1)),
        ..registered(delayed(), false)
    };
    scene.drain.set_clients(vec![resumed], at(1));
    assert!(send_all(&mut scene, 2).is_empty());
    assert_eq!(send_all(&mut scene, HOUR), ["ada"]);
}

#[test]
fn a_time_that_somebody_has_set_counts_when_the_row_is_read_again() {
    let mut scene = Scene::acme();
    waiting(&mut scene, 3, |_| 20 * HOUR);
    assert!(send_all(&mut scene, 0).is_empty());
    scene.outbox.rows.get_mut(&2).unwrap().next_attempt_at = None;
    scene.outbox.rows.get_mut(&3).unwrap().next_attempt_at = Some(at(HOUR));
    scene.drain.sweep();
    assert_eq!(send_all(&mut scene, 1), ["p2"]);
    assert_eq!(send_all(&mut scene, HOUR), ["p3"]);
    assert!(send_all(&mut scene, 2 * HOUR).is_empty());
}

#[test]
fn many_priorities_are_looked_into_a_few_at_a_time_and_forgotten() {
    let mut scene = Scene::new(vec![(row_of("acme"), false), (row_of("other"), false)]);
    for id in 1..=1_000 {
        // Shuffled.
        let priority = i16::try_from((id * 37) % 1_000).unwrap();
        scene
            .outbox
            .put("acme", &format!("p{priority}"), priority, id, r#"{"a": "1"}"#);
    }
    scene.outbox.put("other", "urgent", 0, 2_000, r#"{"a": "1"}"#);
    scene.drain.new_work();
    let first = scene.claim(at(0));
    assert!(first.iter().any(|dispatch| dispatch.request.url.contains("urgent")));
    for Dispatch { ticket, .. } in first {
        scene.complete(accepted(ticket, at(0)), at(0));
    }
    scene.settle();
    let sent = send_all(&mut scene, 0);
    assert!(scene.outbox.rows.is_empty(), "{} are left", scene.outbox.rows.len());
    let priorities: Vec<i32> = sent.iter().map(|profile| profile[1..].parse().unwrap()).collect();
    let inversions = priorities.windows(2).filter(|pair| pair[0] < pair[1]).count();
    assert!(inversions < 20, "by priority, of those that are known: {inversions}");
    scene.drain.new_work();
    assert!(scene.drain.reads(at(1)).len() <= 2 * 65 + 2);
}

#[test]
fn many_priorities_of_which_everything_waits_do_not_stop_a_lower_one() {
    let mut scene = Scene::acme();
    waiting(&mut scene, 500, |_| HOUR);
    for id in 1..=500 {
        let priority = i16::try_from(id).unwrap();
        scene.outbox.rows.get_mut(&id).unwrap().priority = priority;
    }
    assert!(send_all(&mut scene, 0).is_empty());
    for round in 0..3 {
        let id = 1_000 + round;
        scene
            .outbox
            .put("acme", &format!("low{round}"), -7, id, r#"{"a": "1"}"#);
        scene.drain.new_work();
        assert_eq!(send_all(&mut scene, 1 + round), [format!("low{round}")]);
    }
    assert!(!scene.drain.wants_to_claim(at(5)), "and nothing is done for nothing");
    let mut sent = 0;
    for minute in 0..600 {
        sent += send_all(&mut scene, HOUR + minute * 60_000).len();
    }
    assert_eq!(sent, 500);
}

#[test]
fn priorities_that_are_left_out_of_a_turn_are_looked_into_at_the_next() {
    let mut scene = Scene::acme();
    waiting(&mut scene, 120, |_| HOUR);
    for (id, row) in &mut scene.outbox.rows {
        row.priority = i16::try_from(*id).unwrap();
    }
    assert!(send_all(&mut scene, 0).is_empty());
    scene.drain.new_work();
    let mut looked_into = || -> BTreeSet<i16> { scene.drain.reads(at(1)).iter().map(|read| read.priority).collect() };
    let (first, second) = (looked_into(), looked_into());
    assert_eq!((first.len(), second.len()), (64, 64));
    assert_eq!(first.union(&second).count(), 120);
}

#[test]
fn the_more_profiles_wait_the_more_is_read_at_a_time() {
    let front = |count| {
        let mut scene = Scene::acme();
        waiting(&mut scene, count, |_| HOUR);
        assert!(send_all(&mut scene, 0).is_empty());
        scene.drain.new_work();
        scene.drain.reads(at(1))[0].limit
    };
    assert!(front(900) < REVISIT_LIMIT);
    assert_eq!(front(1_100), REVISIT_LIMIT);
}
