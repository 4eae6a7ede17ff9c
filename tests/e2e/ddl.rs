//! Statements about a database or the extension, beside a worker that is busy with an endpoint that hangs for minutes: each is done
//! within about a second, no worker is gone for good, and nothing is lost.

use std::time::{Duration, Instant};

use support::{Cluster, Db, Match, Reply, sqlstate};

use crate::site::{SOON, Site};

/// A worker that has to go gives what is under way a quarter of a second. The rest is the statement's own (checkpoints, copies), on a
/// machine that may be busy; one that waits for a worker takes five seconds and fails.
const PROMPT: Duration = Duration::from_secs(3);

/// A site with a second database, whose worker has a request under way that is not answered, and more that wait.
struct Busy {
    site: Site,
    crm: Db,
    worker: i32,
}

impl Busy {
    fn new(name: &str) -> Self {
        Self::with(Cluster::builder(name))
    }

    fn with(builder: support::cluster::Builder) -> Self {
        let site = Site::with(builder);
        let crm = site.add_database("crm");
        crm.batch("select target_profile.set_client('acme', timeout => '4 min')");
        site.mock.on(Match::any()).respond(Reply::hang());
        enqueue(&crm, "hung");
        site.mock.wait_hung(1, SOON);
        let worker = worker_of(&site, "crm").unwrap();
        Self { site, crm, worker }
    }

    /// Runs a statement in the site's first database; nobody but the worker is in `crm`.
    fn run(self, sql: &str) -> Site {
        let Self { site, crm, .. } = self;
        drop(crm);
        wait_alone(&site, "crm");
        prompt(&site.db, sql);
        site
    }
}

fn enqueue(db: &Db, id: &str) {
    db.query(
        "select target_profile_update('acme', 'mbox3rdPartyId', $1, '{\"a\": 1}')",
        &[&id],
    );
}

fn worker_of(site: &Site, database: &str) -> Option<i32> {
    let sql = "select pid from pg_stat_activity where backend_type = 'target_profile worker' and datname = $1";
    site.db.query(sql, &[&database]).first().map(|row| row.get(0))
}

/// Until the session that was closed has ended.
fn wait_alone(site: &Site, database: &str) {
    site.wait_until(&format!(
        "select not exists (select from pg_stat_activity
            where datname = '{database}' and backend_type = 'client backend' and pid <> pg_backend_pid())"
    ));
}

#[track_caller]
fn timed(db: &Db, sql: &str) -> Duration {
    let began = Instant::now();
    db.batch(sql);
    let took = began.elapsed();
    println!("{took:?}: {sql}");
    took
}

#[track_caller]
fn prompt(db: &Db, sql: &str) {
    let took = timed(db, sql);
    assert!(took < PROMPT, "{sql} took {took:?}");
}

/// The endpoint answers again; whatever waits in the database arrives.
fn check_drains(site: &Site, db: &Db) {
    site.mock.clear_rules();
    site.mock.release_hung();
    enqueue(db, "after");
    site.wait_drained_in(db);
    assert_eq!(db.text("select count(*) from target_profile.dead_letter"), "0");
    for id in ["hung", "after"] {
        assert_eq!(site.sent_value(id, "a").as_deref(), Some("1"), "{id}");
    }
}

#[test]
fn drop_database_is_not_held_up_by_its_worker() {
    // supabase/pg_net#78, #217, citusdata/pg_cron#318.
    let site = Busy::new("drop").run("drop database crm");
    site.wait_until("select count(*) = 1 from target_profile.worker");
    assert_eq!(worker_of(&site, "crm"), None);
    assert!(
        !site.cluster.log_contains("does not exist"),
        "a worker was started for a dropped database"
    );
    // The place is free: another database of that name.
    let crm = site.add_database("crm");
    site.mock.clear_rules();
    enqueue(&crm, "again");
    site.wait_drained_in(&crm);
}

#[test]
fn drop_database_with_force_and_of_another_database_are_not_held_up() {
    let busy = Busy::new("force");
    // ProcSignalBarrier: a process that does not answer holds up the drop of any database.
    busy.site.db.batch("create database other");
    prompt(&busy.site.db, "drop database other");
    assert_eq!(worker_of(&busy.site, "crm"), Some(busy.worker));
    // The session in it is ended, too.
    prompt(&busy.site.db, "drop database crm with (force)");
    busy.site.wait_until("select count(*) = 1 from target_profile.worker");
}

