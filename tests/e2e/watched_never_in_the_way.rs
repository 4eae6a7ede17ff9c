//! The CRM's write wins, whatever becomes of the table, of its triggers, of the client and of the rights; and what could not be
//! enqueued is visible: in `watch_state`, as dead letters, and as one warning a statement.

use std::time::{Duration, Instant};

use support::{Cluster, Db, sqlstate};

use crate::site::{SOON, Site};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wiring {
    Watched,
    ByHand,
}

/// What becomes of an INSERT of 50 rows and an UPDATE of all of them.
struct Outcome {
    /// In the outbox.
    entries: i64,
    dead_letters: i64,
    /// How the reason of every dead letter begins.
    reason: &'static str,
    /// Of both statements.
    warnings: usize,
}

const ALL_SENT: Outcome = Outcome {
    entries: 100,
    dead_letters: 0,
    reason: "",
    warnings: 0,
};

const fn buried(reason: &'static str) -> Outcome {
    Outcome {
        entries: 0,
        dead_letters: 100,
        reason,
        warnings: 2,
    }
}

const fn sent(entries: i64) -> Outcome {
    Outcome { entries, ..ALL_SENT }
}

struct Mishap {
    name: &'static str,
    /// What happens.
    sql: &'static str,
    /// The table afterwards, and the id of its nth row.
    table: &'static str,
    id: &'static str,
    watched: Outcome,
    /// What `watch_state` says; empty: it has no row.
    state: &'static str,
    by_hand: Outcome,
}

const USUAL: Mishap = Mishap {
    name: "nothing",
    sql: "",
    table: "crm.customers",
    id: "n",
    watched: ALL_SENT,
    state: "ok",
    by_hand: ALL_SENT,
};

const MISHAPS: &[Mishap] = &[
    USUAL,
    // The trigger for UPDATE has the column in its condition, and goes with it.
    Mishap {
        name: "a watched column is dropped",
        sql: "alter table crm.customers drop column balance cascade",
        watched: Outcome {
            entries: 0,
            dead_letters: 50,
            reason: "column \"balance\" of table crm.customers does not exist",
            warnings: 1,
        },
        state: "column missing",
        by_hand: buried("column \"balance\" of table crm.customers does not exist"),
        ..USUAL
    },
    Mishap {
        name: "a watched column is renamed",
        sql: "alter table crm.customers rename column balance to amount",
        watched: buried("column \"balance\" of table crm.customers does not exist"),
        state: "column missing",
        by_hand: buried("column \"balance\" of table crm.customers does not exist"),
        ..USUAL
    },
    Mishap {
        name: "the id column is renamed",
        sql: "alter table crm.customers rename column id to customer_id",
        watched: buried("column \"id\" of table crm.customers does not exist"),
        state: "column missing",
        by_hand: buried("column \"id\" of table crm.customers does not exist"),
        ..USUAL
    },
    Mishap {
        name: "a column that is not watched changes its type, another one comes and goes",
        sql: "alter table crm.customers alter column note type varchar(99);
              alter table crm.customers add column more text; alter table crm.customers drop column more",
        ..USUAL
    },
    Mishap {
        name: "the table is renamed",
        sql: "alter table crm.customers rename to clients",
        table: "crm.clients",
        ..USUAL
    },
    Mishap {
        name: "the table moves to another schema, and its schema is renamed",
        sql: "create schema other; alter table crm.customers set schema other; alter schema other rename to third;
              grant usage on schema third to crm",
        table: "third.customers",
        ..USUAL
    },
    Mishap {
        name: "the table gets another owner, who may nothing",
        sql: "create role nobody; alter table crm.customers owner to nobody; grant all on crm.customers to crm",
        ..USUAL
    },
    Mishap {
        name: "the client is removed",
        sql: "select target_profile.remove_client('acme', true)",
        watched: buried("client is not registered"),
        state: "client not registered",
        by_hand: buried("client is not registered"),
        ..USUAL
    },
    Mishap {
        name: "the client is paused",
        sql: "select target_profile.pause('acme')",
        ..USUAL
    },
    Mishap {
        name: "all rights are revoked",
        sql: "select target_profile.revoke_from('crm_owner');
              revoke all on all functions in schema target_profile from crm_owner, crm, public, postgres;
              revoke all on all tables in schema target_profile from crm_owner, crm, public;
              revoke all on all sequences in schema target_profile from crm_owner, crm, public;
              revoke all on schema target_profile from crm_owner, crm, public;
              revoke all on function target_profile_trigger() from crm_owner, crm, public, postgres",
        ..USUAL
    },
    Mishap {
        name: "the ids are none",
        sql: "",
        id: "'a/' || n",
        watched: buried("invalid character in profile id"),
        by_hand: buried("invalid character in profile id"),
        ..USUAL
    },
    Mishap {
        name: "the ids are NULL",
        sql: "alter table crm.customers drop constraint customers_pkey, alter column id drop not null",
        id: "null",
        watched: buried("the id column \"id\" is null"),
        by_hand: buried("the id column \"id\" is null"),
        ..USUAL
    },
    Mishap {
        name: "a trigger of somebody else makes a value too large",
        sql: "create function enlarge() returns trigger language plpgsql as $$ begin
                  new.tier := repeat('x', 70000); new.note := random(); return new; end $$;
              create trigger enlarge before insert or update on crm.customers for each row execute function enlarge()",
        // The UPDATE changes nothing that is sent.
        watched: Outcome {
            entries: 0,
            dead_letters: 50,
            reason: "attribute is too large",
            warnings: 1,
        },
        by_hand: Outcome {
            entries: 0,
            dead_letters: 50,
            reason: "attribute is too large",
            warnings: 1,
        },
        ..USUAL
    },
    Mishap {
        name: "the triggers are disabled",
        sql: "alter table crm.customers disable trigger user",
        watched: sent(0),
        state: "trigger disabled",
        by_hand: sent(0),
        ..USUAL
    },
    Mishap {
        name: "the extension is dropped",
        sql: "drop extension target_profile cascade",
        watched: sent(0),
        state: "",
        by_hand: sent(0),
        ..USUAL
    },
];

