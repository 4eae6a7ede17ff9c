//! A subscriber of logical replication sends the rows that arrive there, if its triggers are enabled ALWAYS, and only then.

use support::Cluster;

use crate::site::{SOON, Site, skipped};

/// By its poll the worker would find an entry in a day: what is sent sooner was announced by the commit of the process that applies.
const NEVER: &str = "1 d";

/// Publisher and subscriber in one cluster.
fn site(poll_interval: &str) -> (Site, support::Db) {
    let site = Site::with(
        Cluster::builder("replication")
            .conf("wal_level", "logical")
            .conf("target_profile.poll_interval", poll_interval),
    );
    let publisher = site.cluster.create_db("publisher");
    (site, publisher)
}

const TABLES: &str = "
    create table watched (id text primary key, tier text, note text);
    create table by_hand (id text primary key, tier text, note text);
    create table unsent (id text primary key, tier text, note text);";

fn wire(site: &Site) {
    site.db.batch(TABLES);
    site.db.batch(
        "select target_profile.watch('watched', 'acme', 'mbox3rdPartyId', 'id', '{tier}', always => true);
         create trigger to_target after insert or update on by_hand for each row
             execute function target_profile_trigger('acme', 'mbox3rdPartyId', 'id', 'tier');
         alter table by_hand enable always trigger to_target;
         select target_profile.watch('unsent', 'acme', 'mbox3rdPartyId', 'id', '{tier}')",
    );
}

/// Subscribes, and waits until the tables have been copied. The slot is made by hand: in one cluster CREATE SUBSCRIPTION would wait
/// for itself.
fn subscribe(site: &Site, publisher: &support::Db, options: &str) {
    publisher.batch("create publication crm for table watched, by_hand, unsent");
    publisher.query(
        "select pg_create_logical_replication_slot('crm', 'pgoutput', false, $1)",
        &[&options.contains("two_phase")],
    );
    let source = site.cluster.conninfo("publisher", "postgres").replace('\'', "''");
    site.db.batch(&format!(
        "create subscription crm connection '{source}' publication crm with (create_slot = false, slot_name = crm, {options})"
    ));
    site.wait_until("select bool_and(srsubstate = 'r') from pg_subscription_rel");
}

fn values(site: &Site, ids: &[&str]) -> Vec<Option<String>> {
    ids.iter().map(|id| site.sent_value(id, "tier")).collect()
}

fn gold(count: usize) -> Vec<Option<String>> {
    vec![Some("gold".to_owned()); count]
}

#[test]
fn rows_that_are_replicated_are_sent_by_triggers_that_are_enabled_always() {
    let (site, publisher) = site(NEVER);
    publisher.batch(TABLES);
    wire(&site);
    subscribe(&site, &publisher, "copy_data = false");
    // Several rows in a transaction, some of them twice; what is rolled back is not replicated.
    publisher.batch(
        "begin;
         insert into watched select 'w' || n, 'tin' from generate_series(1, 50) n;
         insert into by_hand select 'h' || n, 'tin' from generate_series(1, 50) n;
         insert into unsent values ('u', 'gold');
         savepoint s; update watched set tier = 'never'; rollback to s;
         update watched set tier = 'gold'; update by_hand set tier = 'gold';
         commit",
    );
    let ids: Vec<String> = (1..=50).flat_map(|n| [format!("w{n}"), format!("h{n}")]).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    support::wait::until("the replicated rows to be sent", SOON, || {
        (values(&site, &ids) == gold(100)).then_some(())
    });
    site.wait_drained();
    assert_eq!(
        site.count("select count(distinct e) from target_profile.response, unnest(outbox_ids) e"),
        200,
        "an entry for each INSERT and for each UPDATE of a row"
    );
    let sent = site.mock.request_count();
    // An UPDATE of nothing watched, DELETE and TRUNCATE send nothing; the row after them is the proof that they have arrived.
    publisher.batch(
        "update watched set note = 'x'; update by_hand set note = 'x'; delete from by_hand; truncate watched;
         insert into watched values ('last', 'gold')",
    );
    support::wait::until("the last row to be sent", SOON, || site.sent_value("last", "tier"));
    site.wait_drained();
    assert_eq!(site.mock.request_count(), sent + 1);
    assert_eq!(site.count("select count(*) from unsent"), 1);
    assert_eq!(site.sent_value("u", "tier"), None, "sent without ENABLE ALWAYS");
    assert_eq!(site.count("select count(*) from watched"), 1);
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 0);
}

#[test]
fn rows_that_the_first_copy_brings_are_sent_as_well() {
    let (site, publisher) = site(NEVER);
    publisher.batch(TABLES);
    publisher.batch(
        "insert into watched values ('w', 'gold', null); insert into by_hand values ('h', 'gold', null);
         insert into unsent values ('u', 'gold', null)",
    );
    wire(&site);
    subscribe(&site, &publisher, "copy_data = true");
    support::wait::until("the copied rows to be sent", SOON, || {
        (values(&site, &["w", "h"]) == gold(2)).then_some(())
    });
    site.wait_drained();
    assert_eq!(site.mock.request_count(), 2);
    assert_eq!(site.count("select count(*) from unsent"), 1);
}

#[test]
fn a_prepared_transaction_is_sent_when_it_has_been_committed_there() {
    // Nobody announces COMMIT PREPARED: the poll finds it.
    let (site, publisher) = site("1 s");
    if site.count("select current_setting('server_version_num')::bigint") < 150_000 {
        skipped(
            "a_prepared_transaction_is_sent_when_it_has_been_committed_there",
            "no subscription has two_phase before PostgreSQL 15",
        );
        return;
    }
    publisher.batch(TABLES);
    wire(&site);
    subscribe(&site, &publisher, "copy_data = false, two_phase = true");
    publisher.batch(
        "begin; insert into watched values ('w', 'gold', null); insert into by_hand values ('h', 'gold', null);
         prepare transaction 'crm'",
    );
    site.wait_until("select exists (select from pg_prepared_xacts where database = 'postgres')");
    assert_eq!(site.count("select count(*) from target_profile.outbox"), 0);
    publisher.batch("commit prepared 'crm'");
    support::wait::until("the rows to be sent", SOON, || {
        (values(&site, &["w", "h"]) == gold(2)).then_some(())
    });
}
