//! When what is committed has to wake the worker.

use std::time::Duration;

use target_profile_core::drain::{Drain, Limits, Registration};
use target_profile_core::quota::{Count, Minute};
use target_profile_core::settings::ClientRow;
use target_profile_core::time::Timestamp;

use crate::outbox::{at, row_of};

fn drain() -> Drain {
    Drain::new(Limits {
        max_in_flight: 10,
        body_bytes: 100,
    })
}

fn client(code: &str, paused: bool, daily_quota: i64, used: u64, now: Timestamp) -> Registration {
    let charged = Count { all: used, backfill: 0 };
    let row = ClientRow {
        daily_quota,
        ..row_of(code)
    };
    Registration {
        settings: row.check().unwrap(),
        paused,
        resumed_at: None,
        charged: vec![(Minute::of(now), charged)],
    }
}

#[test]
fn a_client_that_may_send_is_enough() {
    let (mut drain, now) = (drain(), at(0));
    assert_eq!(drain.listens_at(now), None, "there is no client");
    drain.set_clients(vec![client("acme", true, 10, 0, now)], now);
    assert_eq!(drain.listens_at(now), None, "the only one is paused");
    drain.set_clients(
        vec![client("acme", true, 10, 0, now), client("umbrella", false, 10, 0, now)],
        now,
    );
    assert_eq!(drain.listens_at(now), Some(now));
    drain.set_enabled(false);
    assert_eq!(drain.listens_at(now), None, "nothing is to be sent");
    drain.set_enabled(true);
    drain.set_limits(Limits {
        max_in_flight: 0,
        body_bytes: 100,
    });
    assert_eq!(drain.listens_at(now), None, "there is no room");
}

#[test]
fn a_quota_that_is_used_up_says_when_it_ends() {
    let (mut drain, now) = (drain(), at(0));
    drain.set_clients(vec![client("acme", false, 10, 10, now)], now);
    let then = drain.listens_at(now).unwrap();
    assert!(then.since(now) > Duration::from_secs(24 * 3600 - 1), "{then:?}");
    assert_eq!(drain.listens_at(then), Some(then));
}