/// Of a watch alone: one of its triggers is missing. What is left of it goes on.
const LOST_TRIGGERS: &[(&str, &str, i64)] = &[
    ("drop trigger %I on crm.customers", "insert", 50),
    ("drop trigger %I on crm.customers", "update", 50),
    ("drop trigger %I on crm.customers", "flush", 100),
    ("alter table crm.customers disable trigger %I", "insert", 50),
    ("alter table crm.customers disable trigger %I", "update", 50),
    ("alter table crm.customers disable trigger %I", "flush", 100),
];

/// A site that sends nothing, and a writer who has no right but to write the table.
fn site(name: &str) -> (Site, Db) {
    let site = Site::with(
        Cluster::builder(name)
            .fsync(false)
            .conf("target_profile.databases", "none")
            .conf("log_min_messages", "fatal"),
    );
    site.db.batch("create role crm login; create role crm_owner");
    let writer = site.cluster.client("postgres", "crm");
    writer.batch("set lock_timeout = '10 s'");
    // The first entry of a session says that no worker drains it.
    set_up(&site, Wiring::ByHand);
    assert_eq!(write(&writer, USUAL.table, USUAL.id), 1);
    (site, writer)
}

fn set_up(site: &Site, wiring: Wiring) {
    site.db.batch(
        "reset role; set client_min_messages = error;
         drop extension if exists target_profile cascade;
         drop schema if exists crm, other, third cascade;
         drop function if exists enlarge;
         drop role if exists nobody;
         create extension target_profile",
    );
    site.add_client("acme");
    site.db.batch(
        "select target_profile.grant_to('crm_owner', 'writer');
         create schema crm;
         grant usage on schema crm to crm, crm_owner;
         grant usage, create on schema public to crm_owner;
         create table crm.customers (id text primary key, tier text, balance numeric, note text);
         alter table crm.customers owner to crm_owner;
         grant all on crm.customers to crm;
         set role crm_owner",
    );
    site.db.batch(match wiring {
        Wiring::Watched => {
            "select target_profile.watch('crm.customers', 'acme', 'mbox3rdPartyId', 'id', '{tier,balance}')"
        }
        Wiring::ByHand => {
            "create trigger to_target after insert or update on crm.customers for each row
             execute function target_profile_trigger('acme', 'mbox3rdPartyId', 'id', 'tier', 'balance')"
        }
    });
    site.db.batch("reset role");
}

