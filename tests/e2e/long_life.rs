//! What only time shows: that nothing happens while there is nothing to do, and that nothing grows while there is much.

mod footprint;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{Cluster, Db};

use crate::site::{SOON, Site, WORKER};
use footprint::{Watch, processor_time};

const LAUNCHER: &str = "target_profile launcher";

/// How long nothing is to happen.
const IDLE_SECONDS: u32 = 300;

/// A poll comes every 30 s.
const POLLED: Duration = Duration::from_secs(90);

/// What may be asked in a minute of all databases with the extension and of one without, by all processes of the extension. A poll
/// of a database every 30 s asks a dozen things, all of them read-only.
const STATEMENTS_A_MINUTE: f64 = 60.0;

/// supabase/pg_net#236 and #164: an idle worker that polls fills pg_stat_statements and the WAL.
#[test]
#[ignore = "takes six minutes: make soak"]
fn five_idle_minutes_write_nothing_and_cost_nothing() {
    let site = Site::with(
        Cluster::builder("idle5")
            .conf("shared_preload_libraries", "pg_stat_statements,target_profile")
            .conf("pg_stat_statements.track", "all")
            // It writes by itself, and would for what this test has written before.
            .conf("autovacuum", "off"),
    );
    let other = site.add_database("other");
    // One without the extension, which the launcher looks into now and then.
    drop(site.cluster.create_db("without"));
    site.db.batch("create extension pg_stat_statements");
    for n in 0..3 {
        site.add_client(&format!("client{n}"));
    }
    site.update("1", r#"{"a": 1}"#);
    other.batch("select target_profile_update('acme', 'mboxPC', '1', '{\"a\": 1}')");
    site.wait_drained();
    site.wait_drained_in(&other);
    site.wait_until("select count(*) = 2 and bool_and(state = 'idle') from target_profile.worker");
    site.db.batch("checkpoint");
    // A poll of each worker after its last answer: what was to be written about the quota is.
    site.db.batch("select pg_stat_statements_reset()");
    site.cluster.wait_sql(
        &site.db,
        "select count(distinct dbid) = 2 from pg_stat_statements where query ~ '^SELECT target_profile._is_adopted'",
        POLLED,
    );
    site.wait_until("select count(*) = 2 and bool_and(state = 'idle') from target_profile.worker");

    let mut pids = site.cluster.backend_pids(WORKER);
    pids.extend(site.cluster.backend_pids(LAUNCHER));
    assert_eq!(pids.len(), 3, "two workers and the launcher");
    let look = || -> (String, String) {
        let row = &site
            .db
            .rows("select pg_current_wal_insert_lsn(), pg_snapshot_xmax(pg_current_snapshot()) /* measured */")[0];
        (row[0].clone().expect("a position"), row[1].clone().expect("an xid"))
    };
    site.db.batch("select pg_stat_statements_reset()");
    let times = || -> Vec<f64> { pids.iter().map(|pid| processor_time(*pid)).collect() };
    let (before, time_before) = (look(), times());
    for _ in 0..2 {
        site.db
            .batch(&format!("select pg_sleep({}) /* measured */", IDLE_SECONDS / 2));
    }
    let (after, time_after) = (look(), times());
    let statements = site.db.query(
        "select datname::text, query, calls, toplevel from pg_stat_statements join pg_database on pg_database.oid = dbid
         where query !~ 'measured|pg_stat_statements|pg_stat_activity' order by datname, calls desc, query",
        &[],
    );

    assert_eq!(before.1, after.1, "no xid");
    site.wait_until(&format!("select pg_current_wal_flush_lsn() >= '{}'", after.0));
    let records = site.cluster.wal_records(&before.0, &after.0);
    // What the checkpointer and the background writer log by themselves.
    let own = ["RUNNING_XACTS", "CHECKPOINT_ONLINE"];
    let others: Vec<&String> = records
        .iter()
        .filter(|record| !own.iter().any(|own| record.contains(own)))
        .collect();
    println!(
        "WAL: {} records of the server's own, {} others",
        records.len() - others.len(),
        others.len()
    );
    assert!(others.is_empty(), "{others:#?}");

    for ((pid, before), after) in pids.iter().zip(time_before).zip(time_after) {
        let share = 100.0 * (after - before) / f64::from(IDLE_SECONDS);
        println!(
            "process {pid}: {:.1} ms of processor time, {share:.4} %",
            1000.0 * (after - before)
        );
        assert!(share < 0.1, "{share} % of a processor");
    }
    let mut calls = 0;
    for row in &statements {
        let (database, query, n): (String, String, i64) = (row.get(0), row.get(1), row.get(2));
        calls += n;
        let text = query
            .lines()
            .filter(|line| !line.trim_start().starts_with("--"))
            .collect::<Vec<_>>()
            .join(" ");
        println!("{database}: {n} × {}", text.chars().take(100).collect::<String>());
        assert!(
            text.trim_start().starts_with("SELECT") || text.trim_start().starts_with("WITH"),
            "{text}"
        );
    }
    let minutes = f64::from(IDLE_SECONDS) / 60.0;
    let rate = calls as f64 / minutes;
    println!("{rate:.1} statements a minute, in two databases with the extension and one without");
    assert!(rate <= STATEMENTS_A_MINUTE, "{rate} statements a minute");
}

/// The stand-in in a process of its own: what is measured is the server.
struct Endpoint {
    program: Child,
    template: String,
}

impl Endpoint {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mock-target"));
        command.args(["--port", "0", "--create-unknown", "--quiet"]);
        let mut program = command.stdout(Stdio::piped()).spawn().expect("the stand-in starts");
        let mut line = String::new();
        let out = program.stdout.take().expect("its output is a pipe");
        BufReader::new(out)
            .read_line(&mut line)
            .expect("it says where it listens");
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .expect("it listens")
            .to_owned();
        Self {
            program,
            template: format!("http://{address}/m2/{{client}}/profile/update"),
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // It ends with the test in any case.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// So many updates are delivered, each of a profile of its own; DELIVERIES says otherwise.
const DELIVERIES: i64 = 5_000_000;
/// So many at once are enqueued, and no more if so many wait.
const BATCH: i64 = 10_000;
const BACKLOG: i64 = 50_000;
const MIB: u64 = 1024 * 1024;
/// What the worker may take above its start, and what anybody may in the second half above what he had in the first.
const GROWTH: u64 = 64 * MIB;
const CREEP: u64 = 2 * MIB;
/// The outbox with its indexes: what waits at most, some times over.
const OUTBOX_BYTES: i64 = 256 * MIB as i64;

/// supabase/pg_net#254 and #216: the table of responses bloats, and autovacuum knows nothing of what the worker writes.
#[test]
#[ignore = "takes a quarter of an hour: make soak"]
fn millions_of_deliveries_take_no_more_memory_than_the_first() {
    let total: i64 =
        std::env::var("DELIVERIES").map_or(DELIVERIES, |text| text.parse().expect("DELIVERIES is a number"));
    let endpoint = Endpoint::start();
    let cluster = Cluster::builder("millions")
        .fsync(false)
        .conf("autovacuum_naptime", "5s")
        .conf("max_wal_size", "2GB")
        .conf("target_profile.max_in_flight", "256")
        .build();
    let session = cluster.db();
    session.batch("create extension target_profile");
    session.query(
        "select target_profile.add_client('acme', endpoint => $1, max_in_flight => 256, daily_quota => 1000000000000)",
        &[&endpoint.template],
    );
    let watcher = cluster.db();
    let worker = cluster.wait_backend(WORKER, SOON);
    let launcher = cluster.wait_backend(LAUNCHER, SOON);
    let enqueue = session.prepare(
        "select count(target_profile_update('acme', 'mbox3rdPartyId', 'profile-' || n, jsonb_build_object('tier', 'gold', 'n', n)))
         from generate_series($1::bigint, $2::bigint) n",
    );
    let push = |from: i64| session.query_prepared(&enqueue, &[&from, &(from + BATCH - 1)]);
    // What a process has after its first work is where it starts.
    let mut enqueued = 0;
    while enqueued < 2 * BATCH {
        push(enqueued + 1);
        enqueued += BATCH;
    }
    wait_for_backlog(&cluster, &watcher, 0);
    let mut watches = [("worker", worker), ("launcher", launcher), ("session", session.pid())]
        .map(|(name, pid)| Watch::begin(name, pid));
    let (began, first, mut told, mut seen) = (Instant::now(), enqueued, Duration::ZERO, Vec::<String>::new());
    while enqueued < total {
        push(enqueued + 1);
        enqueued += BATCH;
        wait_for_backlog(&cluster, &watcher, BACKLOG);
        let second_half = enqueued > (first + total) / 2;
        watches.iter_mut().for_each(|watch| watch.look(second_half));
        let doing: String = watcher.value(
            "select coalesce(query, '') from pg_stat_activity where pid = $1",
            &[&worker],
        );
        if !seen.contains(&doing) {
            seen.push(doing);
        }
        if began.elapsed() > told + Duration::from_secs(20) || enqueued >= total {
            told = began.elapsed();
            let rate = (enqueued - first) as f64 / told.as_secs_f64();
            let memory: Vec<String> = watches.iter().map(Watch::describe).collect();
            println!(
                "{enqueued} enqueued, {rate:.0}/s; {}; {}",
                memory.join(", "),
                tables(&watcher)
            );
        }
        let size: i64 = watcher.value("select pg_total_relation_size('target_profile.outbox')", &[]);
        assert!(
            size < OUTBOX_BYTES,
            "the outbox has {size} bytes: autovacuum does not keep up"
        );
    }
    wait_for_backlog(&cluster, &watcher, 0);
    watches.iter_mut().for_each(|watch| watch.look(true));
    println!(
        "{} deliveries in {:?}; {}",
        enqueued - first,
        began.elapsed(),
        tables(&watcher)
    );
    println!("pg_stat_activity has shown the worker: {seen:?}");

    for watch in &watches {
        println!("{}", watch.describe());
        assert!(
            watch.second_half.highest.saturating_sub(watch.start) <= GROWTH,
            "{}",
            watch.describe()
        );
        assert!(
            watch.second_half.highest <= watch.first_half.highest + CREEP,
            "{} grows: {:?} in the first half, {:?} in the second",
            watch.describe(),
            watch.first_half,
            watch.second_half
        );
    }
    assert_eq!(cluster.backend_pids(WORKER), [worker], "the same worker");
    let count = |sql: &str| -> i64 { watcher.value(sql, &[]) };
    assert_eq!(
        count("select count(*) from target_profile.response where outcome = 'accepted'"),
        enqueued
    );
    // On a machine that is busy with other things a request may time out and be sent again.
    let requests = count("select count(*) from target_profile.response");
    println!("{} requests were not accepted at once", requests - enqueued);
    assert!(requests <= enqueued + enqueued / 1000, "{requests} requests");
    assert_eq!(
        count("select sum(sent)::bigint from target_profile.activity"),
        requests,
        "the ledger agrees"
    );
    assert!(
        seen.iter().any(|doing| doing == "settling" || doing == "claiming"),
        "{seen:?}"
    );
    cluster.wait_sql(
        &watcher,
        &format!(
            "select bool_and(n_tup_ins >= {enqueued} and n_tup_del >= {enqueued} and autovacuum_count > 0)
             from pg_stat_user_tables where relid = 'target_profile.outbox'::regclass"
        ),
        SOON,
    );
    cluster.wait_sql(
        &watcher,
        &format!("select sum(n_tup_ins) = {enqueued} from pg_stat_user_tables where relname like 'response\\_2%'"),
        SOON,
    );
    let activity = count("select pg_total_relation_size('target_profile.activity')");
    assert!(activity < 8 * MIB as i64, "the ledger has {activity} bytes");
}

/// By the ledger, which is a row a minute: to count what waits again and again would be work of its own.
fn wait_for_backlog(cluster: &Cluster, db: &Db, at_most: i64) {
    let deadline = Duration::from_secs(300);
    cluster.wait_sql(
        db,
        &format!(
            "select (select last_value from target_profile.outbox_id_seq) - sum(accepted) <= {at_most}
             from target_profile.activity"
        ),
        deadline,
    );
}

/// Sizes, and what autovacuum has done.
fn tables(db: &Db) -> String {
    db.text(
        "select string_agg(format('%s %s, vacuumed %s times', c.relname,
             pg_size_pretty(pg_total_relation_size(c.oid)), s.autovacuum_count), '; ' order by c.relname)
         from pg_class c join pg_stat_user_tables s on s.relid = c.oid
         where c.relnamespace = 'target_profile'::regnamespace and c.relname ~ '^(outbox|activity|response_2.*)$'",
    )
}