#[test]
fn rename_and_set_tablespace_keep_the_queue_and_the_worker() {
    let site = Busy::with(Cluster::builder("rename").conf("allow_in_place_tablespaces", "on"))
        .run("alter database crm rename to crm2");
    site.wait_until("select exists (select from target_profile.worker where database = 'crm2' and pid is not null)");
    site.wait_until("select not exists (select from target_profile.worker where database = 'crm')");
    // In a block, and taken back: the worker is away until the end of the transaction.
    site.db.batch("begin");
    prompt(&site.db, "alter database crm2 rename to crm3");
    site.db.batch("select 1");
    assert_eq!(worker_of(&site, "crm2"), None);
    site.db.batch("rollback");
    site.wait_until("select exists (select from target_profile.worker where database = 'crm2' and pid is not null)");
    // It copies some hundred files, each flushed, which takes seconds on a slow disk: as long as that of a database without a worker.
    site.db.batch("create tablespace elsewhere location ''");
    site.db.batch("create database plain");
    let floor = timed(&site.db, "alter database plain set tablespace elsewhere");
    let took = timed(&site.db, "alter database crm2 set tablespace elsewhere");
    assert!(
        took < floor * 2 + PROMPT,
        "it took {took:?}, and {floor:?} without a worker"
    );
    check_drains(&site, &site.cluster.db_in("crm2"));
}

#[test]
fn create_database_from_it_as_template_works_and_the_copy_sends_nothing() {
    // timescale/timescaledb#4048, #1593, #7774: a launcher that blocks CREATE DATABASE … TEMPLATE.
    let site = Busy::new("template").run("create database copy template crm");
    site.wait_until(
        "select exists (select from target_profile.worker where database = 'copy' and state = 'not adopted')",
    );
    let sent = site.mock.request_count();
    let copy = site.cluster.db_in("copy");
    assert_eq!(copy.text("select count(*) from target_profile.outbox"), "1");
    let crm = site.cluster.db_in("crm");
    check_drains(&site, &crm);
    assert!(site.mock.request_count() <= sent + 2, "the copy has sent something");
    assert_eq!(copy.text("select count(*) from target_profile.outbox"), "1");
    // From within: the session itself is no obstacle.
    prompt(&crm, "create database second template crm");
}

#[test]
fn whoever_does_not_own_a_database_cannot_stop_its_worker() {
    let busy = Busy::new("stranger");
    let (site, worker) = (&busy.site, busy.worker);
    site.db.batch("create role stranger login createdb");
    let stranger = site.cluster.client("postgres", "stranger");
    for sql in [
        "drop database crm",
        "alter database crm rename to mine",
        "create database mine template crm",
        "alter database crm set tablespace pg_default",
    ] {
        let error = stranger.try_batch(sql).unwrap_err();
        assert_eq!(sqlstate(&error), "42501", "{sql}");
        assert_eq!(worker_of(site, "crm"), Some(worker), "{sql}");
    }
    // A statement that fails for whoever may costs the worker a pause, and no more.
    assert!(site.db.try_batch("alter database crm rename to postgres").is_err());
    assert!(site.db.try_batch("drop database nowhere").is_err());
    prompt(&site.db, "drop database if exists nowhere");
    check_drains(site, &busy.crm);
}

#[test]
fn a_session_that_ends_while_it_holds_a_database_lets_the_worker_back() {
    let Busy { site, crm, .. } = Busy::new("ended");
    drop(crm);
    wait_alone(&site, "crm");
    let session = site.cluster.db();
    session.batch("begin; alter database crm rename to crm2");
    site.wait_until("select state = 'held' from target_profile.worker where pid is null");
    site.db.query("select pg_terminate_backend($1)", &[&session.pid()]);
    site.wait_until("select count(*) = 2 from target_profile.worker where pid is not null");
    check_drains(&site, &site.cluster.db_in("crm"));
}

