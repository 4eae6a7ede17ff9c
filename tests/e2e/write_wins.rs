//! A write of a watched row passes, whatever its values are and whatever was done to the tables of the extension; and each update is in
//! the outbox, a dead letter, or counted as lost where somebody sees it.

use support::{Cluster, Db, Match, Reply, sqlstate};

use crate::random::{Random, seed};
use crate::site::Site;

fn site(name: &str) -> Site {
    let site = Site::with(Cluster::builder(name).fsync(false).conf("log_min_messages", "fatal"));
    site.db.batch("set client_min_messages = error");
    site
}

/// Updates that the view says are lost.
fn lost(site: &Site) -> i64 {
    site.count(
        "select coalesce(sum((regexp_match(last_error, '(\\d+) updates of watched tables were lost'))[1]::bigint), 0)::bigint
         from target_profile.worker where database = current_database()",
    )
}

fn told(site: &Site) -> i64 {
    site.count(
        "select (select count(*) from target_profile.outbox) + (select count(*) from target_profile.dead_letter)",
    )
}

/// Texts that one type or another takes for a value.
const LITERALS: &[&str] = &[
    "",
    " ",
    "0",
    "-1",
    "1e999999",
    "-0",
    "NaN",
    "Infinity",
    "-Infinity",
    "x",
    "a/b+c",
    "\u{1}\u{7f}\u{202e}",
    "日本語",
    "true",
    "{}",
    "[]",
    "()",
    "{NULL}",
    "{\"a\": \"\\u0000\"}",
    "{\"a\\u0000\": [1e999999]}",
    "\"\\ud800\"",
    "1e999999999999",
    "[1, {\"a\": {\"b\": [null, \"x\"]}}]",
    "\\x00ff",
    "epoch",
    "4714-11-24 00:00:00 BC",
    "294276-12-31 23:59:59.999999",
    "5874897-12-31",
    "24:00:00+15:59:59",
    "178000000 years",
    "-infinity",
    "(1,2)",
    "(1,2),(3,4)",
    "[(1,2),(3,4)]",
    "<(1,2),3>",
    "{1,2,3}",
    "[1,2)",
    "{[1,2),[5,)}",
    "[2000-01-01,infinity]",
    "empty",
    "10.0.0.1/8",
    "fe80::1",
    "08:00:2b:01:02:03",
    "08:00:2b:01:02:03:04:05",
    "101",
    "a:1 b:2",
    "a & !b",
    "<a>x</a>",
    "$.a[*]",
    "00000000-0000-0000-0000-000000000000",
    "1:1:",
    "0/0",
    "(0,1)",
    "pg_class",
    "public",
    "postgres",
    "english",
    "simple",
    "int4",
    "now",
    "sum(int4)",
    "=(int4,int4)",
    "$1,234.56",
    "-92233720368547758.08",
    "9223372036854775807",
    "postgres=r/postgres",
    "(,)",
    "(1,x)",
    "sad",
];

/// Types of somebody's own, some of which cannot be read.
const TYPES: &str = "
    create schema w;
    create type w.mood as enum ('sad', 'x');
    create type w.pair as (a int, b text);
    create type w.unreadable as (a int, b text);
    create function w.fail(w.unreadable) returns json language plpgsql as $$ begin raise exception 'no json of this'; end $$;
    create cast (w.unreadable as json) with function w.fail(w.unreadable);
    create type w.nested as (a w.unreadable[], b w.pair, c json);
    create domain w.word as text check (value <> 'never');
    create domain w.words as w.word[];
    create domain w.number as numeric;
    create domain w.deep as w.number;
    create domain w.document as json;
    create type w.words_range as range (subtype = text);
    create type w.fails_range as range (subtype = w.pair);
    create function w.null_in(cstring) returns w.shell language internal as 'int4in' immutable strict;
    create function w.null_out(w.shell) returns cstring language internal as 'int4out' immutable strict;
    create type w.shell (input = w.null_in, output = w.null_out, like = int4);
    -- Writes a row for each text that the type takes, by both ways, as value and as id, and returns how many updates there must be.
    create function w.try(type regtype, literals text[]) returns bigint language plpgsql as $$
    declare
        literal text;
        rows bigint := 0;
        ways bigint := 2;
    begin
        execute format('create table w.x (id text, v %s, k text)', type);
        create trigger hand after insert or update on w.x
            for each row execute function target_profile_trigger('acme', 'mboxPC', 'id', 'v', 'k');
        create trigger as_id after insert or update on w.x
            for each row execute function target_profile_trigger('acme', 'mbox3rdPartyId', 'v', 'k');
        begin
            perform target_profile.watch('w.x', 'acme', 'mbox3rdPartyId', 'id', '{v,k}');
            ways := ways + 1;
        exception when others then null;
        end;
        foreach literal in array literals loop
            begin
                execute format('select %L::%s, %L::%s', literal, type, literal, type);
            exception when others then continue;
            end;
            execute format('insert into w.x values (%L, %L::%s, %L)', 'id' || rows, literal, type, 'k' || rows);
            rows := rows + 1;
        end loop;
        update w.x set k = k || '!';
        return 2 * rows * ways;
    end $$;
