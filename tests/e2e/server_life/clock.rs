//! A clock that is set: far forward, far back, and by seconds, as NTP does.

use std::time::Duration;

use support::{Cluster, Interposed, Match, Offset, Reply, cluster};

use super::reconnected;
use crate::site::{SOON, Site, WORKER};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn site(name: &str) -> Site {
    Site::with(
        Cluster::builder(name)
            .interposed(Interposed::Clock)
            .conf("target_profile.poll_interval", "1s"),
    )
}

fn enqueue(site: &Site, client: &str, id: &str) {
    site.db.query(
        "select target_profile_update($1, 'mbox3rdPartyId', $2, '{\"a\": 1}')",
        &[&client, &id],
    );
}

fn wait_sent(site: &Site, client: &str, id: &str) {
    site.mock.wait_value(client, "mbox3rdPartyId", id, "a", "1", SOON);
}

/// The processor time that the worker has used so far.
fn worked(site: &Site) -> Duration {
    let pid = site.cluster.wait_backend(WORKER, SOON);
    cluster::process(u32::try_from(pid).unwrap()).unwrap().cpu_time()
}

#[test]
fn a_clock_that_is_set_back_makes_nothing_wait_longer() {
    let site = site("back");
    for client in ["broken", "late"] {
        site.add_client(client);
    }
    site.db
        .batch("select target_profile.set_client('late', delay => '2 s')");
    // One that waits for its retry, a client whose breaker is open, and one that waits for its delay.
    let retried = site
        .mock
        .on(Match::client("acme").and_id("retried"))
        .respond(Reply::status(500));
    let broken = site.mock.on(Match::client("broken")).respond(Reply::status(500));
    enqueue(&site, "acme", "retried");
    for n in 0..8 {
        enqueue(&site, "broken", &n.to_string());
    }
    site.wait_until("select state = 'backing off' from target_profile.status where client_code = 'broken'");
    support::wait::until("a request that fails", SOON, || {
        (site.mock.rule_hits(retried) > 0).then_some(())
    });
    enqueue(&site, "late", "delayed");
    site.cluster.set_clock(Offset::Behind(2 * HOUR));
    let before = [retried, broken].map(|rule| site.mock.rule_hits(rule));
    support::wait::until("each to be tried again", SOON, || {
        (site.mock.rule_hits(retried) > before[0] + 1 && site.mock.rule_hits(broken) > before[1] + 1).then_some(())
    });
    wait_sent(&site, "late", "delayed");
    // What `status` tells is by the clock as it is.
    site.wait_until(
        "select next_try_at < clock_timestamp() + interval '5 min 1 s' and since <= clock_timestamp()
         from target_profile.status where client_code = 'broken'",
    );
    let worked_before = worked(&site);
    enqueue(&site, "acme", "new");
    enqueue(&site, "late", "new");
    wait_sent(&site, "acme", "new");
    wait_sent(&site, "late", "new");
    site.mock.clear_rules();
    site.wait_drained();
    assert!(
        worked(&site) - worked_before < Duration::from_secs(2),
        "a loop without rest"
    );
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 0);
    site.wait_until("select state = 'idle' and last_error is null from target_profile.worker");
}

#[test]
fn a_clock_that_is_set_forward_and_back_lends_no_quota() {
    let mut site = site("lends");
    site.db
        .batch("select target_profile.set_client('acme', daily_quota => 30)");
    super::enqueue(&site, 60);
    site.wait_until("select state = 'quota' from target_profile.status");
    let check = |site: &Site| {
        // The worker has looked: what counts has moved along.
        site.wait_until(
            "select bool_and(minute between clock_timestamp() - interval '10 min' and clock_timestamp() + interval '2 min')
             from target_profile.activity",
        );
        site.mock.wait_quiet(Duration::from_millis(1100), SOON);
        assert_eq!(site.mock.request_count(), 30, "more than the quota");
        let status = "select state = 'quota' and quota_used = 30
             and quota_resumes_at between clock_timestamp() + interval '23 h 45 min' and clock_timestamp() + interval '24 h 5 min'
             from target_profile.status";
        site.wait_until(status);
    };
    check(&site);
    for offset in [
        Offset::Ahead(2 * DAY),
        Offset::Ahead(2 * DAY + Duration::from_secs(5)),
        Offset::Behind(2 * HOUR),
        Offset::Ahead(2 * DAY),
    ] {
        site.cluster.set_clock(offset);
        check(&site);
    }
    // It is on disk: neither another worker nor another server lends more.
    let worker = site.cluster.wait_backend(WORKER, SOON);
    site.db.query("select pg_terminate_backend($1)", &[&worker]);
    support::wait::until("another worker", SOON, || {
        (site.cluster.wait_backend(WORKER, SOON) != worker).then_some(())
    });
    check(&site);
    site.cluster.restart(support::Mode::Fast);
    site.db = reconnected(&site);
    check(&site);
    site.db
        .batch("select target_profile.set_client('acme', daily_quota => 1000)");
    super::check_all_sent(&site, 60);
    assert_eq!(site.mock.request_count(), 60);
    site.wait_until("select sum(sent) = 60 and sum(accepted) = 60 from target_profile.activity");
}

#[test]
fn a_clock_that_is_set_forward_and_back_gives_nothing_up_and_responses_have_their_day() {
    let site = site("forth");
    site.db
        .batch("select target_profile.set_client('acme', max_age => '1 day')");
    let old = site.mock.on(Match::id("old")).respond(Reply::status(500));
    enqueue(&site, "acme", "old");
    let fails_again = |site: &Site| {
        let before = site.mock.rule_hits(old);
        support::wait::until("it to fail again", SOON, || {
            (site.mock.rule_hits(old) > before + 1).then_some(())
        });
        site.wait_until("select exists (select from target_profile.outbox where profile_id = 'old')");
    };
    let sent_on_its_day = |site: &Site, id: &str| {
        enqueue(site, "acme", id);
        wait_sent(site, "acme", id);
        site.wait_until(&format!(
            "select exists (select from target_profile.response where profile_id = '{id}'
             and (sent_at at time zone 'UTC')::date = (clock_timestamp() at time zone 'UTC')::date)"
        ));
    };
    fails_again(&site);
    site.cluster.set_clock(Offset::Ahead(2 * DAY));
    sent_on_its_day(&site, "ahead");
    fails_again(&site);
    site.cluster.set_clock(Offset::Behind(2 * DAY));
    sent_on_its_day(&site, "behind");
    site.cluster.set_clock(Offset::Ahead(Duration::ZERO));
    sent_on_its_day(&site, "right");
    site.mock.remove_rule(old);
    wait_sent(&site, "acme", "old");
    site.wait_drained();
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 0);
    assert_eq!(site.mock.max_in_flight_per_profile(), 1);
    site.wait_until("select state = 'idle' and last_error is null from target_profile.worker");
}
