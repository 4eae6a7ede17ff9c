//! The launcher: it finds the databases that have the extension, and keeps one worker in each.

use std::time::{Duration, Instant};

use support::{Cluster, Db, Match, Mode, Reply};

use crate::site::{SOON, Site, WORKER};

const LAUNCHER: &str = "target_profile launcher";

/// Without sessions, but for the launcher's and the workers'.
const PROMPT: Duration = Duration::from_secs(2);

fn enqueue(db: &Db, id: &str) {
    db.query(
        "select target_profile_update('acme', 'mbox3rdPartyId', $1, '{\"a\": 1}')",
        &[&id],
    );
}

/// The databases that have a worker's process, in order.
fn served(site: &Site) -> String {
    site.db.text(
        "select coalesce(string_agg(datname, ' ' order by datname), '') from pg_stat_activity
         where backend_type = 'target_profile worker'",
    )
}

fn wait_served(site: &Site, databases: &str) {
    support::wait::until(&format!("workers in {databases:?}"), SOON, || {
        (served(site) == databases).then_some(())
    });
}

fn worker_state(site: &Site, database: &str) -> String {
    let rows = site.db.query(
        "select state from target_profile.worker where database = $1",
        &[&database],
    );
    rows.first().map_or_else(String::new, |row| row.get(0))
}

fn wait_state(site: &Site, database: &str, state: &str) {
    support::wait::until(&format!("{database} to be {state:?}"), SOON, || {
        (worker_state(site, database) == state).then_some(())
    });
}

#[test]
fn every_database_with_the_extension_has_a_worker_and_no_other_one() {
    // supabase/pg_net#58, #76, citusdata/pg_cron#99, #188: a worker in one configured database, silently absent in others.
    let site = Site::new("everywhere");
    let crm = site.add_database("crm");
    let odd = site.add_database("Ödd \"name\"");
    site.cluster.create_db("plain");
    for (n, db) in [&site.db, &crm, &odd].into_iter().enumerate() {
        enqueue(db, &format!("p{n}"));
        site.wait_drained_in(db);
    }
    wait_served(&site, "crm postgres Ödd \"name\"");
    assert_eq!(site.mock.request_count(), 3);
    // The extension is what decides.
    assert_eq!(worker_state(&site, "plain"), "");
    crm.batch("drop extension target_profile");
    wait_served(&site, "postgres Ödd \"name\"");
    support::wait::until("the row to go", SOON, || {
        (worker_state(&site, "crm").is_empty()).then_some(())
    });
    // Two processes of a kind that people look for by name.
    site.wait_until(
        "select array_agg(distinct backend_type order by backend_type) = '{target_profile launcher,target_profile worker}'
         from pg_stat_activity where backend_type like 'target_profile%'",
    );
    site.wait_until("select datname is null from pg_stat_activity where backend_type = 'target_profile launcher'");
    // And after a restart, and a crash of everything.
    for mode in [Mode::Fast, Mode::Immediate] {
        site.cluster.restart(mode);
        let db = site.cluster.db();
        site.cluster.wait_sql(
            &db,
            "select count(*) = 2 from target_profile.worker where state = 'idle'",
            SOON,
        );
    }
}

#[test]
fn a_worker_comes_with_the_commit_of_create_extension_and_not_before() {
    let site = Site::new("creation");
    let crm = site.cluster.create_db("crm");
    crm.batch("begin; create extension target_profile; rollback");
    crm.batch("begin; create extension target_profile");
    assert_eq!(served(&site), "postgres");
    let began = Instant::now();
    crm.batch("commit");
    wait_served(&site, "crm postgres");
    assert!(began.elapsed() < PROMPT, "it took {:?}", began.elapsed());
    // Again and again, with a worker that is just going.
    for _ in 0..10 {
        crm.batch("drop extension target_profile");
        crm.batch("create extension target_profile");
        crm.query(
            "select target_profile.add_client('acme', endpoint => $1)",
            &[&site.mock.endpoint()],
        );
        enqueue(&crm, "p");
        let began = Instant::now();
        site.wait_drained_in(&crm);
        assert!(began.elapsed() < PROMPT * 2, "it took {:?}", began.elapsed());
    }
}