";

#[test]
fn any_value_of_any_type_is_written() {
    let site = site("anyvalue");
    site.db.batch("select target_profile.pause('acme')");
    site.db.batch("create schema if not exists w; create type w.shell");
    site.db.batch(&TYPES.replacen("create schema w;", "", 1));
    let mut random = Random::new(seed("WRITE_WINS_SEED"));
    let types = site.db.rows(
        "select t.oid::regtype::text from pg_type t left join pg_class c on c.oid = t.typrelid
         where t.typisdefined and t.typtype in ('b', 'c', 'd', 'e', 'm', 'r')
           and (t.typrelid = 0 or c.relkind = 'c' or c.relname in ('pg_class', 'pg_type', 'pg_proc', 'pg_statistic'))
           and t.typelem not in (select typrelid from pg_type where typrelid <> 0)
           and not (t.typelem <> 0 and t.typelem in (select e.oid from pg_type e join pg_class r on r.oid = e.typrelid where r.relkind <> 'c'))
         order by t.oid",
    );
    let mut tried = 0;
    for row in types {
        let name = row[0].clone().unwrap();
        // Arrays and composites of each text, beside the texts that they take themselves.
        let mut literals: Vec<String> = LITERALS.iter().map(|literal| (*literal).to_owned()).collect();
        for _ in 0..4 {
            let element = LITERALS[random.below(LITERALS.len())]
                .replace('\\', "\\\\")
                .replace('"', "\\\"");
            let repeated = format!("\"{element}\",NULL");
            literals.push(format!("{{{repeated}}}"));
            literals.push(format!("(\"{element}\",\"{element}\")"));
        }
        // A long and a very long one.
        literals.push("9".repeat(300));
        literals.push(
            (0..6000)
                .map(|_| char::from(b"0123456789abcdef"[random.below(16)]))
                .collect(),
        );
        let before = told(&site);
        site.db.batch("begin");
        let expected = match site
            .db
            .try_query("select w.try($1::text::regtype, $2)", &[&name, &literals])
        {
            Ok(rows) => rows[0].get::<_, i64>(0),
            // No table can have a column of it.
            Err(error) if matches!(sqlstate(&error).as_str(), "42P16" | "42P17") => {
                site.db.batch("rollback");
                continue;
            }
            Err(error) => panic!("{name}: {}", support::cluster::describe(&error)),
        };
        site.db.batch("commit");
        assert_eq!(told(&site) - before, expected, "{name}");
        assert_eq!(lost(&site), 0, "{name}");
        site.db.batch("drop table w.x");
        tried += 1;
    }
    assert!(tried > 150, "{tried}");
    // Values that are stored elsewhere, and compressed.
    site.db.batch(
        "delete from target_profile.outbox; delete from target_profile.dead_letter;
         create table w.x (id text, a text, b bytea, c json, d text[]);
         select target_profile.watch('w.x', 'acme', 'mboxPC', 'id', '{a,b,c,d}');
         insert into w.x select n, repeat('x', s), decode(repeat('00', s), 'hex'), to_json(repeat('y', s)), array_fill('z'::text, array[s])
             from (values (1, 1), (2, 10000), (3, 100000), (4, 5000000)) v (n, s)",
    );
    assert_eq!(told(&site), 4);
}

/// Something that was done to a table of the extension.
struct State {
    name: &'static str,
    sql: &'static str,
}

const fn state(name: &'static str, sql: &'static str) -> State {
    State { name, sql }
}

