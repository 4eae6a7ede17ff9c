//! Whatever is done to the outbox and its indexes beside those who write: no statement of theirs fails, every index leads to every
//! row, and every committed entry arrives.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::mock_target::Recording;
use support::{Cluster, Db, describe, sqlstate};

use crate::site::{SOON, Site, WORKER};

/// What is done to the table, in turns, by one session: two that want the table for themselves, or wait for one another's transactions,
/// would make deadlocks of their own, in any table.
const DDL: &[&str] = &[
    "reindex index concurrently target_profile.outbox_lane",
    "reindex index concurrently target_profile.outbox_profile",
    "reindex index concurrently target_profile.outbox_retried",
    "reindex index concurrently target_profile.outbox_pkey",
    "create index concurrently theirs on target_profile.outbox (source)",
    "reindex index target_profile.outbox_lane",
    "drop index concurrently target_profile.theirs",
    "reindex table concurrently target_profile.outbox",
    "analyze target_profile.outbox",
    "create index concurrently theirs on target_profile.outbox using brin (id, enqueued_at)",
    "vacuum target_profile.outbox",
    "vacuum full target_profile.outbox",
    "drop index target_profile.theirs",
    "create index concurrently theirs on target_profile.outbox (pg_catalog.upper(profile_id)) where priority = 0",
    "reindex index concurrently target_profile.theirs",
    "drop index concurrently target_profile.theirs",
    "create index concurrently theirs on target_profile.outbox using gin (attrs)",
    "cluster target_profile.outbox using outbox_pkey",
    "drop index concurrently target_profile.theirs",
    "create index concurrently theirs on target_profile.outbox (client_code, id_kind, profile_id, id) where retried_at is not null",
    "drop index concurrently target_profile.outbox_retried",
    "alter index target_profile.theirs rename to outbox_retried",
    "drop index concurrently target_profile.outbox_retried",
    "create index concurrently outbox_retried on target_profile.outbox (client_code, id_kind, profile_id, id) where retried_at is not null",
    "alter table target_profile.outbox add constraint theirs check (id > 0) not valid",
    "alter table target_profile.outbox validate constraint theirs",
    "alter table target_profile.outbox drop constraint theirs",
    "alter table target_profile.outbox set (fillfactor = 80)",
    "alter table target_profile.outbox alter column source set statistics 50",
    "create statistics target_profile.theirs on client_code, id_kind from target_profile.outbox",
    "drop statistics target_profile.theirs",
    "create trigger theirs before insert on target_profile.outbox for each row execute function as_it_is()",
    "drop trigger theirs on target_profile.outbox",
    "reindex table target_profile.outbox",
    "cluster target_profile.outbox using outbox_lane",
];

/// The last things: a column leaves a hole, and nothing takes the short way any more.
const LAST_DDL: &[&str] = &[
    "alter table target_profile.outbox add column theirs text default 'by default'",
    "reindex index concurrently target_profile.outbox_profile",
    "alter table target_profile.outbox drop column theirs",
    "reindex index concurrently target_profile.outbox_pkey",
];

/// Every valid index of the outbox has every row.
const CHECK: &str =
    "select count(bt_index_check(c.oid, true)::text) from pg_index i join pg_class c on c.oid = i.indexrelid
    where i.indrelid = 'target_profile.outbox'::regclass and i.indisvalid
        and c.relam = (select oid from pg_am where amname = 'btree')";

/// The same, and what the worker and the writers write beside it, when nobody writes: more is looked at then.
const CHECK_ALL: &str =
    "select count(bt_index_parent_check(c.oid, true)::text) from pg_index i join pg_class c on c.oid = i.indexrelid
    where c.relnamespace = 'target_profile'::regnamespace and i.indisvalid and c.relkind = 'i'
        and c.relam = (select oid from pg_am where amname = 'btree')";

/// One way of writing, repeated: what the session does, for the round, with the profiles that are committed by it.
struct Writer {
    name: &'static str,
    round: fn(&Db, &Round) -> Vec<String>,
}

/// What one round of one session writes: its profiles begin with this, and all have the same value.
struct Round {
    prefix: String,
    value: String,
}

impl Round {
    fn id(&self, number: usize) -> String {
        format!("{}-{number}", self.prefix)
    }

    fn ids(&self, count: usize) -> Vec<String> {
        (1..=count).map(|number| self.id(number)).collect()
    }

    fn update(&self, id: &str) -> String {
        let value = &self.value;
        format!("select target_profile_update('acme', 'mbox3rdPartyId', '{id}', '{{\"tier\": \"{value}\"}}')")
    }
}

