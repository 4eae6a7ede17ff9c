//! Single courses of events of the drain, each from beginning to end.

use std::collections::BTreeMap;
use std::time::Duration;

use target_profile_core::client_code::ClientCode;
use target_profile_core::drain::{Dispatch, Drain, Limits, MERGE_LIMIT, Registration, Report};
use target_profile_core::quota::Minute;
use target_profile_core::request::Method;
use target_profile_core::retry::LIMITER_REST;
use target_profile_core::secret::Secret;
use target_profile_core::settings::ClientRow;
use target_profile_core::settlement::Batch;
use target_profile_core::step::ClockStep;
use target_profile_core::time::Timestamp;
use target_profile_core::verdict::Outcome;

use crate::outbox::{Outbox, accepted, answered, at, registered, row_of};

/// A drain, its table, and what is to be settled.
pub struct Scene {
    pub drain: Drain,
    pub outbox: Outbox,
    pub batch: Batch,
}

impl Scene {
    pub fn new(clients: Vec<(ClientRow, bool)>) -> Self {
        let drain = Drain::new(Limits {
            max_in_flight: 50,
            body_bytes: 10,
        });
        let mut scene = Self {
            drain,
            outbox: Outbox::default(),
            batch: Batch::default(),
        };
        scene.clients(clients);
        scene
    }

    pub fn acme() -> Self {
        Self::new(vec![(row_of("acme"), false)])
    }

    pub fn clients(&mut self, clients: Vec<(ClientRow, bool)>) {
        let registered = clients
            .into_iter()
            .map(|(row, paused)| registered(row, paused))
            .collect();
        self.drain.set_clients(registered, at(0));
    }

    pub fn put(&mut self, profile: &str, id: i64, attrs: &str) {
        self.outbox.put("acme", profile, 0, id, attrs);
        self.drain.new_work();
    }

    pub fn claim(&mut self, now: Timestamp) -> Vec<Dispatch> {
        self.outbox.claim(&mut self.drain, now, &mut self.batch)
    }

    /// Claims until there is nothing to claim at `now`.
    pub fn claim_all(&mut self, now: Timestamp) -> Vec<Dispatch> {
        let mut all = Vec::new();
        while self.drain.wants_to_claim(now) {
            all.extend(self.claim(now));
        }
        all
    }

