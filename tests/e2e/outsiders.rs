//! What somebody without rights, or somebody who once had them, can do to the server and to others.

use support::Cluster;

use crate::site::Site;

fn paused(name: &str) -> Site {
    let site = Site::with(Cluster::builder(name).fsync(false));
    site.db
        .batch("set client_min_messages = error; select target_profile.pause('acme')");
    site
}

#[test]
fn an_array_of_nulls_does_not_take_the_memory_of_the_server() {
    let site = paused("nulls");
    // A composite of names that are stored once, and sent for each.
    site.db.batch(
        "do $$ begin execute 'create type wide as (' || (select string_agg(format('a_long_name_of_a_column_that_is_always_null_%s int', n), ', ')
            from generate_series(1, 1000) n) || ')'; end $$;
         create table c (id text primary key, n int[], w wide[]);
         select target_profile.watch('c', 'acme', 'mbox3rdPartyId', 'id', '{n,w}')",
    );
    site.db
        .batch("insert into c (id, n) values ('stored', array_fill(null::int, array[100000000]))");
    site.db.batch(
        "insert into c (id, w)
         select 'row', array_fill(jsonb_populate_record(null::wide, '{\"a_long_name_of_a_column_that_is_always_null_1\": 1}'), array[2000])",
    );
    assert_eq!(site.count("select count(*) from c"), 2);
    assert_eq!(
        site.count(
            "select count(*) from target_profile.dead_letter
             where reason ~ 'has 100000000 elements' or reason ~ 'its text takes \\d+ bytes'"
        ),
        2
    );
    // What can be read is.
    site.db
        .batch("insert into c (id, n) values ('few', '{NULL,1}'), ('none', '{}'), ('two', '{{1,2},{3,4}}')");
    assert_eq!(
        site.db
            .text("select string_agg(attrs->>'n', ' ' order by id) from target_profile.outbox"),
        "[null,1] [] [[1,2],[3,4]]"
    );
}

#[test]
fn what_is_deferred_on_the_tables_of_the_extension_does_not_fail_the_commit() {
    let site = paused("deferred");
    site.db.batch(
        "create table c (id text primary key, a text);
         select target_profile.watch('c', 'acme', 'mbox3rdPartyId', 'id', '{a}');
         create table parent (code text primary key);
         create function no() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$",
    );
    let plants = [
        "alter table target_profile.T add constraint planted unique (client_code, profile_id) deferrable initially deferred",
        "alter table target_profile.T add constraint planted foreign key (client_code) references parent deferrable initially deferred not valid",
        "create constraint trigger planted after insert on target_profile.T deferrable initially deferred for each row execute function no()",
    ];
    let mut written = 0;
    for plant in plants {
        for tables in [&["outbox"][..], &["dead_letter"], &["outbox", "dead_letter"]] {
            site.db
                .batch("truncate target_profile.outbox, target_profile.dead_letter");
            for table in tables {
                let plant = plant.replace("planted", &format!("planted_{table}"));
                site.db.batch(&plant.replace(".T ", &format!(".{table} ")));
            }
            // By a statement, at the end of a savepoint, at the commit, and of a row that is no update.
            for batch in [
                "insert into c values ('s', '1')",
                "update c set a = '2' where id = 's'",
                "begin; savepoint a; update c set a = '3' where id = 's'; release a; update c set a = '4' where id = 's'; commit",
                "alter table c disable trigger \"target_profile_acme_mbox3rdPartyId_flush\"",
                "update c set a = '5' where id = 's'",
                "alter table c enable trigger \"target_profile_acme_mbox3rdPartyId_flush\"",
                "insert into c values ('a/b', '1')",
                "update c set a = '2' where id = 'a/b'",
            ] {
                site.db.batch(batch);
            }
            assert_eq!(site.db.text("select a from c where id = 's'"), "5", "{plant}");
            site.db.batch("delete from c");
            for table in tables {
                site.db.batch(&format!(
                    "drop trigger if exists planted_{table} on target_profile.{table};
                     alter table target_profile.{table} drop constraint if exists planted_{table}"
                ));
            }
            written += 1;
        }
    }
    assert_eq!(written, 9);
}

#[test]
fn an_upgrade_does_not_run_code_of_an_owner_who_is_no_superuser() {
    let site = Site::made_by(
        Cluster::builder("demoted").fsync(false),
        "create role installer login superuser; create schema installer authorization installer;
         set role installer; create extension target_profile version '0.1.0'; reset role",
    );
    site.db.batch("alter role installer nosuperuser");
    site.cluster.client("postgres", "installer").batch(
        "create or replace function target_profile._entry_points() returns regprocedure[] language plpgsql as $$
         begin execute 'alter role installer superuser'; return '{}'; end $$",
    );
    let refused = site
        .db
        .try_text("alter extension target_profile update")
        .expect_err("it runs what the installer has put there");
    assert_eq!(support::sqlstate(&refused), "55000");
    assert_eq!(
        site.count("select count(*) from pg_roles where rolname = 'installer' and rolsuper"),
        0
    );
    // Somebody who is trusted may have put there what he wants.
    site.db
        .batch("alter role installer superuser; alter extension target_profile update");
    assert_eq!(
        site.db
            .text("select extversion from pg_extension where extname = 'target_profile'"),
        "0.2.0"
    );
}
