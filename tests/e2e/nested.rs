//! A statement within another one: in a trigger, or in a function that a query calls. Its triggers fire first. Whatever the order, the
//! last entry of a profile has what the table has.

use support::{Cluster, Db, sqlstate};

use crate::random::{Random, seed};

/// A table of two versions: how it is made, and how its triggers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    Plain,
    Partitioned,
}

const WIRINGS: [&str; 4] = [
    "select target_profile.watch('s.t', 'acme', 'mboxPC', 'id', '{n,m}')",
    "select target_profile.watch('s.t', 'acme', 'mboxPC', 'id', '{n,m}', send => 'changed')",
    "select target_profile.watch('s.t', 'acme', 'mboxPC', 'upper(lower(new.id))', '{n,m}')",
    "create trigger by_hand after insert or update on s.t for each row
     execute function target_profile_trigger('acme', 'mboxPC', 'id', 'n', 'm')",
];

/// No worker runs: what was enqueued stays.
fn start(name: &str) -> (Cluster, Db) {
    let cluster = Cluster::builder(name)
        .fsync(false)
        .conf("shared_preload_libraries", "")
        .build();
    let db = cluster.db();
    db.batch(
        "set client_min_messages = error;
         create extension target_profile;
         select target_profile.add_client('acme')",
    );
    (cluster, db)
}

fn set_up(db: &Db, table: Table, wiring: &str) {
    let (kind, partitions) = match table {
        Table::Plain => ("", ""),
        Table::Partitioned => (
            "partition by list (region)",
            "create table s.t0 partition of s.t for values in (0);
             create table s.t1 partition of s.t for values in (1);",
        ),
    };
    db.batch(&format!(
        "drop schema if exists s cascade;
         create schema s;
         create table s.t (id text, n int, m int, consent bool default true, region int default 0, unique (id, region)) {kind};
         {partitions}
         {wiring};
         delete from target_profile.outbox;
         insert into s.t (id, n, m) values ('A', 0, 0), ('B', 0, 0), ('C', 0, 0)"
    ));
}

/// Where what was sent last is not what the table has.
fn differences(db: &Db) -> Vec<String> {
    db.query(
        "select concat_ws(' ', t.id, k.attr, 'is', k.value, 'and was sent as', sent.value)
         from s.t, lateral (values ('n', t.n::text), ('m', t.m::text)) k (attr, value)
         left join lateral (
             select o.attrs ->> k.attr as value from target_profile.outbox o
             where o.profile_id = t.id and o.attrs ? k.attr order by o.id desc limit 1) sent on true
         where k.value is distinct from sent.value
         union all
         select concat_ws(' ', 'dead letter:', profile_id, reason) from target_profile.dead_letter",
        &[],
    )
    .iter()
    .map(|row| row.get(0))
    .collect()
}

/// What was sent last of an attribute.
fn sent(db: &Db, id: &str, attr: &str) -> Option<String> {
    db.query(
        "select attrs ->> $2 from target_profile.outbox where profile_id = $1 and attrs ? $2 order by id desc limit 1",
        &[&id, &attr],
    )
    .first()
    .map(|row| row.get(0))
}

/// A trigger of the user's, which fires before those of the extension; and what it runs.
fn with_trigger(event: &str, body: &str) -> String {
    format!(
        "create function s.aa() returns trigger language plpgsql as $f$ begin {body} return null; end $f$;
         create trigger aa after {event} on s.t for each row execute function s.aa()"
    )
}