#[test]
fn what_nobody_has_announced_is_found_at_intervals_without_xids_or_wal() {
    let site = Site::with(
        Cluster::builder("intervals")
            .conf("target_profile.discovery_interval", "1s")
            .conf("target_profile.poll_interval", "1s")
            .conf("autovacuum", "off"),
    );
    let crm = site.cluster.create_db("crm");
    wait_served(&site, "postgres");
    let look = || {
        site.db
            .text("select concat(pg_current_wal_insert_lsn(), ' ', txid_snapshot_xmax(txid_current_snapshot()))")
    };
    let looks = || -> i64 {
        site.db
            .value("select xact_commit from pg_stat_database where datname = 'crm'", &[])
    };
    // What the server itself writes comes to an end within its first 15 s.
    site.db.batch("checkpoint");
    support::wait::until("looks into it that write nothing and burn no xid", SOON, || {
        let (before, looked) = (look(), looks());
        support::wait::until("another look into it", SOON, || (looks() > looked).then_some(()));
        (look() == before).then_some(())
    });
    // Two-phase commit announces nothing where there is no worker.
    crm.batch("begin; create extension target_profile; prepare transaction 'p'");
    crm.batch("commit prepared 'p'");
    wait_served(&site, "crm postgres");
}

#[test]
fn the_setting_narrows_on_reload_and_the_view_says_so() {
    let site = Site::new("narrowed");
    let crm = site.add_database("crm");
    wait_served(&site, "crm postgres");
    site.cluster.set("target_profile.databases", "postgres, nowhere");
    wait_served(&site, "postgres");
    site.cluster.wait_sql(
        &crm,
        "select state = 'excluded' from target_profile.worker where database = 'crm'",
        SOON,
    );
    let crm = site.cluster.db_in("crm");
    enqueue(&crm, "p");
    let notices = crm.take_notices();
    assert!(
        notices.iter().any(|notice| notice.message().contains("leaves it out")),
        "{notices:?}"
    );
    crm.batch("set client_min_messages = error");
    // One that waits for its entry has it sent as soon as somebody is there.
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| crm.text("select state from target_profile.wait(1, '60 s')"));
        site.cluster.wait_sql(
            &site.db,
            "select exists (select from pg_stat_activity where query like '%wait(1%' and wait_event_type = 'Extension')",
            SOON,
        );
        site.cluster.reset("target_profile.databases");
        waiting.join().unwrap()
    });
    assert_eq!(waiting, "accepted");
    wait_served(&site, "crm postgres");
}

#[test]
fn templates_and_databases_without_connections_are_passed_over() {
    // timescale/timescaledb#1593, #7774: a launcher that connects to templates.
    let site = Site::new("templates");
    site.add_database("crm");
    wait_served(&site, "crm postgres");
    for (off, on) in [
        (
            "alter database crm is_template true",
            "alter database crm is_template false",
        ),
        (
            "alter database crm allow_connections false",
            "alter database crm allow_connections true",
        ),
    ] {
        site.db.batch(off);
        wait_served(&site, "postgres");
        site.db.batch(on);
        wait_served(&site, "crm postgres");
    }
    assert!(!site.cluster.log_contains("not currently accepting connections"));
}

