//! The owner of a database, who is no superuser, plants better matches for all that our SQL uses, before a superuser makes the
//! extension there. None is ever called, and nothing of the extension depends on one.

use std::fs;
use std::path::Path;

use support::{Cluster, Db, Match, MockTarget, Reply, sqlstate};

use crate::site::{SOON, WORKER};
use crate::upgrade::old::OLD;

/// All SQL of this repository that a server may come to run.
fn our_sql() -> String {
    fn add(folder: &Path, text: &mut String) {
        for entry in fs::read_dir(folder).expect("sql can be read") {
            let path = entry.expect("sql can be read").path();
            if path.is_dir() {
                add(&path, text);
            } else {
                text.push_str(&fs::read_to_string(&path).expect("SQL in UTF-8"));
            }
        }
    }
    let mut text = String::new();
    add(&support::repository().join("sql"), &mut text);
    text
}

fn database_of_mallory(cluster: &Cluster) {
    let root = cluster.db();
    root.batch("create role mallory login");
    root.batch("create database crm owner mallory");
}

struct Planted {
    cluster: Cluster,
    mock: MockTarget,
    sql: String,
}

impl Planted {
    /// A database `crm` of mallory's, with all that he has planted in its schema `public`.
    fn new(name: &str) -> Self {
        Self::after(name, |_, _| ())
    }

    /// After something else has happened in that database.
    fn after(name: &str, before: impl FnOnce(&Db, &Db)) -> Self {
        let planted = Self {
            cluster: Cluster::builder(name).build(),
            mock: MockTarget::builder().create_unknown(true).start(),
            sql: our_sql(),
        };
        database_of_mallory(&planted.cluster);
        let mallory = planted.cluster.client("crm", "mallory");
        before(&planted.cluster.db_in("crm"), &mallory);
        mallory.batch(include_str!("planted/plant.sql"));
        let count: i64 = mallory.value("select pg_temp.plant('public', $1)", &[&planted.sql]);
        assert!(count > 5_000, "only {count} were planted");
        let names: i64 = mallory.value(
            "select pg_temp.plant_names('public', 'public.called', $1)",
            &[&planted.sql],
        );
        assert!(names > 20, "only {names} were planted");
        // For every session to come, the worker's and a superuser's too.
        mallory.batch("alter database crm set search_path = public, pg_catalog");
        // It is as it should be: a better match is called, and it is seen.
        let mark = planted.cluster.log_mark();
        mallory.batch("set search_path = public, pg_catalog; select 'public'::regnamespace = 1::oid");
        assert!(planted.called(mark).contains("mallory"), "nothing is planted");
        planted
    }

    fn called(&self, mark: usize) -> String {
        let log = self.cluster.log_since(mark);
        let mut lines: Vec<&str> = log
            .lines()
            .filter_map(|line| line.split_once("PLANTED: "))
            .map(|(_, called)| called)
            .collect();
        lines.sort_unstable();
        lines.dedup();
        lines.join("\n")
    }

    #[track_caller]
    fn none_called(&self, mark: usize) {
        let called = self.called(mark);
        assert!(called.is_empty(), "called:\n{called}");
    }

    /// Somebody who looks, and uses nothing that is planted.
    fn observer(&self) -> Db {
        let db = self.cluster.db_in("crm");
        db.batch("set search_path = pg_catalog");
        db
    }

    #[track_caller]
    fn nothing_foreign(&self) {
        let foreign = self.observer().rows(include_str!("planted/foreign.sql"));
        assert!(foreign.is_empty(), "depends on what is not ours: {foreign:?}");
    }