const STATES: &[State] = &[
    state("as they were made", ""),
    state(
        "outbox: a constraint",
        "alter table target_profile.outbox add check (priority > 100) not valid",
    ),
    state(
        "outbox: a constraint that some rows meet",
        "alter table target_profile.outbox add check (profile_id <> 'g3') not valid",
    ),
    state(
        "outbox: a trigger that fails",
        "create trigger fails before insert on target_profile.outbox for each row execute function fails()",
    ),
    state(
        "outbox: a statement trigger that fails",
        "create trigger fails after insert on target_profile.outbox for each statement execute function fails()",
    ),
    state(
        "outbox: a column without a value",
        "alter table target_profile.outbox add column more text not null",
    ),
    state(
        "outbox: renamed",
        "alter table target_profile.outbox rename to outbox_old",
    ),
    state("outbox: unlogged", "alter table target_profile.outbox set unlogged"),
    state(
        "outbox: a unique index",
        "create unique index once on target_profile.outbox (client_code)",
    ),
    state(
        "outbox: an index that fails",
        "create index fails on target_profile.outbox ((1 / (length(source) - length(source))))",
    ),
    state(
        "outbox: another type",
        "alter table target_profile.outbox alter column source type varchar(3)",
    ),
    state(
        "outbox: a column dropped",
        "alter table target_profile.outbox drop column source",
    ),
    state(
        "outbox: another owner, who may nothing",
        "alter table target_profile.outbox owner to nobody; revoke all on target_profile.outbox from nobody",
    ),
    state(
        "outbox: row security",
        "alter table target_profile.outbox owner to nobody, enable row level security, force row level security",
    ),
    state(
        "outbox: another schema",
        "alter table target_profile.outbox set schema public",
    ),
    state(
        "dead_letter: a constraint",
        "alter table target_profile.dead_letter add check (false) not valid",
    ),
    state(
        "dead_letter: a constraint on attributes",
        "alter table target_profile.dead_letter add check (attrs is null) not valid",
    ),
    state(
        "dead_letter: a trigger that fails",
        "create trigger fails before insert on target_profile.dead_letter for each row execute function fails()",
    ),
    state(
        "dead_letter: a trigger that writes watched rows",
        "create trigger more after insert on target_profile.dead_letter for each row execute function more()",
    ),
    state(
        "dead_letter: renamed",
        "alter table target_profile.dead_letter rename to letters",
    ),
    state(
        "dead_letter: a column dropped",
        "alter table target_profile.dead_letter drop column attrs",
    ),
    state(
        "dead_letter: a column without a value",
        "alter table target_profile.dead_letter add column more text not null",
    ),
    state(
        "dead_letter: an index that fails",
        "create index fails on target_profile.dead_letter ((1 / (length(source) - length(source))))",
    ),
    state(
        "dead_letter: row security",
        "alter table target_profile.dead_letter enable row level security, force row level security",
    ),
    state(
        "dead_letter: unlogged",
        "alter table target_profile.dead_letter set unlogged",
    ),
    state(
        "both: constraints",
        "alter table target_profile.outbox add check (false) not valid; alter table target_profile.dead_letter add check (false) not valid",
    ),
    state(
        "both: triggers that write watched rows",
        "create trigger more after insert on target_profile.dead_letter for each row execute function more();
         create trigger more after insert on target_profile.outbox for each row execute function more()",
    ),
    state(
        "sequence: at its end",
        "select setval('target_profile.outbox_id_seq', 9223372036854775807)",
    ),
    state(
        "sequence: near its end",
        "select setval('target_profile.outbox_id_seq', 9223372036854775805)",
    ),
    state(
        "sequence: a low end",
        "alter sequence target_profile.outbox_id_seq maxvalue 5 restart 1",
    ),
    state(
        "sequence: downwards",
        "alter sequence target_profile.outbox_id_seq increment -1 minvalue -10 restart 1",
    ),
    state(
        "sequence: cycles",
        "alter sequence target_profile.outbox_id_seq maxvalue 7 cycle restart 1",
    ),
    state(
        "sequence: renamed",
        "alter sequence target_profile.outbox_id_seq rename to ids",
    ),
    state(
        "sequence: set back, with entries",
        "insert into target_profile.outbox (client_code, id_kind, profile_id, attrs)
             select 'acme', 'mboxPC', 'old' || n, '{\"a\": \"1\"}' from generate_series(1, 100) n;
         select setval('target_profile.outbox_id_seq', 1)",
    ),
    state(
        "sequence: set back, with dead letters",
        "insert into target_profile.dead_letter (id, client_code, priority, source, enqueued_at, attempts, reason)
             select n, 'acme', 0, 'x', now(), 0, 'old' from generate_series(1, 100) n;
         select setval('target_profile.outbox_id_seq', 1)",
    ),
    state("client: renamed", "alter table target_profile.client rename to clients"),
    state(
        "client: a column dropped",
        "alter table target_profile.client drop column method",
    ),
    state("client: no row", "delete from target_profile.client"),
    state(
        "client: a row that is not valid",
        "alter table target_profile.client disable trigger all; update target_profile.client set arrays = 'none'",
    ),
    state(
        "client: another owner",
        "alter table target_profile.client owner to nobody",
    ),
    state(
        "functions: renamed",
        "alter function target_profile._spare_id() rename to other; alter table target_profile.outbox add check (false) not valid",
    ),
    state("schema: renamed", "alter schema target_profile rename to adobe"),
];

