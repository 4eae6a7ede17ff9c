//! The CRM's write wins, whatever is wrong with the sending.

use std::time::{Duration, Instant};

use support::{Cluster, RefusedPort};

use crate::site::{SOON, Site, WORKER};

/// 500 commits, one row each, as the CRM writes them; a statement that waits for anything of ours would run into the timeout.
fn write(site: &Site) {
    site.db.batch("set statement_timeout = '5 s'");
    let insert = site.db.prepare("insert into customers values ($1, 'silver', 1)");
    for n in 0..500 {
        site.db.query_prepared(&insert, &[&format!("c{n}")]);
    }
}

fn check_arrival(site: &Site) {
    site.wait_drained();
    for n in 0..500 {
        assert_eq!(
            site.sent_value(&format!("c{n}"), "tier").as_deref(),
            Some("silver"),
            "customer {n}"
        );
    }
}

#[test]
fn a_stopped_worker_holds_up_no_write() {
    let site = Site::new("frozen");
    site.create_customers();
    let worker = site.cluster.wait_backend(WORKER, SOON);
    site.cluster.sigstop(worker);
    write(&site);
    assert_eq!(site.count("select count(*) from target_profile.outbox"), 500);
    assert_eq!(site.mock.request_count(), 0);
    site.cluster.sigcont(worker);
    check_arrival(&site);
}

#[test]
fn a_paused_client_holds_up_no_write() {
    let site = Site::new("paused");
    site.create_customers();
    site.db
        .batch("select target_profile.pause('acme', 'maintenance at Adobe')");
    write(&site);
    site.wait_until(
        "select state = 'paused' and reason = 'maintenance at Adobe' and backlog = 500 from target_profile.status",
    );
    assert_eq!(site.mock.request_count(), 0);
    site.db.batch("select target_profile.resume('acme')");
    check_arrival(&site);
}

#[test]
fn an_unreachable_endpoint_holds_up_no_write() {
    let site = Site::new("unreachable");
    site.create_customers();
    let refused = RefusedPort::new();
    site.db.query(
        "select target_profile.set_client('acme', endpoint => $1)",
        &[&refused.endpoint()],
    );
    write(&site);
    site.wait_until("select state = 'backing off' from target_profile.status");
    site.db.query(
        "select target_profile.set_client('acme', endpoint => $1)",
        &[&site.mock.endpoint()],
    );
    check_arrival(&site);
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 0);
}

#[test]
fn a_removed_client_or_a_dropped_column_stops_no_write() {
    let site = Site::new("removed");
    site.create_customers();
    site.db.batch("insert into customers values ('c1', 'silver', 1)");
    site.wait_drained();
    site.db.batch("alter table customers drop column balance");
    site.db.batch("update customers set tier = 'gold'");
    assert_eq!(
        site.db.text("select reason from target_profile.dead_letter"),
        "column \"balance\" of table public.customers does not exist"
    );
    site.db
        .batch("alter table customers add column balance numeric; select target_profile.remove_client('acme')");
    site.db.take_notices();
    site.db
        .batch("insert into customers select 'd' || n, 'silver', 1 from generate_series(1, 50) n");
    assert_eq!(
        site.count("select count(*) from target_profile.dead_letter where reason like 'client is not registered%'"),
        50
    );
    let notices = site.db.take_notices();
    assert_eq!(notices.len(), 1, "one warning a statement, not one a row: {notices:?}");
    assert_eq!(site.count("select count(*) from customers"), 51);
}

#[test]
fn a_server_without_the_library_preloaded_enqueues_and_says_once_that_nothing_drains() {
    let cluster = Cluster::builder("unloaded").preload(false).build();
    let db = cluster.db();
    db.batch("create extension target_profile; select target_profile.add_client('acme')");
    db.take_notices();
    for n in 0..3 {
        db.batch(&format!(
            "select target_profile_update('acme', 'mboxPC', '{n}', '{{\"a\": 1}}')"
        ));
    }
    let notices = db.take_notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].message().contains("not in shared_preload_libraries"));
    assert!(notices[0].hint().is_some());
    assert_eq!(db.text("select count(*) from target_profile.outbox"), "3");
    assert_eq!(db.text("select state from target_profile.worker"), "not preloaded");
    assert_eq!(db.text("select state from target_profile.status"), "disabled");
}

#[test]
fn a_hundred_thousand_entries_leave_later_commits_as_fast_as_before() {
    // One peer's commits became 160 times slower after 30,000: its callback was registered in every transaction.
    let site = Site::with(
        Cluster::builder("callbacks")
            .fsync(false)
            .conf("target_profile.enabled", "off"),
    );
    let enqueue = site
        .db
        .prepare("select target_profile_update('acme', 'mboxPC', $1, '{\"a\": 1}')");
    let plain = site.db.prepare("select txid_current()");
    let commits = || {
        let mut times: Vec<Duration> = (0..500)
            .map(|_| {
                let began = Instant::now();
                site.db.query_prepared(&plain, &[]);
                began.elapsed()
            })
            .collect();
        times.sort();
        times[times.len() / 2]
    };
    for n in 0..1_000 {
        site.db.query_prepared(&enqueue, &[&n.to_string()]);
    }
    let before = commits();
    // Each in a transaction of its own, on the server's side.
    site.db.batch(
        "do $$ begin for n in 1..100000 loop
            perform target_profile_update('acme', 'mboxPC', n::text, '{\"a\": 1}'); commit;
         end loop; end $$",
    );
    let after = commits();
    assert!(
        after < before * 4,
        "the median commit took {before:?} before and {after:?} after"
    );
    println!("median commit before {before:?}, after {after:?}");
}
