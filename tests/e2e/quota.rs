//! The quota: how many requests leave, whatever happens; and the ledger it is counted in.

use std::time::Duration;

use support::{Cluster, Match, Mode, Reply};

use crate::site::{SOON, Site, WORKER};

/// Long enough for the poll, which is set to a second, to look twice.
const CALM: Duration = Duration::from_millis(2_500);

const BACKFILL: i16 = -10;

fn polling_each_second(name: &str) -> Site {
    Site::with(Cluster::builder(name).conf("target_profile.poll_interval", "1s"))
}

fn set_quota(site: &Site, quota: i64) {
    site.db
        .query("select target_profile.set_client('acme', daily_quota => $1)", &[&quota]);
}

/// Enqueues so many profiles, named by a prefix and a number from 1, in one transaction.
fn enqueue(site: &Site, prefix: &str, count: i32, priority: i16) {
    site.db.query(
        "select target_profile_update('acme', 'mbox3rdPartyId', $1 || n, jsonb_build_object('n', n), $3)
         from generate_series(1, $2::int) n",
        &[&prefix, &count, &priority],
    );
}

/// Waits until the quota withholds what is left, and nothing is sent any more.
fn wait_held(site: &Site) {
    site.wait_until("select state = 'quota' from target_profile.status where client_code = 'acme'");
    site.mock.wait_quiet(CALM, SOON);
}

fn requests(site: &Site) -> usize {
    site.mock.requests_of("acme").len()
}

/// How many requests went for profiles with this prefix.
fn requests_for(site: &Site, prefix: &str) -> usize {
    let ids = site
        .mock
        .requests_of("acme")
        .into_iter()
        .filter_map(|request| request.id);
    ids.filter(|id| id.starts_with(prefix)).count()
}

fn used(site: &Site) -> i64 {
    site.count("select quota_used from target_profile.status where client_code = 'acme'")
}

/// What was sent becomes a day older, by the end of its minute.
fn a_day_goes_by(site: &Site) {
    site.db
        .batch("update target_profile.activity set minute = minute - interval '24 hours 1 minute'");
}

#[test]
fn a_client_sends_exactly_its_quota_and_status_says_until_when_the_rest_waits() {
    let site = polling_each_second("quota");
    set_quota(&site, 20);
    site.add_client("other");
    enqueue(&site, "p", 50, 0);
    wait_held(&site);
    assert_eq!(requests(&site), 20);
    for n in 1..=20 {
        assert!(
            site.sent_value(&format!("p{n}"), "n").is_some(),
            "p{n} is older than what was sent"
        );
    }
    let row = site.db.query_one(
        "select quota_used, quota_left, backlog, reason,
             quota_resumes_at between now() + interval '23 h 58 min' and now() + interval '24 h 1 min',
             next_try_at = quota_resumes_at,
             forecast between interval '47 h 55 min' and interval '48 h 5 min',
             forecast::text, oldest_age > interval '0'
         from target_profile.status where client_code = 'acme'",
        &[],
    );
    assert_eq!(row.get::<_, i64>(0), 20, "used");
    assert_eq!(row.get::<_, i64>(1), 0, "left");
    assert_eq!(row.get::<_, i64>(2), 30, "backlog");
    assert_eq!(row.get::<_, &str>(3), "daily_quota is used up");
    assert!(row.get::<_, bool>(4), "it goes on when the first minute is a day old");
    assert!(row.get::<_, bool>(5), "nothing is tried before");
    assert_eq!(
        row.get::<_, Option<bool>>(6),
        Some(true),
        "20 go tomorrow and 10 the day after: {:?}",
        row.get::<_, Option<&str>>(7)
    );
    assert!(row.get::<_, bool>(8));

    // Another client has a quota of its own.
    site.db.batch(
        "select count(target_profile_update('other', 'mbox3rdPartyId', n::text, '{\"a\": 1}')) from generate_series(1, 50) n",
    );
    site.wait_until("select state = 'idle' and quota_used = 50 from target_profile.status where client_code = 'other'");
    assert_eq!(site.mock.requests_of("other").len(), 50);
    assert_eq!(requests(&site), 20);
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 0);
}

