//! How a client stands, and that it goes from state to state as docs/monitoring.md draws it; the same for an entry.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use target_profile_core::breaker::Opening;
use target_profile_core::quota::{Class, Minute, Quota};
use target_profile_core::status::{ClientState, Facts, Pause, Server, standing};

use crate::outbox::at;

fn facts() -> Facts {
    Facts {
        adopted: true,
        server: Server::Sends,
        pause: None,
        opening: None,
        waiting: 0,
        waiting_fresh: 0,
        quota: Quota::new(100, 0.5),
        sent: Vec::new(),
    }
}

fn pause() -> Option<Pause> {
    Some(Pause {
        at: at(-5_000),
        unauthorized: false,
        reason: Some("maintenance".to_owned()),
    })
}

fn opening() -> Option<Opening> {
    Some(Opening {
        since: at(-9_000),
        next_try_at: at(4_000),
        reason: "timeout".to_owned(),
    })
}

#[test]
fn the_first_state_that_applies_is_shown() {
    let mut facts = Facts {
        adopted: false,
        server: Server::Disabled,
        pause: pause(),
        opening: opening(),
        waiting: 3,
        waiting_fresh: 3,
        sent: vec![(Minute::of(at(0)), Class::Fresh.count(100))],
        ..facts()
    };
    let mut seen = Vec::new();
    let mut note = |facts: &Facts| seen.push(standing(facts, at(0)).state);
    note(&facts);
    facts.adopted = true;
    note(&facts);
    facts.server = Server::Sends;
    note(&facts);
    facts.pause = None;
    note(&facts);
    facts.opening = None;
    note(&facts);
    facts.sent.clear();
    note(&facts);
    (facts.waiting, facts.waiting_fresh) = (0, 0);
    note(&facts);
    assert_eq!(seen, ClientState::ALL);
}

#[test]
fn each_state_says_why_since_when_and_what_is_next() {
    let now = at(0);
    let of = |facts: Facts| standing(&facts, now);
    for server in [Server::NotPreloaded, Server::Disabled, Server::Standby] {
        let shown = of(Facts {
            server,
            pause: pause(),
            ..facts()
        });
        assert_eq!(shown.state, ClientState::Disabled);
        assert!(!shown.reason.unwrap().is_empty());
    }
    let shown = of(Facts {
        pause: pause(),
        ..facts()
    });
    assert_eq!(
        (shown.reason.as_deref(), shown.since),
        (Some("maintenance"), Some(at(-5_000)))
    );
    let refused = Pause {
        unauthorized: true,
        reason: Some("HTTP 401".to_owned()),
        ..pause().unwrap()
    };
    let shown = of(Facts {
        pause: Some(refused),
        ..facts()
    });
    assert_eq!(
        shown.reason.as_deref(),
        Some("Target does not let the client in; set another auth_token: HTTP 401")
    );
    let shown = of(Facts {
        opening: opening(),
        ..facts()
    });
    assert_eq!((shown.since, shown.next_try_at), (Some(at(-9_000)), Some(at(4_000))));
    assert_eq!((shown.reason.as_deref(), shown.forecast), (Some("timeout"), None));
    // A probe that the quota does not admit goes out when it does.
    let shown = of(Facts {
        opening: opening(),
        waiting: 1,
        waiting_fresh: 1,
        sent: vec![(Minute::of(now), Class::Fresh.count(100))],
        ..facts()
    });
    assert_eq!(shown.state, ClientState::BackingOff);
    assert_eq!(shown.next_try_at, Some(Minute::of(now).counts_until()));
    assert_eq!(shown.reason.as_deref(), Some("timeout; and daily_quota is used up"));
    let shown = of(Facts {
        opening: opening(),
        waiting: 1,
        sent: vec![(Minute::of(now), Class::Backfill.count(50))],
        ..facts()
    });
    assert_eq!(
        shown.reason.as_deref(),
        Some("timeout; and backfill_share of daily_quota is used up, and only low priorities wait")
    );
    let minute = Minute::of(now);
    let used = |count| Facts {
        waiting: 5,
        waiting_fresh: 5,
        sent: vec![(minute, count)],
        ..facts()
    };
    let shown = of(used(Class::Fresh.count(100)));
    assert_eq!(
        (shown.state, shown.quota_used, shown.quota_left),
        (ClientState::Quota, 100, 0)
    );
    assert_eq!(shown.next_try_at, Some(minute.counts_until()));
    assert_eq!(
        (shown.quota_resumes_at, shown.since),
        (shown.next_try_at, Some(minute.start()))
    );
    assert!(shown.forecast.unwrap() > Duration::from_secs(23 * 3_600));
    let shown = of(used(Class::Fresh.count(60)));
    assert_eq!(
        (shown.state, shown.quota_used, shown.quota_left),
        (ClientState::Active, 60, 40)
    );
    assert_eq!((shown.quota_resumes_at, shown.reason), (None, None));
    assert!(
        shown.forecast.unwrap() < Duration::from_secs(60),
        "sixty a minute, and five wait"
    );
}

