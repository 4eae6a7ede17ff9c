//! What is held of what waits: bounded by bytes, and nobody is starved by it.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use target_profile_core::attrs::{FlatAttrs, Stored};
use target_profile_core::client_code::ClientCode;
use target_profile_core::drain::{Admission, Carried, Entry, OVERTAKEN};
use target_profile_core::drain::{Dispatch, Drain, HELD_BYTES, LARGE_BYTES, Limits, Reading};
use target_profile_core::endpoint::Endpoint;
use target_profile_core::error::{Error, ErrorKind};
use target_profile_core::id::{IdKind, ProfileKey};
use target_profile_core::limits::{FLAT_ATTRS, FLAT_BYTES, STORED_BYTES};
use target_profile_core::request::{self, MethodPolicy, Plan};
use target_profile_core::settlement::Batch;

use crate::outbox::{Outbox, accepted, answered, at, registered, row_of};

fn drain_of(clients: &[&str], max_in_flight: usize) -> Drain {
    let mut drain = Drain::new(Limits {
        max_in_flight,
        body_bytes: 2048,
    });
    let registered = clients.iter().map(|code| {
        let row = target_profile_core::settings::ClientRow {
            max_in_flight: 1_000,
            ..row_of(code)
        };
        registered(row, false)
    });
    drain.set_clients(registered.collect(), at(0));
    drain
}

/// Attributes of about so many bytes, in values of 40 kB.
fn of_bytes(bytes: usize) -> String {
    let mut pairs = Vec::new();
    for start in (0..bytes).step_by(40_000) {
        let value = "v".repeat(40_000.min(bytes - start));
        pairs.push(format!("\"k{start:09}\":\"{value}\""));
    }
    format!("{{{}}}", pairs.join(","))
}

/// What requests hold: themselves alone, so less than what is counted.
fn bytes_of(dispatches: &HashMap<u64, Dispatch>) -> usize {
    dispatches.values().map(|dispatch| dispatch.request.bytes()).sum()
}

#[test]
fn many_updates_of_a_request_each_do_not_go_at_once() {
    let mut drain = drain_of(&["acme"], 800);
    let mut outbox = Outbox::default();
    for id in 1..=200 {
        outbox.put("acme", &format!("p{id}"), 0, id, &of_bytes(50_000));
    }
    let mut under_way: HashMap<u64, Dispatch> = HashMap::new();
    let (mut batch, mut most, mut sent) = (Batch::default(), 0, 0);
    for _ in 0..10_000 {
        if drain.wants_to_claim(outbox.now) {
            let dispatches = outbox.claim(&mut drain, outbox.now, &mut batch);
            sent += dispatches.len();
            under_way.extend(dispatches.into_iter().map(|dispatch| (dispatch.ticket, dispatch)));
            most = most.max(bytes_of(&under_way));
            // Half of it is left to others.
            assert!(drain.held_bytes() <= HELD_BYTES / 2, "{}", drain.held_bytes());
            if drain.wants_to_claim(outbox.now) {
                continue;
            }
        }
        let Some(&ticket) = under_way.keys().min() else { break };
        under_way.remove(&ticket);
        drain.complete(accepted(ticket, outbox.now), outbox.now, 0.5, &mut batch);
        outbox.settle(&mut drain, &mut batch);
    }
    assert_eq!((outbox.rows.len(), sent), (0, 200));
    // As many as there is room for: half of it for a single client.
    assert!(most > HELD_BYTES / 10 && most < HELD_BYTES / 2, "{most}");
}