#[test]
fn neither_a_restart_nor_a_killed_worker_lends_more_quota() {
    let mut site = polling_each_second("quota_crash");
    set_quota(&site, 20);
    site.db
        .batch("select target_profile.set_client('acme', max_in_flight => 5, timeout => '4 min')");
    // When five of them hang, nothing moves any more: no request is reserved without having been sent.
    site.mock.on(Match::any().and_every(2)).times(5).respond(Reply::hang());
    enqueue(&site, "p", 50, 0);
    site.mock.wait_hung(5, SOON);
    assert_eq!(requests(&site), 10);
    site.cluster.kill9(site.cluster.wait_backend(WORKER, SOON));
    site.mock.clear_rules();
    site.mock.release_hung();
    reconnect(&mut site);
    wait_held(&site);
    assert_eq!(requests(&site), 20, "the repeated requests count");
    assert_eq!(used(&site), 20);

    site.cluster.restart(Mode::Fast);
    reconnect(&mut site);
    wait_held(&site);
    assert_eq!((requests(&site), used(&site)), (20, 20), "after a restart");

    site.cluster.kill9(site.cluster.wait_backend(WORKER, SOON));
    reconnect(&mut site);
    wait_held(&site);
    assert_eq!((requests(&site), used(&site)), (20, 20), "after another kill -9");

    site.db
        .query("select pg_terminate_backend(pid) from target_profile.worker", &[]);
    wait_held(&site);
    assert_eq!((requests(&site), used(&site)), (20, 20), "with another worker");

    a_day_goes_by(&site);
    site.wait_until("select quota_used = 20 and backlog < 30 from target_profile.status");
    wait_held(&site);
    assert_eq!(requests(&site), 40);
}

fn reconnect(site: &mut Site) {
    support::wait::until("the end of the session", SOON, || site.db.is_closed().then_some(()));
    site.db = support::wait::until("a connection after the crash", SOON, || {
        site.cluster.try_client("postgres", "postgres").ok()
    });
    site.cluster.wait_backend(WORKER, SOON);
}

#[test]
fn what_waits_goes_within_the_poll_interval_once_a_day_has_gone_by() {
    let site = polling_each_second("quota_day");
    set_quota(&site, 20);
    enqueue(&site, "p", 35, 0);
    wait_held(&site);
    assert_eq!(requests(&site), 20);
    a_day_goes_by(&site);
    site.wait_drained();
    assert_eq!(requests(&site), 35);
    site.wait_until("select quota_used = 15 and quota_left = 5 and state = 'idle' from target_profile.status");
}

#[test]
fn a_higher_quota_lets_more_go_at_once() {
    // No poll comes to help.
    let site = Site::with(Cluster::builder("quota_raised").conf("target_profile.poll_interval", "1h"));
    set_quota(&site, 20);
    enqueue(&site, "p", 35, 0);
    wait_held(&site);
    assert_eq!(requests(&site), 20);
    set_quota(&site, 25);
    site.mock.wait_requests(25, SOON);
    wait_held(&site);
    assert_eq!((requests(&site), used(&site)), (25, 25));
    // A lower one takes nothing back and lends nothing.
    set_quota(&site, 5);
    wait_held(&site);
    assert_eq!(requests(&site), 25);
    assert_eq!(
        site.count("select quota_left from target_profile.status"),
        0,
        "not below zero"
    );
    set_quota(&site, 1_000);
    site.wait_drained();
    assert_eq!(requests(&site), 35);
}

