//! Watched tables end to end: real rows, many rows, and crashes.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use support::mock_target::Recording;
use support::{Cluster, Mode, bank};

use crate::site::{SOON, Site};

/// So many contacts of the bank: enough for every value of every column.
const CONTACTS: usize = 12_000;

#[test]
fn the_bank_table_gives_the_same_profiles_by_watch_and_by_hand() {
    bank_by_watch_and_by_hand(Some(CONTACTS));
}

#[test]
#[ignore = "takes half a minute: make soak"]
fn the_whole_bank_table_gives_the_same_profiles_by_watch_and_by_hand() {
    bank_by_watch_and_by_hand(None);
}

fn bank_by_watch_and_by_hand(contacts: Option<usize>) {
    if bank::path().is_none() {
        println!("skipped: bank-full.csv is not there; set BANK_CSV to its path");
        return;
    }
    let site = Site::with(Cluster::builder("twice").fsync(false));
    site.add_client("byhand");
    bank::create_table(&site.db);
    site.db.batch(
        "select target_profile.watch('bank', 'acme', 'mbox3rdPartyId', 'customer_id',
             '{job,education,balance,has_loan=loan,housing,y}');
         create trigger to_target after insert or update on bank for each row execute function
         target_profile_trigger('byhand', 'mbox3rdPartyId', 'customer_id', 'job', 'education', 'balance', 'has_loan=loan',
             'housing', 'y')",
    );
    let rows = bank::copy_rows(&site.db, contacts);
    for n in 0..10 {
        let change = format!("update bank set balance = balance + {n}, loan = not loan where customer_id % 30 = {n}");
        site.db.batch(&match n {
            2 | 5 | 8 => format!("begin; {change}; rollback"),
            3 | 7 => format!(
                "begin; {change}; savepoint s; update bank set job = 'never' where customer_id % 30 = {n}; rollback to s; commit"
            ),
            _ => change,
        });
    }
    site.db.batch("update bank set campaign = campaign + 1");
    site.wait_drained();

    let mut expected = BTreeMap::new();
    for row in site.db.query(
        "select customer_id::text, job, education, balance::text, loan::text, housing::text, y::text from bank",
        &[],
    ) {
        let names = ["job", "education", "balance", "has_loan", "housing", "y"];
        let values = names
            .iter()
            .zip(1..)
            .map(|(name, at)| ((*name).to_owned(), row.get(at)));
        expected.insert(row.get::<_, String>(0), values.collect::<BTreeMap<String, String>>());
    }
    assert_eq!(expected.len(), usize::try_from(rows).unwrap());
    for client in ["acme", "byhand"] {
        let profiles: BTreeMap<_, BTreeMap<_, _>> = site
            .mock
            .profiles()
            .into_iter()
            .filter(|(key, _)| key.client == client)
            .map(|(key, attrs)| (key.id, attrs.into_iter().collect()))
            .collect();
        assert_eq!(profiles.len(), expected.len(), "{client}");
        for (id, attrs) in &expected {
            assert_eq!(profiles.get(id), Some(attrs), "{client}: {id}");
        }
    }
    let entries = |client: &str| -> i64 {
        site.db.value(
            "select count(distinct e) from target_profile.response, unnest(outbox_ids) e where client_code = $1",
            &[&client],
        )
    };
    assert_eq!(entries("acme"), entries("byhand"));
}

/// The most memory that a process has had since `reset`, in kB.
fn peak(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the backend lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
        .expect("VmHWM is a number of kB")
}

fn reset_peak(pid: i32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("the backend's peak can be reset");
}

#[test]
fn a_hundred_thousand_rows_at_once_are_all_enqueued_in_bounded_memory_and_take_one_request_each() {
    rows_at_once(100_000);
}

#[test]
#[ignore = "a minute"]
fn a_million_rows_at_once_are_all_enqueued_in_bounded_memory() {
    rows_at_once(1_000_000);
}