const ROWS: i64 = 8;

fn set_up(site: &Site, wiring: &str) {
    site.db.batch(
        "reset role;
         drop extension if exists target_profile cascade;
         drop schema if exists crm, adobe, target_profile cascade;
         drop table if exists public.outbox;
         create extension target_profile;",
    );
    site.add_client("acme");
    site.db.batch(&format!(
        "select target_profile.pause('acme');
         create schema crm;
         create table crm.customers (id text, tier text);
         create table crm.more (id text, tier text);
         {wiring};
         {}",
        wiring.replace("crm.customers", "crm.more")
    ));
}

/// Good rows and bad ones: in one statement each, one by one, and within a savepoint, a part of which is rolled back.
fn write(writer: &Db) -> Result<(), tokio_postgres::Error> {
    writer.try_batch("insert into crm.customers values ('g1', 'x'), ('g2', 'y'), ('b/1', 'x')")?;
    writer.try_batch("update crm.customers set tier = 'z' where id = 'g1'")?;
    writer.try_batch("begin")?;
    writer.try_batch("insert into crm.customers values ('g3', 'x')")?;
    writer.try_batch("savepoint a")?;
    writer.try_batch("insert into crm.customers values ('g4', 'rolled back'), ('b/2', 'rolled back')")?;
    writer.try_batch("rollback to a")?;
    writer.try_batch("insert into crm.customers values ('g5', 'x'), ('b/3', 'x')")?;
    writer.try_batch("release a; savepoint b")?;
    writer.try_batch("insert into crm.customers values ('g6', 'x')")?;
    writer.try_batch("commit")
}

const WAYS: &[&str] = &[
    "select target_profile.watch('crm.customers', 'acme', 'mbox3rdPartyId', 'id', '{tier}')",
    "create trigger to_target after insert or update on crm.customers for each row
     execute function target_profile_trigger('acme', 'mbox3rdPartyId', 'id', 'tier')",
];

fn helpers(site: &Site) {
    site.db.batch(
        "create role nobody;
         create function fails() returns trigger language plpgsql as $$ begin raise exception 'somebody''s own'; end $$;
         create function more() returns trigger language plpgsql as
             $$ begin insert into crm.more values ('more/' || random(), 'x'); return null; end $$",
    );
}

