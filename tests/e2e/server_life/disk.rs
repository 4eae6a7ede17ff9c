//! A disk without room.

use support::{Cluster, Interposed, sqlstate};

use super::{check_all_sent, enqueue, hang, missing, reconnected, release};
use crate::site::{SOON, Site};

const AT_ONCE: u64 = 16;

fn site(name: &str) -> Site {
    Site::with(Cluster::builder(name).interposed(Interposed::Disk))
}

/// An update of its own transaction; the SQLSTATE if the server refuses it.
fn update(site: &Site, id: &str) -> Result<(), String> {
    let sql = "select target_profile_update('acme', 'mbox3rdPartyId', $1, '{\"a\": 1}')";
    site.db
        .try_query(sql, &[&id])
        .map(drop)
        .map_err(|error| sqlstate(&error))
}

#[test]
fn a_full_tablespace_refuses_writes_whole_and_makes_the_worker_wait_without_sending_anything_twice() {
    // supabase/pg_net#45, #12: an error in the worker becomes a loop.
    let site = site("full");
    site.db
        .batch("select target_profile.set_client('acme', daily_quota => 150)");
    hang(&site, AT_ONCE);
    let recorded = site.count("select count(*) from target_profile.response");
    site.cluster.fill_disk(&site.cluster.data_dir().join("base"));
    release(&site);
    site.wait_until(
        "select state = 'failing' and last_error like '%No space left on device%' from target_profile.worker",
    );
    for _ in 0..2 {
        let last: String = site
            .db
            .value("select last_error_at::text from target_profile.worker", &[]);
        site.wait_until(&format!(
            "select last_error_at::text <> '{last}' and state = 'failing' from target_profile.worker"
        ));
    }
    // An answer frees its place before it is settled, so there may have been one more round, and no other.
    let sent = site.mock.request_count();
    assert!(sent <= 2 * AT_ONCE, "{sent} requests while nothing could be recorded");
    assert_eq!(site.count("select count(*) from target_profile.response"), recorded);
    // What the server refuses is refused as a whole; what finds a place on a page that is there is kept.
    let sql = "select target_profile_update('acme', 'mbox3rdPartyId', 'half' || n, '{\"a\": 1}')
               from generate_series(1, 20000) n";
    let refused = site.db.try_query(sql, &[]).map(drop).map_err(|error| sqlstate(&error));
    assert_eq!(refused, Err("53100".to_owned()));
    let ids: Vec<String> = (1..=20).map(|n| format!("single{n}")).collect();
    let (kept, refused): (Vec<&String>, Vec<&String>) = ids.iter().partition(|id| match update(&site, id) {
        Ok(()) => true,
        Err(state) => {
            assert_eq!(state, "53100");
            false
        }
    });
    assert_eq!(
        site.count("select count(*) from target_profile.outbox where profile_id like 'half%'"),
        0
    );
    site.cluster.make_room();
    // By itself: up to the quota, not one request more, and none of them twice.
    site.wait_until("select state = 'quota' from target_profile.status");
    site.mock.wait_quiet(std::time::Duration::from_millis(300), SOON);
    assert_eq!(site.mock.request_count(), 150);
    site.db
        .batch("select target_profile.set_client('acme', daily_quota => 100000)");
    check_all_sent(&site, 200);
    site.wait_until("select state = 'idle' from target_profile.worker");
    assert_eq!(site.mock.request_count(), 200 + u64::try_from(kept.len()).unwrap());
    for id in kept {
        assert_eq!(site.sent_value(id, "a").as_deref(), Some("1"), "{id} was committed");
    }
    for id in refused {
        assert_eq!(site.sent_value(id, "a"), None, "{id} was refused");
    }
    let half = site
        .mock
        .requests()
        .iter()
        .filter(|request| request.id.as_deref().is_some_and(|id| id.starts_with("half")))
        .count();
    assert_eq!(half, 0, "of a statement that was refused");
    assert_eq!(
        site.count("select count(*) from target_profile.response where outcome = 'accepted'"),
        i64::try_from(site.mock.request_count()).unwrap()
    );
}

#[test]
fn a_disk_full_of_wal_stops_the_server_and_loses_nothing() {
    let mut site = site("walfull");
    hang(&site, AT_ONCE);
    site.cluster.fill_disk(&site.cluster.data_dir().join("pg_wal"));
    // Each one asks for another file of WAL; the server stops when there is no room for it, as PostgreSQL does.
    let mut committed = 200;
    let refused = (201..1000).find(|n| {
        let sql =
            format!("begin; select target_profile_update('acme', 'mbox3rdPartyId', 'p{n}', '{{\"n\": {n}}}'); commit");
        let done = site.db.try_batch(&sql).is_ok();
        committed = if done { *n } else { committed };
        !done || site.db.try_batch("select pg_switch_wal()").is_err()
    });
    assert!(refused.is_some(), "the server goes on without room for WAL");
    site.cluster.wait_log("PANIC", SOON);
    let log = site.cluster.log();
    let panics: Vec<&str> = log.lines().filter(|line| line.contains("PANIC:")).collect();
    assert!(
        panics.iter().all(|line| line.contains("No space left on device")),
        "{panics:?}"
    );
    // It may try to recover, and cannot.
    support::wait::until("the server to give up, or to be back", SOON, || {
        (!site.cluster.is_running() || site.cluster.try_client("postgres", "postgres").is_ok()).then_some(())
    });
    site.cluster.make_room();
    release(&site);
    if !site.cluster.is_running() {
        site.cluster.start();
    }
    site.db = reconnected(&site);
    check_all_sent(&site, committed);
    site.wait_until("select state = 'idle' from target_profile.worker");
    enqueue(&site, 5);
    site.wait_drained();
    assert_eq!(missing(&site, 5), Vec::<i32>::new());
}
