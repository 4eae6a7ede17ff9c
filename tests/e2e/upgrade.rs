//! The way from one version to the next.

mod catalog;
pub mod old;

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::{Cluster, Db, Match, Reply};

use crate::site::{SOON, WORKER};
use catalog::Catalog;
use old::OLD;

/// The install scripts of released versions, as they were released: databases have been made by them, and none is made anew.
const RELEASED: [(&str, &str); 1] = [(
    "target_profile--0.1.0.sql",
    "dee4fb09661798940c2ac056dbe085a7f8706cd74eddf5230c65d4528e2ce30d",
)];

#[test]
fn what_was_released_stays_as_it_is() {
    let mut found: Vec<(String, String)> = Vec::new();
    let db = Cluster::builder("released").preload(false).build();
    let db = db.db();
    for entry in fs::read_dir(support::repository().join("sql")).expect("sql is there") {
        let name = entry
            .expect("sql can be read")
            .file_name()
            .into_string()
            .expect("a name in UTF-8");
        if name.starts_with("target_profile--") && name.matches("--").count() == 1 {
            let script = fs::read(support::repository().join("sql").join(&name)).expect("the script can be read");
            found.push((name, db.value("select encode(sha256($1), 'hex')", &[&script])));
        }
    }
    found.sort();
    let released: Vec<(String, String)> = RELEASED.iter().map(|&(name, sum)| (name.into(), sum.into())).collect();
    assert_eq!(found, released, "write an upgrade script instead");
}

const UPDATE: &str = "alter extension target_profile update";

/// What each change of the upgraded catalogs is told by: the comparison sees every kind of object.
const CHANGES: [(&str, &str); 22] = [
    (
        "alter table target_profile.outbox alter attempts set default 1",
        "target_profile.outbox.attempts: column",
    ),
    (
        "alter table target_profile.outbox alter source drop not null",
        "target_profile.outbox.source: column",
    ),
    (
        "alter table target_profile.outbox alter source set statistics 7",
        "target_profile.outbox.source: column",
    ),
    (
        "alter table target_profile.outbox add extra int",
        "target_profile.outbox.extra: column",
    ),
    (
        "alter table target_profile.client alter timeout type interval second",
        "target_profile.client.timeout: column",
    ),
    (
        "alter table target_profile.outbox set (fillfactor = 91)",
        "target_profile.outbox: storage",
    ),
    (
        "alter table target_profile.outbox enable row level security",
        "target_profile.outbox: storage",
    ),
    (
        "alter table target_profile.outbox add check (id > 0)",
        "target_profile.outbox: constraint outbox_id_check",
    ),
    (
        "drop index target_profile.outbox_retried",
        "target_profile.outbox: index target_profile.outbox_retried",
    ),
    (
        "create index extra on target_profile.dead_letter (id, reason)",
        "index target_profile.extra",
    ),
    (
        "alter table target_profile.client disable trigger tell_worker",
        "target_profile.client: trigger tell_worker: D",
    ),
    (
        "alter sequence target_profile.outbox_id_seq maxvalue 9000000000",
        "target_profile.outbox_id_seq: rows",
    ),
    (
        "alter sequence target_profile.outbox_id_seq owned by none",
        "sequence target_profile.outbox_id_seq: needs",
    ),
    (
        "create statistics target_profile.s on id_kind, profile_id from target_profile.outbox",
        "statistics s",
    ),
    (
        "alter function target_profile.resume(text) reset search_path",
        "target_profile.resume(text): definition",
    ),
    (
        "alter function target_profile_update security definer",
        "target_profile_update(text,text,text,jsonb,smallint): definition",
    ),
    (
        "alter function target_profile._has_level volatile",
        "target_profile._has_level(regrole,text): definition",
    ),
    (
        "revoke execute on function target_profile_update from writes",
        "target_profile_update(text,text,text,jsonb,smallint): may writes",
    ),
    (
        "grant select (auth_token) on target_profile.client to reads",
        "target_profile.client.auth_token: may reads",
    ),
    (
        "comment on column target_profile.worker.last_error is 'x'",
        "view target_profile.worker.last_error: comment: x",
    ),
    (
        "alter extension target_profile drop function target_profile.adopt()",
        "function target_profile.adopt(): exists",
    ),
    (
        "update pg_extension set extcondition[3] = 'where true' where extname = 'target_profile'",
        "extension: dumps",
    ),
];

