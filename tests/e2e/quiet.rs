//! When there is nothing to do, nothing is done; and the records do not grow for ever.

use std::time::Duration;

use support::Cluster;

use crate::site::{SOON, Site, WORKER};

#[test]
fn an_idle_worker_writes_no_wal_and_burns_no_xid() {
    let site = Site::with(
        Cluster::builder("idle")
            .conf("target_profile.poll_interval", "1s")
            .conf("autovacuum", "off"),
    );
    site.update("1", r#"{"a": 1}"#);
    site.wait_drained();
    site.wait_until("select state = 'idle' from target_profile.worker");
    site.db.batch("checkpoint");
    let look = || -> (String, String) {
        let row = site
            .db
            .rows("select pg_current_wal_insert_lsn()::text, txid_snapshot_xmax(txid_current_snapshot())::text");
        (row[0][0].clone().unwrap(), row[0][1].clone().unwrap())
    };
    // What the server itself writes after a checkpoint (a record of running transactions) comes within its first 15 s.
    let mut last = look();
    let calm = support::wait::poll(Duration::from_secs(60), || {
        let polls = site.count("select extract(epoch from clock_timestamp())::bigint");
        site.cluster.wait_sql(
            &site.db,
            &format!("select extract(epoch from clock_timestamp()) >= {polls} + 5"),
            SOON,
        );
        let now = look();
        let same = now == last;
        last = now;
        same.then_some(())
    });
    assert!(
        calm.is_some(),
        "over five polls in a row the position of the WAL or the next xid moved each time"
    );
}

#[test]
fn responses_are_kept_by_day_and_old_days_are_dropped() {
    let site = Site::with(Cluster::builder("days").conf("target_profile.poll_interval", "1s"));
    site.db
        .batch("select target_profile._ensure_response_partition('2020-01-01')");
    // The worker may have looked for old days before; it does so once an hour, and when the settings are read.
    site.db.batch("select pg_reload_conf()");
    site.update("1", r#"{"a": 1}"#);
    site.wait_drained();
    site.wait_until("select to_regclass('target_profile.response_20200101') is null");
    assert_eq!(site.count("select count(*) from target_profile.response"), 1);
}

#[test]
fn dropping_and_creating_the_extension_beside_a_worker_works() {
    let site = Site::new("recreate");
    site.update("1", r#"{"a": 1}"#);
    site.wait_drained();
    site.db.batch("drop extension target_profile");
    // It takes none of max_worker_processes where there is nothing to do.
    site.cluster.wait_no_backend(WORKER, SOON);
    site.db.batch("create extension target_profile");
    site.add_client("acme");
    site.update("2", r#"{"a": 1}"#);
    site.wait_drained();
    assert_eq!(site.sent_value("2", "a").as_deref(), Some("1"));
}

/// Its ids begin anew, below what the worker has read of the former outbox.
#[test]
fn an_extension_that_is_replaced_in_one_transaction_is_drained_from_its_beginning() {
    let site = Site::with(Cluster::builder("replaced").conf("target_profile.poll_interval", "1h"));
    for n in 0..20 {
        site.update(&format!("old{n}"), r#"{"a": 1}"#);
    }
    site.wait_drained();
    site.db
        .batch("begin; drop extension target_profile; create extension target_profile");
    site.add_client("acme");
    let id = site.update("new", r#"{"a": 2}"#);
    assert!(id < 20);
    site.db.batch("commit");
    site.mock.wait_value("acme", "mbox3rdPartyId", "new", "a", "2", SOON);
    site.wait_drained();
}