    /// Every function, procedure and view, and all that the worker does. What is written here uses no operator and no function but the
    /// extension's own.
    fn use_everything(&self, schema: &str) {
        let observer = self.observer();
        let root = self.cluster.db_in("crm");
        root.batch(&format!(
            "select target_profile.add_client('acme', endpoint => '{0}', timeout => '5 s');
             select target_profile.add_client('other', endpoint => '{0}');
             create role clerk;
             select target_profile.grant_to('mallory', 'writer'), target_profile.grant_to('mallory', 'admin');
             select target_profile.grant_to('clerk', 'reader'), target_profile.revoke_from('clerk')",
            self.mock.endpoint()
        ));
        self.mock.on(Match::id("dead")).respond(Reply::failure("no"));
        for (who, table) in [("postgres", "theirs"), ("mallory", "his")] {
            let db = self.cluster.client("crm", who);
            if who == "mallory" {
                // In the session that uses it, too.
                let sql = include_str!("planted/plant.sql");
                db.batch(sql);
                let _: i64 = db.value(
                    "select pg_temp.plant_names('pg_temp', 'public.called', $1)",
                    &[&self.sql],
                );
            }
            db.batch(&format!(
                "create table {schema}.{table} (id pg_catalog.text primary key, tier pg_catalog.text, n pg_catalog.int8);
                 create table {schema}.{table}_by_hand (id pg_catalog.text, tier pg_catalog.text);
                 create trigger t after insert or update on {schema}.{table}_by_hand for each row
                     execute function {schema}.target_profile_trigger('acme', 'mbox3rdPartyId', 'id', 'tier');
                 select {schema}.target_profile_update('acme', 'mboxPC', '1', '{{\"a\": 1}}');
                 select {schema}.target_profile_update('acme', 'mbox3rdPartyId', 'dead', '{{\"a\": 1}}');
                 select * from {schema}.target_profile_preview('acme', 'mboxPC', '1', '{{\"a\": 1}}');
                 insert into {schema}.{table} values ('0{table}', 'iron', 1);
                 select target_profile.watch('{schema}.{table}', 'acme', 'mbox3rdPartyId', 'id', '{{tier,n}}');
                 insert into {schema}.{table} values ('1{table}', 'tin', 1), ('2{table}', 'tin', 2), ('a/{table}', 'tin', 3);
                 update {schema}.{table} set tier = 'gold';
                 insert into {schema}.{table}_by_hand values ('3{table}', 'tin'), ('b/{table}', 'tin');
                 update {schema}.{table}_by_hand set tier = 'gold'"
            ));
            db.batch(&format!("call target_profile.backfill('{schema}.{table}', chunk => 2)"));
            db.batch(&format!(
                "call target_profile.backfill('{schema}.{table}', 'n IS NOT NULL', restart => true)"
            ));
            db.batch(&format!("select target_profile.stop_backfill('{schema}.{table}')"));
            self.cluster.wait_sql(
                &observer,
                "select not exists (select from target_profile.outbox where client_code = 'acme') and exists (
                    select from target_profile.dead_letter where profile_id = 'dead' and discarded_at is null)",
                SOON,
            );
            let [dead, buried] = ["profile_id = 'dead'", "raw"].map(|which| {
                observer.text(&format!(
                    "select max(id)::text from target_profile.dead_letter where {which} and discarded_at is null"
                ))
            });
            db.batch(&format!(
                "select * from target_profile.result({dead}), target_profile.wait({dead}, '1 s');
                 select * from target_profile.result(1);
                 select target_profile.retry({dead}), target_profile.discard({buried}), target_profile.retry_all('acme');
                 select * from target_profile.status, target_profile.worker, target_profile.watch_state,
                     target_profile.backfill_progress;
                 select target_profile.pause('acme', 'x'), target_profile.set_client('acme', auth_token => 'x', delay => '1 ms');
                 select target_profile.set_client('acme', reset => '{{auth_token,delay}}'), target_profile.resume('acme');
                 select target_profile.pause('other');
                 select {schema}.target_profile_update('other', 'mboxPC', '1', '{{\"a\": 1}}');
                 select target_profile.adopt()"
            ));
            self.cluster.wait_sql(
                &observer,
                "select exists (select from target_profile.dead_letter where profile_id = 'dead')
                    and not exists (select from target_profile.outbox where client_code = 'acme')",
                SOON,
            );
            db.batch(&format!("select target_profile.unwatch('{schema}.{table}')"));
        }
        root.batch(
            "select target_profile.remove_client('other', true);
             select target_profile._close_activity();
             select target_profile._ensure_response_partition('2020-01-01');
             select target_profile._drop_response_partitions('2021-01-01')",
        );
        // And the worker from its start.
        let worker = self.cluster.wait_backend(WORKER, SOON);
        observer.query("select pg_terminate_backend($1)", &[&worker]);
        self.cluster.wait_sql(
            &observer,
            "select exists (select from target_profile.worker where pid is null or pid <> 0)",
            SOON,
        );
        root.batch(&format!(
            "select {schema}.target_profile_update('acme', 'mboxPC', 'last', '{{\"a\": 1}}')"
        ));
        self.mock.wait_value("acme", "mboxPC", "last", "a", "1", SOON);
    }
}