/// What the CRM does; it must succeed. The warnings of each statement.
fn write(writer: &Db, table: &str, id: &str) -> usize {
    writer.take_notices();
    let rows = writer.execute(
        &format!("insert into {table} select {id}, 'silver' from generate_series(1, 50) n"),
        &[],
    );
    assert_eq!(rows, 50);
    assert_eq!(writer.execute(&format!("update {table} set tier = 'gold'"), &[]), 50);
    let notices = writer.take_notices();
    notices.iter().filter(|notice| notice.severity() == "WARNING").count()
}

fn check(site: &Site, writer: &Db, wiring: Wiring, mishap: &Mishap) {
    let name = format!("{} ({wiring:?})", mishap.name);
    set_up(site, wiring);
    let happened = site.db.try_batch(mishap.sql);
    happened.unwrap_or_else(|error| panic!("{name}: {}", support::cluster::describe(&error)));
    let warnings = write(writer, mishap.table, mishap.id);
    let expected = match wiring {
        Wiring::Watched => &mishap.watched,
        Wiring::ByHand => &mishap.by_hand,
    };
    assert_eq!(warnings, expected.warnings, "warnings: {name}");
    if site.count("select count(*) from pg_extension where extname = 'target_profile'") == 0 {
        return;
    }
    let letters = format!(
        "select count(*) from target_profile.dead_letter where starts_with(reason, $${}$$) and source = '{}'",
        expected.reason, mishap.table
    );
    assert_eq!(
        site.count("select count(*) from target_profile.outbox"),
        expected.entries,
        "entries: {name}"
    );
    assert_eq!(
        site.count("select count(*) from target_profile.dead_letter"),
        expected.dead_letters,
        "dead letters: {name}"
    );
    assert_eq!(
        site.count(&letters),
        expected.dead_letters,
        "their reason is {:?}: {name}",
        site.db
            .try_text("select min(reason) from target_profile.dead_letter")
            .ok()
    );
    let state = site
        .db
        .try_text("select state from target_profile.watch_state")
        .unwrap();
    let expected = if wiring == Wiring::Watched { mishap.state } else { "" };
    assert_eq!(state.as_deref().unwrap_or_default(), expected, "state: {name}");
}

#[test]
fn no_mishap_stops_a_write_to_a_watched_table() {
    let (site, writer) = site("mishaps");
    for mishap in MISHAPS {
        check(&site, &writer, Wiring::Watched, mishap);
    }
    for (how, trigger, entries) in LOST_TRIGGERS {
        set_up(&site, Wiring::Watched);
        let name = format!("target_profile_acme_mbox3rdPartyId_{trigger}");
        site.db.batch(&how.replace("%I", &support::cluster::identifier(&name)));
        assert_eq!(write(&writer, USUAL.table, USUAL.id), 0);
        let state = site.db.text("select state from target_profile.watch_state");
        let expected = if how.starts_with("drop") {
            "trigger missing"
        } else {
            "trigger disabled"
        };
        assert_eq!(state, expected, "{how} {trigger}");
        assert_eq!(
            site.count("select count(*) from target_profile.outbox"),
            *entries,
            "{how} {trigger}"
        );
        // The same call mends it.
        site.db
            .batch("select target_profile.watch('crm.customers', 'acme', 'mbox3rdPartyId', 'id', '{tier,balance}')");
        assert_eq!(site.db.text("select state from target_profile.watch_state"), "ok");
        site.db.batch("delete from target_profile.outbox");
        writer.batch("update crm.customers set tier = 'mended'");
        assert_eq!(
            site.count("select count(*) from target_profile.outbox"),
            50,
            "{how} {trigger}"
        );
    }
}

#[test]
fn no_mishap_stops_a_write_to_a_table_wired_by_hand() {
    let (site, writer) = site("mishapsbyhand");
    for mishap in MISHAPS {
        check(&site, &writer, Wiring::ByHand, mishap);
    }
    // Its trigger is called for each row, whatever the columns' types are: those may change.
    set_up(&site, Wiring::ByHand);
    site.db
        .batch("alter table crm.customers alter column balance type text, alter column tier type varchar(9)");
    assert_eq!(write(&writer, USUAL.table, USUAL.id), 0);
    assert_eq!(site.count("select count(*) from target_profile.outbox"), 100);
}

