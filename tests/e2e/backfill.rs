//! `target_profile.backfill`: every row once, whatever ends a run; no older value last, whoever writes meanwhile.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use support::{Cluster, Db, sqlstate, wait};

use crate::site::{SOON, Site, WORKER};

/// Long enough for the poll, which is set to a second, to look twice.
const CALM: Duration = Duration::from_millis(2_500);

const CALL: &str = "call target_profile.backfill('customers', chunk => 100)";

fn site(name: &str, rows: i32) -> Site {
    let site = Site::with(Cluster::builder(name).conf("target_profile.poll_interval", "1s"));
    create_customers(&site.db, rows);
    site
}

fn create_customers(db: &Db, rows: i32) {
    db.batch("create table customers (id integer primary key, tier text, note text)");
    db.query(
        "insert into customers select n, 'tier ' || n from generate_series(1, $1::int) n",
        &[&rows],
    );
    db.batch(
        "analyze customers;
         select target_profile.watch('customers', 'acme', 'mbox3rdPartyId', 'id', '{tier}')",
    );
}

fn state(site: &Site) -> String {
    site.db.text("select state from target_profile.backfill_progress")
}

/// That the outbox, of which nothing is sent, holds each row once.
fn assert_each_once(site: &Site, rows: i64) {
    let row = site.db.query_one(
        "select count(*), count(distinct profile_id), min(profile_id::int), max(profile_id::int)
         from target_profile.outbox where source = 'backfill public.customers'",
        &[],
    );
    let found = (row.get(0), row.get(1), row.get(2), row.get(3));
    assert_eq!(found, (rows, rows, 1, i32::try_from(rows).unwrap()));
}

fn wait_progress(site: &Site, condition: &str) {
    site.wait_until(&format!(
        "select exists (select from target_profile.backfill_progress where {condition})"
    ));
}

fn wait_rows_done(site: &Site, rows: i64) {
    wait_progress(site, &format!("rows_done >= {rows}"));
}

/// A session that has the last row locked, so that a call cannot end before it lets it go.
fn hold_last_row(site: &Site, rows: i32) -> Db {
    let holder = site.cluster.db();
    holder.batch("begin");
    holder.query("select from customers where id = $1 for update", &[&rows]);
    holder
}

#[test]
fn a_hundred_thousand_rows_are_sent() {
    let site = site("backfill_all", 100_000);
    site.db.batch("call target_profile.backfill('customers')");
    let row = site.db.query_one(
        "select state, rows_done, total_estimate, entries, rate > 0, finished_at is not null
         from target_profile.backfill_progress",
        &[],
    );
    assert_eq!(row.get::<_, &str>(0), "finished");
    assert_eq!(
        (row.get::<_, i64>(1), row.get::<_, i64>(2), row.get::<_, i64>(3)),
        (100_000, 100_000, 100_000)
    );
    assert!(row.get::<_, bool>(4) && row.get::<_, bool>(5));
    // How long all of it takes is the machine's affair; that it goes on is not.
    let mut sent = 0;
    while sent < 100_000 {
        let more = (sent + 1_000).min(100_000);
        sent = wait::until("a thousand more rows to be sent", SOON, || {
            Some(site.mock.request_count()).filter(|now| *now >= more)
        });
    }
    site.wait_drained();
    for id in ["1", "50000", "100000"] {
        assert_eq!(site.sent_value(id, "tier"), Some(format!("tier {id}")));
    }
    assert_eq!(site.mock.profiles().len(), 100_000);
}

#[test]
fn a_killed_backfill_goes_on_and_enqueues_each_row_once() {
    let mut site = site("backfill_killed", 20_000);
    site.db.batch("select target_profile.pause('acme', 'test')");
    let holder = hold_last_row(&site, 20_000);
    let runner = site.cluster.db();
    let pid = runner.pid();
    let run = thread::spawn(move || runner.try_batch(CALL));
    wait_rows_done(&site, 1_000);
    site.cluster.kill9(pid);
    assert!(run.join().unwrap().is_err());
    drop(holder);
    wait::until("the end of the session", SOON, || site.db.is_closed().then_some(()));
    site.db = wait::until("a connection after the crash", SOON, || {
        site.cluster.try_client("postgres", "postgres").ok()
    });
    site.cluster.wait_backend(WORKER, SOON);
    assert_eq!(state(&site), "interrupted");
    let done = site.count("select rows_done from target_profile.backfill_progress");
    assert!(done >= 1_000, "{done}");
    assert_eq!(site.count("select count(*) from target_profile.outbox"), done);
    site.db.batch(CALL);
    assert_each_once(&site, 20_000);
    assert_eq!(state(&site), "finished");
}

