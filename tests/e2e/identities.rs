//! What a watch compares, over values of every type; and tables, columns and objects of the extension that get other names.

use std::time::{SystemTime, UNIX_EPOCH};

use support::{Cluster, Db, sqlstate};

use crate::site::{SOON, Site};

/// A type, and values of it that are often equal, or equal and written in different ways.
const TYPES: &[(&str, &str)] = &[
    ("boolean", "random() < 0.5"),
    ("\"char\"", "chr(65 + (random() * 2)::int)::\"char\""),
    ("name", "chr(65 + (random() * 2)::int)::name"),
    ("int2", "(random() * 3)::int2"),
    ("int4", "(random() * 3)::int4 - 1"),
    ("int8", "(random() * 3)::int8 * 10000000000"),
    ("oid", "(random() * 3)::int::oid"),
    (
        "float4",
        "(array['0', '-0', '1', 'NaN', '-NaN', 'Infinity', '1.5'])[1 + (random() * 6)::int]::float4",
    ),
    (
        "float8",
        "(array['0', '-0', '1', 'NaN', '-NaN', '-Infinity', '0.1', '0.30000000000000004', '0.3'])[1 + (random() * 8)::int]::float8",
    ),
    (
        "numeric",
        "(array['0', '0.0', '-0', '1', '1.0', '1.00', '10000', '1e4', 'NaN', '12345678901234567890.1'])[1 + (random() * 9)::int]::numeric",
    ),
    ("numeric(8,2)", "round((random() * 2)::numeric, 1)"),
    ("money", "((random() * 2)::int)::money"),
    (
        "text",
        "(array['', ' ', 'a', 'A', 'a ', 'ä', E'a\\u0308'])[1 + (random() * 6)::int]",
    ),
    ("varchar(3)", "(array['', 'a', 'a ', 'a  '])[1 + (random() * 3)::int]"),
    (
        "bpchar",
        "(array['', 'a', 'a ', 'a  '])[1 + (random() * 3)::int]::bpchar",
    ),
    ("char(3)", "(array['', 'a', 'a ', 'a  '])[1 + (random() * 3)::int]"),
    (
        "bytea",
        "(array['', '\\x00', '\\x0000', 'a'])[1 + (random() * 3)::int]::bytea",
    ),
    ("date", "date '2020-01-01' + (random() * 2)::int"),
    ("time", "time '10:00' + (random() * 2)::int * interval '1 s'"),
    (
        "timetz",
        "(array['10:00+00', '11:00+01', '10:00+01'])[1 + (random() * 2)::int]::timetz",
    ),
    (
        "timestamp",
        "timestamp '2020-01-01' + (random() * 2)::int * interval '1 us'",
    ),
    (
        "timestamptz",
        "(array['2020-01-01 10:00+00', '2020-01-01 11:00+01', 'infinity'])[1 + (random() * 2)::int]::timestamptz",
    ),
    (
        "interval",
        "(array['1 mon', '30 days', '720:00', '1 day', '24:00'])[1 + (random() * 4)::int]::interval",
    ),
    (
        "uuid",
        "('00000000-0000-0000-0000-00000000000' || (random() * 2)::int)::uuid",
    ),
    (
        "inet",
        "(array['1.2.3.4', '1.2.3.4/32', '1.2.3.4/24', '::1'])[1 + (random() * 3)::int]::inet",
    ),
    (
        "cidr",
        "(array['10.0.0.0/8', '10/8', '10.0.0.0/16'])[1 + (random() * 2)::int]::cidr",
    ),
    (
        "macaddr",
        "(array['08:00:2b:01:02:03', '08002b-010203', '08:00:2b:01:02:04'])[1 + (random() * 2)::int]::macaddr",
    ),
    ("bit(2)", "(random() * 3)::int::bit(2)"),
    ("varbit", "(array['1', '01', '10'])[1 + (random() * 2)::int]::varbit"),
    (
        "json",
        "(array['1', '1.0', ' 1', '{\"a\":1}', '{\"a\": 1}', '{\"a\":1,\"b\":2}', '{\"b\":2,\"a\":1}', '[]', '[ ]', 'null', '\"x\"'])\
         [1 + (random() * 10)::int]::json",
    ),
    (
        "jsonb",
        "(array['1', '1.0', '{\"a\":1}', '{\"a\": 1}', '{\"a\":1.0}', '{\"b\":2,\"a\":1}', '[]', 'null'])[1 + (random() * 7)::int]::jsonb",
    ),
    (
        "point",
        "(array['(0,0)', '(-0,0)', '(1,2)'])[1 + (random() * 2)::int]::point",
    ),
    (
        "box",
        "(array['(1,1),(0,0)', '(0,0),(1,1)', '(2,2),(0,0)'])[1 + (random() * 2)::int]::box",
    ),
    (
        "int4range",
        "(array['[1,3)', '[1,2]', '(0,3)', 'empty', '[1,1)'])[1 + (random() * 4)::int]::int4range",
    ),
    (
        "numrange",
        "(array['[1,3)', '[1.0,3)', '[1,3]', 'empty'])[1 + (random() * 3)::int]::numrange",
    ),
    (
        "tsvector",
        "(array['a b', 'b a', 'a:1 b', ''])[1 + (random() * 3)::int]::tsvector",
    ),
    (
        "pg_lsn",
        "(array['0/1', '0/01', '0/2'])[1 + (random() * 2)::int]::pg_lsn",
    ),
    ("colour", "(array['red', 'green'])[1 + (random())::int]::colour"),
    ("painted", "(array['red', 'green'])[1 + (random())::int]::painted"),
    ("amount", "(array['1', '1.0', '2'])[1 + (random() * 2)::int]::amount"),
    (
        "reading",
        "(array['0', '-0', 'NaN', '-NaN'])[1 + (random() * 3)::int]::reading",
    ),
    ("nothing_like", "(array['abc', 'ABC', 'abd'])[1 + (random() * 2)::int]"),
];