fn rows_at_once(rows: i64) {
    let site = Site::with(
        Cluster::builder("bulk")
            .fsync(false)
            .conf("shared_buffers", "16MB")
            .conf("target_profile.enabled", "off"),
    );
    site.mock.record(Recording::Profiles);
    site.db.batch(
        "create table customers (id int primary key, tier text, story text);
         create table others (id int primary key, tier text, story text);
         create function nothing() returns trigger language plpgsql as 'begin return null; end';
         create trigger nothing after update on others for each row execute function nothing();
         select target_profile.watch('customers', 'acme', 'mbox3rdPartyId', 'id', '{tier,story}')",
    );
    for table in ["customers", "others"] {
        site.db.batch(&format!(
            "alter table {table} disable trigger user;
             insert into {table} select n, 'tin', repeat('x', 500) from generate_series(1, {rows}) n;
             alter table {table} enable trigger user"
        ));
    }
    let update = |table: &str| {
        // What a backend has after its first entries is not of the statement.
        site.db
            .batch(&format!("update {table} set tier = 'iron' where id <= 2000"));
        reset_peak(site.db.pid());
        let before = peak(site.db.pid());
        let began = Instant::now();
        site.db.batch(&format!("update {table} set tier = 'gold' || id"));
        (began.elapsed(), peak(site.db.pid()) - before)
    };
    // The server itself notes each row that a trigger is to be called for.
    let (_, of_the_server) = update("others");
    let (took, grown) = update("customers");
    println!("{rows} rows in {took:?}, {grown} kB, with a trigger that does nothing {of_the_server} kB");
    // A megabyte is kept at most. A hundred thousand rows would be 60 MB.
    assert!(
        grown < of_the_server + 12 * 1024,
        "the statement has taken {grown} kB, with a trigger that does nothing {of_the_server} kB"
    );
    assert_eq!(
        site.count("select count(*) from target_profile.outbox where attrs ->> 'tier' = 'gold' || profile_id"),
        rows
    );
    assert_eq!(site.count("select count(*) from target_profile.outbox"), rows + 2000);
    // To send a tenth of them shows as much: some have one entry, some have two.
    site.db
        .batch("delete from target_profile.outbox where profile_id::int > 10000");
    site.cluster.set("target_profile.enabled", "on");
    site.wait_drained();
    assert_eq!(site.mock.request_count(), 10_000);
    for id in [1, 2000, 2001, 10_000] {
        assert_eq!(site.sent_value(&id.to_string(), "tier"), Some(format!("gold{id}")));
    }
}

/// A watched table and one wired by hand, of 20,000 rows each, and no worker that sends.
fn site_to_crash(name: &str) -> Site {
    let site = Site::with(Cluster::builder(name).conf("target_profile.enabled", "off"));
    site.db.batch(
        "create table watched (id text primary key, tier text);
         create table by_hand (id text primary key, tier text);
         insert into watched select 'w' || n from generate_series(1, 20000) n;
         insert into by_hand select 'h' || n from generate_series(1, 20000) n;
         select target_profile.watch('watched', 'acme', 'mbox3rdPartyId', 'id', '{tier}');
         create trigger to_target after insert or update on by_hand for each row
             execute function target_profile_trigger('acme', 'mbox3rdPartyId', 'id', 'tier');
         update watched set tier = 'committed' where id in ('w1', 'w2');
         update by_hand set tier = 'committed' where id in ('h1', 'h2')",
    );
    site
}

/// What was committed is there, in the tables and in the outbox, and arrives; nothing else is.
fn check_crashed(site: &mut Site, committed: &[&str]) {
    let old = &site.db;
    support::wait::until("the end of the old session", SOON, || old.is_closed().then_some(()));
    site.db = support::wait::until("a connection after the crash", SOON, || {
        site.cluster.try_client("postgres", "postgres").ok()
    });
    let there = |sql: &str| -> Vec<String> { site.db.query(sql, &[]).iter().map(|row| row.get(0)).collect() };
    assert_eq!(
        there("select profile_id from target_profile.outbox order by id"),
        committed
    );
    let mut changed = there(
        "select id from (select * from watched union all select * from by_hand) all_rows where tier is not null order by id",
    );
    let mut expected = committed.to_vec();
    changed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(changed, expected);
    site.cluster.set("target_profile.enabled", "on");
    site.wait_drained();
    assert_eq!(site.mock.profiles().len(), committed.len());
    for id in committed {
        assert_eq!(site.sent_value(id, "tier").as_deref(), Some("committed"), "{id}");
    }
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 0);
}