#[test]
fn a_client_whose_endpoint_hangs_leaves_room_to_the_others() {
    let mut drain = drain_of(&["hangs", "works"], 800);
    let mut outbox = Outbox::default();
    for id in 1..=200 {
        outbox.put("hangs", &format!("p{id}"), 5, id, &of_bytes(50_000));
    }
    // A large one of it hangs, too.
    outbox.put("hangs", "large", 9, 501, &of_bytes(4 * LARGE_BYTES));
    let mut batch = Batch::default();
    let mut hanging = 0;
    while drain.wants_to_claim(outbox.now) {
        hanging += outbox.claim(&mut drain, outbox.now, &mut batch).len();
    }
    assert!(hanging > 10, "{hanging}");
    for id in 1_001..=1_100 {
        outbox.put("works", &format!("q{id}"), 0, id, &of_bytes(50_000));
    }
    drain.new_work();
    let mut arrived = 0;
    while drain.wants_to_claim(outbox.now) {
        for dispatch in outbox.claim(&mut drain, outbox.now, &mut batch) {
            if dispatch.request.url.contains("/works/") {
                arrived += 1;
                drain.complete(accepted(dispatch.ticket, outbox.now), outbox.now, 0.5, &mut batch);
            } else {
                hanging += 1;
            }
        }
        outbox.settle(&mut drain, &mut batch);
    }
    assert_eq!(arrived, 100);
    assert!(hanging < 100, "{hanging} of those that hang have taken the room");
}

#[test]
fn entries_of_a_profile_are_merged_up_to_a_megabyte() {
    let mut drain = drain_of(&["acme"], 100);
    let mut outbox = Outbox::default();
    for id in 1..=30 {
        outbox.put(
            "acme",
            "ada",
            0,
            id,
            &format!("{{\"k{id}\":\"{}\"}}", "v".repeat(50_000)),
        );
    }
    outbox.claim(&mut drain, outbox.now, &mut Batch::default());
    let (_, first, last) = drain.under_way().next().unwrap();
    assert_eq!((first, last), (1, 20));
}

#[test]
fn each_entry_of_a_delivery_is_counted() {
    let held = |entries: i64| {
        let mut drain = drain_of(&["acme"], 100);
        let mut outbox = Outbox::default();
        for id in 1..=entries {
            outbox.put("acme", "ada", 0, id, "{\"a\":\"1\"}");
        }
        assert_eq!(outbox.claim(&mut drain, outbox.now, &mut Batch::default()).len(), 1);
        drain.held_bytes()
    };
    // Twice: lists grow by doubling.
    let each = 2 * (size_of::<Carried>() + size_of::<i64>());
    assert_eq!(held(101) - held(1), 100 * each);
}

#[test]
fn the_request_of_a_delivery_is_counted_twice() {
    let mut drain = drain_of(&["acme"], 100);
    let mut outbox = Outbox::default();
    outbox.put("acme", "ada", 0, 1, &of_bytes(40_000));
    assert_eq!(outbox.claim(&mut drain, outbox.now, &mut Batch::default()).len(), 1);
    assert!(
        (120_000..125_000).contains(&drain.held_bytes()),
        "{}",
        drain.held_bytes()
    );
}

/// An encoded byte takes three, and a request is there twice.
#[test]
fn before_entries_are_read_their_requests_are_taken_for_as_large_as_they_may_be() {
    let mut drain = drain_of(&["acme"], 800);
    let mut outbox = Outbox::default();
    for id in 1..=200 {
        outbox.put("acme", &format!("p{id}"), 0, id, &of_bytes(10_000));
    }
    let sent = outbox.claim(&mut drain, outbox.now, &mut Batch::default()).len();
    let expected = HELD_BYTES / 2 / (7 * 10_000 + 2 * 512 + 1_024);
    assert!(
        (expected - 2..=expected + 1).contains(&sent),
        "{sent} and not {expected}"
    );
}

