//! What a settlement leaves: entries that others have locked or changed, and the parts of single clients.

use target_profile_core::client_code::ClientCode;
use target_profile_core::drain::{Drain, Limits};
use target_profile_core::secret::Secret;
use target_profile_core::settlement::{Batch, Left};

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