#[test]
fn a_backend_that_is_killed_amid_a_bulk_statement_has_enqueued_nothing_of_it() {
    let mut site = site_to_crash("amid");
    // A trigger behind ours stops both statements when 15,000 rows have gone through ours.
    site.db.batch(
        "create function stop() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock(15); return null; end $$;
         create trigger zz_stop after update on watched for each row when (new.id = 'w15000') execute function stop();
         create trigger zz_stop after update on by_hand for each row when (new.id = 'h15000') execute function stop();
         select pg_advisory_lock(15)",
    );
    let drawn = "select last_value from target_profile.outbox_id_seq";
    let before = site.count(drawn);
    let writers = ["watched", "by_hand"].map(|table| (table, site.cluster.db()));
    std::thread::scope(|scope| {
        let killed = writers[0].1.pid();
        let running: Vec<_> = writers
            .iter()
            .map(|(table, db)| scope.spawn(move || db.try_batch(&format!("update {table} set tier = 'never'"))))
            .collect();
        site.wait_until("select count(*) = 2 from pg_locks where locktype = 'advisory' and not granted");
        let enqueued = site.count(drawn) - before;
        site.cluster.kill9(killed);
        for writer in running {
            assert!(writer.join().expect("it does not panic").is_err());
        }
        assert!(enqueued > 29_000, "{enqueued} rows");
    });
    check_crashed(&mut site, &["w1", "w2", "h1", "h2"]);
}

#[test]
fn what_was_not_committed_when_the_server_stopped_was_not_enqueued_and_what_was_prepared_can_still_be_committed() {
    let mut site = site_to_crash("between");
    // What its statement trigger would have written stays collected, until it is prepared.
    site.db
        .batch("alter table watched disable trigger \"target_profile_acme_mbox3rdPartyId_flush\"");
    site.db
        .batch("begin; update watched set tier = 'committed' where id = 'w3'; prepare transaction 'kept'");
    let open = [("watched", "w5"), ("by_hand", "h5")].map(|(table, from)| {
        let db = site.cluster.db();
        db.batch(&format!("begin; update {table} set tier = 'never' where id > '{from}'"));
        db
    });
    site.cluster.stop(Mode::Immediate);
    drop(open);
    site.cluster.start();
    site.cluster.db().batch("commit prepared 'kept'");
    check_crashed(&mut site, &["w1", "w2", "h1", "h2", "w3"]);
}

#[test]
fn a_dump_and_restore_keeps_the_watch_and_enqueues_nothing() {
    let site = Site::with(
        Cluster::builder("watchdump")
            .fsync(false)
            .conf("target_profile.enabled", "off"),
    );
    site.db.batch(
        "create schema \"C r m\";
         create table \"C r m\".\"Customer\" (\"Id\" text primary key, tier text, balance numeric, active boolean default true);
         insert into \"C r m\".\"Customer\" values ('before', 'tin', 1);
         select target_profile.watch('\"C r m\".\"Customer\"', 'acme', 'mbox3rdPartyId', 'Id', '{tier,balance}',
             \"when\" => 'NEW.active', always => true);
         select target_profile.watch('\"C r m\".\"Customer\"', 'acme', 'mboxPC', 'md5(\"Id\")', '{tier}', send => 'changed');
         insert into \"C r m\".\"Customer\" values ('after', 'gold', 2)",
    );
    let dump = site.cluster.pg_dump(&["postgres"]);
    site.db.batch("create database copy template template0");
    site.cluster.restore("copy", &dump);
    let copy = site.cluster.db_in("copy");
    let outbox = "select string_agg(id || ' ' || profile_id, ', ' order by id) from target_profile.outbox";
    assert_eq!(copy.text(outbox), site.db.text(outbox));
    assert_eq!(copy.text(outbox).split(", ").count(), 2);
    assert_eq!(
        copy.text("select string_agg(state, ', ') from target_profile.watch_state"),
        "ok, ok"
    );
    let triggers =
        "select string_agg(pg_get_triggerdef(oid) || tgenabled::text, E'\\n' order by tgname) from pg_trigger
                    where tgrelid = '\"C r m\".\"Customer\"'::regclass and not tgisinternal";
    assert_eq!(copy.text(triggers), site.db.text(triggers));
    // The same call finds nothing to do.
    let oids = "select array_agg(oid order by oid)::text from pg_trigger where not tgisinternal";
    let before = copy.text(oids);
    copy.batch(
        "select target_profile.watch('\"C r m\".\"Customer\"', 'acme', 'mboxPC', 'md5(\"Id\")', '{tier}', send => 'changed')",
    );
    assert_eq!(copy.text(oids), before);
    copy.batch("update \"C r m\".\"Customer\" set tier = 'iron' where \"Id\" = 'before'");
    assert_eq!(copy.text("select count(*) from target_profile.outbox"), "4");
}