#[test]
fn only_low_priorities_wait_for_the_share_of_backfills() {
    let sent = vec![(Minute::of(at(0)), Class::Backfill.count(50))];
    let waiting = |fresh| Facts {
        waiting: 5,
        waiting_fresh: fresh,
        sent: sent.clone(),
        ..facts()
    };
    let shown = standing(&waiting(0), at(0));
    assert_eq!((shown.state, shown.quota_left), (ClientState::Quota, 50));
    assert!(shown.reason.unwrap().contains("backfill_share"));
    assert_eq!(shown.quota_resumes_at, Some(Minute::of(at(0)).counts_until()));
    assert_eq!(standing(&waiting(1), at(0)).state, ClientState::Active);
}

#[test]
fn a_missing_worker_matters_to_those_who_wait() {
    let missing = |waiting| Facts {
        server: Server::NoWorker,
        waiting,
        waiting_fresh: waiting,
        ..facts()
    };
    assert_eq!(standing(&missing(0), at(0)).state, ClientState::Idle);
    let shown = standing(&missing(1), at(0));
    assert_eq!(shown.state, ClientState::Disabled);
    assert!(shown.reason.unwrap().contains("worker"));
    let paused = Facts {
        pause: pause(),
        ..missing(1)
    };
    assert_eq!(standing(&paused, at(0)).state, ClientState::Paused);
}

/// The edges of the n-th state diagram in docs/monitoring.md, with the names that its `state "…" as x` and `x : …` lines give.
pub fn diagram(number: usize) -> BTreeSet<(String, String)> {
    let page = include_str!("../../docs/monitoring.md");
    let text = page
        .split("```mermaid\nstateDiagram-v2\n")
        .nth(number + 1)
        .and_then(|rest| rest.split("```").next())
        .expect("the page has a state diagram");
    let mut names: Vec<(String, String)> = Vec::new();
    let mut edges = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some((from, rest)) = line.split_once(" --> ") {
            let to = rest.split(" : ").next().unwrap_or(rest);
            edges.push((from.to_owned(), to.to_owned()));
        } else if let Some((name, short)) = line.strip_prefix("state \"").and_then(|rest| rest.split_once("\" as ")) {
            names.push((short.to_owned(), name.to_owned()));
        } else if let Some((short, name)) = line.split_once(" : ") {
            names.push((short.to_owned(), name.to_owned()));
        }
    }
    let full = |name: String| {
        names
            .iter()
            .find(|(short, _)| *short == name)
            .map_or(name.clone(), |(_, full)| full.clone())
    };
    edges.into_iter().map(|(from, to)| (full(from), full(to))).collect()
}

/// What can happen to a client, one thing at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Event {
    Enqueued,
    /// The last entry is accepted or dead.
    Drained,
    QuotaUsed,
    QuotaFree,
    /// Requests fail, or a probe fails.
    Failing,
    /// A probe was accepted, or the client was resumed, or its endpoint or token replaced.
    Mended,
    Pause,
    Refused,
    /// By `resume`, which also closes a breaker, or by a new token.
    Resume,
}

fn happens(facts: &Facts, event: Event) -> Option<Facts> {
    let mut next = facts.clone();
    let sending = facts.pause.is_none() && facts.waiting > 0;
    match event {
        Event::Enqueued => (next.waiting, next.waiting_fresh) = (facts.waiting + 1, facts.waiting + 1),
        // Also what was under way when the quota was used up; what is accepted closes a breaker.
        Event::Drained if sending => (next.waiting, next.waiting_fresh, next.opening) = (0, 0, None),
        Event::QuotaUsed if sending => {
            next.sent = vec![(Minute::of(at(0)), Class::Fresh.count(100))];
        }
        Event::QuotaFree => next.sent.clear(),
        Event::Failing if sending => next.opening = opening(),
        Event::Mended => next.opening = None,
        Event::Pause => (next.pause, next.opening) = (pause(), None),
        Event::Refused if sending => {
            (next.pause, next.opening) = (
                Some(Pause {
                    unauthorized: true,
                    ..pause()?
                }),
                None,
            );
        }
        Event::Resume => (next.pause, next.opening) = (None, None),
        _ => return None,
    }
    Some(next)
}

