//! Processes that are ended, interrupted or killed by others.

use std::thread;
use std::time::Duration;

use support::cluster::Signal;
use support::{Match, Reply};

use super::{check_all_sent, enqueue, hang, reconnected, release};
use crate::site::{SOON, Site, WORKER};

const LAUNCHER: &str = "target_profile launcher";

/// Runs a statement that comes to sleep on its way, in a session of its own; once it sleeps, `strike` gets its process. The
/// statement must not succeed.
fn strike_within(site: &Site, sql: &str, strike: impl FnOnce(i32)) {
    let victim = site.cluster.db();
    let pid = victim.pid();
    thread::scope(|scope| {
        let statement = scope.spawn(|| victim.try_batch(sql).is_err());
        site.wait_until(&format!(
            "select exists (select from pg_stat_activity where pid = {pid} and wait_event = 'PgSleep')"
        ));
        strike(pid);
        assert!(statement.join().unwrap(), "the statement has succeeded");
    });
}

fn requests_for(site: &Site, prefix: &str) -> usize {
    let requests = site.mock.requests();
    let of = requests
        .iter()
        .filter(|request| request.id.as_deref().is_some_and(|id| id.starts_with(prefix)));
    of.count()
}

#[test]
fn a_backend_that_dies_while_it_enqueues_takes_only_its_own_with_it() {
    // As the kernel kills one for want of memory, as one that hits a bug, and as one that fails an assertion.
    let mut site = Site::new("dies");
    hang(&site, 16);
    for (n, signal) in [Signal::KILL, Signal::SEGV, Signal::ABORT].into_iter().enumerate() {
        site.mock.wait_hung(16, SOON);
        let sql = "select target_profile_update('acme', 'mbox3rdPartyId', 'half' || n, '{\"n\": 0}'),
                   case n when 5000 then pg_sleep(600) end from generate_series(1, 10000) n";
        // Committed just before, while the other one was already writing.
        let last = format!("last{n}");
        strike_within(&site, sql, |pid| {
            site.update(&last, r#"{"n": 1}"#);
            site.cluster.signal(pid, signal);
        });
        site.db = reconnected(&site);
        site.wait_until(&format!(
            "select exists (select from target_profile.outbox where profile_id = '{last}')"
        ));
        assert_eq!(
            site.count("select count(*) from target_profile.outbox where profile_id like 'half%'"),
            0
        );
    }
    release(&site);
    check_all_sent(&site, 200);
    for n in 0..3 {
        assert_eq!(site.sent_value(&format!("last{n}"), "n").as_deref(), Some("1"));
    }
    assert_eq!(requests_for(&site, "half"), 0, "what was not committed was sent");
    site.wait_until("select state = 'idle' and last_error is null from target_profile.worker");
}

#[test]
fn a_backend_that_is_killed_in_a_watched_update_sends_nothing_of_it() {
    let mut site = Site::new("collected");
    hang(&site, 16);
    site.db.batch(
        "create table crm (id integer primary key, tier text);
         insert into crm select n, 'tin' from generate_series(1, 30000) n;
         select target_profile.watch('crm', 'acme', 'mbox3rdPartyId', 'id', '{tier}')",
    );
    // Its rows are collected, of some flushed, and the statement is not over.
    let sql = "update crm set tier = 'never' where id < 30000 or pg_sleep(600) is null";
    strike_within(&site, sql, |pid| {
        site.db.batch("insert into crm values (0, 'gold')");
        site.cluster.kill9(pid);
    });
    site.db = reconnected(&site);
    assert_eq!(site.count("select count(*) from crm where tier = 'never'"), 0);
    site.db.batch("update crm set tier = 'gold' where id <= 50");
    release(&site);
    check_all_sent(&site, 200);
    let never = site
        .mock
        .requests()
        .iter()
        .any(|request| request.attrs.get("tier").is_some_and(|tier| tier == "never"));
    assert!(!never, "what was not committed was sent");
    for id in 0..=50 {
        assert_eq!(
            site.sent_value(&id.to_string(), "tier").as_deref(),
            Some("gold"),
            "{id}"
        );
    }
}

/// Writes to twenty profiles, each one higher value after the other, until `done`; how far it came.
fn write_on(site: &Site, done: impl Fn() -> bool) -> i64 {
    let db = site.cluster.db();
    let mut n = 0;
    while !done() {
        n += 1;
        db.query(
            "select target_profile_update('acme', 'mbox3rdPartyId', 'w' || p, jsonb_build_object('n', $1::bigint))
             from generate_series(1, 20) p",
            &[&n],
        );
    }
    n
}

/// No profile's value was replaced by an older one, and each has the last.
fn check_order(site: &Site, last: i64) {
    site.wait_drained();
    for p in 1..=20 {
        let values = site.mock.value_history("acme", "mbox3rdPartyId", &format!("w{p}"), "n");
        let values: Vec<i64> = values.iter().map(|value| value.parse().unwrap()).collect();
        assert!(values.is_sorted(), "w{p}: {values:?}");
        assert_eq!(values.last(), Some(&last), "w{p}");
    }
}

#[test]
fn a_worker_that_is_cancelled_goes_on_as_if_nothing_had_happened() {
    let site = Site::new("cancelled");
    site.mock
        .on(Match::any())
        .respond(Reply::delay(Duration::from_millis(3)));
    let worker = site.cluster.wait_backend(WORKER, SOON);
    let launcher = site.cluster.wait_backend(LAUNCHER, SOON);
    let cancelled = std::sync::atomic::AtomicBool::new(false);
    let last = thread::scope(|scope| {
        let writer = scope.spawn(|| write_on(&site, || cancelled.load(std::sync::atomic::Ordering::Relaxed)));
        for _ in 0..20 {
            // In the middle of sending.
            let sent = site.mock.request_count();
            site.mock.wait_requests(sent + 20, SOON);
            for pid in [worker, launcher] {
                site.db.query("select pg_cancel_backend($1)", &[&pid]);
            }
        }
        cancelled.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().unwrap()
    });
    check_order(&site, last);
    // Idle, too, with nothing to be cancelled.
    site.wait_until("select state = 'idle' from target_profile.worker");
    for n in 0..20 {
        for pid in [worker, launcher] {
            site.db.query("select pg_cancel_backend($1)", &[&pid]);
        }
        site.update("idle", &format!("{{\"n\": {n}}}"));
        site.wait_drained();
    }
    assert_eq!(site.sent_value("idle", "n").as_deref(), Some("19"));
    assert_eq!(site.cluster.wait_backend(WORKER, SOON), worker, "the worker has ended");
    assert_eq!(
        site.cluster.wait_backend(LAUNCHER, SOON),
        launcher,
        "the launcher has ended"
    );
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 0);
    site.wait_until("select state = 'idle' from target_profile.worker");
}