#[test]
fn a_backfill_gets_its_share_and_leaves_the_rest_to_fresh_updates() {
    let site = polling_each_second("quota_share");
    site.db
        .batch("select target_profile.set_client('acme', daily_quota => 20, backfill_share => 0.3)");
    // Together, or the first to be committed would be gone already.
    site.db.batch("begin");
    enqueue(&site, "old", 10, BACKFILL);
    enqueue(&site, "almost", 10, -1);
    site.db.batch("commit");
    wait_held(&site);
    assert_eq!(requests(&site), 6);
    assert_eq!(requests_for(&site, "almost"), 6, "the higher priority goes first");
    let row = site.db.query_one(
        "select reason, quota_used, quota_left, next_try_at = quota_resumes_at, forecast is not null
         from target_profile.status",
        &[],
    );
    assert!(row.get::<_, &str>(0).contains("backfill_share"), "{row:?}");
    assert_eq!((row.get::<_, i64>(1), row.get::<_, i64>(2)), (6, 14));
    assert_eq!(row.get::<_, Option<bool>>(3), Some(true));
    assert!(row.get::<_, bool>(4));

    enqueue(&site, "fresh", 5, 0);
    // A fresh update of a profile that waits takes its backfill along.
    site.update("old7", r#"{"m": 1}"#);
    site.wait_until("select not exists (select from target_profile.outbox where priority >= 0)");
    site.mock.wait_quiet(CALM, SOON);
    assert_eq!(requests_for(&site, "fresh"), 5);
    assert_eq!(requests_for(&site, "old"), 1);
    assert_eq!(site.sent_value("old7", "n").as_deref(), Some("7"));
    assert_eq!(requests(&site), 12);

    enqueue(&site, "more", 20, 7);
    site.wait_until("select quota_left = 0 from target_profile.status");
    wait_held(&site);
    assert_eq!(requests(&site), 20);
    assert_eq!(requests_for(&site, "more"), 8);
    assert_eq!(
        site.count("select sum(sent_backfill) from target_profile.activity"),
        6,
        "what was fresh took nothing of the share"
    );
}

#[test]
fn each_retry_counts() {
    let site = polling_each_second("quota_retries");
    set_quota(&site, 6);
    site.mock.on(Match::id("flaky")).times(3).respond(Reply::status(500));
    site.update("flaky", r#"{"a": 1}"#);
    site.wait_drained();
    enqueue(&site, "p", 4, 0);
    wait_held(&site);
    assert_eq!((requests_for(&site, "flaky"), requests_for(&site, "p")), (4, 2));
    assert_eq!(used(&site), 6);
}

/// Five attributes of which a POST can hold two: three requests.
fn enqueue_big(site: &Site) {
    site.db.batch(
        "select target_profile_update('acme', 'mbox3rdPartyId', 'big',
             (select jsonb_object_agg('a' || n, repeat(n::text, 20000)) from generate_series(1, 5) n))",
    );
}

#[test]
fn each_part_of_a_split_update_counts() {
    let site = polling_each_second("quota_parts");
    set_quota(&site, 4);
    enqueue_big(&site);
    site.wait_drained();
    enqueue(&site, "p", 2, 0);
    wait_held(&site);
    assert_eq!((requests_for(&site, "big"), requests_for(&site, "p")), (3, 1));
    assert_eq!(used(&site), 4);
}

#[test]
fn an_update_that_the_quota_interrupts_between_its_parts_goes_on_with_the_next_one() {
    let site = polling_each_second("quota_midst");
    set_quota(&site, 2);
    enqueue_big(&site);
    wait_held(&site);
    assert_eq!(requests(&site), 2);
    set_quota(&site, 10);
    site.wait_drained();
    assert_eq!(requests(&site), 3, "what had arrived was not sent again");
    let profile = site.mock.profile("acme", "mbox3rdPartyId", "big").unwrap();
    for n in 1..=5 {
        assert_eq!(
            profile.get(&format!("a{n}")).map(String::len),
            Some(20_000),
            "attribute a{n}"
        );
    }
}

#[test]
fn the_activity_of_each_minute_is_what_the_responses_add_up_to() {
    let site = polling_each_second("activity");
    site.mock.on(Match::id("p7")).respond(Reply::failure("Invalid profile"));
    site.mock.on(Match::id("p8")).respond(Reply::status(404));
    site.mock
        .on(Match::id("p9"))
        .once()
        .respond(Reply::status(200).body("<html>"));
    site.mock.on(Match::id("p10")).times(2).respond(Reply::status(500));
    site.mock.on(Match::id("p11")).once().respond(Reply::reset());
    enqueue(&site, "p", 100, 0);
    enqueue(&site, "old", 10, BACKFILL);
    site.wait_drained();
    site.mock
        .on(Match::any())
        .once()
        .respond(Reply::status(429).retry_after("1"));
    enqueue(&site, "throttled", 1, 0);
    site.wait_drained();
    site.mock.on(Match::any()).once().respond(Reply::status(401));
    enqueue(&site, "refused", 1, 0);
    site.wait_until("select state = 'paused' from target_profile.status");
    site.db.batch("select target_profile.resume('acme')");
    site.wait_drained();
    let differences = "select string_agg(concat_ws(' ', minute, a.*, r.*), E'\\n') from (
             select client_code, minute, sent, accepted, rejected, unrecognised, unauthorized, throttled, failed
             from target_profile.activity where sent > 0) a
         full join (
             select client_code, date_trunc('minute', sent_at) as minute, count(*)::int as sent,
                 count(*) filter (where outcome = 'accepted')::int as accepted,
                 count(*) filter (where outcome = 'rejected')::int as rejected,
                 count(*) filter (where outcome = 'unrecognised')::int as unrecognised,
                 count(*) filter (where outcome = 'unauthorized')::int as unauthorized,
                 count(*) filter (where outcome = 'throttled')::int as throttled,
                 count(*) filter (where outcome = 'failed')::int as failed
             from target_profile.response group by 1, 2) r using (client_code, minute)
         where (a.sent, a.accepted, a.rejected, a.unrecognised, a.unauthorized, a.throttled, a.failed)
             is distinct from
             (r.sent, r.accepted, r.rejected, r.unrecognised, r.unauthorized, r.throttled, r.failed)";
    // It is written at most a second after the responses.
    let mut last = None;
    let agreed = support::wait::poll(Duration::from_secs(10), || {
        last = site.db.try_text(differences).unwrap();
        last.is_none().then_some(())
    });
    assert!(agreed.is_some(), "{last:?}");
    let row = site.db.query_one(
        "select sum(sent), sum(sent_backfill), min(reserved - sent)::bigint, sum(unauthorized), sum(throttled), sum(unrecognised),
             sum(rejected), sum(failed) from target_profile.activity",
        &[],
    );
    let sums: Vec<i64> = (0..8).map(|column| row.get(column)).collect();
    assert_eq!(usize::try_from(sums[0]).unwrap(), requests(&site));
    assert_eq!(sums[1], 10, "backfill");
    assert!(sums[2] >= 0, "more was sent than had been reserved");
    assert_eq!(sums[3..], [1, 1, 1, 2, 3]);
}