#[test]
fn a_worker_that_waits_for_a_lock_is_out_of_the_way_as_well() {
    let Busy { site, crm, .. } = Busy::new("locked");
    // Each of its transactions waits for this one, a second at a time; FORCE ends the session only when the worker has gone.
    crm.batch("begin; lock table target_profile.outbox in access exclusive mode");
    let other = site.cluster.db_in("crm");
    other.batch("select target_profile.pause('acme')");
    site.wait_until("select exists (select from pg_stat_activity where datname = 'crm' and wait_event_type = 'Lock')");
    prompt(&site.db, "drop database crm with (force)");
    site.wait_until("select count(*) = 1 from target_profile.worker");
}

#[test]
fn drop_extension_and_create_extension_beside_a_busy_worker() {
    let Busy { site, crm, .. } = Busy::new("extension");
    prompt(&crm, "drop extension target_profile");
    support::wait::until("the worker to go", SOON, || {
        worker_of(&site, "crm").is_none().then_some(())
    });
    prompt(&crm, "create extension target_profile");
    crm.query(
        "select target_profile.add_client('acme', endpoint => $1)",
        &[&site.mock.endpoint()],
    );
    site.mock.clear_rules();
    site.mock.release_hung();
    enqueue(&crm, "after");
    site.wait_drained_in(&crm);
    assert_eq!(site.sent_value("after", "a").as_deref(), Some("1"));
    // What was taken back has not happened.
    let worker = worker_of(&site, "crm");
    crm.batch("begin; drop extension target_profile; rollback");
    enqueue(&crm, "kept");
    site.wait_drained_in(&crm);
    assert_eq!(worker_of(&site, "crm"), worker);
}

#[test]
fn maintenance_of_the_extensions_tables_is_not_held_up_and_holds_up_nothing_for_good() {
    let Busy { site, crm, worker } = Busy::new("maintenance");
    for sql in [
        "alter extension target_profile update",
        "vacuum full target_profile.outbox",
        "vacuum full target_profile.client",
        "reindex table target_profile.outbox",
        "reindex table concurrently target_profile.outbox",
        "cluster target_profile.outbox using outbox_pkey",
        "analyze target_profile.outbox",
        "truncate target_profile.response, target_profile.activity, target_profile.dead_letter",
    ] {
        prompt(&crm, sql);
    }
    check_drains(&site, &crm);
    assert_eq!(
        worker_of(&site, "crm"),
        Some(worker),
        "the worker had to be started again"
    );
    // A queue that is emptied by hand.
    crm.batch("truncate target_profile.outbox");
    enqueue(&crm, "next");
    site.wait_drained_in(&crm);
}

