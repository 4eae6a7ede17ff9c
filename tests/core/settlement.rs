//! What a settlement leaves: entries that others have locked or changed, and the parts of single clients.

use target_profile_core::breaker::Breaker;
use target_profile_core::client_code::ClientCode;
use target_profile_core::drain::{Drain, Limits, UNSETTLED_LIMIT};
use target_profile_core::quota::{Class, Minute};
use target_profile_core::secret::Secret;
use target_profile_core::settings::ClientRow;
use target_profile_core::settlement::{Accepted, Activity, Batch, Dead, Left, Retry};
use target_profile_core::verdict::Outcome;

use crate::outbox::{Outbox, accepted, answered, at, registered, row_of};

fn code(client: &str) -> ClientCode {
    ClientCode::parse(client).unwrap()
}

/// Two clients with two profiles each, all of them sent.
fn sent() -> (Drain, Outbox, Batch, Vec<u64>) {
    let mut drain = Drain::new(Limits {
        max_in_flight: 10,
        body_bytes: 0,
    });
    drain.set_clients(
        vec![registered(row_of("acme"), false), registered(row_of("umbrella"), false)],
        at(0),
    );
    let mut outbox = Outbox::default();
    for (id, client, profile) in [
        (1, "acme", "ada"),
        (2, "acme", "bob"),
        (3, "umbrella", "cy"),
        (4, "umbrella", "dee"),
    ] {
        outbox.put(client, profile, 0, id, "{\"a\": \"1\"}");
    }
    let mut batch = Batch::default();
    let mut tickets = Vec::new();
    while drain.wants_to_claim(at(0)) {
        tickets.extend(outbox.claim(&mut drain, at(0), &mut batch).iter().map(|d| d.ticket));
    }
    tickets.sort_unstable();
    assert_eq!(tickets.len(), 4);
    (drain, outbox, batch, tickets)
}

#[test]
fn a_locked_entry_keeps_its_profile_until_it_is_settled() {
    let (mut drain, mut outbox, mut batch, tickets) = sent();
    for ticket in tickets {
        drain.complete(accepted(ticket, at(0)), at(1), 0.5, &mut batch);
    }
    let left = Left {
        locked: [1].into(),
        ..Left::default()
    };
    for id in [2, 3, 4] {
        outbox.rows.remove(&id);
    }
    let later = drain.settled_but(std::mem::take(&mut batch), left);
    assert_eq!(later.accepted.iter().map(|entry| entry.id).collect::<Vec<_>>(), [1]);
    assert!(later.responses.is_empty(), "they are recorded");
    assert_eq!(drain.in_flight(), 0);
    // It is there still, and so is a newer one: neither is sent.
    outbox.put("acme", "ada", 0, 5, "{\"a\": \"2\"}");
    outbox.put("acme", "bob", 0, 6, "{\"a\": \"2\"}");
    drain.sweep();
    let next = outbox.claim(&mut drain, at(2), &mut batch);
    assert_eq!(next.len(), 1, "bob's");
    outbox.rows.remove(&1);
    drain.settled(later);
    assert!(drain.wants_to_claim(at(3)), "ada's newer one");
    assert_eq!(outbox.claim(&mut drain, at(3), &mut batch).len(), 1);
}

#[test]
fn a_changed_entry_has_another_turn_at_once() {
    let (mut drain, mut outbox, mut batch, tickets) = sent();
    for ticket in tickets {
        drain.complete(accepted(ticket, at(0)), at(1), 0.5, &mut batch);
    }
    let left = Left {
        changed: [3].into(),
        ..Left::default()
    };
    for id in [1, 2, 4] {
        outbox.rows.remove(&id);
    }
    assert!(drain.settled_but(std::mem::take(&mut batch), left).is_empty());
    assert!(drain.wants_to_claim(at(1)));
    assert_eq!(outbox.claim(&mut drain, at(1), &mut batch).len(), 1);
}