#[test]
fn large_updates_go_one_at_a_time_and_small_ones_pass_them() {
    let mut drain = drain_of(&["acme", "beta"], 100);
    let mut outbox = Outbox::default();
    for (id, client) in (1..=3).zip(["acme", "beta", "acme"]) {
        outbox.put(client, &format!("large{id}"), 0, id, &of_bytes(4 * LARGE_BYTES));
    }
    for id in 4..=10 {
        outbox.put("acme", &format!("small{id}"), 0, id, "{\"a\":\"1\"}");
    }
    let mut batch = Batch::default();
    let mut large: BTreeMap<String, usize> = BTreeMap::new();
    let mut small = 0;
    let mut under_way: Vec<Dispatch> = Vec::new();
    for _ in 0..1_000 {
        while drain.wants_to_claim(outbox.now) {
            under_way.extend(outbox.claim(&mut drain, outbox.now, &mut batch));
        }
        let posts = under_way
            .iter()
            .filter(|dispatch| dispatch.request.body.is_some())
            .count();
        assert!(posts <= 1, "{posts} large ones at once");
        let Some(dispatch) = under_way.pop() else { break };
        match &dispatch.request.body {
            Some(body) => {
                let profile = body.split('&').next().unwrap().to_owned();
                *large.entry(profile).or_default() += 1;
            }
            None => {
                assert!(large.len() <= 1, "it has waited for more than one");
                small += 1;
            }
        }
        let next = drain.complete(accepted(dispatch.ticket, outbox.now), outbox.now, 0.5, &mut batch);
        under_way.extend(next);
        outbox.settle(&mut drain, &mut batch);
    }
    assert_eq!((outbox.rows.len(), small, large.len()), (0, 7, 3), "{large:?}");
    // Values of 40 kB, of which one fits in a request: the last one is shorter, and goes with the one before it.
    let parts = 4 * LARGE_BYTES / 40_000;
    assert!(large.values().all(|count| *count == parts), "{large:?}");
}

/// What is left of a large update when the minute of its quota ends, or its client fails, goes on where it was: or it would never end.
#[test]
fn a_large_update_goes_on_where_it_was() {
    let mut drain = drain_of(&["acme"], 100);
    let mut outbox = Outbox::default();
    let bytes = FLAT_BYTES / 4;
    outbox.put("acme", "large", 0, 1, &of_bytes(bytes - 10_000));
    let mut batch = Batch::default();
    let (mut sent, mut next, mut turns) = (0, Vec::new(), 0);
    while !outbox.rows.is_empty() && turns < 100_000 {
        turns += 1;
        // Each answer takes two seconds: the quota's minute ends again and again. Each 50th is an error.
        outbox.now = outbox.now.plus(std::time::Duration::from_secs(2));
        if next.is_empty() && drain.wants_to_claim(outbox.now) {
            next = outbox.claim(&mut drain, outbox.now, &mut batch);
        }
        if let Some(dispatch) = next.pop() {
            sent += 1;
            let report = if sent % 50 == 0 {
                answered(dispatch.ticket, outbox.now, 503, "no")
            } else {
                accepted(dispatch.ticket, outbox.now)
            };
            next.extend(drain.complete(report, outbox.now, 0.5, &mut batch));
        }
        outbox.settle(&mut drain, &mut batch);
    }
    assert!(
        outbox.rows.is_empty() && outbox.dead.is_empty(),
        "{sent} sent, {:?}",
        outbox.dead
    );
    let parts = bytes / 40_000;
    assert!(sent >= parts && sent < parts * 11 / 10, "{sent} of {parts}");
}

#[test]
fn what_follows_an_entry_that_was_passed_is_passed() {
    let key = ProfileKey::new(ClientCode::parse("acme").unwrap(), IdKind::Mbox3rdPartyId, "p").unwrap();
    for (read_before, sent) in [(false, 0), (true, 1)] {
        let mut drain = drain_of(&["acme"], 100);
        let mut reading = Reading::new(vec![key.clone()]);
        if read_before {
            assert_eq!(drain.admit(&mut reading, 0, 10), Admission::Read);
            let entry = Entry {
                profile: 0,
                id: 1,
                attrs: FlatAttrs::from_stored_json("{\"a\":\"1\"}"),
                attempts: 0,
                enqueued_at: at(0),
                retried: false,
                version: 0,
            };
            drain.add(&mut reading, entry);
        }
        drain.pass(&mut reading, 0);
        assert_eq!(drain.admit(&mut reading, 0, 10), Admission::Pass);
        drain.pass(&mut reading, 1);
        assert!(drain.claim_read(reading, &mut Batch::default()).len() <= sent);
    }
}