#[test]
fn no_state_of_our_tables_stops_a_write() {
    let site = site("anystate");
    helpers(&site);
    let rows = |name: &str| -> i64 {
        // By the catalog: the table may have any name by now.
        site.count(&format!(
            "select coalesce(sum((xpath('/row/c/text()', query_to_xml(format('select count(*) as c from %s', c.oid::regclass), false, true, '')))[1]::text::bigint), 0)::bigint
             from pg_class c where c.relkind = 'r' and c.relname in ({name}) and c.relnamespace <> 'crm'::regnamespace"
        ))
    };
    let everything = || rows("'outbox', 'outbox_old', 'dead_letter', 'letters'");
    for state in STATES {
        for way in WAYS {
            let name = format!("{} ({})", state.name, &way[..12]);
            set_up(&site, way);
            if let Err(error) = site.db.try_batch(state.sql) {
                // It may be refused, but for nothing else than what it is.
                assert!(
                    matches!(sqlstate(&error).as_str(), "55000" | "0A000"),
                    "{name}: {}",
                    support::cluster::describe(&error)
                );
                continue;
            }
            let before = (everything(), lost_anywhere(&site));
            let writer = site.cluster.db();
            writer.batch("set client_min_messages = error");
            write(&writer).unwrap_or_else(|error| panic!("{name}: {}", support::cluster::describe(&error)));
            assert_eq!(writer.text("select count(*) from crm.customers"), "7", "{name}");
            let more = site.count("select count(*) from crm.more");
            // Whatever the view is called by now, it is asked for by the function.
            let after = lost_anywhere(&site);
            let (kept, gone) = (everything() - before.0, after - before.1);
            assert_eq!(kept + gone, ROWS + more, "{name}: {kept} are kept, {gone} are lost");
            assert!(kept >= 0 && gone >= 0, "{name}: {kept} are kept, {gone} are lost");
        }
    }
}

/// An id that is taken is drawn anew, which fails at the end of the sequence.
#[test]
fn at_the_end_of_the_sequence_ids_that_are_taken_fail_no_write() {
    let site = site("sequenceend");
    site.create_customers();
    site.db.batch("select target_profile.pause('acme')");
    for rows in [1, 4] {
        site.db.batch(
            "truncate customers; delete from target_profile.outbox; delete from target_profile.dead_letter;
             select setval('target_profile.outbox_id_seq', 9223372036854775807 - 4);
             insert into target_profile.outbox (id, client_code, id_kind, profile_id, attrs)
                select 9223372036854775807 - n, 'acme', 'mboxPC', n::text, '{\"a\": \"1\"}' from generate_series(0, 3) n",
        );
        site.db.batch(&format!(
            "insert into customers select 'c' || n, 'gold', 1 from generate_series(1, {rows}) n"
        ));
        assert_eq!(site.count("select count(*) from customers"), rows);
        assert_eq!(site.count("select count(*) from target_profile.dead_letter"), rows);
    }
}

#[test]
fn a_sequence_that_is_set_to_its_end_at_any_time_fails_no_write() {
    let site = site("sequenceset");
    helpers(&site);
    let other = site.cluster.db();
    for way in WAYS {
        set_up(&site, way);
        let writer = site.cluster.db();
        writer.batch("set client_min_messages = error; begin; insert into crm.customers values ('first', 'x')");
        for (nth, end) in [i64::MAX, 1, i64::MAX - 1, i64::MAX].into_iter().enumerate() {
            other.query("select setval('target_profile.outbox_id_seq', $1)", &[&end]);
            for statement in [
                "insert into crm.customers values ('g1', 'x'), ('b/1', 'x'), ('g2', 'y')",
                "savepoint s",
                "update crm.customers set tier = tier || 'z'",
                if nth % 2 == 0 { "release s" } else { "rollback to s" },
            ] {
                let ran = writer.try_batch(statement);
                ran.unwrap_or_else(|error| panic!("{way}, {nth}: {statement}: {}", support::cluster::describe(&error)));
            }
        }
        writer.batch("commit");
        // 1, 4 times 3; and of two rounds the updates of 4 and 10 rows.
        assert_eq!(told(&site), 1 + 12 + 4 + 10, "{way}");
        // A draw that has failed holds nothing.
        other.batch("select setval('target_profile.outbox_id_seq', 1000)");
        writer.batch("insert into crm.customers values ('last', 'x')");
    }
}