#[test]
fn parts_of_clients_add_up_to_the_whole() {
    let (mut drain, _, mut batch, tickets) = sent();
    for (n, ticket) in tickets.into_iter().enumerate() {
        let report = match n {
            0 => accepted(ticket, at(0)),
            1 => answered(ticket, at(0), 500, ""),
            2 => answered(ticket, at(0), 200, "falseno"),
            _ => answered(ticket, at(0), 401, ""),
        };
        drain.complete(report, at(1), 0.5, &mut batch);
    }
    drain.report(at(1), &mut batch);
    let whole = format!("{batch:?}").len();
    let dead = batch.dead[0].clone();
    let of_dead = batch.responses[dead.response.unwrap()].key.clone();
    let parts = batch.by_client();
    assert_eq!(parts.len(), 2);
    let umbrella = &parts[&code("umbrella")];
    assert_eq!(umbrella.responses.len(), 2);
    let mut again = Batch::default();
    for (client, part) in parts {
        assert!(part.responses.iter().all(|response| response.key.client == client));
        assert!(part.retries.iter().all(|retry| retry.client == client));
        assert!(part.activity.keys().all(|(code, _)| *code == client));
        again.append(part);
    }
    assert_eq!(format!("{again:?}").len(), whole, "nothing is lost or added");
    assert_eq!(again.responses[again.dead[0].response.unwrap()].key, of_dead);
}

#[test]
fn what_is_settled_later_knows_its_response() {
    let (mut drain, _, mut batch, tickets) = sent();
    drain.complete(answered(tickets[0], at(0), 200, "falseno"), at(1), 0.5, &mut batch);
    let id = batch.dead[0].id;
    let left = Left {
        locked: [id].into(),
        responses: vec![77],
        ..Left::default()
    };
    let later = drain.settled_but(batch, left);
    assert_eq!((later.dead[0].response, later.dead[0].recorded), (None, Some(77)));
    // And if it is locked still.
    let left = Left {
        locked: [id].into(),
        ..Left::default()
    };
    let later = drain.settled_but(later, left);
    assert_eq!(later.dead[0].recorded, Some(77));
    assert!(drain.settled_but(later, Left::default()).is_empty());
}

#[test]
fn a_client_that_is_held_sends_nothing_and_the_others_go_on() {
    let (mut drain, mut outbox, mut batch, _) = sent();
    drain.hold(&code("acme"));
    outbox.put("acme", "eve", 0, 5, "{\"a\": \"1\"}");
    outbox.put("umbrella", "fay", 0, 6, "{\"a\": \"1\"}");
    drain.new_work();
    let sent = outbox.claim(&mut drain, at(1), &mut batch);
    assert_eq!(sent.len(), 1);
    assert!(sent[0].request.url.contains("umbrella"));
    assert!(
        !drain.wants_to_claim(at(1)),
        "it asks for no turn that would do nothing"
    );
    drain.give_free(&code("acme"));
    assert!(drain.wants_to_claim(at(1)));
    assert_eq!(outbox.claim(&mut drain, at(1), &mut batch).len(), 1);
}

#[test]
fn one_that_was_refused_is_paused_whatever_its_row_says_until_it_is_cured() {
    let (mut drain, mut outbox, mut batch, tickets) = sent();
    drain.complete(answered(tickets[0], at(0), 401, ""), at(1), 0.5, &mut batch);
    let client = batch.pauses[0].0.clone();
    outbox.put(client.as_str(), "eve", 0, 5, "{\"a\": \"1\"}");
    let register = |token: Option<&str>| {
        ["acme", "umbrella"].map(|name| {
            let mut row = row_of(name);
            row.auth_token = token.map(Secret::new);
            registered(row, false)
        })
    };
    // Somebody has its row locked, and changes something else.
    let left = Left {
        pauses: [client.clone()].into(),
        ..Left::default()
    };
    let later = drain.settled_but(std::mem::take(&mut batch), left);
    drain.set_clients(register(None).into(), at(2));
    drain.new_work();
    assert!(outbox.claim(&mut drain, at(2), &mut batch).is_empty());
    assert!(drain.is_refused(&client));
    // What its row says by then may be newer than what the drain knows.
    let row = row_of(client.as_str());
    let new = Secret::new("new".to_owned());
    let said =
        |endpoint: &str, token: Option<&Secret>, resumed_at| drain.is_refused_as(&client, endpoint, token, resumed_at);
    assert!(said(&row.endpoint, None, None));
    assert!(!said("https://elsewhere.example", None, None));
    assert!(!said(&row.endpoint, Some(&new), None));
    assert!(!said(&row.endpoint, None, Some(at(2))));
    // He has a new token for it: the pause is no longer due.
    drain.set_clients(register(Some("new")).into(), at(3));
    assert!(!drain.is_refused(&client));
    assert!(drain.settled_but(later, Left::default()).is_empty());
    assert!(!outbox.claim(&mut drain, at(3), &mut batch).is_empty());
}