#[test]
fn an_entry_of_nothing_is_invalid_and_overtaken_only_if_it_was_retried() {
    for (retried, reason) in [(false, "invalid entry: "), (true, OVERTAKEN)] {
        let mut drain = drain_of(&["acme"], 100);
        let key = ProfileKey::new(ClientCode::parse("acme").unwrap(), IdKind::Mbox3rdPartyId, "p").unwrap();
        let mut reading = Reading::new(vec![key]);
        let entry = Entry {
            profile: 0,
            id: 1,
            attrs: Err(Error::NothingToSend),
            attempts: 0,
            enqueued_at: at(0),
            retried,
            version: 0,
        };
        drain.add(&mut reading, entry);
        let mut batch = Batch::default();
        drain.claim_read(reading, &mut batch);
        assert!(batch.dead[0].reason.starts_with(reason), "{}", batch.dead[0].reason);
    }
}

#[test]
fn an_entry_is_large_by_its_size() {
    for (stored, large) in [(LARGE_BYTES, false), (LARGE_BYTES + 1, true)] {
        let mut drain = drain_of(&["acme"], 100);
        let key = ProfileKey::new(ClientCode::parse("acme").unwrap(), IdKind::Mbox3rdPartyId, "p").unwrap();
        let mut reading = Reading::new(vec![key]);
        assert_eq!(drain.admit(&mut reading, 0, stored), Admission::Read);
        assert_eq!(drain.holds_large(), large, "{stored}");
    }
}

/// Whether an entry of so many bytes, by the memory of the first one, goes with that.
fn goes_along(first: &str, second: impl FnOnce(usize) -> usize) -> bool {
    let mut drain = drain_of(&["acme"], 100);
    let key = ProfileKey::new(ClientCode::parse("acme").unwrap(), IdKind::Mbox3rdPartyId, "p").unwrap();
    let mut reading = Reading::new(vec![key]);
    assert_eq!(drain.admit(&mut reading, 0, first.len()), Admission::Read);
    let attrs = FlatAttrs::from_stored_json(first).unwrap();
    let second = second(attrs.memory());
    let entry = Entry {
        profile: 0,
        id: 1,
        attrs: Ok(attrs),
        attempts: 0,
        enqueued_at: at(0),
        retried: false,
        version: 0,
    };
    drain.add(&mut reading, entry);
    drain.admit(&mut reading, 0, second) == Admission::Read
}

#[test]
fn an_entry_goes_along_with_those_before_it_unless_one_is_large_or_all_together_are() {
    const MEGABYTE: usize = 1024 * 1024;
    assert!(goes_along(&of_bytes(1_000), |_| 1_000));
    assert!(!goes_along(&of_bytes(LARGE_BYTES + 1), |_| 1_000));
    assert!(!goes_along(&of_bytes(1_000), |_| LARGE_BYTES + 1));
    // Small in the table, and much in memory.
    let pairs: Vec<String> = (0..6_000).map(|n| format!("\"k{n:05}\":\"\"")).collect();
    let first = format!("{{{}}}", pairs.join(","));
    assert!(goes_along(&first, |memory| MEGABYTE - memory));
    assert!(!goes_along(&first, |memory| MEGABYTE - memory + 1));
}

#[test]
fn what_is_too_large_is_refused_by_its_size() {
    let mut drain = drain_of(&["acme"], 100);
    let key = ProfileKey::new(ClientCode::parse("acme").unwrap(), IdKind::Mbox3rdPartyId, "p").unwrap();
    let mut reading = Reading::new(vec![key]);
    assert_eq!(drain.admit(&mut reading, 0, STORED_BYTES + 1), Admission::TooLarge);
    assert_eq!(drain.admit(&mut reading, 0, STORED_BYTES), Admission::Read);
    assert_eq!(
        drain.admit(&mut reading, 1, 1),
        Admission::Pass,
        "there is no such profile"
    );
    let error = Error::ValueTooLarge {
        bytes: STORED_BYTES + 1,
    };
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.detail().unwrap().contains(&STORED_BYTES.to_string()));
    // It is buried, also if it comes alone.
    let mut outbox = Outbox::default();
    outbox.put("acme", "p", 0, 1, "{\"a\":{}}");
    let mut batch = Batch::default();
    let entry = Entry {
        profile: 0,
        id: 1,
        attrs: Err(error),
        attempts: 0,
        enqueued_at: at(0),
        retried: false,
        version: 0,
    };
    drain.add(&mut reading, entry);
    assert!(drain.claim_read(reading, &mut batch).is_empty());
    assert_eq!(batch.dead[0].reason, "invalid entry: value is too large");
    // Whether it is still the same is not asked: that would read it.
    assert_eq!(batch.dead[0].version, None);
}

