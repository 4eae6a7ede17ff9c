//! What stops the worker, or could: it says what it is, in the view as long as it is so, in the log once.

use support::{Cluster, describe};

use crate::site::{SOON, Site, WORKER};

/// Waits until that many more errors have happened.
fn wait_errors(site: &Site, count: usize) {
    for _ in 0..count {
        let last: Option<String> = site
            .db
            .try_text("select last_error_at::text from target_profile.worker")
            .unwrap();
        let last = last.unwrap_or_default();
        site.wait_until(&format!(
            "select last_error_at is not null and last_error_at::text <> '{last}' from target_profile.worker"
        ));
    }
}

#[test]
fn an_error_that_repeats_is_logged_when_it_begins_and_when_it_is_over() {
    let site = Site::new("repeats");
    site.update("first", r#"{"a": 1}"#);
    site.wait_drained();
    let mark = site.cluster.log_mark();
    let holder = site.cluster.db();
    holder.batch("begin; lock table target_profile.response in access exclusive mode");
    site.update("second", r#"{"a": 1}"#);
    wait_errors(&site, 3);
    let lines = |text: &str| site.cluster.log_since(mark).matches(text).count();
    let said = "canceling statement due to lock timeout";
    // It meets the lock in one place or another: each is told once.
    let log = site.cluster.log_since(mark);
    let mut told: Vec<&str> = log
        .lines()
        .filter_map(|line| line.split_once("LOG:  ").map(|(_, text)| text))
        .filter(|text| text.contains(said))
        .collect();
    let all = told.len();
    told.sort_unstable();
    told.dedup();
    assert!((1..=2).contains(&all) && told.len() == all, "{log}");
    holder.batch("rollback");
    site.wait_drained();
    site.cluster.wait_log_since(mark, "target_profile: over, after ", SOON);
    assert_eq!(lines("target_profile: over, after "), 1);
    assert_eq!(
        site.count("select count(*) from target_profile.worker where last_error is not null"),
        0
    );
}

#[test]
fn an_event_trigger_that_refuses_a_new_day_is_named() {
    let site = Site::new("refuses");
    site.db.batch(
        "create function refuse() returns event_trigger language plpgsql as
         $$ begin raise exception 'no tables on Thursdays'; end $$;
         create event trigger refuse on ddl_command_start when tag in ('CREATE TABLE') execute function refuse()",
    );
    // One that does not insist does not count.
    site.update("first", r#"{"a": 1}"#);
    site.wait_drained();
    site.db.batch(
        "alter event trigger refuse enable always;
         do $$ declare day regclass; begin
           for day in select inhrelid from pg_inherits where inhparent = 'target_profile.response'::regclass loop
             execute format('drop table %s', day);
           end loop; end $$",
    );
    site.update("second", r#"{"a": 1}"#);
    site.wait_until("select last_error like '%no tables on Thursdays%' from target_profile.worker");
    site.db.batch("drop event trigger refuse");
    site.wait_drained();
    assert_eq!(site.count("select count(*) from target_profile.response"), 1);
}

/// An owner without BYPASSRLS, to whom his own policies apply.
#[test]
fn row_level_security_that_is_forced_on_our_tables_hides_nothing_in_silence() {
    let site = Site::made_by(
        Cluster::builder("forced_rls"),
        "create role plain superuser; set role plain; create extension target_profile; reset role",
    );
    site.create_customers();
    site.db.batch(
        "create role nobody login; grant insert, update on customers to nobody; alter role plain nosuperuser;
         do $$ declare t regclass; begin
           for t in select c.oid from pg_class c where c.relnamespace = 'target_profile'::regnamespace and c.relkind in ('r', 'p') loop
             execute format('alter table %s enable row level security', t);
             execute format('alter table %s force row level security', t);
           end loop; end $$",
    );
    let nobody = site.cluster.client("postgres", "nobody");
    nobody.batch("insert into customers values ('1', 'gold', 1), ('a/b', 'gold', 1)");
    support::wait::until("the row to be sent", SOON, || site.sent_value("1", "tier"));
    site.wait_drained();
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 1);
    assert_eq!(site.count("select count(*) from target_profile.response"), 1);
    // What runs with the rights of the owner without being asked by the worker says so.
    for sql in [
        "select target_profile.retry_all('acme')",
        "select target_profile.pause('acme')",
    ] {
        let error = site.db.try_batch(sql).expect_err(sql);
        assert!(
            describe(&error).contains("row-level security"),
            "{sql}: {}",
            describe(&error)
        );
    }
    assert_eq!(
        site.count("select count(*) from target_profile.worker where last_error is not null"),
        0
    );
}

/// From PostgreSQL 17 on: it ends a process, and what is answered then is not written down.
#[test]
fn a_transaction_timeout_ends_no_process() {
    let cluster = Cluster::builder("transaction_timeout").build();
    let db = cluster.db();
    let version: i32 = db.value("select current_setting('server_version_num')::int", &[]);
    if version < 170_000 {
        crate::site::skipped(
            "a_transaction_timeout_ends_no_process",
            "transaction_timeout is of PostgreSQL 17",
        );
        return;
    }
    db.batch(
        "create role tester superuser login; alter role tester set transaction_timeout = 0;
         alter role postgres set transaction_timeout = '20ms'",
    );
    cluster.set("transaction_timeout", "20ms");
    cluster.restart(support::Mode::Fast);
    let mark = cluster.log_mark();
    let db = cluster.client("postgres", "tester");
    let mock = support::MockTarget::builder().create_unknown(true).start();
    db.batch("create extension target_profile");
    db.query(
        "select target_profile.add_client('acme', endpoint => $1)",
        &[&mock.endpoint()],
    );
    let send = |id: &str| {
        db.query(
            "select target_profile_update('acme', 'mbox3rdPartyId', $1, '{\"a\": 1}')",
            &[&id],
        );
    };
    send("first");
    let drained = "select not exists (select from target_profile.outbox)";
    cluster.wait_sql(&db, drained, SOON);
    let pid = |name: &str| -> i32 {
        db.value(
            "select pid from pg_stat_activity where backend_type like $1 limit 1",
            &[&name],
        )
    };
    let (worker, launcher) = (pid(WORKER), pid("target_profile launcher"));
    let holder = cluster.client("postgres", "tester");
    holder.batch("begin; lock table target_profile.response in access exclusive mode");
    for n in 0..50 {
        send(&format!("u{n}"));
    }
    // Well above the limit, and until the worker has waited for the lock as long as it does.
    cluster.wait_sql(
        &db,
        "select last_error like '%lock timeout%' from target_profile.worker",
        SOON,
    );
    holder.batch("rollback");
    cluster.wait_sql(&db, drained, SOON);
    assert_eq!((pid(WORKER), pid("target_profile launcher")), (worker, launcher));
    assert_eq!(mock.request_count(), 51);
    let log = cluster.log_since(mark);
    assert!(!log.contains("due to transaction timeout"), "{log}");
    // A backfill may be ended, and says beforehand by what.
    db.batch(
        "create table crm (id integer primary key, tier text);
         select target_profile.watch('crm', 'acme', 'mbox3rdPartyId', 'id', '{tier}')",
    );
    db.batch("set transaction_timeout = '1 h'");
    db.batch("call target_profile.backfill('crm')");
    let said = "transaction_timeout is 3600000 ms: a chunk that takes longer ends this session";
    cluster.wait_log(said, SOON);
}

/// Rows that were written without the trigger that checks them, as a restore with --disable-triggers does.
#[test]
fn clients_whose_settings_are_not_valid_hold_up_nobody() {
    let site = Site::new("badclients");
    site.add_client("other");
    site.db.batch(
        "alter table target_profile.client disable trigger check_values;
         insert into target_profile.client (client_code, max_in_flight) select 'bad' || n, -1 from generate_series(1, 10) n;
         alter table target_profile.client enable always trigger check_values",
    );
    for _ in 0..5 {
        site.db
            .batch("select target_profile.pause('other'), target_profile.resume('other')");
        site.update("p", r#"{"a": 1}"#);
        site.wait_drained();
        assert_eq!(
            site.db.text(
                "select state from target_profile.worker where state = 'failing' union all select 'well' limit 1"
            ),
            "well"
        );
    }
    site.wait_until(
        "select last_error like 'client \"bad1\" is left out, its settings are not valid: %; so are 9 others' from target_profile.worker",
    );
    site.db
        .batch("delete from target_profile.client where client_code like 'bad%'");
    site.wait_until("select last_error is null from target_profile.worker");
}