#[test]
fn a_trigger_that_fires_before_and_writes_the_same_rows_leaves_its_values() {
    let (_cluster, db) = start("nested");
    let cases = [
        // The same row, again and again.
        (
            with_trigger(
                "update",
                "if new.n < 5 then update s.t set n = n + 1, m = m - 1 where id = new.id; end if;",
            ),
            "update s.t set n = 1 where id = 'A'",
        ),
        // Other rows of the same statement.
        (
            with_trigger(
                "update",
                "if new.n = 2 then update s.t set n = 100 where id <> new.id and n <> 100; end if;",
            ),
            "update s.t set n = 2",
        ),
        // Another column of it.
        (
            with_trigger("update of n", "update s.t set m = 9 where id = new.id;"),
            "update s.t set n = 1 where id = 'A'",
        ),
        // Back to what it was.
        (
            with_trigger("update", "update s.t set n = 0 where id = new.id and n <> 0;"),
            "update s.t set n = 1",
        ),
        // A row that was just inserted.
        (
            with_trigger("insert", "update s.t set n = 7 where id = new.id;"),
            "insert into s.t (id, n, m) values ('D', 1, 1), ('E', 2, 2)",
        ),
        // What a subtransaction takes back.
        (
            with_trigger(
                "update",
                "if new.n = 1 then
                     begin update s.t set n = 50 where id = new.id; raise 'no'; exception when others then null; end;
                     perform from s.t where id = new.id for update;
                     begin perform from s.t where id = new.id for key share;
                           update s.t set m = 60 where id = new.id and m <> 60; exception when others then raise; end;
                 end if;",
            ),
            "update s.t set n = 1 where id = 'A'",
        ),
        // A function that a query calls.
        (
            "create function s.f(x text) returns int language plpgsql as $f$ begin
                 update s.t set n = n + 10 where id = x; return 1; end $f$"
                .to_owned(),
            "update s.t set n = 2 returning s.f(id)",
        ),
        (
            "create function s.f(x int) returns int language plpgsql as $f$ begin
                 update s.t set m = m + 20; return x; end $f$"
                .to_owned(),
            "insert into s.t (id, n, m) select chr(ascii('D') + i), s.f(i), 0 from generate_series(0, 3) i",
        ),
        // Into another partition, and on.
        (
            with_trigger(
                "update",
                "if new.n = 1 then update s.t set region = 1, n = 2 where id = new.id; end if;
                 update s.t set m = 5 where id = new.id and m < 5;",
            ),
            "update s.t set n = 1 where id in ('A', 'B')",
        ),
        // The id: another profile.
        (
            with_trigger(
                "update",
                "update s.t set id = id || '2', n = 3 where id = new.id and length(id) = 1;",
            ),
            "update s.t set n = 1",
        ),
    ];
    for (made, run) in &cases {
        for table in [Table::Plain, Table::Partitioned] {
            for wiring in WIRINGS {
                set_up(&db, table, wiring);
                db.batch(made);
                db.batch(run);
                let found = differences(&db);
                assert!(found.is_empty(), "{table:?}, {wiring}: {made}; {run}: {found:?}");
            }
        }
    }
}

#[test]
fn of_a_row_that_does_not_meet_the_condition_any_more_the_version_that_last_did_is_sent() {
    let (_cluster, db) = start("nested_when");
    let watch = |when: &str| {
        format!("select target_profile.watch('s.t', 'acme', 'mboxPC', 'id', '{{n,m}}', \"when\" => '{when}')")
    };
    let by_hand = "create trigger by_hand after insert or update on s.t for each row when (new.consent)
                   execute function target_profile_trigger('acme', 'mboxPC', 'id', 'n', 'm')";
    for wiring in [
        watch("new.consent"),
        watch("new.consent and old is not null"),
        by_hand.to_owned(),
    ] {
        set_up(&db, Table::Plain, &wiring);
        db.batch(&with_trigger(
            "update",
            "if new.n < 4 then update s.t set n = n + 1, consent = new.n < 2 where id = new.id; end if;",
        ));
        db.batch("update s.t set n = 1 where id = 'A'");
        // 2 was the last one with a consent.
        assert_eq!(sent(&db, "A", "n").as_deref(), Some("2"), "{wiring}");
    }
}

#[test]
fn of_a_row_that_was_deleted_the_last_version_is_sent() {
    let (_cluster, db) = start("nested_deleted");
    set_up(&db, Table::Plain, WIRINGS[0]);
    db.batch(&with_trigger(
        "update",
        "update s.t set n = 2 where id = new.id and n = 1; delete from s.t where id = new.id;",
    ));
    db.batch("update s.t set n = 1 where id = 'A'");
    assert_eq!(sent(&db, "A", "n").as_deref(), Some("2"));
}