#[test]
fn a_value_that_the_catalog_or_the_disk_has_lost_fails_no_write() {
    let site = site("lostvalues");
    site.db.batch("select target_profile.pause('acme')");
    for way in WAYS {
        // The trigger of a watch leaves the comparison to the executor, which reads what is stored elsewhere.
        let column = if way.contains("watch") {
            "mood mood"
        } else {
            "mood mood, note text"
        };
        let wiring = if way.contains("watch") {
            "select target_profile.watch('lost', 'acme', 'mbox3rdPartyId', 'id', '{n,mood}')"
        } else {
            "create trigger to_target after insert or update on lost for each row
             execute function target_profile_trigger('acme', 'mbox3rdPartyId', 'id', 'n', 'mood', 'note')"
        };
        site.db.batch(&format!(
            "drop table if exists lost; drop type if exists mood;
             create type mood as enum ('sad', 'glad');
             create table lost (id text, n int, {column});
             {wiring};
             insert into lost (id, n, mood) values ('a', 1, 'glad'), ('b', 1, 'sad');
             delete from pg_enum where enumlabel = 'glad' and enumtypid = 'mood'::regtype"
        ));
        if !way.contains("watch") {
            site.db.batch(
                "alter table lost alter note set storage external;
                 update lost set note = repeat('x', 10000) where id = 'b'",
            );
            if site.count("select count(*) from pg_available_extensions where name = 'pg_surgery'") > 0 {
                site.db.batch(
                    "create extension if not exists pg_surgery;
                     select heap_force_kill(reltoastrelid, array['(0,1)']::tid[]) from pg_class where oid = 'lost'::regclass",
                );
                let read = site.db.try_batch("select md5(note) from lost");
                assert!(read.is_err(), "the value is lost");
            }
        }
        site.db
            .batch("delete from target_profile.outbox; delete from target_profile.dead_letter");
        for statement in [
            "update lost set n = 2",
            "insert into lost (id, n) values ('c', 3)",
            "update lost set n = n where id <> 'c'",
        ] {
            let ran = site.db.try_batch(statement);
            ran.unwrap_or_else(|error| panic!("{way}: {statement}: {}", support::cluster::describe(&error)));
        }
        assert!(told(&site) >= 3, "{way}: {}", told(&site));
    }
}

/// As [`lost`], wherever the view is by now.
fn lost_anywhere(site: &Site) -> i64 {
    let view = site
        .db
        .text("select c.oid::regclass::text from pg_class c where c.relname = 'worker' and c.relkind = 'v'");
    let schema = view.split('.').next().unwrap_or_default();
    if schema == "target_profile" {
        return lost(site);
    }
    // Its definition names the function by its OID.
    site.count(&format!(
        "select coalesce(sum((regexp_match(last_error, '(\\d+) updates of watched tables were lost'))[1]::bigint), 0)::bigint
         from {view} where database = current_database()"
    ))
}

#[test]
fn a_lock_that_is_not_given_in_time_stops_no_write() {
    let site = site("locks");
    helpers(&site);
    let other = site.cluster.db();
    for (tables, in_outbox) in [
        ("target_profile.outbox", 0),
        ("target_profile.dead_letter", 6),
        ("target_profile.outbox, target_profile.dead_letter", 0),
        ("target_profile.client", -1),
    ] {
        for way in WAYS {
            set_up(&site, way);
            let before = lost(&site);
            other.batch(&format!("begin; lock {tables} in access exclusive mode"));
            let writer = site.cluster.db();
            writer.batch("set client_min_messages = error; set lock_timeout = '20 ms'");
            write(&writer).unwrap_or_else(|error| panic!("{tables}: {}", support::cluster::describe(&error)));
            other.batch("rollback");
            if in_outbox >= 0 {
                assert_eq!(
                    site.count("select count(*) from target_profile.outbox"),
                    in_outbox,
                    "{tables}"
                );
            }
            assert_eq!(told(&site) + lost(&site) - before, ROWS, "{tables}");
            // A statement that is cancelled while it waits ends as ever.
            other.batch(&format!("begin; lock {tables} in access exclusive mode"));
            let writer = site.cluster.db();
            writer.batch("set client_min_messages = error; set statement_timeout = '200 ms'");
            let error = writer.try_batch("insert into crm.customers values ('g9', 'x'), ('b/9', 'x')");
            other.batch("rollback");
            assert_eq!(sqlstate(&error.expect_err("it was cancelled")), "57014", "{tables}");
        }
    }
}

#[test]
fn the_worker_says_how_many_updates_are_lost_and_not_those_that_were_rolled_back() {
    let site = site("lost");
    helpers(&site);
    set_up(&site, WAYS[0]);
    site.wait_until("select exists (select from target_profile.worker where pid is not null)");
    site.db.batch(
        "alter table target_profile.outbox add check (false) not valid;
         alter table target_profile.dead_letter add check (false) not valid",
    );
    let before = lost(&site);
    let writer = site.cluster.db();
    writer.take_notices();
    writer.batch("begin; insert into crm.customers values ('1', 'x'), ('2', 'x'); rollback");
    assert_eq!(lost(&site), before);
    writer.take_notices();
    writer.batch("insert into crm.customers values ('1', 'x'), ('2', 'x'), ('b/3', 'x')");
    assert_eq!(lost(&site), before + 3);
    let warnings: Vec<String> = writer
        .take_notices()
        .iter()
        .map(|notice| notice.message().to_owned())
        .collect();
    assert!(
        warnings.iter().any(|message| message == "profile updates are lost"),
        "{warnings:?}"
    );
    let error = site
        .db
        .text("select last_error from target_profile.worker where database = current_database()");
    assert!(error.contains("violates check constraint"), "{error}");
}