#[test]
fn a_dump_keeps_the_ledger() {
    let site = Site::with(Cluster::builder("quota_dump").conf("target_profile.poll_interval", "1s"));
    set_quota(&site, 20);
    enqueue(&site, "p", 30, 0);
    wait_held(&site);
    let dump = site.cluster.pg_dump(&["postgres"]);
    site.db.batch("create database copy template template0");
    site.cluster.restore("copy", &dump);
    let copy = site.cluster.db_in("copy");
    let all = "select string_agg(a::text, E'\\n' order by a::text) from target_profile.activity a";
    assert_eq!(copy.text(all), site.db.text(all));
    copy.batch("select target_profile.adopt()");
    site.cluster.wait_sql(
        &copy,
        "select state = 'quota' and quota_used = 20 and backlog = 10 from target_profile.status",
        SOON,
    );
    site.mock.wait_quiet(CALM, SOON);
    assert_eq!(requests(&site), 20, "the copy has lent itself a quota of its own");
}

#[test]
fn nothing_is_written_to_the_ledger_while_nothing_is_sent() {
    let site = polling_each_second("quota_idle");
    set_quota(&site, 5);
    site.add_client("other");
    enqueue(&site, "p", 10, 0);
    site.db
        .batch("select target_profile_update('other', 'mbox3rdPartyId', 'x', '{\"a\": 1}')");
    wait_held(&site);
    site.wait_until("select state = 'idle' and quota_used = 1 from target_profile.status where client_code = 'other'");
    let versions = || {
        site.db.text("select string_agg(concat(ctid, xmin, cmin), ' ' order by client_code, minute) from target_profile.activity")
    };
    let before = versions();
    // A client that the quota holds is looked at with each poll, and commits that have nothing for the outbox wake nobody.
    for _ in 0..3 {
        site.db
            .batch("create temp table if not exists noise (n int); insert into noise values (1)");
        site.mock.wait_quiet(CALM, SOON);
    }
    assert_eq!(versions(), before);
    assert_eq!(site.mock.request_count(), 6);
}