#[test]
fn the_type_of_a_watched_column_is_changed_between_unwatch_and_watch() {
    let (site, writer) = site("retype");
    set_up(&site, Wiring::Watched);
    // Postgres refuses it, since a trigger's condition compares the column: the owner is told, no writer.
    let refused = site
        .db
        .try_batch("alter table crm.customers alter column balance type text");
    assert_eq!(sqlstate(&refused.expect_err("the column is in use")), "0A000");
    assert_eq!(write(&writer, USUAL.table, USUAL.id), 0);
    site.db.batch(
        "begin;
         select target_profile.unwatch('crm.customers');
         alter table crm.customers alter column balance type text;
         select target_profile.watch('crm.customers', 'acme', 'mbox3rdPartyId', 'id', '{tier,balance}');
         commit;
         delete from target_profile.outbox",
    );
    writer.batch("update crm.customers set balance = 'ten'");
    assert_eq!(
        site.count(
            "select count(*) from target_profile.outbox where attrs = '{\"tier\": \"gold\", \"balance\": \"ten\"}'"
        ),
        50
    );
}

#[test]
fn a_write_waits_for_whoever_locks_the_outbox_exclusively_and_for_nobody_else() {
    let (site, writer) = site("locked");
    for wiring in [Wiring::Watched, Wiring::ByHand] {
        set_up(&site, wiring);
        let other = site.cluster.db();
        // What reads it, changes its rows or vacuums it is in nobody's way.
        for lock in ["access share", "row share", "row exclusive"] {
            other.batch(&format!(
                "begin; lock target_profile.outbox in {lock} mode; select * from target_profile.client for update"
            ));
            writer.batch("set lock_timeout = '1 s'; insert into crm.customers values ('free', 'tin') on conflict (id) do update set tier = excluded.tier || '!'");
            other.batch("rollback");
        }
        other.batch("begin; lock target_profile.outbox in access exclusive mode");
        writer.batch("set lock_timeout = '50 ms'");
        let began = Instant::now();
        // The row is written, and its update is a dead letter.
        writer.batch("insert into crm.customers values ('late', 'tin')");
        assert_eq!(
            site.db.text("select profile_id from target_profile.dead_letter"),
            "late",
            "{wiring:?}"
        );
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "its own lock_timeout ends the wait"
        );
        writer.batch("reset lock_timeout");
        std::thread::scope(|scope| {
            let insert = scope.spawn(|| writer.try_batch("insert into crm.customers values ('waits', 'tin')"));
            site.wait_until("select exists (select from pg_locks where not granted and relation = 'target_profile.outbox'::regclass)");
            other.batch("commit");
            assert!(insert.join().expect("it does not panic").is_ok());
        });
        assert_eq!(
            site.count("select count(*) from target_profile.outbox where profile_id = 'waits'"),
            1,
            "{wiring:?}"
        );
    }
}

#[test]
fn a_watched_table_of_a_server_without_the_library_preloaded_is_written_and_enqueued() {
    let cluster = Cluster::builder("unloadedwatch").preload(false).fsync(false).build();
    let db = cluster.db();
    db.batch(
        "create extension target_profile; select target_profile.add_client('acme');
         create table customers (id text, tier text);
         select target_profile.watch('customers', 'acme', 'mbox3rdPartyId', 'id', '{tier}')",
    );
    // A new session, which has not loaded the library for anything else.
    let writer = cluster.db();
    writer.batch("insert into customers select n, 'silver' from generate_series(1, 50) n");
    writer.batch("update customers set tier = 'gold'");
    let notices = writer.take_notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].message().contains("not in shared_preload_libraries"));
    assert_eq!(db.text("select count(*) from target_profile.outbox"), "100");
    assert_eq!(db.text("select state from target_profile.watch_state"), "ok");
    cluster.wait_text(&db, "select state from target_profile.worker", "not preloaded", SOON);
}