    pub fn one(&mut self, now: Timestamp) -> Dispatch {
        let mut all = self.claim_all(now);
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    pub fn complete(&mut self, report: Report, now: Timestamp) -> Option<Dispatch> {
        self.drain.complete(report, now, 1.0, &mut self.batch)
    }

    pub fn settle(&mut self) {
        self.outbox.settle(&mut self.drain, &mut self.batch);
    }
}

/// An update of so many KB.
fn large(kilobytes: usize) -> String {
    let members: Vec<String> = (0..kilobytes)
        .map(|n| format!("\"a{n:03}\": \"{}\"", "x".repeat(1_000)))
        .collect();
    format!("{{{}}}", members.join(", "))
}

#[test]
fn a_split_update_goes_part_by_part_and_is_accepted_as_a_whole() {
    let mut scene = Scene::acme();
    scene.put("ada", 1, &large(130));
    let mut dispatch = scene.one(at(0));
    let mut parts = 1;
    while let Some(next) = scene.complete(accepted(dispatch.ticket, at(0)), at(parts)) {
        assert!(scene.batch.accepted.is_empty());
        assert_eq!(next.ticket, dispatch.ticket);
        assert_ne!(next.request.body, dispatch.request.body);
        dispatch = next;
        parts += 1;
    }
    assert_eq!(parts, 3);
    let seen: Vec<(u16, u16)> = scene.batch.responses.iter().map(|r| (r.part, r.parts)).collect();
    assert_eq!(seen, [(1, 3), (2, 3), (3, 3)]);
    assert!(
        scene
            .batch
            .responses
            .iter()
            .all(|r| r.outbox_ids == [1] && r.method == Method::Post)
    );
    scene.settle();
    assert_eq!(scene.outbox.accepted, [1]);
    assert_eq!((scene.drain.in_flight(), scene.drain.next_wake(at(9))), (0, None));
}

#[test]
fn of_a_split_update_whose_second_part_fails_the_rest_is_sent_again() {
    let mut scene = Scene::acme();
    scene.put("ada", 1, &large(130));
    let first = scene.one(at(0));
    let second = scene.complete(accepted(first.ticket, at(0)), at(1)).unwrap();
    assert!(
        scene
            .complete(answered(second.ticket, at(1), 500, "oops"), at(2))
            .is_none()
    );
    assert!(scene.batch.accepted.is_empty());
    let seen: Vec<(u16, Outcome)> = scene.batch.responses.iter().map(|r| (r.part, r.outcome)).collect();
    assert_eq!(seen, [(1, Outcome::Accepted), (2, Outcome::Failed)]);
    scene.settle();
    assert_eq!(scene.outbox.rows[&1].attempts, 1);
    assert_eq!(scene.drain.next_wake(at(2)), Some(at(1_002)));
    let again = scene.one(at(1_002));
    assert!(again.request == second.request, "the second part, not the first");
    assert_ne!(again.ticket, first.ticket);
    let third = scene.complete(accepted(again.ticket, at(1_002)), at(1_003)).unwrap();
    assert!(scene.complete(accepted(third.ticket, at(1_003)), at(1_004)).is_none());
    scene.settle();
    assert_eq!(scene.outbox.accepted, [1]);
    // It has arrived as a whole: the same values again are a new update.
    scene.put("ada", 2, &large(130));
    assert!(scene.one(at(1_005)).request == first.request);
}

/// What is remembered of updates that have arrived in part is bounded. The one that goes on keeps its own, the others are sent as a whole.
#[test]
fn what_has_arrived_of_many_large_updates_is_forgotten_but_for_the_last() {
    let update = |letter: char| {
        let pairs: Vec<String> = (0..60_000).map(|n| format!("\"{letter}{n:05}\":\"\"")).collect();
        format!("{{{}}}", pairs.join(","))
    };
    // Which of the updates go on where they were, of those of which three quarters have arrived.
    let go_on = |letters: &[char]| {
        let mut scene = Scene::acme();
        for (id, letter) in (1..).zip(letters) {
            scene.put(&letter.to_string(), id, &update(*letter));
            let mut request = scene.one(at(id));
            for _ in 0..11 {
                request = scene.complete(accepted(request.ticket, at(id)), at(id)).unwrap();
            }
            scene.complete(answered(request.ticket, at(id), 500, ""), at(id));
            scene.settle();
        }
        // Large ones go one at a time.
        let mut anew = BTreeMap::new();
        for _ in letters {
            let mut request = Some(scene.one(at(60_000)));
            let body = request
                .as_ref()
                .and_then(|dispatch| dispatch.request.body.clone())
                .unwrap();
            let letter = letters
                .iter()
                .find(|letter| body.starts_with(&format!("mbox3rdPartyId={letter}&")));
            let begins = format!("&profile.{}00000=", letter.unwrap());
            anew.insert(*letter.unwrap(), body.contains(&begins));
            while let Some(dispatch) = request {
                request = scene.complete(accepted(dispatch.ticket, at(60_000)), at(60_000));
            }
            scene.settle();
        }
        anew.into_values().map(|anew| !anew).collect::<Vec<_>>()
    };
    assert_eq!(go_on(&['a', 'b']), [true, true]);
    assert_eq!(go_on(&['a', 'b', 'c', 'd']), [false, false, false, true]);
}

#[test]
fn a_newer_value_of_a_part_that_has_arrived_goes_with_the_rest() {
    let mut scene = Scene::acme();
    scene.put("ada", 1, &large(130));
    let first = scene.one(at(0));
    let second = scene.complete(accepted(first.ticket, at(0)), at(1)).unwrap();
    scene.put("ada", 2, r#"{"a000": "newer"}"#);
    scene.complete(answered(second.ticket, at(1), 500, "oops"), at(2));
    scene.settle();
    let again = scene.one(at(1_002));
    assert!(again.request.body.as_deref().unwrap().contains("profile.a000=newer&"));
    // It is not known whether that arrived, so the old value is no longer taken for what Target has.
    scene.complete(answered(again.ticket, at(1_002), 500, "oops"), at(1_003));
    scene.settle();
    scene.put("ada", 3, &format!(r#"{{"a000": "{}"}}"#, "x".repeat(1_000)));
    assert!(scene.claim_all(at(1_003)).is_empty());
    let due = scene.drain.next_wake(at(1_003)).unwrap();
    let third = scene.one(due);
    assert!(third.request.body.as_deref().unwrap().contains("profile.a000=xxx"));
}

/// Its quota was charged to a minute that is over.
#[test]
fn the_next_part_waits_for_a_turn_when_its_minute_is_over() {
    let mut scene = Scene::acme();
    scene.put("ada", 1, &large(130));
    let last_of_minute = Minute::of(at(0)).start().plus(Duration::from_secs(59));
    let next_minute = last_of_minute.plus(Duration::from_secs(2));
    let first = scene.one(last_of_minute);
    assert!(
        scene
            .complete(accepted(first.ticket, last_of_minute), next_minute)
            .is_none()
    );
    scene.outbox.now = next_minute;
    scene.settle();
    let second = scene.one(next_minute);
    assert_rest(&second, &first);
    let third = scene
        .complete(accepted(second.ticket, next_minute), next_minute)
        .unwrap();
    assert!(
        scene
            .complete(accepted(third.ticket, next_minute), next_minute)
            .is_none()
    );
    scene.settle();
    let sent = |time| scene.outbox.activity[&Minute::of(time)].sent.all;
    assert_eq!((sent(last_of_minute), sent(next_minute)), (1, 2));
}

#[test]
fn another_endpoint_is_told_everything() {
    let mut scene = Scene::acme();
    scene.put("ada", 1, &large(130));
    let first = scene.one(at(0));
    let second = scene.complete(accepted(first.ticket, at(0)), at(1)).unwrap();
    scene.complete(answered(second.ticket, at(1), 500, "oops"), at(2));
    scene.settle();
    let endpoint = "https://elsewhere.example/update".to_owned();
    scene.clients(vec![(
        ClientRow {
            endpoint,
            ..row_of("acme")
        },
        false,
    )]);
    let again = scene.one(at(1_002));
    assert!(again.request.body == first.request.body);
}

#[test]
fn a_split_update_whose_second_part_is_rejected_is_dead() {
    let mut scene = Scene::acme();
    scene.put("ada", 1, &large(130));
    let first = scene.one(at(0));
    let second = scene.complete(accepted(first.ticket, at(0)), at(1)).unwrap();
    assert!(
        scene
            .complete(answered(second.ticket, at(1), 200, "falseToo much"), at(2))
            .is_none()
    );
    assert_eq!(scene.batch.dead[0].response, Some(1));
    scene.settle();
    assert_eq!(scene.outbox.dead[&1], "rejected with HTTP status 200: Too much");
}

#[test]
fn a_client_paused_between_two_parts_sends_the_rest_later() {
    let mut scene = Scene::acme();
    scene.put("ada", 1, &large(130));
    let first = scene.one(at(0));
    scene.clients(vec![(row_of("acme"), true)]);
    assert!(scene.complete(accepted(first.ticket, at(0)), at(1)).is_none());
    scene.settle();
    assert_eq!((scene.drain.in_flight(), scene.drain.next_wake(at(1))), (0, None));
    assert!(scene.outbox.rows.contains_key(&1));
    scene.clients(vec![(row_of("acme"), false)]);
    assert_rest(&scene.one(at(2)), &first);
}

#[test]
fn sending_disabled_between_two_parts_sends_the_rest_later() {
    let mut scene = Scene::acme();
    scene.put("ada", 1, &large(130));
    let first = scene.one(at(0));
    scene.drain.set_enabled(false);
    assert!(scene.complete(accepted(first.ticket, at(0)), at(1)).is_none());
    scene.settle();
    assert!(!scene.drain.wants_to_claim(at(2)));
    assert!(scene.claim(at(2)).is_empty());
    scene.drain.set_enabled(true);
    assert_rest(&scene.one(at(2)), &first);
}

fn assert_rest(rest: &Dispatch, first: &Dispatch) {
    let holds = |dispatch: &Dispatch, name: &str| dispatch.request.body.as_deref().unwrap().contains(name);
    assert!(holds(first, "profile.a000=") && !holds(rest, "profile.a000="));
    let next = first.request.attrs;
    assert!(
        holds(rest, &format!("&profile.a{next:03}=")),
        "it begins with the attribute after the first part"
    );
}

#[test]
fn what_a_removed_client_answers_is_recorded() {
    for (body, left) in [("trueRequest successfully submitted", 0), ("falseNo", 1)] {
        let mut scene = Scene::acme();
        scene.put("ada", 1, r#"{"a": "1"}"#);
        let dispatch = scene.one(at(0));
        scene.clients(Vec::new());
        scene.complete(answered(dispatch.ticket, at(0), 200, body), at(1));
        assert_eq!(scene.batch.responses.len(), 1);
        scene.settle();
        assert_eq!((scene.outbox.rows.len(), scene.drain.in_flight()), (left, 0));
        assert!(scene.outbox.dead.is_empty(), "it may be registered again");
        assert_eq!(scene.drain.next_wake(at(1)), None);
    }
}

/// The client was back before the answer was settled: its entry had been read in the meantime, and passed over.
#[test]
fn a_client_that_is_removed_and_back_forgets_nothing() {
    let mut scene = Scene::acme();
    scene.put("ada", 1, r#"{"a": "1"}"#);
    let dispatch = scene.one(at(0));
    scene.clients(Vec::new());
    scene.complete(answered(dispatch.ticket, at(0), 500, ""), at(1));
    scene.clients(vec![(row_of("acme"), false)]);
    assert!(scene.claim_all(at(2)).is_empty(), "still under way");
    scene.settle();
    scene.one(at(2));
}

#[test]
fn a_client_that_is_back_counts_what_it_has_in_flight() {
    let only_one = || {
        vec![(
            ClientRow {
                max_in_flight: 1,
                ..row_of("acme")
            },
            false,
        )]
    };
    let mut scene = Scene::new(only_one());
    scene.put("ada", 1, r#"{"a": "1"}"#);
    let dispatch = scene.one(at(0));
    scene.put("bob", 2, r#"{"a": "1"}"#);
    scene.clients(Vec::new());
    scene.clients(only_one());
    assert!(scene.claim_all(at(0)).is_empty());
    scene.complete(accepted(dispatch.ticket, at(0)), at(1));
    scene.settle();
    scene.one(at(1));
}

#[test]
fn a_refused_token_pauses_the_client_and_kills_nothing() {
    for status in [401, 403] {
        let mut scene = Scene::acme();
        scene.put("ada", 1, r#"{"a": "1"}"#);
        scene.put("bob", 2, r#"{"a": "1"}"#);
        let sent = scene.claim_all(at(0));
        for dispatch in &sent {
            scene.complete(answered(dispatch.ticket, at(0), status, ""), at(1));
        }
        assert_eq!(scene.batch.pauses.len(), 1, "once");
        scene.settle();
        assert_eq!((scene.outbox.rows.len(), scene.outbox.rows[&1].attempts), (2, 0));
        assert_eq!(scene.drain.next_wake(at(1)), None);
        let renewed = ClientRow {
            auth_token: Some(Secret::new("new")),
            ..row_of("acme")
        };
        scene.clients(vec![(renewed, false)]);
        let again = scene.claim_all(at(2));
        assert_eq!(again.len(), 2);
        assert_eq!(again[0].auth_token, Some(Secret::new("new")));
    }
}

#[test]
fn a_delay_holds_a_profile_back_from_its_first_entry_on() {
    let mut scene = Scene::new(vec![(
        ClientRow {
            delay: 5_000_000,
            ..row_of("acme")
        },
        false,
    )]);
    scene.put("ada", 1, r#"{"a": "1"}"#);
    assert!(scene.claim_all(at(0)).is_empty());
    assert_eq!(scene.drain.next_wake(at(0)), Some(at(5_000)));
    scene.put("ada", 2, r#"{"a": "2"}"#);
    scene.outbox.rows.get_mut(&2).unwrap().enqueued_at = at(4_000);
    assert!(scene.claim_all(at(4_999)).is_empty());
    let dispatch = scene.one(at(5_000));
    assert!(
        dispatch.request.url.ends_with("profile.a=2"),
        "{}",
        dispatch.request.url
    );
    scene.complete(accepted(dispatch.ticket, at(5_000)), at(5_001));
    scene.settle();
    assert_eq!(scene.outbox.accepted, [1, 2]);
}

#[test]
fn an_entry_written_during_a_delivery_goes_with_the_next() {
    let mut scene = Scene::acme();
    scene.put("ada", 1, r#"{"a": "1"}"#);
    let dispatch = scene.one(at(0));
    scene.put("ada", 2, r#"{"a": "2"}"#);
    assert!(scene.claim_all(at(1)).is_empty());
    scene.complete(accepted(dispatch.ticket, at(0)), at(2));
    assert!(scene.claim_all(at(2)).is_empty(), "not settled yet");
    scene.settle();
    let next = scene.one(at(3));
    scene.complete(accepted(next.ticket, at(3)), at(4));
    scene.settle();
    assert_eq!(scene.outbox.accepted, [1, 2]);
}

#[test]
fn more_entries_than_one_request_may_merge_go_one_after_another() {
    let mut scene = Scene::acme();
    let entries = i64::try_from(2 * MERGE_LIMIT + 1).unwrap();
    for id in 1..=entries {
        scene.outbox.put("acme", "ada", 0, id, &format!("{{\"a\": \"{id}\"}}"));
    }
    for last in [1_000, 2_000, 2_001] {
        let dispatch = scene.one(at(0));
        assert!(
            dispatch.request.url.ends_with(&format!("profile.a={last}")),
            "{}",
            dispatch.request.url
        );
        scene.complete(accepted(dispatch.ticket, at(0)), at(1));
        scene.settle();
    }
    assert!(scene.outbox.rows.is_empty());
    assert_eq!(scene.outbox.accepted.len(), 2 * MERGE_LIMIT + 1);
}

#[test]
fn a_503_rests_the_client_for_a_minute_and_retry_after_wins() {
    let mut scene = Scene::acme();
    scene.put("ada", 1, r#"{"a": "1"}"#);
    let dispatch = scene.one(at(0));
    scene.complete(answered(dispatch.ticket, at(0), 503, ""), at(0));
    scene.settle();
    let code = ClientCode::parse("acme").unwrap();
    let probe_at = scene.drain.opening(&code).unwrap().next_try_at;
    assert_eq!(probe_at, at(0).plus(LIMITER_REST));
    let due = scene.drain.next_wake(at(0)).unwrap();
    assert_eq!(
        due,
        at(60_100),
        "an entry that was throttled is no probe itself while others may be"
    );
    let dispatch = scene.one(due);
    let mut report = answered(dispatch.ticket, due, 503, "");
    if let Ok(answer) = &mut report.result {
        answer.retry_after = Some("7".to_owned());
    }
    scene.complete(report, due);
    scene.settle();
    assert_eq!(scene.drain.opening(&code).unwrap().next_try_at, at(67_100));
    assert_eq!(
        scene.outbox.rows[&1].attempts, 0,
        "no attempt counts while the breaker is open"
    );
}

/// After an outage, nothing but a bad row is left: it must not keep the breaker open for ever.
#[test]
fn a_bad_row_alone_does_not_outlive_an_outage() {
    let mut scene = Scene::acme();
    scene.put("ada", 1, r#"{"a": "1"}"#);
    let mut now = at(0);
    for round in 0..20 {
        let dispatch = scene.one(now);
        let (status, body) = if round < 7 { (500, "") } else { (200, "falseBad id") };
        scene.complete(answered(dispatch.ticket, now, status, body), now);
        scene.settle();
        if scene.outbox.rows.is_empty() {
            break;
        }
        now = scene.drain.next_wake(now).unwrap();
    }
    assert_eq!(scene.outbox.dead[&1], "rejected with HTTP status 200: Bad id");
}

#[test]
fn an_entry_that_cannot_be_read_is_dead_and_stops_nobody() {
    let mut scene = Scene::acme();
    scene.put("a/b", 1, r#"{"a": "1"}"#);
    scene.put("ada", 2, "[]");
    scene.put("bob", 3, r#"{"a": "1"}"#);
    scene.put("cy", 4, r#"{"a": "1"}"#);
    scene.outbox.rows.get_mut(&4).unwrap().id_kind = "cookie".to_owned();
    let dispatch = scene.one(at(0));
    assert!(dispatch.request.url.contains("=bob&"));
    scene.complete(accepted(dispatch.ticket, at(0)), at(1));
    scene.settle();
    assert_eq!(scene.outbox.dead.keys().copied().collect::<Vec<_>>(), [1, 2, 4]);
    assert!(
        scene
            .outbox
            .dead
            .values()
            .all(|reason| reason.starts_with("invalid entry: "))
    );
    assert_eq!((scene.drain.in_flight(), scene.drain.next_wake(at(1))), (0, None));
}

#[test]
fn an_unknown_ticket_is_ignored_and_one_from_before_a_reset_too() {
    let mut scene = Scene::acme();
    scene.put("ada", 1, r#"{"a": "1"}"#);
    let old = scene.one(at(0));
    scene.drain.reset();
    scene.clients(vec![(row_of("acme"), false)]);
    let new = scene.one(at(1));
    assert_ne!(old.ticket, new.ticket);
    scene.complete(accepted(old.ticket, at(0)), at(2));
    scene.complete(accepted(77, at(0)), at(2));
    assert!(scene.batch.is_empty());
}

#[test]
fn the_record_holds_the_body_up_to_its_cap_and_the_attempt() {
    let mut scene = Scene::acme();
    scene.put("ada", 1, r#"{"a": "1"}"#);
    scene.outbox.rows.get_mut(&1).unwrap().attempts = 4;
    let dispatch = scene.one(at(0));
    scene.complete(answered(dispatch.ticket, at(0), 404, "0123456789abc"), at(1));
    let record = &scene.batch.responses[0];
    assert_eq!(record.body.as_deref(), Some("0123456789"));
    assert_eq!(
        (record.attempt, record.http_status, record.outcome),
        (5, Some(404), Outcome::Rejected)
    );
    assert_eq!(
        (record.method, record.request_bytes),
        (Method::Get, dispatch.request.url.len())
    );
}

#[test]
fn a_failed_claim_gives_its_profiles_back() {
    let mut scene = Scene::acme();
    scene.put("ada", 1, r#"{"a": "1"}"#);
    scene.outbox.put("acme", "bob", 5, 2, r#"{"a": "1"}"#);
    // The search for lanes fails: they must be looked for again.
    assert!(!scene.drain.unknown_lanes().is_empty());
    scene.drain.unselect();
    assert_eq!(scene.claim_all(at(0)).len(), 2);
    assert_eq!(scene.drain.in_flight(), 2);
}

#[test]
fn a_sweep_finds_what_came_behind_the_cursor() {
    let mut scene = Scene::acme();
    scene.put("ada", 10, r#"{"a": "1"}"#);
    scene.one(at(0));
    scene.put("bob", 5, r#"{"a": "1"}"#);
    assert!(
        scene.claim_all(at(1)).is_empty(),
        "as by logical replication: below the cursor"
    );
    scene.drain.sweep();
    assert!(scene.one(at(2)).request.url.contains("=bob&"));
}

#[test]
fn what_a_request_may_have_brought_is_told_and_nothing_else() {
    for (status, body, told) in [
        (200, "trueRequest successfully submitted", true),
        (500, "", true),
        (200, "<html>", true),
        (200, "falseNo", false),
        (404, "", false),
        (429, "", false),
        (503, "", false),
        (401, "", false),
    ] {
        let mut scene = Scene::acme();
        scene.put("ada", 1, r#"{"a": "1"}"#);
        scene.put("ada", 2, r#"{"b": "2"}"#);
        let dispatch = scene.one(at(0));
        scene.complete(answered(dispatch.ticket, at(0), status, body), at(1));
        let arrived: Vec<(&[i64], usize)> = scene
            .batch
            .arrived
            .iter()
            .map(|a| (a.ids.as_slice(), a.attrs.len()))
            .collect();
        assert_eq!(
            arrived,
            if told { vec![(&[1, 2][..], 2)] } else { Vec::new() },
            "{status} {body}"
        );
    }
}

#[test]
fn low_priorities_get_their_share_of_the_quota_and_leave_the_rest() {
    let mut scene = Scene::new(vec![(
        ClientRow {
            daily_quota: 10,
            backfill_share: 0.3,
            ..row_of("acme")
        },
        false,
    )]);
    for id in 1..=8 {
        scene.outbox.put("acme", &format!("low{id}"), -10, id, r#"{"a": "1"}"#);
    }
    let sent = scene.claim_all(at(0));
    assert_eq!(sent.len(), 3);
    for dispatch in sent {
        scene.complete(accepted(dispatch.ticket, at(0)), at(1));
    }
    scene.settle();
    for id in 11..=18 {
        scene.put(&format!("fresh{id}"), id, r#"{"a": "1"}"#);
    }
    assert_eq!(scene.claim_all(at(2)).len(), 7);
    let until = Minute::of(at(0)).counts_until();
    assert_eq!(scene.drain.held_by_quota().count(), 1);
    assert!(scene.drain.next_wake(at(3)).is_none_or(|wake| wake >= until));
}

#[test]
fn an_urgent_entry_takes_its_waiting_profile_along() {
    let mut scene = Scene::new(vec![(
        ClientRow {
            max_in_flight: 1,
            ..row_of("acme")
        },
        false,
    )]);
    scene.outbox.put("acme", "ada", -10, 1, r#"{"a": "1"}"#);
    let dispatch = scene.one(at(0));
    scene.complete(answered(dispatch.ticket, at(0), 500, ""), at(0));
    scene.settle();
    // It waits for its retry; meanwhile others come, and a more urgent entry of its own.
    for id in 2..=4 {
        scene.put(&format!("p{id}"), id, r#"{"a": "1"}"#);
    }
    scene.outbox.put("acme", "ada", 5, 5, r#"{"b": "1"}"#);
    let first = scene.one(at(1));
    assert!(first.request.url.contains("=p2&"), "ada's time has not come");
    scene.complete(accepted(first.ticket, at(1)), at(2));
    scene.settle();
    let next = scene.claim(at(5_000));
    assert!(next[0].request.url.contains("=ada&"), "{}", next[0].request.url);
}

#[test]
fn what_could_not_be_reserved_goes_as_if_nothing_had_been() {
    let mut scene = Scene::new(vec![(
        ClientRow {
            daily_quota: 3,
            ..row_of("acme")
        },
        false,
    )]);
    scene.put("ada", 1, &large(130));
    let claimed = scene.outbox.claim_only(&mut scene.drain, at(0), &mut scene.batch);
    assert_eq!(
        scene.drain.reservations(&claimed, at(0))[0].count.all,
        3,
        "all three parts"
    );
    scene.drain.withdraw(&claimed);
    assert_eq!(
        (scene.drain.in_flight(), scene.drain.next_wake(at(0))),
        (0, Some(at(0)))
    );
    let mut dispatch = scene.one(at(0));
    assert_ne!(dispatch.ticket, claimed[0].ticket);
    for _ in 0..2 {
        dispatch = scene.complete(accepted(dispatch.ticket, at(0)), at(0)).unwrap();
    }
    assert!(scene.complete(accepted(dispatch.ticket, at(0)), at(0)).is_none());
    scene.settle();
    assert_eq!(scene.outbox.accepted, [1]);
}

#[test]
fn an_update_with_quota_for_some_of_its_parts_sends_those_and_waits() {
    let mut scene = Scene::new(vec![(
        ClientRow {
            daily_quota: 2,
            ..row_of("acme")
        },
        false,
    )]);
    scene.put("ada", 1, &large(130));
    let first = scene.one(at(0));
    let second = scene.complete(accepted(first.ticket, at(0)), at(1)).unwrap();
    assert!(scene.complete(accepted(second.ticket, at(1)), at(2)).is_none());
    scene.settle();
    assert!(scene.claim_all(at(3)).is_empty());
    let until = Minute::of(at(0)).counts_until();
    assert_eq!(scene.drain.next_wake(at(3)), Some(until));
    let third = scene.one(until);
    assert!(scene.complete(accepted(third.ticket, until), until).is_none());
    scene.settle();
    assert_eq!(scene.outbox.accepted, [1], "the third part was the last");
}

/// A sick endpoint, which fails every other time and so keeps the breaker closed.
#[test]
fn retries_of_a_sick_endpoint_are_bounded_by_their_budget() {
    let mut scene = Scene::new(vec![(
        ClientRow {
            max_in_flight: 50,
            max_attempts: 1_000,
            ..row_of("acme")
        },
        false,
    )]);
    let fresh = 2_000;
    for id in 1..=fresh {
        scene.put(&format!("p{id}"), id, r#"{"a": "1"}"#);
    }
    let (mut now, mut requests) = (at(0), 0_u32);
    let mut first_attempts = std::collections::BTreeSet::new();
    while first_attempts.len() < usize::try_from(fresh).unwrap() {
        for (number, dispatch) in scene.claim_all(now).into_iter().enumerate() {
            requests += 1;
            first_attempts.insert(dispatch.request.url.clone());
            let status = if number % 2 == 0 { 500 } else { 200 };
            let body = "trueRequest successfully submitted";
            scene.complete(answered(dispatch.ticket, now, status, body), now);
        }
        scene.settle();
        now = now.plus(Duration::from_millis(100));
    }
    let retries = i64::from(requests) - fresh;
    let seconds = i64::try_from(now.since(at(0)).as_secs()).unwrap();
    let earned = 100 + seconds + fresh / 5;
    // Half of the retries are accepted and give back what they cost.
    assert!(
        retries <= 2 * earned,
        "{retries} retries of {fresh} updates in {seconds} s"
    );
    assert!(
        retries < fresh / 2,
        "without a budget there would be one for each update that failed"
    );
    assert!(retries > fresh / 5, "what is accepted earns some: {retries}");
}

#[test]
fn a_turn_that_found_nothing_to_send_costs_no_quota() {
    let mut scene = Scene::new(vec![(
        ClientRow {
            daily_quota: 1,
            ..row_of("acme")
        },
        false,
    )]);
    scene.put("ada", 1, "[]");
    assert!(scene.claim_all(at(0)).is_empty());
    scene.settle();
    scene.put("bob", 2, r#"{"a": "1"}"#);
    scene.one(at(1));
}

#[test]
fn resume_closes_a_breaker() {
    let mut scene = Scene::acme();
    scene.put("ada", 1, r#"{"a": "1"}"#);
    let dispatch = scene.one(at(0));
    scene.complete(answered(dispatch.ticket, at(0), 503, ""), at(0));
    scene.settle();
    assert!(scene.claim_all(at(1)).is_empty());
    let resumed = Registration {
        resumed_at: Some(at(1)),
        ..registered(row_of("acme"), false)
    };
    scene.drain.set_clients(vec![resumed.clone()], at(1));
    assert!(scene.drain.opening(&ClientCode::parse("acme").unwrap()).is_none());
    let again = scene.one(at(1));
    scene.complete(answered(again.ticket, at(1), 503, ""), at(1));
    scene.settle();
    // The same once more is no news.
    scene.drain.set_clients(vec![resumed], at(2));
    assert!(scene.drain.opening(&ClientCode::parse("acme").unwrap()).is_some());
}

#[test]
fn a_reservation_that_comes_too_late_is_given_back_in_its_minute() {
    let mut scene = Scene::acme();
    scene.put("ada", 1, r#"{"a": "1"}"#);
    let claimed = scene.outbox.claim_only(&mut scene.drain, at(0), &mut scene.batch);
    let late = scene.drain.reservations(&claimed, at(0));
    let next_minute = at(60_000);
    let again = scene.drain.reservations(&claimed, next_minute);
    scene.drain.reserved(late.clone());
    scene.drain.reserved(again);
    let sent = scene.drain.send(claimed, next_minute);
    assert_eq!(sent[0].sent_at, next_minute);
    scene.complete(accepted(sent[0].ticket, next_minute), next_minute);
    scene.outbox.now = next_minute;
    scene.settle();
    let returned = scene.outbox.activity[&Minute::of(at(0))].returned;
    assert_eq!(returned, late[0].count);
}

#[test]
fn parts_that_were_not_sent_are_not_charged() {
    let mut scene = Scene::new(vec![(
        ClientRow {
            daily_quota: 4,
            ..row_of("acme")
        },
        false,
    )]);
    scene.put("ada", 1, &large(130));
    let first = scene.one(at(0));
    scene.complete(answered(first.ticket, at(0), 500, ""), at(0));
    scene.settle();
    let due = scene.drain.next_wake(at(0)).unwrap();
    let mut dispatch = scene.one(due);
    for _ in 0..2 {
        dispatch = scene.complete(accepted(dispatch.ticket, due), due).unwrap();
    }
    assert!(scene.complete(accepted(dispatch.ticket, due), due).is_none());
    scene.settle();
    assert_eq!(scene.outbox.accepted, [1]);
}

/// The rest of it must wait, for the next minute's quota; the breaker need not.
#[test]
fn the_first_part_of_a_split_update_is_a_probe_like_any_other() {
    let mut scene = Scene::acme();
    scene.put("ada", 1, &large(130));
    let dispatch = scene.one(at(0));
    scene.complete(answered(dispatch.ticket, at(0), 429, ""), at(0));
    scene.settle();
    let due = scene.drain.next_wake(at(0)).unwrap();
    let probe = scene.one(due);
    let next_minute = due.plus(Duration::from_secs(60));
    assert!(scene.complete(accepted(probe.ticket, due), next_minute).is_none());
    scene.drain.report(next_minute, &mut scene.batch);
    assert_eq!(scene.batch.breakers, [(ClientCode::parse("acme").unwrap(), None)]);
    scene.settle();
    let code = ClientCode::parse("acme").unwrap();
    assert!(scene.drain.opening(&code).is_none());
    assert_rest(&scene.one(next_minute), &dispatch);
}

#[test]
fn what_is_read_twice_before_it_is_settled_is_buried_once() {
    let mut scene = Scene::acme();
    scene.put("ada", 1, "[]");
    assert!(scene.claim_all(at(0)).is_empty());
    scene.put("ada", 2, r#"{"a": "1"}"#);
    let dispatch = scene.one(at(0));
    assert_eq!(scene.batch.dead.len(), 1);
    scene.complete(accepted(dispatch.ticket, at(0)), at(0));
    scene.settle();
    assert_eq!(scene.outbox.accepted, [2]);
}

#[test]
fn a_clock_that_is_set_back_holds_up_neither_a_retry_nor_what_came_meanwhile() {
    const BACK: i64 = -2 * 3_600_000;
    let mut scene = Scene::acme();
    scene.put("ada", 1, r#"{"a": "1"}"#);
    scene.put("bob", 2, r#"{"a": "1"}"#);
    let sent = scene.claim_all(at(0));
    assert_eq!(sent.len(), 2);
    // More of bob, read while its first request is under way; ada fails, and that is not settled.
    scene.outbox.now = at(5);
    scene.put("bob", 3, r#"{"a": "2"}"#);
    assert!(scene.claim_all(at(5)).is_empty());
    scene.complete(answered(sent[0].ticket, at(0), 500, "oops"), at(10));
    scene
        .drain
        .clock_set(at(20), ClockStep::between(at(0), at(BACK)), &mut scene.batch);
    scene.complete(accepted(sent[1].ticket, at(0)), at(BACK + 30));
    scene.settle();
    assert!(scene.one(at(BACK + 31)).request.url.contains("bob"));
    let wake = scene.drain.next_wake(at(BACK + 32)).unwrap();
    assert!(wake <= at(BACK + 1_100), "the retry waits for the clock");
    // Nor what is read only now, and was written before.
    scene.put("cy", 4, r#"{"a": "1"}"#);
    scene.outbox.rows.get_mut(&4).unwrap().enqueued_at = at(15);
    assert_eq!(scene.claim_all(at(BACK + 33)).len(), 1);
}

#[test]
fn a_retry_that_is_settled_follows_a_clock_that_is_set() {
    const BACK: i64 = -2 * 3_600_000;
    let mut scene = Scene::acme();
    scene.put("ada", 1, r#"{"a": "1"}"#);
    let sent = scene.one(at(0));
    scene.complete(answered(sent.ticket, at(0), 500, "oops"), at(10));
    scene.settle();
    scene
        .drain
        .clock_set(at(20), ClockStep::between(at(0), at(BACK)), &mut scene.batch);
    let wake = scene.drain.next_wake(at(BACK + 20)).unwrap();
    assert!(wake <= at(BACK + 1_100), "the retry waits for the clock");
}

#[test]
fn clients_take_turns_where_there_is_one_place() {
    let clients = ["acme", "beta", "corp"];
    let mut scene = Scene::new(clients.map(|code| (row_of(code), false)).to_vec());
    scene.drain.set_limits(Limits {
        max_in_flight: 1,
        body_bytes: 10,
    });
    for (first, client) in (0..).step_by(10).zip(clients) {
        for n in 1..=4 {
            scene
                .outbox
                .put(client, &format!("p{n}"), 0, first + n, r#"{"a": "1"}"#);
        }
    }
    scene.drain.new_work();
    let mut order = Vec::new();
    for now in (0..12).map(at) {
        let dispatch = scene.one(now);
        order.extend(clients.iter().position(|client| dispatch.request.url.contains(client)));
        scene.complete(accepted(dispatch.ticket, now), now);
        scene.settle();
    }
    for turns in order.chunks(3) {
        let mut turns = turns.to_vec();
        turns.sort_unstable();
        assert_eq!(turns, [0, 1, 2], "{order:?}");
    }
}

#[test]
fn a_new_client_is_not_looked_into_as_long_as_all_places_are_taken() {
    let mut scene = Scene::acme();
    scene.drain.set_limits(Limits {
        max_in_flight: 1,
        body_bytes: 10,
    });
    scene.put("ada", 1, r#"{"a": "1"}"#);
    let dispatch = scene.one(at(0));
    scene.clients(vec![(row_of("acme"), false), (row_of("beta"), false)]);
    assert_eq!(scene.drain.next_wake(at(1)), None);
    scene.complete(accepted(dispatch.ticket, at(0)), at(1));
    scene.settle();
    assert!(scene.drain.wants_to_claim(at(1)));
}

#[test]
fn a_reset_keeps_what_is_known_of_the_clock() {
    const YEAR: i64 = 365 * 24 * 3_600_000;
    let mut scene = Scene::acme();
    scene
        .drain
        .clock_set(at(20), ClockStep::between(at(0), at(YEAR)), &mut scene.batch);
    scene.drain.reset();
    scene.clients(vec![(row_of("acme"), false)]);
    scene.put("ada", 1, r#"{"a": "1"}"#);
    let sent = scene.one(at(YEAR));
    scene.complete(answered(sent.ticket, at(YEAR), 500, "oops"), at(YEAR + 10));
    scene.settle();
    assert!(scene.outbox.dead.is_empty(), "it is a few milliseconds old");
}

/// What was still to be sent of an update is gone: somebody has discarded its entry.
#[test]
fn entries_of_which_all_has_arrived_are_accepted_without_a_request() {
    let mut scene = Scene::acme();
    for (id, name) in [(1, "a"), (2, "b")] {
        scene.put("ada", id, &format!(r#"{{"{name}": "{}"}}"#, "v".repeat(40_000)));
    }
    let first = scene.one(at(0));
    let second = scene.complete(accepted(first.ticket, at(0)), at(0)).unwrap();
    scene.complete(answered(second.ticket, at(0), 500, ""), at(0));
    scene.settle();
    scene.outbox.rows.remove(&2);
    scene.put("bob", 3, r#"{"a": "1"}"#);
    // In one claim with another.
    let other = scene.one(at(60_000));
    assert!(other.ticket > second.ticket + 1, "each has a ticket of its own");
    assert_eq!(scene.drain.in_flight(), 1);
    scene.settle();
    assert_eq!(scene.outbox.accepted, [1]);
    scene.complete(accepted(other.ticket, at(60_000)), at(60_000));
    scene.settle();
    assert_eq!(scene.outbox.accepted, [1, 3]);
    scene.put("ada", 4, r#"{"a": "1"}"#);
    scene.one(at(60_000));
}

#[test]
fn behind_as_many_invalid_entries_as_one_request_may_merge_a_valid_one_goes() {
    let mut scene = Scene::acme();
    let last = i64::try_from(MERGE_LIMIT).unwrap() + 1;
    for id in 1..last {
        scene.put("ada", id, "[]");
    }
    scene.put("ada", last, r#"{"a": "1"}"#);
    let mut sent = Vec::new();
    // A claim finds the same entries until they are settled.
    while scene.drain.wants_to_claim(at(0)) {
        sent.extend(scene.claim(at(0)));
        scene.settle();
    }
    assert_eq!(sent.len(), 1);
}

#[test]
fn a_request_of_one_part_takes_no_more_of_the_quota() {
    let mut scene = Scene::new(vec![(
        ClientRow {
            daily_quota: 3,
            ..row_of("acme")
        },
        false,
    )]);
    for (id, profile) in [(1, "ada"), (2, "bob"), (3, "cy")] {
        scene.put(profile, id, r#"{"a": "1"}"#);
        scene.one(at(id));
    }
    scene.put("dee", 4, r#"{"a": "1"}"#);
    assert!(scene.claim_all(at(4)).is_empty());
}

/// Behind a page of those that wait there may be more of the same priority, which come before a lower one.
#[test]
fn what_waits_does_not_let_a_lower_priority_pass() {
    let mut scene = Scene::acme();
    scene.drain.set_limits(Limits {
        max_in_flight: 1,
        body_bytes: 10,
    });
    for id in 1..=40 {
        scene.outbox.put("acme", &format!("waits{id}"), 5, id, r#"{"a": "1"}"#);
        scene.outbox.rows.get_mut(&id).unwrap().next_attempt_at = Some(at(3_600_000));
    }
    scene.outbox.put("acme", "high", 5, 41, r#"{"a": "1"}"#);
    scene.outbox.put("acme", "low", 0, 42, r#"{"a": "1"}"#);
    scene.drain.new_work();
    assert!(scene.one(at(0)).request.url.contains("high"));
}

#[test]
fn a_claim_takes_all_priorities_for_which_there_is_room() {
    let mut scene = Scene::acme();
    for (id, priority) in [(1, 5), (2, 0), (3, -5)] {
        scene
            .outbox
            .put("acme", &format!("p{id}"), priority, id, r#"{"a": "1"}"#);
    }
    scene.drain.new_work();
    assert_eq!(scene.claim(at(0)).len(), 3);
}

/// After a restart the retries of an outage come from the table, and are paid for all the same.
#[test]
fn retries_that_are_read_from_the_table_are_paid_for() {
    let mut scene = Scene::new(vec![(
        ClientRow {
            max_in_flight: 500,
            ..row_of("acme")
        },
        false,
    )]);
    scene.drain.set_limits(Limits {
        max_in_flight: 500,
        body_bytes: 10,
    });
    for id in 1..=150 {
        scene.outbox.put("acme", &format!("p{id}"), 0, id, r#"{"a": "1"}"#);
        scene.outbox.rows.get_mut(&id).unwrap().next_attempt_at = Some(at(0));
    }
    scene.drain.new_work();
    assert_eq!(scene.claim_all(at(1)).len(), 100);
}

#[test]
fn an_entry_that_names_its_profile_otherwise_is_dead() {
    for (kind, dead) in [("mbox3rdPartyId", false), ("thirdPartyId", true)] {
        let mut scene = Scene::acme();
        scene.put("ada", 1, r#"{"a": "1"}"#);
        scene.outbox.rows.get_mut(&1).unwrap().id_kind = kind.to_owned();
        assert_eq!(scene.claim_all(at(0)).is_empty(), dead);
        scene.settle();
        assert_eq!(scene.outbox.dead.contains_key(&1), dead, "{kind}");
    }
}

#[test]
fn requests_of_a_client_whose_reservation_failed_are_withdrawn_and_the_others_go() {
    let mut scene = Scene::new(vec![(row_of("acme"), false), (row_of("beta"), false)]);
    scene.outbox.put("acme", "ada", 0, 1, r#"{"a": "1"}"#);
    scene.outbox.put("beta", "bob", 0, 2, r#"{"a": "1"}"#);
    scene.drain.new_work();
    let dispatches = scene.outbox.claim_only(&mut scene.drain, at(0), &mut scene.batch);
    assert_eq!(dispatches.len(), 2);
    let others = scene.drain.withdraw_of(&ClientCode::parse("acme").unwrap(), dispatches);
    assert_eq!(others.len(), 1);
    assert!(others[0].request.url.contains("beta"));
    assert!(scene.one(at(0)).request.url.contains("acme"), "it has another turn");
}

/// A large update waits for another one; the others of its client do not, and a clock that is set back holds up neither.
#[test]
fn a_large_update_that_waits_for_another_holds_up_nobody() {
    const BACK: i64 = -2 * 3_600_000;
    let mut scene = Scene::acme();
    scene.put("ada", 1, &large(300));
    scene.put("bob", 2, &large(300));
    let mut request = Some(scene.one(at(0)));
    scene.put("cy", 3, r#"{"a": "1"}"#);
    assert!(scene.one(at(1)).request.url.contains("cy"));
    scene
        .drain
        .clock_set(at(2), ClockStep::between(at(0), at(BACK)), &mut scene.batch);
    while let Some(dispatch) = request {
        request = scene.complete(accepted(dispatch.ticket, at(BACK)), at(BACK + 3));
    }
    scene.settle();
    let second = scene.one(at(BACK + 3)).request.body.unwrap();
    assert!(second.contains("bob"), "{}", &second[..40]);
}