#[test]
fn workers_and_launchers_that_are_terminated_while_they_send_lose_nothing_and_keep_the_order() {
    // supabase/pg_net#58, citusdata/pg_cron#99: the worker silently absent.
    let site = Site::new("terminated");
    site.mock
        .on(Match::any())
        .respond(Reply::delay(Duration::from_millis(3)));
    let terminated = std::sync::atomic::AtomicBool::new(false);
    let last = thread::scope(|scope| {
        let writer = scope.spawn(|| write_on(&site, || terminated.load(std::sync::atomic::Ordering::Relaxed)));
        for kind in [WORKER, LAUNCHER, WORKER] {
            let sent = site.mock.request_count();
            site.mock.wait_requests(sent + 50, SOON);
            let pid = site.cluster.wait_backend(kind, SOON);
            site.db.query("select pg_terminate_backend($1)", &[&pid]);
            let successor =
                format!("select exists (select from pg_stat_activity where backend_type = '{kind}' and pid <> {pid})");
            site.cluster.wait_sql(&site.db, &successor, Duration::from_secs(10));
            let sent = site.mock.request_count();
            site.mock.wait_requests(sent + 50, Duration::from_secs(10));
        }
        terminated.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().unwrap()
    });
    check_order(&site, last);
    enqueue(&site, 20);
    check_all_sent(&site, 20);
    site.wait_until("select state = 'idle' from target_profile.worker");
}