#[test]
fn breakers_of_several_clients_are_reported_together() {
    let (mut drain, mut outbox, mut batch) = (
        Drain::new(Limits {
            max_in_flight: 100,
            body_bytes: 100,
        }),
        Outbox::default(),
        Batch::default(),
    );
    let codes = ["acme", "globex", "umbrella"];
    let registered = codes.map(|code| registered(row_of(code), false));
    drain.set_clients(registered.into(), at(0));
    for (number, id) in (1..=150).enumerate() {
        outbox.put(codes[number % 3], &format!("p{number}"), 0, id, "{\"a\": \"1\"}");
    }
    drain.new_work();
    for _ in 0..50 {
        let dispatches = outbox.claim(&mut drain, at(0), &mut batch);
        if dispatches.is_empty() {
            break;
        }
        for dispatch in dispatches {
            drain.complete(answered(dispatch.ticket, at(0), 500, ""), at(0), 0.5, &mut batch);
        }
        // What was reported and not yet written is replaced, of the same client alone.
        drain.report(at(0), &mut batch);
    }
    let reported: Vec<&str> = batch.breakers.iter().map(|(code, _)| code.as_str()).collect();
    let mut each = reported.clone();
    each.sort_unstable();
    assert_eq!(each, codes);
}

#[test]
fn settings_that_are_read_anew_make_nobody_look_for_entries() {
    let (mut drain, outbox, mut batch) = (
        Drain::new(Limits {
            max_in_flight: 100,
            body_bytes: 100,
        }),
        Outbox::default(),
        Batch::default(),
    );
    let set = |drain: &mut Drain, paused| drain.set_clients(vec![registered(row_of("acme"), paused)], at(0));
    set(&mut drain, false);
    assert!(outbox.claim(&mut drain, at(0), &mut batch).is_empty());
    set(&mut drain, false);
    assert!(!drain.wants_to_claim(at(0)));
    set(&mut drain, true);
    assert!(!drain.wants_to_claim(at(0)));
    set(&mut drain, false);
    assert!(drain.wants_to_claim(at(0)), "it was paused");
}

#[test]
fn a_reset_keeps_it_switched_off() {
    let mut drain = Drain::new(Limits {
        max_in_flight: 100,
        body_bytes: 100,
    });
    drain.set_enabled(false);
    drain.reset();
    drain.set_clients(vec![registered(row_of("acme"), false)], at(0));
    assert!(!drain.wants_to_claim(at(0)));
}