#[test]
fn a_stopped_backfill_goes_on_and_one_runs_at_a_time() {
    let site = site("backfill_stopped", 20_000);
    site.db.batch("select target_profile.pause('acme', 'test')");
    let holder = hold_last_row(&site, 20_000);
    let runner = site.cluster.db();
    let run = thread::spawn(move || {
        runner.batch(CALL);
        runner
    });
    wait_rows_done(&site, 1);
    assert_eq!(state(&site), "running");
    let refused = site.db.try_batch(CALL).unwrap_err();
    assert_eq!(sqlstate(&refused), "55006");
    assert!(
        site.db
            .value::<bool>("select target_profile.stop_backfill('customers')", &[])
    );
    let runner = run.join().unwrap();
    assert_eq!(state(&site), "stopped");
    assert!(
        !site
            .db
            .value::<bool>("select target_profile.stop_backfill('customers')", &[])
    );

    // Cancelled, and ended with its session.
    for end in ["pg_cancel_backend", "pg_terminate_backend"] {
        let before = site.count("select rows_done from target_profile.backfill_progress");
        let runner = site.cluster.db();
        let pid = runner.pid();
        let run = thread::spawn(move || runner.try_batch(CALL));
        wait_rows_done(&site, (before + 100).min(19_999));
        wait_progress(&site, "state = 'running'");
        site.db.query(&format!("select {end}($1)"), &[&pid]);
        assert!(run.join().unwrap().is_err());
        wait_progress(&site, "state = 'interrupted'");
    }

    // The row that somebody holds is waited for, without a lock on any other.
    let pid = runner.pid();
    let run = thread::spawn(move || {
        runner.batch(CALL);
        runner.take_notices()
    });
    wait_progress(&site, "locked = 1 and rows_done = 19999");
    site.wait_until(&format!(
        "select wait_event = 'PgSleep' and not exists (
             select from pg_locks where pid = {pid} and relation = 'customers'::regclass)
         from pg_stat_activity where pid = {pid}"
    ));
    holder.batch("rollback");
    let notices = run.join().unwrap();
    assert!(
        notices
            .iter()
            .any(|notice| notice.message().starts_with("waiting for rows that other")),
        "{notices:?}"
    );
    assert_each_once(&site, 20_000);
    assert_eq!(state(&site), "finished");
}

#[test]
fn a_table_that_somebody_has_locked_as_a_whole_is_waited_for() {
    let site = site("backfill_bulk", 15_000);
    site.db.batch("select target_profile.pause('acme', 'test')");
    let holder = site.cluster.db();
    holder.batch("begin; update customers set note = 'x'");
    let runner = site.cluster.db();
    let run = thread::spawn(move || runner.batch("call target_profile.backfill('customers')"));
    // Not all of them are kept in mind: no further rows are read.
    wait_progress(&site, "locked = 10000 and rows_done = 0");
    site.wait_until("select exists (select from pg_stat_activity where wait_event = 'PgSleep')");
    holder.batch("commit");
    run.join().unwrap();
    assert_each_once(&site, 15_000);
    assert_eq!(state(&site), "finished");
}

#[test]
fn a_dump_keeps_where_a_backfill_goes_on() {
    let site = site("backfill_dump", 1_000);
    site.db.batch("select target_profile.pause('acme', 'test')");
    let holder = hold_last_row(&site, 1_000);
    let runner = site.cluster.db();
    let run = thread::spawn(move || runner.batch(CALL));
    wait_progress(&site, "locked = 1 and rows_done = 999");
    site.db.query("select target_profile.stop_backfill('customers')", &[]);
    run.join().unwrap();
    drop(holder);
    let dump = site.cluster.pg_dump(&["postgres"]);
    let copy = site.cluster.create_db("copy");
    site.cluster.restore("copy", &dump);
    copy.batch(CALL);
    let found = copy.text("select count(*) || ' ' || count(distinct profile_id) from target_profile.outbox");
    assert_eq!(found, "1000 1000");
}