#[test]
fn an_upgraded_database_is_like_a_fresh_one_in_every_catalog() {
    let site = old::site(Cluster::builder("catalogs").conf("target_profile.enabled", "off"));
    site.db.batch(UPDATE);
    let fresh = site.cluster.create_db("fresh");
    fresh.batch("create extension target_profile");
    old::grant(&fresh);
    let (expected, upgraded) = (Catalog::of(&fresh), Catalog::of(&site.db));
    assert!(expected.len() > 1000, "{}", expected.len());
    let differences = expected.differences(&upgraded);
    assert!(
        differences.is_empty(),
        "- fresh, + upgraded:\n{}",
        differences.join("\n")
    );

    for (change, told) in CHANGES {
        site.db.batch("begin");
        site.db.batch(change);
        let differences = expected.differences(&Catalog::of(&site.db)).join("\n");
        site.db.batch("rollback");
        assert!(differences.contains(told), "{change}:\n{differences}");
    }

    // With the entry points elsewhere; and by way of a dump, which has the grants that were made before the upgrade and in it.
    let elsewhere = |name: &str, version: &str| {
        let db = site.cluster.create_db(name);
        db.batch(&format!(
            "create schema \"Else where\"; create extension target_profile schema \"Else where\" {version}"
        ));
        old::grant(&db);
        db
    };
    let moved = elsewhere("moved", &format!("version '{OLD}'"));
    moved.batch(UPDATE);
    let differences = Catalog::of(&elsewhere("moved_fresh", "")).differences(&Catalog::of(&moved));
    assert!(
        differences.is_empty(),
        "- fresh, + upgraded:\n{}",
        differences.join("\n")
    );
    let restored = site.cluster.create_db("restored");
    site.cluster
        .restore("restored", &site.cluster.pg_dump(&["-Fc", "postgres"]));
    let differences = expected.differences(&Catalog::of(&restored));
    assert!(
        differences.is_empty(),
        "- fresh, + upgraded, dumped and restored:\n{}",
        differences.join("\n")
    );
}

/// Every row of every table without the column that it has not had before, the partitions of `response` as one, the place of every sequence, and where each is stored.
fn contents(db: &Db) -> BTreeMap<String, String> {
    let relations = db.rows(
        "select c.oid::regclass, coalesce(pg_relation_filenode(c.oid)::text, ''),
             case c.relkind
                 when 'i' then 'null'
                 when 'S' then '(select s::text from (select last_value, is_called from ' || c.oid::regclass || ') s)'
                 else '(select count(*) || '' '' || md5(string_agg((to_jsonb(t) - ''enqueued_by'' - ''when_columns'')::text, '','' order by t::text)) from ' || c.oid::regclass || ' t)'
             end
         from pg_class c where c.relnamespace = 'target_profile'::regnamespace and c.relkind in ('r', 'p', 'i', 'S')",
    );
    let row = |row: Vec<Option<String>>| {
        let mut texts = row.into_iter().map(Option::unwrap_or_default);
        let [name, stored, rows] = std::array::from_fn(|_| texts.next().expect("three columns"));
        let rows = db.text(&format!("select coalesce({rows}, '0')"));
        (name, format!("{rows} in {stored}"))
    };
    relations.into_iter().map(row).collect()
}