const ROWS: usize = 80;

/// Whether an UPDATE sends exactly the rows of which what is sent has changed; what an INSERT of the value sends is the measure.
fn mismatches(db: &Db, of_type: &str, value: &str) -> Vec<Vec<Option<String>>> {
    db.batch(&format!(
        "create table pool (id int primary key, before {of_type}, after {of_type});
         insert into pool select n, case when random() < 0.9 then {value} end, case when random() < 0.9 then {value} end
             from generate_series(1, {ROWS}) n;
         create table fresh (id int, v {of_type}, other int);
         create table watched (like fresh);
         create table changed (like fresh);
         create table by_hand (like fresh);
         select target_profile.watch('fresh', 'acme', 'mbox3rdPartyId', 'id', '{{v}}');
         select target_profile.watch('watched', 'acme', 'mbox3rdPartyId', 'id', '{{v}}');
         select target_profile.watch('changed', 'acme', 'mbox3rdPartyId', 'id', '{{v}}', send => 'changed');
         create trigger by_hand after insert or update on by_hand for each row
             execute function target_profile_trigger('acme', 'mbox3rdPartyId', 'id', 'v');
         insert into fresh select id, before from pool;
         insert into fresh select id + 1000, after from pool;
         create temp table sent as select profile_id::int as id, attrs::text as attrs from target_profile.outbox;
         insert into watched select id, before from pool;
         insert into changed select id, before from pool;
         insert into by_hand select id, before from pool;
         delete from target_profile.outbox;
         update watched w set v = p.after, other = 1 from pool p where p.id = w.id;
         update changed w set v = p.after, other = 1 from pool p where p.id = w.id;
         update by_hand w set v = p.after, other = 1 from pool p where p.id = w.id"
    ));
    // A value that has become NULL is not sent.
    let found = db.rows(
        "select p.id, b.attrs, a.attrs, p.before::text, p.after::text, o.sources
         from pool p
         left join sent b on b.id = p.id
         left join sent a on a.id = p.id + 1000
         cross join lateral (
             select coalesce(string_agg(source || attrs::text, ' ' order by source), '') as sources, count(*) as entries,
                 bool_and(o.attrs::text is not distinct from a.attrs) as right_one
             from target_profile.outbox o where o.profile_id = p.id::text
         ) o
         where o.entries <> case when a.attrs is null or a.attrs is not distinct from b.attrs then 0 else 3 end
            or not coalesce(right_one, true)",
    );
    assert_eq!(
        db.text("select count(*) from target_profile.dead_letter"),
        "0",
        "{of_type}"
    );
    db.batch("drop table pool, fresh, watched, changed, by_hand, sent; delete from target_profile.outbox");
    found
}

