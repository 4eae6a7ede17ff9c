//! Copies of the whole server, taken while its queue is full, and one of them taking its place.

use std::time::{Duration, Instant};

use support::{Cluster, Db, Match, Mode, Reply};

use super::{check_all_sent, enqueue, hang, release};
use crate::site::{SOON, Site};

const EMPTY: &str = "select not exists (select from target_profile.outbox)";

/// Waits until the standby has replayed what was written on the primary until now.
fn wait_replayed(site: &Site, standby: &Cluster, db: &Db) {
    let written = site.db.text("select pg_current_wal_insert_lsn()::text");
    standby.wait_sql(db, &format!("select pg_last_wal_replay_lsn() >= '{written}'"), SOON);
}

#[test]
fn a_base_backup_of_a_busy_server_is_not_held_up_and_as_a_standby_sends_nothing() {
    let site = Site::new("backedup");
    hang(&site, 16);
    enqueue(&site, 3000);
    let began = Instant::now();
    let standby = site.cluster.standby("copy").conf("hot_standby", "on").build();
    println!("base backup and start of the standby: {:?}", began.elapsed());
    // An endpoint that hangs for a minute would show.
    assert!(
        began.elapsed() < Duration::from_secs(40),
        "it took {:?}",
        began.elapsed()
    );
    let db = standby.db();
    wait_replayed(&site, &standby, &db);
    assert_eq!(db.text("select count(*) > 3000 from target_profile.outbox"), "t");
    assert_eq!(db.text("select state from target_profile.worker"), "standby");
    assert_eq!(site.mock.request_count(), 16);
    release(&site);
    check_all_sent(&site, 3000);
    // What the primary has settled is settled on the standby.
    standby.wait_sql(&db, EMPTY, SOON);
    // Those that were under way have a newer entry.
    assert_eq!(site.mock.request_count(), 3016, "sent by the copy, too");
    assert_eq!(
        db.text("select count(*) from pg_stat_activity where backend_type like 'target_profile%'"),
        "0"
    );
}

#[test]
fn a_promoted_standby_has_the_queue_the_ledger_and_the_pause_of_its_primary() {
    let site = Site::new("failed");
    for client in ["limited", "broken", "paused"] {
        site.add_client(client);
    }
    let enqueue_for = |db: &Db, client: &str, count: i32| {
        db.query(
            "select target_profile_update($1, 'mbox3rdPartyId', 'p' || n, jsonb_build_object('n', n))
             from generate_series(1, $2::int) n",
            &[&client, &count],
        );
    };
    let standby = site.cluster.standby("standby").conf("hot_standby", "on").build();
    let db = standby.db();
    site.db.batch(
        "select target_profile.set_client('limited', daily_quota => 30);
         select target_profile.pause('paused', 'for a while')",
    );
    let broken = site.mock.on(Match::client("broken")).respond(Reply::status(500));
    enqueue_for(&site.db, "limited", 50);
    enqueue_for(&site.db, "broken", 20);
    enqueue_for(&site.db, "paused", 5);
    site.wait_until(
        "select array_agg(state order by client_code) = '{idle,\"backing off\",quota,paused}' from target_profile.status",
    );
    hang(&site, 16);
    wait_replayed(&site, &standby, &db);
    site.cluster.stop(Mode::Immediate);
    // Some were under way; a standby sends none of them.
    site.mock.wait_quiet(Duration::from_millis(500), SOON);
    let received = site.mock.request_count();
    assert_eq!(db.text("select state from target_profile.worker"), "standby");
    assert_eq!(site.mock.request_count(), received);
    standby.promote();
    // The quota holds, and so does the pause; the breaker opens again by itself.
    standby.wait_sql(
        &db,
        "select array_agg(state order by client_code) @> '{\"backing off\",quota,paused}' from target_profile.status",
        SOON,
    );
    site.mock.wait_hung(16, SOON);
    site.mock.remove_rule(broken);
    release(&site);
    let others = "select not exists (select from target_profile.outbox where client_code in ('acme', 'broken'))";
    standby.wait_sql(&db, others, SOON);
    site.mock.wait_quiet(Duration::from_millis(300), SOON);
    assert_eq!(site.mock.requests_of("limited").len(), 30, "more than the quota");
    assert_eq!(site.mock.requests_of("paused").len(), 0);
    db.batch(
        "select target_profile.set_client('limited', daily_quota => 1000);
         select target_profile.resume('paused')",
    );
    standby.wait_sql(&db, EMPTY, SOON);
    for (client, count) in [("acme", 200), ("limited", 50), ("broken", 20), ("paused", 5)] {
        for n in 1..=count {
            let value = site.mock.value(client, "mbox3rdPartyId", &format!("p{n}"), "n");
            assert_eq!(value, Some(n.to_string()), "{client} {n}");
        }
    }
    assert_eq!(db.text("select count(*) from target_profile.dead_letter"), "0");
    assert_eq!(site.mock.requests_of("limited").len(), 50, "sent twice");
    assert_eq!(site.mock.max_in_flight_per_profile(), 1);
}