/// As long as entries of so many deliveries are locked, the client sends nothing else: what is left of them is held in memory.
#[test]
fn a_client_with_many_locked_entries_waits_for_them() {
    const LOCKED: i64 = UNSETTLED_LIMIT as i64;
    let mut drain = Drain::new(Limits {
        max_in_flight: 2 * UNSETTLED_LIMIT,
        body_bytes: 0,
    });
    let clients = || {
        let row = ClientRow {
            max_in_flight: LOCKED as i32,
            ..row_of("acme")
        };
        vec![registered(row, false)]
    };
    drain.set_clients(clients(), at(0));
    let mut outbox = Outbox::default();
    let mut batch = Batch::default();
    for id in 1..=LOCKED {
        outbox.put("acme", &format!("p{id}"), 0, id, "{\"a\": \"1\"}");
    }
    let claim_all = |drain: &mut Drain, outbox: &Outbox, batch: &mut Batch| {
        drain.new_work();
        let mut tickets = Vec::new();
        while drain.wants_to_claim(at(0)) {
            tickets.extend(outbox.claim(drain, at(0), batch).iter().map(|d| d.ticket));
        }
        tickets
    };
    let tickets = claim_all(&mut drain, &outbox, &mut batch);
    assert_eq!(tickets.len(), UNSETTLED_LIMIT);
    for ticket in tickets {
        drain.complete(accepted(ticket, at(0)), at(1), 0.5, &mut batch);
    }
    let left = |ids: std::ops::RangeInclusive<i64>| Left {
        locked: ids.collect(),
        ..Left::default()
    };
    let later = drain.settled_but(std::mem::take(&mut batch), left(1..=LOCKED));
    outbox.put("acme", "other", 0, LOCKED + 1, "{\"a\": \"1\"}");
    assert!(claim_all(&mut drain, &outbox, &mut batch).is_empty());
    // Nor after it was removed and is back, nor when they are tried again in vain.
    drain.set_clients(Vec::new(), at(1));
    drain.set_clients(clients(), at(1));
    assert!(claim_all(&mut drain, &outbox, &mut batch).is_empty());
    let later = drain.settled_but(later, left(1..=LOCKED));
    assert!(claim_all(&mut drain, &outbox, &mut batch).is_empty());
    // One of them is free.
    drain.settled_but(later, left(2..=LOCKED));
    outbox.rows.remove(&1);
    assert_eq!(claim_all(&mut drain, &outbox, &mut batch).len(), 1);
}

#[test]
fn activities_add_up() {
    let requests = |sent, accepted| {
        let mut activity = Activity {
            reserved: Class::Fresh.count(1),
            returned: Class::Fresh.count(2),
            sent: Class::Backfill.count(sent),
            ..Activity::default()
        };
        activity.outcomes[0] = accepted;
        activity
    };
    let mut sum = requests(3, 4);
    sum.add(&requests(5, 6));
    let mut expected = requests(8, 10);
    (expected.reserved, expected.returned) = (Class::Fresh.count(2), Class::Fresh.count(4));
    assert_eq!(sum, expected);
    // What was only reserved is no request; what was sent or answered is one.
    for (sent, accepted, has) in [(0, 0, false), (1, 0, true), (0, 1, true), (1, 1, true)] {
        assert_eq!(requests(sent, accepted).has_requests(), has, "{sent} {accepted}");
    }
}

#[test]
fn of_a_client_the_first_pause_and_the_last_breaker_count() {
    let mut opened = Breaker::default();
    opened.note(Outcome::Throttled, false, None, "full", at(0), 0.5);
    let opening = opened.opening().cloned();
    assert!(opening.is_some());
    let mut batch = Batch::default();
    batch.pauses.push((code("acme"), "first".to_owned()));
    batch.breakers = vec![(code("acme"), opening.clone()), (code("corp"), opening.clone())];
    let mut other = Batch::default();
    other.pauses = vec![(code("acme"), "second".to_owned()), (code("beta"), "third".to_owned())];
    other.breakers = vec![(code("beta"), opening.clone()), (code("acme"), None)];
    batch.append(other);
    assert_eq!(
        batch.pauses,
        [(code("acme"), "first".to_owned()), (code("beta"), "third".to_owned())]
    );
    let expected = [
        (code("corp"), opening.clone()),
        (code("beta"), opening),
        (code("acme"), None),
    ];
    assert_eq!(batch.breakers, expected);
}

