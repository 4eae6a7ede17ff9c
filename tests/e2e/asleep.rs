//! While nothing may be sent, commits do not wake the worker; and what was committed meanwhile is sent at once when it may be.

use std::fs;
use std::time::Duration;

use support::{Cluster, Match, Reply};

use crate::site::{SOON, Site, WORKER};

const COMMITS: usize = 300;

/// A poll must not be what sends it.
fn site(name: &str) -> Site {
    let site = Site::with(Cluster::builder(name).conf("target_profile.poll_interval", "1h"));
    site.update("first", r#"{"a": 1}"#);
    site.wait_drained();
    site
}

/// How often the worker's thread for Postgres has gone to sleep.
fn sleeps(site: &Site) -> u64 {
    let pid = site.cluster.wait_backend(WORKER, SOON);
    let status = fs::read_to_string(format!("/proc/{pid}/task/{pid}/status")).expect("the worker's status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|line| line.trim().parse().ok()).expect("a number")
}

/// Commits that do not wake the worker, or only the first of them.
fn commit_unheard(site: &Site, prefix: &str) {
    let before = sleeps(site);
    for number in 0..COMMITS {
        site.update(&format!("{prefix}{number}"), r#"{"a": 1}"#);
    }
    let times = sleeps(site) - before;
    assert!(times < 30, "{COMMITS} commits have waked the worker {times} times");
}

fn wait_sent(site: &Site, prefix: &str) {
    site.wait_drained();
    for number in 0..COMMITS {
        let id = format!("{prefix}{number}");
        assert_eq!(site.sent_value(&id, "a").as_deref(), Some("1"), "{id}");
    }
}

#[test]
fn while_all_clients_are_paused() {
    let site = site("asleep-paused");
    site.db.batch("select target_profile.pause('acme', 'a test')");
    commit_unheard(&site, "paused");
    site.db.batch("select target_profile.resume('acme')");
    wait_sent(&site, "paused");
}

#[test]
fn while_sending_is_switched_off() {
    let site = site("asleep-disabled");
    site.cluster.set("target_profile.enabled", "off");
    site.wait_until("select state = 'disabled' from target_profile.worker");
    commit_unheard(&site, "disabled");
    // A change of a client meanwhile neither sends nor loses what waits.
    site.db
        .batch("select target_profile.set_client('acme', timeout => '4 s')");
    commit_unheard(&site, "changed");
    site.cluster.reset("target_profile.enabled");
    wait_sent(&site, "disabled");
    wait_sent(&site, "changed");
}

#[test]
fn while_the_quota_is_used_up() {
    let site = site("asleep-quota");
    site.db
        .batch("select target_profile.set_client('acme', daily_quota => 1)");
    site.update("one too many", r#"{"a": 1}"#);
    site.wait_until("select state = 'quota' from target_profile.status where client_code = 'acme'");
    commit_unheard(&site, "quota");
    site.db
        .batch("select target_profile.set_client('acme', daily_quota => 1000)");
    wait_sent(&site, "quota");
}

#[test]
fn while_the_endpoint_has_failed() {
    let site = site("asleep-failed");
    // Long enough for the commits.
    let rule = site
        .mock
        .on(Match::any())
        .respond(Reply::status(503).header("retry-after", "600"));
    site.update("refused", r#"{"a": 1}"#);
    site.wait_until("select state = 'backing off' from target_profile.status where client_code = 'acme'");
    commit_unheard(&site, "failed");
    site.mock.remove_rule(rule);
    site.db
        .batch("select target_profile.pause('acme', 'a test'); select target_profile.resume('acme')");
    wait_sent(&site, "failed");
}

/// The time that ends it is one of the worker's own, with nothing of the client's known to wait.
#[test]
fn what_is_committed_before_a_probe_is_sent_after_it() {
    let site = site("asleep-probe");
    site.mock
        .on(Match::any())
        .once()
        // Longer than the commits take on a busy machine.
        .respond(Reply::status(503).header("retry-after", "10"));
    let id = site.update("refused", r#"{"a": 1}"#);
    site.wait_until("select state = 'backing off' from target_profile.status where client_code = 'acme'");
    // What would make the worker come back by itself is taken away.
    site.db.query("delete from target_profile.outbox where id = $1", &[&id]);
    commit_unheard(&site, "probe");
    wait_sent(&site, "probe");
}

#[test]
fn while_the_limit_of_requests_is_reached() {
    let site = site("asleep-full");
    site.db
        .batch("select target_profile.set_client('acme', max_in_flight => 2)");
    let rule = site.mock.on(Match::any()).respond(Reply::hang());
    for number in 0..2 {
        site.update(&format!("hangs{number}"), r#"{"a": 1}"#);
    }
    site.mock.wait_hung(2, SOON);
    commit_unheard(&site, "full");
    site.mock.remove_rule(rule);
    site.mock.release_hung();
    wait_sent(&site, "full");
    assert!(site.mock.max_in_flight() <= 2);
}

/// Two clients: the one that may send is heard, whatever the other one's state.
#[test]
fn one_client_that_may_send_is_heard() {
    let site = site("asleep-other");
    site.add_client("umbrella");
    site.db.batch("select target_profile.pause('acme', 'a test')");
    commit_paused_and_other(&site);
}

fn commit_paused_and_other(site: &Site) {
    for number in 0..20 {
        site.update(&format!("acme{number}"), r#"{"a": 1}"#);
        site.db.query(
            "select target_profile_update('umbrella', 'mbox3rdPartyId', $1, '{\"a\": 1}')",
            &[&format!("umbrella{number}")],
        );
    }
    site.cluster.wait_sql(
        &site.db,
        "select not exists (select from target_profile.outbox where client_code = 'umbrella')",
        Duration::from_secs(20),
    );
}
