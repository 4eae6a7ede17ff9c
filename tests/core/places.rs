//! How the clients share the requests in flight: endpoints that hang leave some to the others.

use std::collections::BTreeMap;

use proptest::prelude::*;
use target_profile_core::drain::{Dispatch, Drain, Limits};
use target_profile_core::settings::ClientRow;
use target_profile_core::settlement::Batch;

use crate::outbox::{Outbox, accepted, at, registered, row_of};

const LIMIT: usize = 128;

/// Clients of these names and limits, the last one paused or not.
fn drain_of(clients: &[(String, i32)], last_paused: bool) -> Drain {
    let mut drain = Drain::new(Limits {
        max_in_flight: LIMIT,
        body_bytes: 2048,
    });
    let registered = clients.iter().enumerate().map(|(n, (code, max_in_flight))| {
        let row = ClientRow {
            max_in_flight: *max_in_flight,
            ..row_of(code)
        };
        registered(row, last_paused && n + 1 == clients.len())
    });
    drain.set_clients(registered.collect(), at(0));
    drain
}

fn named(count: usize, max_in_flight: i32) -> Vec<(String, i32)> {
    (0..count).map(|n| (format!("c{n}"), max_in_flight)).collect()
}

fn put(outbox: &mut Outbox, client: &str, first: i64, count: usize) {
    for (profile, id) in (first..).take(count).enumerate() {
        outbox.put(client, &format!("p{profile}"), 0, id, r#"{"a":"1"}"#);
    }
}

/// Claims what is committed until nothing more may go. It must come to an end.
fn claim_all(outbox: &Outbox, drain: &mut Drain) -> Vec<Dispatch> {
    drain.new_work();
    let mut dispatches = Vec::new();
    for _ in 0..100 {
        if !drain.wants_to_claim(outbox.now) {
            return dispatches;
        }
        dispatches.extend(outbox.claim(drain, outbox.now, &mut Batch::default()));
    }
    panic!("the drain claims in circles");
}

/// How many requests each client has in flight.
fn of_each(drain: &Drain) -> BTreeMap<String, usize> {
    let mut of_each = BTreeMap::new();
    for (profile, ..) in drain.under_way() {
        *of_each.entry(profile.client.as_str().to_owned()).or_default() += 1;
    }
    of_each
}

#[test]
fn a_single_client_may_have_them_all() {
    let (mut drain, mut outbox) = (drain_of(&named(1, 1_000), false), Outbox::default());
    put(&mut outbox, "c0", 1, 300);
    assert_eq!(claim_all(&outbox, &mut drain).len(), LIMIT);
    // So it may beside one that sends nothing.
    let mut drain = drain_of(&named(2, 1_000), true);
    assert_eq!(claim_all(&outbox, &mut drain).len(), LIMIT);
}

#[test]
fn of_the_last_places_a_client_takes_some_and_leaves_as_many_and_one_for_each_other() {
    // One hangs with all that it may have; the next has much to send, and so many others have nothing yet.
    for (others, takes) in [(0, 8), (1, 8), (2, 7), (3, 7), (10, 3), (20, 1)] {
        let mut drain = drain_of(&named(2 + others, 1_000), false);
        let mut outbox = Outbox::default();
        put(&mut outbox, "c0", 1, 300);
        assert_eq!(claim_all(&outbox, &mut drain).len(), LIMIT - LIMIT / 8);
        put(&mut outbox, "c1", 1_001, 300);
        assert_eq!(claim_all(&outbox, &mut drain).len(), takes, "{others}");
    }
}

#[test]
fn where_there_are_more_clients_than_places_each_takes_one() {
    let mut drain = drain_of(&named(41, 1_000), false);
    let mut outbox = Outbox::default();
    put(&mut outbox, "c0", 1, 300);
    assert_eq!(claim_all(&outbox, &mut drain).len(), LIMIT - LIMIT / 8);
    for n in 1..41 {
        put(&mut outbox, &format!("c{n}"), 1_000 * n + 1, 5);
    }
    assert_eq!(claim_all(&outbox, &mut drain).len(), LIMIT / 8);
    assert!(of_each(&drain).values().filter(|count| **count == 1).count() == LIMIT / 8);
}

#[test]
fn clients_that_hang_leave_some_to_whoever_comes_later() {
    // How many clients hang, what each of them may have, and what the next one gets.
    for (hanging, max_in_flight, rest) in [(1, 1_000, 8), (2, 100, 7), (4, 32, 8), (8, 32, 1), (18, 32, 1)] {
        let mut drain = drain_of(&named(hanging + 1, max_in_flight), false);
        let mut outbox = Outbox::default();
        for n in 0..hanging {
            put(&mut outbox, &format!("c{n}"), 1_000 * n as i64 + 1, 300);
        }
        let taken = claim_all(&outbox, &mut drain);
        assert!(taken.len() >= LIMIT * 7 / 8, "{hanging}: {} are little", taken.len());
        // A commit wakes the worker only if its entry can be sent.
        assert_eq!(drain.listens_at(outbox.now), Some(outbox.now), "{hanging}");
        let next = format!("c{hanging}");
        put(&mut outbox, &next, 1_000 * hanging as i64 + 1, 300);
        let own = claim_all(&outbox, &mut drain).len();
        assert_eq!(own, rest, "{hanging} hanging clients");
        assert_eq!(
            of_each(&drain).get(&next),
            Some(&own),
            "{hanging}: the others have got more"
        );
    }
}

proptest! {
    /// Whatever comes and ends: never more than the limit, a client with nothing in flight is not kept waiting by a few others, and
    /// what waits is sent once there are answers.
    #[test]
    fn all_is_sent_within_the_limit(
        clients in prop::collection::vec(1_i32..200, 1..8),
        rounds in prop::collection::vec((0..16_usize, 1..150_usize, 0..200_usize), 1..8),
    ) {
        let clients: Vec<(String, i32)> = clients.iter().enumerate().map(|(n, max)| (format!("c{n}"), *max)).collect();
        let (mut drain, mut outbox) = (drain_of(&clients, false), Outbox::default());
        let (mut under_way, mut batch, mut next) = (Vec::<Dispatch>::new(), Batch::default(), 1);
        for (client, count, answers) in rounds {
            let code = &clients[client % clients.len()].0;
            // Other profiles each time.
            for id in (next..).take(count) {
                outbox.put(code, &format!("p{id}"), 0, id, r#"{"a":"1"}"#);
            }
            next += 1_000;
            under_way.extend(claim_all(&outbox, &mut drain));
            prop_assert!(of_each(&drain).contains_key(code));
            prop_assert!(under_way.len() <= LIMIT);
            for dispatch in under_way.drain(..answers.min(under_way.len())) {
                drain.complete(accepted(dispatch.ticket, outbox.now), outbox.now, 0.5, &mut batch);
            }
            outbox.settle(&mut drain, &mut batch);
        }
        for _ in 0..1_000 {
            for dispatch in under_way.drain(..) {
                drain.complete(accepted(dispatch.ticket, outbox.now), outbox.now, 0.5, &mut batch);
            }
            outbox.settle(&mut drain, &mut batch);
            under_way = claim_all(&outbox, &mut drain);
            if under_way.is_empty() {
                break;
            }
        }
        prop_assert!(outbox.rows.is_empty());
    }
}