#[test]
fn a_backfill_waits_for_its_share_while_fresh_updates_are_sent() {
    let site = site("backfill_share", 50);
    site.db
        .batch("select target_profile.set_client('acme', daily_quota => 20, backfill_share => 0.3)");
    site.db.batch(CALL);
    site.wait_until("select state = 'quota' from target_profile.status");
    site.mock.wait_quiet(CALM, SOON);
    assert_eq!(site.mock.request_count(), 6);
    site.db.batch(
        "insert into customers select n, 'fresh' from generate_series(101, 105) n;
         update customers set tier = 'changed' where id = 40",
    );
    site.wait_until("select not exists (select from target_profile.outbox where priority >= 0)");
    site.mock.wait_quiet(CALM, SOON);
    assert_eq!(site.sent_value("103", "tier").as_deref(), Some("fresh"));
    assert_eq!(site.sent_value("40", "tier").as_deref(), Some("changed"));
    assert_eq!(site.mock.request_count(), 12);
}

#[test]
fn whoever_writes_meanwhile_the_last_value_sent_is_the_tables() {
    const ROWS: i32 = 300;
    let site = site("backfill_concurrent", ROWS);
    let is_over = AtomicBool::new(false);
    let failed = thread::scope(|scope| {
        // Single rows, several in any order, transactions that stay open for a while, rollbacks, what nobody watches, another id.
        let writers: Vec<_> = (0..4_i32)
            .map(|writer| {
                let db = site.cluster.db();
                let is_over = &is_over;
                scope.spawn(move || {
                    let mut random = 88_172_645_463_325_252_u64 + u64::from(writer.unsigned_abs());
                    let mut next = |below: i32| {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        i32::try_from(random % u64::from(below.unsigned_abs())).unwrap()
                    };
                    let mut failed = Vec::new();
                    while !is_over.load(Ordering::Relaxed) {
                        let (first, second) = (1 + next(ROWS), 1 + next(ROWS));
                        // In the order of their ids, so that the writers do not run into each other's deadlocks.
                        let (first, second) = (first.min(second), first.max(second));
                        let end = if next(5) == 0 { "rollback" } else { "commit" };
                        let change = match next(6) {
                            0 => "note = clock_timestamp()::text",
                            1 => "tier = null",
                            _ => "tier = clock_timestamp()::text",
                        };
                        let sql = format!(
                            "begin;
                             update customers set {change} where id = {first};
                             select pg_sleep({}::float8 / 1000);
                             update customers set {change} where id = {second};
                             {end}",
                            next(4)
                        );
                        if let Err(error) = db.try_batch(&sql) {
                            failed.push(format!("{error:?}"));
                            db.batch("rollback");
                        }
                    }
                    failed
                })
            })
            .collect();
        for round in 0..25 {
            let chunk = [1, 7, 50, 300][round % 4];
            site.db
                .batch(&format!("call target_profile.backfill('customers', chunk => {chunk})"));
        }
        is_over.store(true, Ordering::Relaxed);
        writers
            .into_iter()
            .flat_map(|writer| writer.join().unwrap())
            .collect::<Vec<String>>()
    });
    assert_eq!(failed, Vec::<String>::new(), "a backfill has failed a write");
    site.wait_drained();
    // A NULL is not sent, so what Target has then is the value before.
    let table: BTreeMap<String, String> = site
        .db
        .rows("select id, tier from customers where tier is not null")
        .into_iter()
        .map(|row| (row[0].clone().unwrap(), row[1].clone().unwrap()))
        .collect();
    assert!(table.len() > 100, "{}", table.len());
    let stale: Vec<_> = table
        .iter()
        .filter(|(id, tier)| site.sent_value(id, "tier").as_ref() != Some(*tier))
        .collect();
    assert!(stale.is_empty(), "{} stale: {stale:?}", stale.len());
}