#[test]
fn a_batch_is_full_by_the_bytes_of_its_responses() {
    const BODY: usize = 60_000;
    let mut drain = Drain::new(Limits {
        max_in_flight: 100,
        body_bytes: BODY,
    });
    let row = ClientRow {
        max_in_flight: 100,
        ..row_of("acme")
    };
    drain.set_clients(vec![registered(row, false)], at(0));
    let mut outbox = Outbox::default();
    for id in 1..=100 {
        outbox.put("acme", &format!("p{id}"), 0, id, "{\"a\": \"1\"}");
    }
    let mut batch = Batch::default();
    let mut answers = 0;
    for dispatch in outbox.claim(&mut drain, at(0), &mut batch) {
        if batch.is_full() {
            break;
        }
        answers += 1;
        let report = answered(dispatch.ticket, at(0), 200, &"true".repeat(BODY / 4));
        drain.complete(report, at(1), 0.5, &mut batch);
    }
    // A megabyte.
    assert_eq!(answers, 1024 * 1024 / BODY + 1);
}

#[test]
fn a_batch_of_one_thing_is_not_empty() {
    assert!(Batch::default().is_empty());
    let with = |fill: fn(&mut Batch)| {
        let mut batch = Batch::default();
        fill(&mut batch);
        batch
    };
    for batch in [
        with(|batch| {
            batch.accepted.push(Accepted {
                id: 1,
                client: code("acme"),
                version: 1,
            });
        }),
        with(|batch| {
            batch.retries.push(Retry {
                id: 1,
                client: code("acme"),
                version: 1,
                attempts: 1,
                next_attempt_at: at(0),
                outcome: Outcome::Failed,
            });
        }),
        with(|batch| {
            batch.dead.push(Dead {
                id: 1,
                client: code("acme"),
                version: None,
                attempts: 0,
                reason: String::new(),
                outcome: None,
                response: None,
                recorded: None,
            });
        }),
        with(|batch| batch.pauses.push((code("acme"), String::new()))),
        with(|batch| batch.breakers.push((code("acme"), None))),
        with(|batch| {
            batch
                .activity
                .insert((code("acme"), Minute::of(at(0))), Activity::default());
        }),
    ] {
        assert!(!batch.is_empty(), "{batch:?}");
    }
    // A delivery whose client was paused meanwhile ends without anything else; so does a response by itself.
    let (mut drain, _, mut batch, tickets) = sent();
    drain.set_clients(Vec::new(), at(0));
    drain.complete(answered(tickets[0], at(0), 500, ""), at(1), 0.5, &mut batch);
    batch.activity.clear();
    batch.retries.clear();
    batch.breakers.clear();
    let mut response = Batch::default();
    response.responses = std::mem::take(&mut batch.responses);
    assert!(!batch.is_empty(), "{batch:?}");
    assert!(!response.is_empty(), "{response:?}");
}

/// Its attributes are not needed any more, and others may have the memory.
#[test]
fn a_large_update_that_waits_to_be_settled_holds_up_no_other_large_one() {
    let mut drain = Drain::new(Limits {
        max_in_flight: 10,
        body_bytes: 0,
    });
    drain.set_clients(vec![registered(row_of("acme"), false)], at(0));
    let mut outbox = Outbox::default();
    let large = format!("{{\"a\":\"{}\"}}", "v".repeat(50_000));
    let pairs: Vec<String> = (0..10).map(|n| large.replace("\"a\"", &format!("\"a{n}\""))).collect();
    let large = pairs.join(",").replace("},{", ",");
    outbox.put("acme", "ada", 0, 1, &large);
    outbox.put("acme", "bob", 0, 2, &large);
    let mut batch = Batch::default();
    let mut request = outbox.claim(&mut drain, at(0), &mut batch).pop();
    while let Some(dispatch) = request {
        request = drain.complete(accepted(dispatch.ticket, at(0)), at(0), 0.5, &mut batch);
    }
    assert!(drain.holds_large());
    let left = Left {
        locked: [1].into(),
        ..Left::default()
    };
    let later = drain.settled_but(std::mem::take(&mut batch), left);
    assert!(!later.is_empty());
    assert!(!drain.holds_large());
    let sent = outbox.claim(&mut drain, at(1), &mut batch);
    assert_eq!(sent.len(), 1);
    assert!(sent[0].request.body.as_ref().unwrap().contains("=bob&"));
}