#[test]
fn an_upgrade_keeps_every_row_where_it_is() {
    let site = old::site(Cluster::builder("rows"));
    old::fill(&site);
    site.cluster.set("target_profile.enabled", "off");
    site.wait_until("select state = 'disabled' from target_profile.worker");
    site.update("waits", r#"{"a": 1}"#);
    let watches = || {
        site.db
            .text("select string_agg(\"table\" || ' ' || state, ', ' order by 1) from target_profile.watch_state")
    };
    let (before, watched) = (contents(&site.db), watches());
    for table in [
        "binding",
        "client",
        "outbox",
        "dead_letter",
        "overtaken",
        "activity",
        "response",
        "watched_table",
        "backfill_run",
    ] {
        assert!(
            !before[&format!("target_profile.{table}")].starts_with("0 "),
            "{table} is empty"
        );
    }
    site.db.batch(UPDATE);
    let mut after = contents(&site.db);
    let is_new = |name: &str| name.starts_with("target_profile.superseded") || name == "target_profile.overtaken_id";
    after.retain(|name, rows| before.get(name) != Some(rows) && !is_new(name));
    assert!(after.is_empty(), "changed or moved: {after:?}");
    assert!(watched.ends_with(" ok"), "{watched}");
    assert_eq!(watches(), watched);
    site.cluster.set("target_profile.enabled", "on");
    site.wait_until("select not exists (select from target_profile.outbox where client_code = 'acme')");
    assert_eq!(
        site.count("select count(*) from target_profile.outbox"),
        100,
        "those of the paused client"
    );
    site.db
        .batch("select target_profile.set_client('paused', reset => '{auth_token}'), target_profile.resume('paused')");
    site.db.batch("select target_profile.retry_all('acme')");
    site.wait_drained();
    assert_eq!(site.sent_value("dead", "a").as_deref(), Some("2"));
    assert_eq!(site.sent_value("dead", "b").as_deref(), Some("1"));
}

/// supabase/supabase#33868: an upgrade lost a grant, and every write on tables with a trigger failed.
#[test]
fn beside_a_busy_worker_an_upgrade_is_done_in_a_second_and_nothing_is_lost() {
    let site = old::site(Cluster::builder("busy"));
    site.mock
        .on(Match::any())
        .respond(Reply::ordinary().after(Duration::from_millis(20)));
    let worker = site.cluster.wait_backend(WORKER, SOON);
    let (stop, written) = (AtomicBool::new(false), AtomicU32::new(0));
    let go_on = |more: u32| {
        let from = written.load(Ordering::Relaxed);
        support::wait::until("writers that go on", SOON, || {
            (written.load(Ordering::Relaxed) >= from + more).then_some(())
        });
    };
    let took = thread::scope(|scope| {
        for n in 0..3 {
            let (stop, written, site) = (&stop, &written, &site);
            scope.spawn(move || {
                let user = if n == 0 { "postgres" } else { "nobody" };
                let db = site.cluster.client("postgres", user);
                let mut round = 0;
                while !stop.load(Ordering::Relaxed) {
                    round += 1;
                    let (id, value) = (format!("p{n}-{}", round % 50), round.to_string());
                    match n {
                        0 => db.execute(
                            "select target_profile_update('acme', 'mbox3rdPartyId', $1, jsonb_build_object('tier', $2::text))",
                            &[&id, &value],
                        ),
                        1 => db.execute(
                            "insert into watched values ($1, $2) on conflict (id) do update set tier = excluded.tier",
                            &[&id, &value],
                        ),
                        _ => db.execute(
                            "insert into customers values ($1, $2) on conflict (id) do update set tier = excluded.tier",
                            &[&id, &value],
                        ),
                    };
                    written.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // However it ends, the writers must.
        let took = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            go_on(200);
            let began = Instant::now();
            site.db.batch(UPDATE);
            let took = began.elapsed();
            go_on(200);
            took
        }));
        stop.store(true, Ordering::Relaxed);
        took.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    println!("the upgrade took {took:?}");
    assert!(took < Duration::from_secs(1), "the upgrade took {took:?}");
    site.wait_drained();
    let values = "select id, tier from watched union all select id, tier from customers
         union all select distinct on (profile_id) profile_id, null from target_profile.response where profile_id like 'p0-%'";
    for row in site.db.query(values, &[]) {
        let (id, tier): (String, Option<String>) = (row.get(0), row.get(1));
        let sent = site.sent_value(&id, "tier");
        assert!(
            sent.is_some() && tier.is_none_or(|tier| sent == Some(tier)),
            "{id}: {sent:?}"
        );
    }
    let entries = site.count("select count(distinct e) from target_profile.response, unnest(outbox_ids) e");
    assert_eq!(entries, i64::from(written.load(Ordering::Relaxed)));
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 0);
    assert_eq!(site.cluster.backend_pid(WORKER), Some(worker), "the same worker");
    site.wait_until("select last_error is null and state = 'idle' from target_profile.worker");
    assert!(!site.cluster.log_contains("ERROR:"), "{}", site.cluster.log_tail());
}

#[test]
fn a_new_library_does_all_that_the_old_sql_knows_and_says_that_it_is_old() {
    let site = old::site(Cluster::builder("newlib"));
    let new = env!("CARGO_PKG_VERSION");
    let told = format!("library {new}, SQL {OLD}: run ALTER EXTENSION target_profile UPDATE in this database");
    site.cluster
        .wait_text(&site.db, "select last_error from target_profile.worker", &told, SOON);
    old::fill(&site);
    let nobody = site.cluster.client("postgres", "nobody");
    nobody
        .batch("update watched set tier = 'gold' where id = 'w1'; update customers set tier = 'gold' where id = 'c1'");
    let id = site.update("f", r#"{"tier": "gold"}"#);
    let state: String = site
        .db
        .value("select state from target_profile.wait($1, '30 s')", &[&id]);
    assert_eq!(state, "accepted");
    for id in ["w1", "c1", "f"] {
        site.mock.wait_value("acme", "mbox3rdPartyId", id, "tier", "gold", SOON);
    }
    site.db.batch(
        "select target_profile.set_client('paused', reset => '{auth_token}'), target_profile.resume('paused');
         select target_profile.retry_all('acme');
         select target_profile.discard(id) from target_profile.dead_letter;
         select target_profile.unwatch('watched');
         select target_profile.grant_to('nobody', 'writer'), target_profile.revoke_from('nobody');
         select * from target_profile.status, target_profile.worker, target_profile.watch_state, target_profile.backfill_progress;
         select target_profile_preview('acme', 'mboxPC', '1', '{\"a\": 1}')",
    );
    site.wait_drained();
    site.db
        .batch("select target_profile.remove_client('paused'); select target_profile.adopt()");
    // Nothing else is wrong.
    assert_eq!(site.db.text("select last_error from target_profile.worker"), told);
}

/// How an entry is written: an INSERT looks whether the id is free, the short way does not.
fn is_written_the_short_way(db: &Db) -> bool {
    let scans = || -> i64 {
        db.value(
            "select seq_scan + idx_scan from pg_stat_xact_all_tables where relid = 'target_profile.outbox'::regclass",
            &[],
        )
    };
    db.batch("begin");
    let before = scans();
    db.batch("select target_profile_update('paused', 'mboxPC', 'way', '{\"a\": 1}')");
    let after = scans();
    db.batch("rollback");
    after == before
}

/// Rows that 0.1.0 took by hand, or from its own `retry`, and that no constraint of 0.2.0 lets in.
#[test]
fn an_upgrade_mends_or_buries_the_rows_that_the_constraints_refuse() {
    let site = old::site(Cluster::builder("strange"));
    old::fill(&site);
    site.cluster.set("target_profile.enabled", "off");
    site.wait_until("select state = 'disabled' from target_profile.worker");
    site.db.batch(
        "delete from target_profile.outbox;
         create table odd (n serial, mended boolean, client_code text default 'paused', id_kind text default 'mboxPC', profile_id text default 'p',
             attrs jsonb default '{\"a\": \"1\"}', enqueued_at timestamptz default now(), attempts integer default 0,
             next_attempt_at timestamptz, retried_at timestamptz);
         insert into odd (mended, client_code) values (false, ''), (false, 'No.Label');
         insert into odd (mended, id_kind) values (true, 'tntId'), (true, 'pcId'), (true, 'thirdPartyId'), (false, 'garbage');
         insert into odd (mended, profile_id) values (false, ''), (false, repeat('x', 257));
         insert into odd (mended, attrs) values (false, '[]'), (false, '1');
         insert into odd (mended, attempts) values (true, -1);
         insert into odd (mended, enqueued_at) values (true, 'infinity'), (true, '-infinity');
         insert into odd (mended, next_attempt_at, retried_at) values
             (true, 'infinity', 'infinity'), (true, '-infinity', '-infinity'), (true, null, null);
         insert into target_profile.outbox (id, client_code, id_kind, profile_id, attrs, enqueued_at, attempts, next_attempt_at, retried_at)
         select n, client_code, id_kind, profile_id, attrs, enqueued_at, attempts, next_attempt_at, retried_at from odd;
         update target_profile.dead_letter set attempts = -1, failed_at = 'infinity';
         insert into target_profile.dead_letter (id, priority, source, enqueued_at, attempts, reason) values (1, 0, 'x', now(), 0, 'is here')",
    );
    assert!(is_written_the_short_way(&site.db));
    let before = site.count("select count(*) from target_profile.dead_letter");
    site.db.batch(UPDATE);
    assert!(is_written_the_short_way(&site.db));
    assert_eq!(
        site.db
            .text("select string_agg(id::text, ' ' order by id) from target_profile.outbox"),
        site.db
            .text("select string_agg(n::text, ' ' order by n) from odd where mended")
    );
    let buried =
        "select count(*) from target_profile.dead_letter where reason like 'entry % was no update that can be sent,%'";
    assert_eq!(
        site.count(buried),
        site.count("select count(*) from odd where not mended")
    );
    assert_eq!(
        site.count("select count(*) from target_profile.dead_letter"),
        before + site.count(buried)
    );
    assert_eq!(
        site.db
            .text("select reason from target_profile.dead_letter where id = 1"),
        "is here"
    );
    site.cluster.set("target_profile.enabled", "on");
    site.db
        .batch("select target_profile.set_client('paused', reset => '{auth_token}'), target_profile.resume('paused')");
    site.wait_drained();
    assert_eq!(
        site.mock.value("paused", "mbox3rdPartyId", "p", "a").as_deref(),
        Some("1")
    );
}