const MANY: usize = 300;

/// No session writes faster: what waits has to be read by every check and every change of the table.
const PACE: Duration = Duration::from_millis(2);

const WRITERS: [Writer; 8] = [
    Writer {
        name: "function",
        round: |db, round| {
            db.batch(&round.update(&round.id(1)));
            round.ids(1)
        },
    },
    Writer {
        name: "bulk",
        round: |db, round| {
            db.query(
                "select count(target_profile_update('acme', 'mbox3rdPartyId', $1::text || '-' || n, jsonb_build_object('tier', $2::text)))
                 from generate_series(1, $3::int) n",
                &[&round.prefix, &round.value, &(MANY as i32)],
            );
            round.ids(MANY)
        },
    },
    Writer {
        name: "watched",
        round: |db, round| {
            let (prefix, value) = (&round.prefix, &round.value);
            db.batch(&format!(
                "insert into watched select '{prefix}-' || n, 'before' from generate_series(1, {MANY}) n;
                 update watched set tier = '{value}' where id like '{prefix}-%'"
            ));
            round.ids(MANY)
        },
    },
    Writer {
        name: "hand",
        round: |db, round| {
            let (prefix, value) = (&round.prefix, &round.value);
            db.batch(&format!(
                "insert into by_hand select '{prefix}-' || n, '{value}' from generate_series(1, 20) n"
            ));
            round.ids(20)
        },
    },
    Writer {
        name: "backfill",
        round: |db, round| {
            let (prefix, value) = (&round.prefix, &round.value);
            db.batch("set session_replication_role = replica");
            db.batch(&format!(
                "insert into filled select '{prefix}-' || n, '{value}' from generate_series(1, 100) n"
            ));
            db.batch("reset session_replication_role");
            db.batch(&format!(
                "call target_profile.backfill('filled', 'id like ''{prefix}-%''', chunk => 30)"
            ));
            round.ids(100)
        },
    },
    Writer {
        name: "savepoints",
        round: |db, round| {
            db.batch("begin; savepoint one");
            db.batch(&round.update(&round.id(9)));
            db.batch("rollback to one");
            db.batch(&round.update(&round.id(1)));
            db.batch("release one; savepoint two");
            db.batch(&format!(
                "insert into watched values ('{}', '{}')",
                round.id(2),
                round.value
            ));
            db.batch("savepoint three");
            // An error after rows were put in: what it leaves is aborted with it.
            let (id, other) = (round.id(8), round.id(2));
            let error = db.try_batch(&format!(
                "{}; insert into watched values ('{other}', 'x')",
                round.update(&id)
            ));
            assert_eq!(error.err().map(|error| sqlstate(&error)).as_deref(), Some("23505"));
            db.batch("rollback to three");
            db.batch(&round.update(&round.id(3)));
            db.batch("commit");
            round.ids(3)
        },
    },
    Writer {
        name: "prepared",
        round: |db, round| {
            for (number, end) in [(9, "rollback"), (1, "commit")] {
                db.batch("begin");
                db.batch(&round.update(&round.id(number)));
                db.batch(&format!("prepare transaction '{}'", round.prefix));
                db.batch(&format!("{end} prepared '{}'", round.prefix));
            }
            round.ids(1)
        },
    },
    Writer {
        name: "open",
        round: |db, round| {
            db.batch("begin isolation level repeatable read");
            for number in 1..=5 {
                db.batch(&round.update(&round.id(number)));
                db.batch("select pg_sleep(0.004)");
            }
            db.batch("commit");
            round.ids(5)
        },
    },
];

#[test]
fn indexes_are_made_and_dropped_beside_every_way_of_writing() {
    beside_every_way_of_writing("index-ddl", Duration::from_secs(12));
}

#[test]
#[ignore = "takes minutes: make soak"]
fn indexes_are_made_and_dropped_beside_every_way_of_writing_for_minutes() {
    beside_every_way_of_writing("index-ddl-long", Duration::from_secs(180));
}