#[test]
fn ids_that_dead_letters_have_already_stop_neither_the_worker_nor_a_write() {
    let site = site("takenids");
    let rule = site.mock.on(Match::id("p")).respond(Reply::failure("Invalid profile"));
    let first = site.update("p", r#"{"a": 1}"#);
    site.wait_until("select exists (select from target_profile.dead_letter)");
    site.db
        .batch("truncate target_profile.outbox; select setval('target_profile.outbox_id_seq', 1, false)");
    let second = site.update("p", r#"{"a": 2}"#);
    assert_eq!(first, second, "the sequence was set back");
    site.wait_until("select (select count(*) from target_profile.dead_letter) = 2");
    assert_eq!(
        site.count(&format!("select count(*) from target_profile.dead_letter where id <> {first} and id < 0 and reason like '%it was entry {first}%'")),
        1
    );
    // A bad row gets an id that is taken.
    site.db.batch(
        "create table c (id text, v text); select target_profile.watch('c', 'acme', 'mbox3rdPartyId', 'id', '{v}');
         truncate target_profile.outbox; select setval('target_profile.outbox_id_seq', 1, false); insert into c values ('b/1', 'x')",
    );
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 3);
    // Entries of a client that is removed.
    site.add_client("other");
    site.db.batch(
        "select target_profile.pause('other'); truncate target_profile.outbox; select setval('target_profile.outbox_id_seq', 1, false);
         select target_profile_update('other', 'mboxPC', '28.0', '{\"a\": 1}');
         select target_profile.remove_client('other', true)",
    );
    assert_eq!(
        site.count("select count(*) from target_profile.dead_letter where client_code = 'other'"),
        1
    );
    // A dead letter goes back once no entry has its id.
    site.mock.remove_rule(rule);
    site.db
        .batch("truncate target_profile.outbox; select setval('target_profile.outbox_id_seq', 1, false)");
    site.db.query("select target_profile.retry($1)", &[&first]);
    site.wait_drained();
    assert_eq!(site.sent_value("p", "a").as_deref(), Some("1"));
    // All others are still sent.
    for n in 0..5 {
        site.update(&format!("q{n}"), r#"{"a": 1}"#);
    }
    site.wait_drained();
    assert_eq!(site.sent_value("q4", "a").as_deref(), Some("1"));
}

#[test]
fn an_alias_of_the_id_kind_is_one_profile_with_its_name_also_for_a_buried_row() {
    let site = site("alias");
    site.db.batch(
        "create table v (id text, seg text);
         create trigger t after insert or update on v for each row execute function target_profile_trigger('nosuch', 'thirdPartyId', 'id', 'seg');
         insert into v values ('C1', 'old')",
    );
    assert_eq!(
        site.db.text("select id_kind from target_profile.dead_letter"),
        "mbox3rdPartyId"
    );
    site.add_client("nosuch");
    site.db.batch("update v set seg = 'new'");
    site.wait_drained();
    // The newer one has arrived: nothing is left to send.
    site.wait_until("select exists (select from target_profile.superseded)");
    assert_eq!(site.count("select target_profile.retry_all('nosuch')"), 0);
    // As an older version has buried it.
    site.db.batch(
        "insert into target_profile.dead_letter (id, client_code, id_kind, profile_id, attrs, priority, source, enqueued_at, attempts, reason, raw)
         values (-5, 'nosuch', 'tntId', '28.0', '{\"seg\": \"x\"}', 0, 'v', now(), 0, 'x', true)",
    );
    assert_eq!(site.count("select target_profile.retry_all('nosuch')"), 1);
    site.wait_drained();
    assert_eq!(site.mock.value("nosuch", "mboxPC", "28.0", "seg").as_deref(), Some("x"));
}