#[test]
fn attributes_are_bounded_in_number() {
    let mut stored = Stored::default();
    for n in 0..FLAT_ATTRS {
        stored.put(n.to_string(), "x".into()).unwrap();
    }
    assert_eq!(stored.put("more".to_owned(), "x".into()), Err(Error::AttrsTooMany));
    let members = (0..=FLAT_ATTRS)
        .map(|i| format!("\"{i}\":1"))
        .collect::<Vec<_>>()
        .join(",");
    let error = FlatAttrs::from_json(&format!("{{{members}}}"), &Default::default()).unwrap_err();
    assert_eq!(
        (error.clone(), error.kind()),
        (Error::AttrsTooMany, ErrorKind::LimitExceeded)
    );
    assert!(error.detail().unwrap().contains("65536"));
    let mut stored = Stored::default();
    stored.put("a".to_owned(), "x".repeat(FLAT_BYTES - 1).into()).unwrap();
    assert_eq!(stored.put("b".to_owned(), "".into()), Err(Error::AttrsTooLarge));
}

fn any_attrs() -> impl Strategy<Value = BTreeMap<String, String>> {
    let value =
        prop_oneof![8 => "[a-zé&]{0,30}".boxed(), 1 => (1_usize..18_000).prop_map(|n| "ü".repeat(n / 6)).boxed()];
    prop::collection::btree_map("[a-z]{1,8}", value, 1..60)
}

fn flat(pairs: &BTreeMap<String, String>) -> FlatAttrs {
    let mut stored = Stored::default();
    for (name, value) in pairs {
        stored.put(name.clone(), value.clone().into()).unwrap();
    }
    stored.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One at a time, they are the requests that are made at once.
    #[test]
    fn a_plan_makes_the_same_requests(pairs in any_attrs(), policy in 0..3) {
        let policy = [MethodPolicy::Auto, MethodPolicy::Get, MethodPolicy::Post][policy as usize];
        let key = ProfileKey::new(ClientCode::parse("acme").unwrap(), IdKind::Mbox3rdPartyId, "p").unwrap();
        let mut left = flat(&pairs);
        let endpoint = Endpoint::default();
        let all = request::build(&endpoint, &key, &left, policy);
        let plan = Plan::of(&endpoint, &key, &left, policy);
        let (Ok(all), Ok(plan)) = (&all, &plan) else {
            prop_assert_eq!(all.as_ref().err(), plan.as_ref().err());
            return Ok(());
        };
        prop_assert_eq!(plan.parts(), all.len());
        for request in all {
            let next = plan.next(&key, &left);
            prop_assert_eq!(next.as_ref(), Some(request));
            let taken = left.take_first(request.attrs);
            prop_assert_eq!(taken.len(), request.attrs);
        }
        prop_assert!(left.is_empty() && plan.next(&key, &left).is_none());
    }

    /// What merging says that it takes more is what it takes more.
    #[test]
    fn merging_counts_what_it_takes(first in any_attrs(), second in any_attrs()) {
        let mut merged = flat(&first);
        let before = merged.memory();
        let growth = merged.merge(flat(&second));
        prop_assert_eq!(merged.memory(), before.checked_add_signed(growth).unwrap());
        let mut both = first.clone();
        both.extend(second);
        prop_assert_eq!(merged, flat(&both));
    }
}