#[test]
fn what_a_databases_owner_has_planted_is_never_called() {
    let planted = Planted::new("planted");
    let root = planted.cluster.db_in("crm");
    let mark = planted.cluster.log_mark();
    root.batch("create extension target_profile schema public");
    planted.none_called(mark);
    planted.nothing_foreign();
    planted.use_everything("public");
    planted.none_called(mark);
    planted.nothing_foreign();
}

/// What 0.1.0 takes for its own when it is installed into the schema that has them.
const TAKEN_BY_0_1: &str = "
    create function public.taken(what text) returns boolean language plpgsql set search_path = pg_catalog as
        $$ begin raise log 'PLANTED: % ran as %', what, current_user; return true; end $$;
    create function public.taken(oid, regnamespace) returns boolean language sql as
        $$ select public.taken('oid = regnamespace') and $1 operator(pg_catalog.=) $2::oid $$;
    create operator public.= (function = public.taken, leftarg = oid, rightarg = regnamespace);
    create function public.taken(timestamptz[], timestamptz) returns timestamptz[] language sql as
        $$ select pg_catalog.array_append($1, $2) from public.taken('array_agg') $$;
    create aggregate public.array_agg(timestamptz) (sfunc = public.taken, stype = timestamptz[])";

#[test]
fn an_upgrade_calls_nothing_planted_and_leaves_nothing_bound_to_it() {
    let planted = Planted::after("plantedold", |root, mallory| {
        mallory.batch(TAKEN_BY_0_1);
        root.batch(&format!("create extension target_profile version '{OLD}'"));
    });
    let bound = planted.observer().rows(include_str!("planted/foreign.sql"));
    assert_eq!(bound.len(), 2, "{bound:?}");
    let root = planted.cluster.db_in("crm");
    let mark = planted.cluster.log_mark();
    root.batch("alter extension target_profile update");
    planted.none_called(mark);
    planted.nothing_foreign();
    let warned = planted.cluster.log_since(mark);
    assert!(!warned.contains("depends on"), "{warned}");
    planted.use_everything("public");
    planted.none_called(mark);
    planted.nothing_foreign();
}

#[test]
fn a_schema_that_somebody_has_made_before_stops_the_install_and_changes_nothing() {
    let cluster = Cluster::builder("squatter").build();
    database_of_mallory(&cluster);
    let mallory = cluster.client("crm", "mallory");
    mallory.batch("create schema target_profile; create table target_profile.client (client_code text)");
    let root = cluster.db_in("crm");
    for target in ["public", "target_profile"] {
        let error = root
            .try_batch(&format!("create extension target_profile schema {target}"))
            .unwrap_err();
        assert_eq!(sqlstate(&error), "55000", "{error:?}");
    }
    assert_eq!(
        root.text("select count(*) from pg_class where relnamespace = 'target_profile'::regnamespace"),
        "1"
    );
    mallory.batch("drop schema target_profile cascade");
    root.batch("create extension target_profile");
    assert_eq!(
        root.text("select count(*) from pg_shdepend where refobjid = 'mallory'::regrole and dbid <> 0 and deptype = 'o' and classid = 'pg_class'::regclass"),
        "0"
    );
}