#[test]
fn an_entry_is_enqueued_if_and_only_if_what_is_sent_has_changed() {
    let site = Site::with(
        Cluster::builder("compared")
            .fsync(false)
            .conf("target_profile.enabled", "off"),
    );
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    let seed = f64::from(seed % 1_000_000) / 1_000_000.0;
    println!("seed {seed}");
    site.db.batch(&format!(
        "set client_min_messages = error;
         create type colour as enum ('red', 'green');
         create domain painted as colour;
         create domain amount as numeric;
         create domain reading as float8;
         create collation ignores_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         create domain nothing_like as text collate ignores_case;
         select setseed({seed})"
    ));
    let mut wrong = Vec::new();
    for (of_type, value) in TYPES {
        let mut check = |of_type: &str, value: &str| {
            for row in mismatches(&site.db, of_type, value) {
                wrong.push(format!("{of_type}: {row:?}"));
            }
        };
        check(of_type, value);
        if !of_type.contains('(') {
            // With a bitmap of nulls that has none, and with other bounds.
            let array = format!(
                "case (random() * 3)::int when 0 then array[{value}, {value}] when 1 then array[null, {value}] \
                 when 2 then (array[null, null, {value}])[2:3] else '{{}}' end::{of_type}[]"
            );
            check(&format!("{of_type}[]"), &array);
            site.db.batch(&format!("create type composed as (a int, v {of_type})"));
            check("composed", &format!("row((random() * 1)::int, {value})::composed"));
            site.db.batch("drop type composed");
        }
    }
    assert!(wrong.is_empty(), "seed {seed}\n{}", wrong.join("\n"));
}

/// Whoever may change the catalog may rename what the extension needs; and so may everybody where the library is not preloaded.
#[test]
fn the_worker_says_what_of_the_extension_was_renamed_and_writes_go_on() {
    let site = Site::with(Cluster::builder("renamed").conf("target_profile.poll_interval", "1s"));
    site.create_customers();
    site.db.batch("insert into customers values ('before', 'tin', 1)");
    site.wait_drained();
    let error = site
        .db
        .try_batch("alter table target_profile.outbox rename to queue")
        .unwrap_err();
    assert_eq!(sqlstate(&error), "55000");
    for (rename, back, told) in [
        (
            "alter table target_profile.outbox rename to queue",
            "alter table target_profile.queue rename to outbox",
            "%target_profile.outbox is called target_profile.queue now%",
        ),
        (
            "alter table target_profile.client set schema public",
            "alter table public.client set schema target_profile",
            "%target_profile.client is called % now%",
        ),
        (
            "alter sequence target_profile.response_id_seq rename to numbers",
            "alter sequence target_profile.numbers rename to response_id_seq",
            "%target_profile.response_id_seq is called target_profile.numbers now%",
        ),
        (
            "alter schema target_profile rename to moved",
            "alter schema moved rename to target_profile",
            "",
        ),
    ] {
        let id = rename
            .replace(' ', "-")
            .replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        site.db.batch(&format!("set allow_system_table_mods = on; {rename}"));
        site.db.execute("insert into customers values ($1, 'gold', 2)", &[&id]);
        if !told.is_empty() {
            site.wait_until(&format!(
                "select exists (select from target_profile.worker where last_error like '{told}')"
            ));
        }
        site.db.batch(back);
        site.db.batch("reset allow_system_table_mods");
        site.wait_until("select exists (select from target_profile.worker where last_error is null)");
        site.wait_drained();
        assert_eq!(site.sent_value(&id, "tier").as_deref(), Some("gold"), "{rename}");
    }
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 0);
}

