//! Triggers of a DBA's on our tables that return NULL: Postgres then leaves out the row without an error. Nothing is lost by it, and
//! nothing is sent again and again; what stops is said.

use std::time::Duration;

use support::{Cluster, Match, Reply, sqlstate};

use crate::site::{SOON, Site};

fn site(name: &str) -> Site {
    let site = Site::with(Cluster::builder(name).conf("target_profile.poll_interval", "1s"));
    site.db.batch(
        "create function keep_out() returns trigger language plpgsql as $$ begin return null; end $$;
         create table customers (id text primary key, tier text);
         select target_profile.watch('customers', 'acme', 'mbox3rdPartyId', 'id', array['tier'])",
    );
    site
}

/// For everybody, or for the worker too.
fn suppress(site: &Site, event: &str, table: &str, enabled: &str) {
    site.db.batch(&format!(
        "create trigger suppress before {event} on target_profile.{table} for each row execute function keep_out();
         alter table target_profile.{table} enable {enabled} trigger suppress"
    ));
}

fn allow(site: &Site, table: &str) {
    site.db
        .batch(&format!("drop trigger suppress on target_profile.{table}"));
}

fn wait_told(site: &Site, statement: &str, table: &str) {
    site.wait_until(&format!(
        "select last_error like '%{statement} target\\_profile.{table} left out rows%' from target_profile.worker"
    ));
}

#[test]
fn an_entry_that_is_kept_out_of_the_outbox_is_an_error_or_a_dead_letter() {
    let site = site("suppressed-entry");
    suppress(&site, "insert", "outbox", "");
    let direct = "select target_profile_update('acme', 'mbox3rdPartyId', 'direct', '{\"a\": 1}')";
    let error = site.db.try_batch(direct).unwrap_err();
    assert_eq!(sqlstate(&error), "55000", "{error:?}");
    site.db
        .batch("insert into customers values ('1', 'gold'), ('2', 'silver')");
    // At the commit, too.
    site.db
        .batch("begin; savepoint s; insert into customers values ('3', 'gold'); release s; commit");
    assert_eq!(
        site.db.text(
            "select string_agg(profile_id, ' ' order by profile_id) from target_profile.dead_letter
             where reason like '%left out rows%'"
        ),
        "1 2 3"
    );
    let retry = "select target_profile.retry(min(id)) from target_profile.dead_letter";
    let error = site.db.try_batch(retry).unwrap_err();
    assert_eq!(sqlstate(&error), "55000", "{error:?}");
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 3);
    allow(&site, "outbox");
    site.db.batch("select target_profile.retry_all('acme')");
    site.wait_drained();
    assert_eq!(site.sent_value("3", "tier").as_deref(), Some("gold"));
}

#[test]
fn some_rows_that_are_kept_out_are_written_once_all_the_same() {
    let site = site("suppressed-some");
    site.db.batch(
        "create or replace function keep_out() returns trigger language plpgsql as
         $$ begin if new.profile_id = '2' then return null; end if; return new; end $$",
    );
    suppress(&site, "insert", "outbox", "");
    site.db
        .batch("insert into customers values ('1', 'gold'), ('2', 'silver'), ('3', 'gold')");
    assert_eq!(
        site.count("select count(*) from target_profile.dead_letter d join target_profile.outbox o using (id)"),
        0
    );
    assert_eq!(
        site.count("select count(*) from target_profile.dead_letter where profile_id = '2'"),
        1
    );
}

#[test]
fn a_dead_letter_that_is_kept_out_is_counted_and_its_client_is_not_removed() {
    let site = site("suppressed-letter");
    suppress(&site, "insert", "dead_letter", "");
    site.db
        .batch("insert into customers values ('not valid' || repeat('x', 300), 'gold')");
    site.wait_until(
        "select last_error like '1 updates of watched tables were lost%left out rows%' from target_profile.worker",
    );
    site.mock.on(Match::any()).respond(Reply::status(503));
    site.update("waits", r#"{"a": 1}"#);
    let remove = "select target_profile.remove_client('acme', dead_letter_waiting => true)";
    let error = site.db.try_batch(remove).unwrap_err();
    assert_eq!(sqlstate(&error), "55000", "{error:?}");
    assert_eq!(site.count("select count(*) from target_profile.outbox"), 1);
}

#[test]
fn an_entry_that_cannot_be_deleted_is_not_sent_again_and_again() {
    let site = site("suppressed-delete");
    suppress(&site, "delete", "outbox", "always");
    site.update("stays", r#"{"a": 1}"#);
    wait_told(&site, "DELETE from", "outbox");
    // Several polls.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(site.mock.requests().len(), 1);
    allow(&site, "outbox");
    site.wait_drained();
    assert_eq!(site.mock.requests().len(), 1);
    site.wait_until("select last_error is null from target_profile.worker");
}

#[test]
fn an_entry_that_cannot_be_changed_keeps_its_attempts_in_memory() {
    let site = site("suppressed-update");
    suppress(&site, "update", "outbox", "always");
    site.mock.on(Match::id("again").and_nth(1)).respond(Reply::status(500));
    site.update("again", r#"{"a": 1}"#);
    wait_told(&site, "UPDATE of", "outbox");
    allow(&site, "outbox");
    site.wait_drained();
    assert_eq!(site.mock.requests().len(), 2);
}

#[test]
fn what_cannot_be_recorded_is_neither_lost_nor_sent() {
    let site = site("suppressed-records");
    site.mock.on(Match::id("bad")).respond(Reply::status(400));
    suppress(&site, "insert", "dead_letter", "always");
    site.update("bad", r#"{"a": 1}"#);
    wait_told(&site, "INSERT into", "dead_letter");
    assert_eq!(site.count("select count(*) from target_profile.outbox"), 1);
    allow(&site, "dead_letter");
    site.wait_until("select count(*) = 1 from target_profile.dead_letter");
    // A response goes where it can be kept.
    suppress(&site, "insert", "response", "always");
    let id = site.update("kept", r#"{"a": 1}"#);
    site.wait_drained();
    wait_told(&site, "INSERT into", "response");
    assert_eq!(
        site.db.text(&format!("select state from target_profile.result({id})")),
        "accepted"
    );
    allow(&site, "response");
    // What is not charged is not sent.
    restart(&site);
    suppress(&site, "insert", "activity", "always");
    site.update("free", r#"{"a": 1}"#);
    wait_told(&site, "INSERT into", "activity");
    assert_eq!(site.sent_value("free", "a"), None);
    allow(&site, "activity");
    site.wait_drained();
}

/// What is reserved of the quota is given up.
fn restart(site: &Site) {
    site.db.batch(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity where backend_type = 'target_profile worker'",
    );
    site.cluster.wait_backend(crate::site::WORKER, SOON);
    site.db.batch("delete from target_profile.activity");
}