fn beside_every_way_of_writing(name: &str, duration: Duration) {
    let site = Site::with(
        Cluster::builder(name)
            .fsync(false)
            .conf("max_prepared_transactions", 4)
            // What is found by no index is found by the sweep of a poll: it must not be what heals.
            .conf("target_profile.poll_interval", "1h")
            .conf("autovacuum_naptime", "5s"),
    );
    site.mock.record(Recording::Profiles);
    site.db.batch(
        "create extension amcheck;
         create table watched (id text primary key, tier text);
         create table by_hand (id text primary key, tier text);
         create table filled (id text primary key, tier text);
         select target_profile.watch(name::regclass, 'acme', 'mbox3rdPartyId', 'id', '{tier}')
             from unnest('{watched,filled}'::text[]) name;
         create trigger by_hand after insert on by_hand for each row
             execute function target_profile_trigger('acme', 'mbox3rdPartyId', 'id', 'tier');
         create function as_it_is() returns trigger language plpgsql as 'begin return new; end'",
    );
    let worker = site.cluster.wait_backend(WORKER, SOON);
    let (stop, failed) = (AtomicBool::new(false), AtomicBool::new(false));
    let rounds: [AtomicU64; WRITERS.len()] = Default::default();
    let committed: Vec<(String, String)> = thread::scope(|scope| {
        let writers: Vec<_> = WRITERS
            .iter()
            .zip(&rounds)
            .map(|(writer, rounds)| {
                let (db, stop, failed) = (site.cluster.db(), &stop, &failed);
                scope.spawn(move || {
                    let _alarm = Alarm(failed);
                    let mut committed = Vec::new();
                    while !stop.load(Ordering::Relaxed) && !failed.load(Ordering::Relaxed) {
                        let number = rounds.fetch_add(1, Ordering::Relaxed);
                        let round = Round {
                            prefix: format!("{}{number}", writer.name),
                            value: format!("value-{number}"),
                        };
                        let ids = (writer.round)(&db, &round);
                        thread::sleep(PACE * ids.len() as u32);
                        committed.extend(ids.into_iter().map(|id| (id, round.value.clone())));
                    }
                    committed
                })
            })
            .collect();
        let statements = change_indexes(&site.cluster.db(), Instant::now() + duration, &failed);
        // What follows is written while nothing is sent, so that there is something to check.
        site.cluster.set("target_profile.enabled", "off");
        for sql in LAST_DDL {
            change(&site.cluster.db(), sql, &failed);
        }
        stop.store(true, Ordering::Relaxed);
        let done: Vec<u64> = rounds.iter().map(|rounds| rounds.load(Ordering::Relaxed)).collect();
        let names: Vec<&str> = WRITERS.iter().map(|writer| writer.name).collect();
        println!("{statements} statements of DDL beside rounds of {names:?}: {done:?}");
        writers
            .into_iter()
            .flat_map(|writer| writer.join().expect("a writer"))
            .collect()
    });
    assert!(!failed.load(Ordering::Relaxed));
    let waiting = site.count("select count(*) from target_profile.outbox");
    println!(
        "{} entries of which {waiting} wait: {}",
        committed.len(),
        site.count(CHECK_ALL)
    );
    assert!(waiting > 0);

    site.cluster.reset("target_profile.enabled");
    site.db
        .batch("set enable_indexscan = off; set enable_indexonlyscan = off; set enable_bitmapscan = off");
    site.wait_drained();
    let missing: Vec<_> = committed
        .iter()
        .filter(|(id, value)| site.sent_value(id, "tier").as_ref() != Some(value))
        .collect();
    assert!(missing.is_empty(), "{} did not arrive: {missing:?}", missing.len());
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 0);
    assert_eq!(site.cluster.backend_pids(WORKER), [worker], "the same worker");
    assert_eq!(
        site.count("select count(*) from target_profile.worker where last_error is not null"),
        0
    );
    for sign in ["PANIC", "TRAP:", "terminated by signal", "could not open relation"] {
        assert!(!site.cluster.log_contains(sign), "{sign} in the log");
    }
}

/// Changes them, and looks at every index after each change, until then.
fn change_indexes(db: &Db, end: Instant, failed: &AtomicBool) -> usize {
    let mut statements = 0;
    for sql in DDL.iter().cycle() {
        // All of them at least once, and not in the middle of what belongs together.
        if failed.load(Ordering::Relaxed) || (Instant::now() > end && statements % DDL.len() == 0 && statements > 0) {
            break;
        }
        change(db, sql, failed);
        statements += 1;
    }
    statements
}

fn change(db: &Db, sql: &str, failed: &AtomicBool) {
    let _alarm = Alarm(failed);
    for sql in [sql, CHECK] {
        if let Err(error) = db.try_rows(sql) {
            panic!("{}\nin: {sql}", describe(&error));
        }
    }
}

/// Ends the others when one has failed.
struct Alarm<'a>(&'a AtomicBool);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}