/// What pg_extension.extconfig lists has moved up then: nothing may be taken for another table.
#[test]
fn a_table_that_was_taken_out_of_the_extension_is_missed_and_no_other_is_written_to() {
    let site = Site::with(Cluster::builder("takenout").conf("target_profile.poll_interval", "1s"));
    site.create_customers();
    for table in ["binding", "client", "outbox", "dead_letter", "overtaken", "superseded"] {
        site.db.batch(&format!(
            "alter extension target_profile drop table target_profile.{table}"
        ));
        site.db.execute(
            "insert into customers values ($1, 'gold', 2), ('a/b', 'tin', 1)",
            &[&format!("without-{table}")],
        );
        site.db.batch("delete from customers where id = 'a/b'");
        let direct = site
            .db
            .try_batch("select target_profile_update('acme', 'mbox3rdPartyId', 'direct', '{\"a\": 1}')");
        if let Err(error) = direct {
            assert_eq!(sqlstate(&error), "55000", "{table}: {error}");
        }
        site.db.batch(&format!(
            "alter extension target_profile add table target_profile.{table}"
        ));
        let id = format!("with-{table}");
        // Without an outbox the worker has ended; a session calls for another one only once.
        let db = site.cluster.db();
        db.execute("insert into customers values ($1, 'gold', 2)", &[&id]);
        site.wait_drained();
        assert_eq!(site.sent_value(&id, "tier").as_deref(), Some("gold"), "{table}");
    }
    for table in ["overtaken", "superseded"] {
        assert_eq!(site.count(&format!("select count(*) from target_profile.{table}")), 0);
    }
    assert_eq!(site.count("select count(*) from customers"), 12);
}

#[test]
fn without_the_library_preloaded_a_renamed_outbox_is_written_to() {
    let cluster = Cluster::builder("renamedunloaded").preload(false).fsync(false).build();
    let db = cluster.db();
    db.batch(
        "create extension target_profile;
         select target_profile.add_client('acme');
         create table customers (id text primary key, tier text);
         select target_profile.watch('customers', 'acme', 'mbox3rdPartyId', 'id', '{tier}')",
    );
    for rename in [
        "alter table target_profile.outbox rename to queue",
        "alter sequence target_profile.outbox_id_seq rename to numbers",
        "alter table target_profile.client rename to clients",
        "alter table target_profile.dead_letter set schema public",
        "alter schema target_profile rename to moved",
    ] {
        db.batch(rename);
        // With what is cached, and without.
        for db in [&db, &cluster.db()] {
            db.batch("insert into customers values (gen_random_uuid(), 'x'), ('a/b' || gen_random_uuid(), 'x')");
        }
    }
    assert_eq!(db.text("select count(*) from moved.queue"), "10");
    assert_eq!(db.text("select count(*) from public.dead_letter"), "10");
}

#[test]
fn what_dropped_tables_have_left_goes() {
    let site = Site::new("dropped");
    site.db.batch(
        "create table x (id text primary key, tier text);
         insert into x values ('a', 'b');
         select target_profile.watch('x', 'acme', 'mbox3rdPartyId', 'id', '{tier}')",
    );
    site.db.batch("call target_profile.backfill('x')");
    // As dbt replaces a table, three times.
    for _ in 0..3 {
        site.db.batch(
            "begin;
             create table x__dbt_tmp (id text primary key, tier text);
             alter table x rename to x__dbt_backup;
             alter table x__dbt_tmp rename to x;
             select target_profile.watch('x', 'acme', 'mbox3rdPartyId', 'id', '{tier}');
             commit;
             drop table x__dbt_backup",
        );
        assert_eq!(
            site.db
                .text("select string_agg(state, ',') from target_profile.watch_state"),
            "ok"
        );
    }
    site.db.batch(
        "create table y (id text, tier text);
         select target_profile.watch('y', 'acme', 'mbox3rdPartyId', 'id', '{tier}');
         drop table y;
         create table z (id text, tier text);
         select target_profile.watch('z', 'acme', 'mbox3rdPartyId', 'id', '{tier}');
         drop table z;
         create table z (id text, tier text)",
    );
    assert_eq!(
        site.db
            .text("select string_agg(state, ',' order by state) from target_profile.watch_state"),
        "ok,table dropped,table dropped"
    );
    // Housekeeping comes once an hour, and after a reload. That z is not watched any more is told until it is, or is not meant to be.
    let left =
        "select (select string_agg(table_name, ',' order by table_name) from target_profile.watched_table) || ' '
                    || (select count(*) from target_profile.backfill_run)";
    site.cluster.reload();
    site.cluster.wait_text(&site.db, left, "x,z 0", SOON);
    site.db
        .batch("select target_profile.watch('z', 'acme', 'mbox3rdPartyId', 'id', '{tier}')");
    assert_eq!(
        site.db
            .text("select string_agg(state, ',') from target_profile.watch_state"),
        "ok,ok"
    );
}