#[test]
fn a_full_max_worker_processes_is_shown_and_told_once_and_overcome() {
    // One for the launcher, one for that of logical replication, one for a worker.
    let site = Site::with(Cluster::builder("full").conf("max_worker_processes", "3"));
    wait_served(&site, "postgres");
    let crm = site.add_database("crm");
    enqueue(&crm, "p");
    wait_state(&site, "crm", "no worker slot");
    let error =
        "select last_error like 'max_worker_processes is used up%' from target_profile.worker where database = 'crm'";
    site.wait_until(error);
    site.cluster.wait_log("no background worker slot is free", SOON);
    // A reload makes it look again; what was told is not told again.
    site.cluster.reload();
    site.db.batch("drop extension target_profile");
    site.wait_drained_in(&crm);
    wait_served(&site, "crm");
    assert_eq!(
        site.cluster.log().matches("no background worker slot is free").count(),
        1
    );
}

#[test]
fn a_crash_loop_is_throttled_and_visible() {
    // supabase/pg_net#45, #12.
    let site = Site::new("loop");
    support::wait::until("the launcher to wait", SOON, || {
        site.db.batch(
            "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'target_profile worker'",
        );
        (worker_state(&site, "postgres") == "restarting").then_some(())
    });
    site.wait_until(
        "select last_error like 'the worker ended unexpectedly, % times in a row%' from target_profile.worker",
    );
    let starts = site.cluster.log().matches("terminating background worker").count();
    assert!(starts < 5, "{starts} starts");
    // Left alone, it works.
    enqueue(&site.db, "p");
    site.wait_drained();
}

#[test]
fn a_launcher_that_is_terminated_comes_back_and_takes_the_workers_over() {
    let site = Site::new("succession");
    let worker = site.cluster.wait_backend(WORKER, SOON);
    let first = site.cluster.wait_backend(LAUNCHER, SOON);
    site.db.query("select pg_terminate_backend($1)", &[&first]);
    // Meanwhile the worker goes on.
    enqueue(&site.db, "p");
    site.wait_drained();
    let crm = site.add_database("crm");
    wait_served(&site, "crm postgres");
    assert_ne!(site.cluster.wait_backend(LAUNCHER, SOON), first);
    site.wait_until(&format!(
        "select pid = {worker} from target_profile.worker where database = 'postgres'"
    ));
    // One that it has not started itself ends: it is told.
    site.db.query("select pg_terminate_backend($1)", &[&worker]);
    enqueue(&site.db, "q");
    site.wait_drained();
    crm.batch("drop extension target_profile");
    wait_served(&site, "postgres");
}

#[test]
fn a_standby_says_that_it_is_one_and_sends_once_promoted() {
    let site = Site::new("primary");
    let standby = site.cluster.standby("standby").conf("hot_standby", "on").build();
    let db = standby.db();
    assert_eq!(db.text("select state from target_profile.worker"), "standby");
    assert_eq!(
        db.text("select count(*) from pg_stat_activity where backend_type like 'target_profile%'"),
        "0"
    );
    site.cluster.stop(Mode::Fast);
    db.batch("select pg_promote()");
    enqueue(&db, "p");
    standby.wait_sql(&db, "select not exists (select from target_profile.outbox)", SOON);
    assert_eq!(site.mock.request_count(), 1);
    assert_eq!(db.text("select count(*) from target_profile.worker"), "1");
}

#[test]
fn enabled_off_stops_the_sending_at_once() {
    // supabase/pg_net#45: a backlog that is fired at once, and no way to stop it.
    let site = Site::new("brake");
    site.mock
        .on(Match::any())
        .respond(Reply::delay(Duration::from_millis(20)));
    site.db.batch(
        "select target_profile_update('acme', 'mboxPC', n::text, '{\"a\": 1}') from generate_series(1, 20000) n",
    );
    site.mock.wait_answered(100, SOON);
    site.cluster.set("target_profile.enabled", "off");
    site.wait_until("select state = 'disabled' from target_profile.worker");
    let sent = site.mock.request_count();
    site.mock.wait_quiet(Duration::from_millis(300), SOON);
    assert!(site.mock.request_count() <= sent + 64, "more than what was under way");
    site.wait_until("select state = 'disabled' and backlog > 10000 from target_profile.status");
}