#[test]
fn deferred_triggers_of_one_row_send_its_last_version() {
    let (_cluster, db) = start("nested_deferred");
    let deferred =
        "create constraint trigger by_hand after insert or update on s.t deferrable initially deferred for each row
                    execute function target_profile_trigger('acme', 'mboxPC', 'id', 'n', 'm')";
    set_up(&db, Table::Plain, deferred);
    db.batch(
        "do $$ begin for i in 1..2000 loop update s.t set n = i, m = -i where id = 'A'; end loop; end $$;
         begin; update s.t set n = 1; savepoint s; update s.t set n = 2; rollback to s; update s.t set m = 3; commit",
    );
    let found = differences(&db);
    assert!(found.is_empty(), "{found:?}");
}

/// A statement of the random histories; `{}` is a value that no other statement writes.
const STATEMENTS: [&str; 9] = [
    "update s.t set n = {} where id = any ($ids)",
    "update s.t set m = {} where id = any ($ids)",
    "update s.t set n = {}, m = -{} where id = any ($ids)",
    "update s.t set n = n where id = any ($ids)",
    "update s.t set n = {} where id = any ($ids) returning s.next()",
    "insert into s.t (id, n, m) values ('A', {}, 0) on conflict (id, region) do update set n = excluded.n",
    "do $b$ begin update s.t set n = {} where id = any ($ids); raise 'no'; exception when others then null; end $b$",
    "do $b$ begin update s.t set m = {} where id = any ($ids); exception when others then raise; end $b$",
    "do $b$ begin perform from s.t where id = any ($ids) for no key update; update s.t set m = {} where id = any ($ids); end $b$",
];

/// Only a partitioned table has another place for a row.
const MOVE: &str = "update s.t set region = 1 - region, n = {} where id = any ($ids)";

#[test]
fn whatever_is_nested_in_whatever_the_last_entry_has_what_the_table_has() {
    let (_cluster, db) = start("nested_random");
    let mut random = Random::new(seed("NESTED_SEED"));
    let mut value = 0;
    for _ in 0..150 {
        let table = random.one_of(&[Table::Plain, Table::Partitioned]);
        let wiring = random.one_of(&WIRINGS);
        set_up(&db, table, wiring);
        // Whatever is written has the next statement run, as long as there is one.
        db.batch(&format!(
            "create table s.step (place int, statement text);
             create sequence s.place;
             create function s.next() returns int language plpgsql as $f$
             declare found text;
             begin
                 select statement into found from s.step where place = nextval('s.place');
                 if found is not null then execute found; end if;
                 return 1;
             end $f$;
             {}",
            with_trigger("insert or update", "perform s.next();")
        ));
        let mut statements: Vec<String> = (0..2 + random.below(10))
            .map(|_| {
                value += 1;
                let statement = match table {
                    Table::Partitioned if random.below(5) == 0 => MOVE,
                    // No unique index could tell which row it is.
                    Table::Partitioned => STATEMENTS[random.below(5)],
                    Table::Plain => random.one_of(&STATEMENTS),
                };
                let ids = random.one_of(&["{A}", "{B}", "{A,B}", "{A,B,C}"]);
                statement
                    .replace("{}", &value.to_string())
                    .replace("$ids", &format!("'{ids}'"))
            })
            .collect();
        let first = statements.remove(0);
        for (place, statement) in statements.iter().enumerate() {
            db.query(
                "insert into s.step values ($1::int8 + 1, $2)",
                &[&i64::try_from(place).unwrap(), statement],
            );
        }
        if let Err(error) = db.try_batch(&format!("begin; {first}; commit")) {
            // What was nested has written a row that the statement itself had still to write.
            assert_eq!(sqlstate(&error), "27000", "{first}; {statements:?}: {error}");
            db.batch("rollback");
            continue;
        }
        let found = differences(&db);
        assert!(
            found.is_empty(),
            "{table:?}, {wiring}: {first}; {statements:?}: {found:?}"
        );
    }
}
