//! Processes that die: nothing committed is lost, and at most what was under way is sent twice.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use support::{Match, Mode, Reply};

use crate::site::{SOON, Site, WORKER};

/// Enqueues `count` profiles, of which each 10th hangs; waits until most are answered.
fn load(site: &Site, count: usize) {
    site.mock.on(Match::any().and_every(10)).respond(Reply::hang());
    site.db.execute(
        "select target_profile_update('acme', 'mbox3rdPartyId', 'p' || n, jsonb_build_object('n', n))
         from generate_series(1, $1::int) n",
        &[&i32::try_from(count).unwrap()],
    );
    site.mock.wait_hung(5, SOON);
    site.wait_until("select count(*) >= 30 from target_profile.response");
}

/// All profiles have their value, and only those whose response was not recorded were sent again.
fn check(site: &Site, count: usize, recorded: &[i64]) {
    site.wait_drained();
    for n in 1..=count {
        assert_eq!(
            site.sent_value(&format!("p{n}"), "n"),
            Some(n.to_string()),
            "profile {n}"
        );
    }
    let mut sent: BTreeMap<String, u32> = BTreeMap::new();
    for request in site.mock.requests() {
        *sent.entry(request.id.unwrap_or_default()).or_default() += 1;
    }
    for n in recorded {
        assert_eq!(
            sent.get(&format!("p{n}")),
            Some(&1),
            "profile {n} was recorded as accepted and sent again"
        );
    }
}

/// An answer frees its place in flight before it is settled: what a crash has sent again is at most what was in flight and
/// as much that was being settled.
fn check_repeated(site: &Site, count: usize) {
    let repeated = site.mock.requests().len() - count;
    let limit = site.count("select max_in_flight::bigint from target_profile.client");
    assert!(
        repeated <= 2 * usize::try_from(limit).unwrap(),
        "{repeated} requests were repeated; max_in_flight is {limit}"
    );
}

/// The profiles whose acceptance is recorded.
fn recorded(site: &Site) -> Vec<i64> {
    let db = site.cluster.db();
    db.query(
        "select substr(profile_id, 2)::bigint from target_profile.response where outcome = 'accepted'",
        &[],
    )
    .iter()
    .map(|row| row.get(0))
    .collect()
}

#[test]
fn a_killed_worker_loses_nothing() {
    let mut site = Site::new("kill9");
    load(&site, 300);
    // The postmaster restarts everything after a kill -9, so what was committed by then is read afterwards.
    let worker = site.cluster.wait_backend(WORKER, SOON);
    site.cluster.kill9(worker);
    site.mock.clear_rules();
    site.mock.release_hung();
    site.db = reconnected(&site);
    let before = recorded(&site);
    assert!(!before.is_empty());
    check(&site, 300, &[]);
    check_repeated(&site, 300);
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 0);
}

#[test]
fn an_immediate_stop_loses_nothing_and_repeats_only_what_was_under_way() {
    let mut site = Site::new("immediate");
    load(&site, 300);
    site.cluster.stop(Mode::Immediate);
    site.mock.clear_rules();
    site.mock.release_hung();
    // The worker must not send before we have read what it had recorded.
    site.cluster.start();
    site.db = reconnected(&site);
    site.wait_drained();
    check_repeated(&site, 300);
    check(&site, 300, &[]);
}

#[test]
fn what_was_recorded_before_a_crash_is_not_sent_again() {
    let mut site = Site::new("recorded");
    site.db.execute(
        "select target_profile_update('acme', 'mbox3rdPartyId', 'p' || n, jsonb_build_object('n', n))
         from generate_series(1, 100) n",
        &[],
    );
    site.wait_drained();
    let before = recorded(&site);
    assert_eq!(before.len(), 100);
    site.cluster.crash();
    site.cluster.start();
    site.db = reconnected(&site);
    site.update("p101", r#"{"n": 101}"#);
    check(&site, 101, &before);
}

#[test]
fn a_terminated_worker_comes_back_within_seconds_and_goes_on() {
    // supabase/pg_net#58, citusdata/pg_cron#99: the worker silently absent.
    let site = Site::new("terminate");
    let worker = site.cluster.wait_backend(WORKER, SOON);
    site.db.query("select pg_terminate_backend($1)", &[&worker]);
    site.update("1", r#"{"a": 1}"#);
    site.wait_drained();
    let successor = site.cluster.wait_backend(WORKER, SOON);
    assert_ne!(worker, successor);
    site.wait_until(&format!("select pid = {successor} from target_profile.worker"));
}

#[test]
fn a_worker_stops_within_a_second_while_an_endpoint_hangs() {
    let site = Site::new("stop");
    site.mock.on(Match::any()).respond(Reply::hang());
    site.db
        .batch("select target_profile.set_client('acme', timeout => '4 min')");
    site.update("1", r#"{"a": 1}"#);
    site.mock.wait_hung(1, SOON);
    let worker = site.cluster.wait_backend(WORKER, SOON);
    let began = Instant::now();
    site.db.query("select pg_terminate_backend($1)", &[&worker]);
    site.wait_until(&format!(
        "select not exists (select from pg_stat_activity where pid = {worker})"
    ));
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "it took {:?}",
        began.elapsed()
    );
    site.mock.wait_hung(1, SOON);
    let began = Instant::now();
    site.cluster.stop(Mode::Fast);
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "a fast shutdown took {:?}",
        began.elapsed()
    );
}

pub fn reconnected(site: &Site) -> support::Db {
    // A session that is let in before the server has noticed the crash would die with it.
    support::wait::until("the end of the old session", SOON, || site.db.is_closed().then_some(()));
    support::wait::until("a connection after the crash", SOON, || {
        site.cluster.try_client("postgres", "postgres").ok()
    })
}