/// Without those from and to the states that the page says can be entered from anywhere.
#[test]
fn a_client_takes_the_edges_of_the_readme_and_all_of_them() {
    use Event::{Drained, Enqueued, Failing, Mended, Pause, QuotaFree, QuotaUsed, Refused, Resume};
    let events = [
        Enqueued, Drained, QuotaUsed, QuotaFree, Failing, Mended, Pause, Refused, Resume,
    ];
    let anywhere = |state: &str| matches!(state, "not adopted" | "disabled");
    let drawn: BTreeSet<(String, String)> = diagram(1)
        .into_iter()
        .filter(|(from, to)| !anywhere(from) && !anywhere(to))
        .collect();
    let mut taken = BTreeSet::new();
    let mut seen: Vec<Facts> = Vec::new();
    let mut open = vec![facts()];
    while let Some(facts) = open.pop() {
        let shape = |f: &Facts| (f.waiting.min(1), f.sent.len(), f.pause.clone(), f.opening.clone());
        if seen.iter().any(|other| shape(other) == shape(&facts)) {
            continue;
        }
        let from = standing(&facts, at(0)).state.as_str();
        for next in events.iter().filter_map(|event| happens(&facts, *event)) {
            let to = standing(&next, at(0)).state.as_str();
            if from != to {
                taken.insert((from.to_owned(), to.to_owned()));
            }
            open.push(next);
        }
        seen.push(facts);
    }
    assert_eq!(taken, drawn, "left: what happens; right: what docs/monitoring.md draws");
}

proptest! {
    /// Whatever the tables say, there is a row, and its quota adds up.
    #[test]
    fn every_client_stands_somehow(
        used in prop::collection::vec((-2_000..5i64, 0..400u64, any::<bool>()), 0..30),
        daily in 1..1_000u64,
        share in 0.01..1.0f64,
        waiting in 0..5_000u64,
    ) {
        let sent = used
            .iter()
            .map(|(minutes, requests, waits)| {
                let class = if *waits { Class::Backfill } else { Class::Fresh };
                (Minute::of(at(minutes * 60_000)), class.count(*requests))
            })
            .collect();
        let facts = Facts { waiting, waiting_fresh: waiting, quota: Quota::new(daily, share), sent, ..facts() };
        let shown = standing(&facts, at(0));
        prop_assert_eq!(shown.quota_left, daily.saturating_sub(shown.quota_used));
        prop_assert_eq!(shown.quota_resumes_at.is_some(), shown.quota_left == 0);
        prop_assert_eq!(shown.state == ClientState::Quota, waiting > 0 && shown.quota_left == 0);
        prop_assert!(shown.quota_resumes_at.is_none_or(|then| then > at(0)));
    }
}

#[test]
fn of_a_client_for_which_nothing_waits_the_whole_quota_counts() {
    let facts = Facts {
        sent: vec![(Minute::of(at(0)), Class::Backfill.count(50))],
        ..facts()
    };
    assert_eq!(standing(&facts, at(0)).quota_resumes_at, None);
    let waits = Facts { waiting: 1, ..facts };
    assert!(standing(&waits, at(0)).quota_resumes_at.is_some());
}

#[test]
fn a_quota_that_is_used_up_was_so_at_the_last_minute_with_a_request() {
    let facts = Facts {
        waiting: 1,
        waiting_fresh: 1,
        sent: vec![
            (Minute::of(at(-600_000)), Class::Fresh.count(100)),
            (Minute::of(at(-60_000)), Class::Fresh.count(0)),
        ],
        ..facts()
    };
    let standing = standing(&facts, at(0));
    assert_eq!(standing.reason.as_deref(), Some("daily_quota is used up"));
    assert_eq!(standing.since, Some(Minute::of(at(-600_000)).start()));
}

#[test]
fn a_forecast_goes_by_the_requests_of_the_last_minutes() {
    let minute = Minute::of(at(0));
    let facts = Facts {
        waiting: 600,
        waiting_fresh: 600,
        quota: Quota::new(1_000_000, 0.5),
        sent: vec![
            (minute.plus(-600), Class::Fresh.count(100_000)),
            (minute.plus(-2), Class::Fresh.count(0)),
            (minute, Class::Fresh.count(600)),
        ],
        ..facts()
    };
    let now = minute.start().plus(Duration::from_secs(300));
    assert_eq!(standing(&facts, now).forecast, Some(Duration::from_secs(300)));
}