#[test]
fn a_users_foreign_key_trigger_or_rule_on_the_tables_does_not_stop_the_sending() {
    // supabase/pg_net#44.
    let site = Site::new("guests");
    site.db.batch(
        "create table note (outbox_id bigint references target_profile.outbox (id));
         create function refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$;
         create function swallow() returns trigger language plpgsql as $$ begin return new; end $$;
         create function refuse_ddl() returns event_trigger language plpgsql as $$
             begin if current_setting('application_name') = 'target_profile' then raise 'no'; end if; end $$;
         create trigger refuse before delete or update on target_profile.outbox for each row execute function refuse();
         create trigger swallow before delete on target_profile.outbox for each row execute function swallow();
         create trigger refuse after insert on target_profile.response for each row execute function refuse();
         create trigger refuse before insert or update on target_profile.activity for each row execute function refuse();
         create event trigger refuse on ddl_command_start execute function refuse_ddl()",
    );
    let id = site.update("1", r#"{"a": 1}"#);
    site.db.query("insert into note values ($1)", &[&id]);
    site.update("2", r#"{"a": 1}"#);
    site.wait_drained();
    site.wait_until("select state = 'idle' and last_error_at is null from target_profile.worker");
    assert_eq!(site.mock.request_count(), 2);
    assert_eq!(site.count("select count(*) from target_profile.response"), 2);
    // One that is to fire whatever happens says so, and does.
    site.db.batch(
        "drop trigger refuse on target_profile.response;
         create table heard (profile text);
         create function hear() returns trigger language plpgsql as $$
             begin insert into public.heard values (new.profile_id); return null; end $$;
         create trigger hear after insert on target_profile.response for each row execute function hear();
         alter table target_profile.response enable always trigger hear",
    );
    site.update("3", r#"{"a": 1}"#);
    site.wait_until("select profile = '3' from heard union all select false order by 1 desc limit 1");
    // Our own triggers are such: a pause by 401 reaches the worker and is checked.
    site.mock.on(Match::any()).respond(Reply::status(401));
    site.update("4", r#"{"a": 1}"#);
    site.wait_until("select state = 'paused' from target_profile.status");
}

#[test]
fn a_view_on_a_day_of_responses_keeps_the_day_and_does_not_stop_the_sending() {
    let site = Site::with(Cluster::builder("view").conf("target_profile.poll_interval", "1s"));
    site.db.batch(
        "select target_profile._ensure_response_partition('2020-01-01');
         create view old as select * from target_profile.response_20200101",
    );
    // The worker may have looked for old days before; it does so once an hour, and when the settings are read.
    site.db.batch("select pg_reload_conf()");
    site.wait_until("select last_error like 'dropping old responses: cannot drop%' from target_profile.worker");
    for n in 0..5 {
        site.update(&n.to_string(), r#"{"a": 1}"#);
        site.wait_drained();
        // It stands, however well the sending goes.
        site.wait_until("select last_error like 'dropping old responses: cannot drop%' from target_profile.worker");
    }
    site.wait_until("select state = 'idle' from target_profile.worker");
    site.db.batch("drop view old");
    site.wait_until("select to_regclass('target_profile.response_20200101') is null");
    site.wait_until("select last_error is null and last_error_at is not null from target_profile.worker");
}

#[test]
fn a_foreign_schema_of_the_same_name_is_left_alone() {
    let site = Site::new("schema");
    let crm = site.cluster.create_db("crm");
    crm.batch(
        "create schema target_profile; create table target_profile.outbox (id bigint); insert into target_profile.outbox values (1)",
    );
    // The next launcher looks into every database: the worker sees that this is not the extension, and goes.
    let looks = || site.count("select xact_commit from pg_stat_database where datname = 'crm'");
    let before = looks();
    site.db
        .batch("select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'target_profile launcher'");
    support::wait::until("a look into it", SOON, || {
        (looks() > before && worker_of(&site, "crm").is_none()).then_some(())
    });
    assert_eq!(crm.text("select count(*) from target_profile.outbox"), "1");
    crm.batch("drop schema target_profile cascade; create extension target_profile");
    crm.query(
        "select target_profile.add_client('acme', endpoint => $1)",
        &[&site.mock.endpoint()],
    );
    enqueue(&crm, "1");
    site.wait_drained_in(&crm);
}

#[test]
fn the_role_that_installed_it_may_go_and_grants_may_change() {
    // supabase/supabase#33868: an upgrade lost a grant, and every write on trigger tables failed.
    let site = Site::new("roles");
    site.db.batch("create database crm");
    site.db
        .batch("create role installer superuser login; create role heir superuser");
    let installer = site.cluster.client("crm", "installer");
    installer.batch("create extension target_profile");
    installer.query(
        "select target_profile.add_client('acme', endpoint => $1)",
        &[&site.mock.endpoint()],
    );
    installer.batch(
        "create table customers (id text primary key, tier text);
         create trigger to_target after insert or update on customers for each row
         execute function target_profile_trigger('acme', 'mbox3rdPartyId', 'id', 'tier')",
    );
    drop(installer);
    let crm = site.cluster.db_in("crm");
    crm.batch("reassign owned by installer to heir; drop owned by installer; drop role installer");
    crm.batch("insert into customers values ('1', 'gold')");
    enqueue(&crm, "2");
    site.wait_drained_in(&crm);
    crm.batch(
        "alter role heir nosuperuser;
         revoke all on all tables in schema target_profile from public, pg_monitor;
         revoke all on all functions in schema target_profile from public, pg_monitor;
         revoke all on schema target_profile from public, pg_monitor;
         create role app; grant usage on schema public to app; grant insert on customers to app; set role app",
    );
    crm.batch("insert into customers values ('3', 'gold')");
    crm.batch("reset role");
    site.wait_drained_in(&crm);
    assert_eq!(crm.text("select count(*) from target_profile.dead_letter"), "0");
    assert_eq!(site.mock.request_count(), 3);
}
