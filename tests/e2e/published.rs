//! Tables of the extension in a publication or a subscription: it is said, and what another server sends is not sent again.

use support::{Cluster, Match, Mode, Reply, wait};

use crate::site::{SOON, Site};

fn site(name: &str) -> Site {
    Site::with(
        Cluster::builder(name)
            .conf("wal_level", "logical")
            .conf("target_profile.poll_interval", "1 s"),
    )
}

fn last_error_is(site: &Site, expected: Option<&str>) {
    match expected {
        Some(text) => site.wait_until(&format!(
            "select coalesce(last_error = '{text}', false) from target_profile.worker where database = current_database()"
        )),
        None => {
            site.wait_until("select last_error is null from target_profile.worker where database = current_database()");
        }
    }
}

#[test]
fn a_publication_of_our_tables_is_told_of_once() {
    let site = site("published");
    site.db.batch("create table crm (id integer)");
    site.update("first", r#"{"a": 1}"#);
    site.wait_drained();
    let day = site
        .db
        .text("select inhrelid::regclass from pg_inherits where inhparent = 'target_profile.response'::regclass");
    let version = site.count("select current_setting('server_version_num')::bigint");
    let mut cases = vec![
        ("all tables".to_owned(), "binding, client, outbox, response"),
        ("table target_profile.outbox, crm".to_owned(), "outbox"),
        (format!("table {day}"), "response"),
    ];
    if version >= 150_000 {
        cases.push((
            "tables in schema target_profile".to_owned(),
            "binding, client, outbox, response",
        ));
    }
    let warning = "tables of target_profile are published: publication \"p\" has";
    for (what, tables) in cases {
        let mark = site.cluster.log_mark();
        site.db.batch(&format!("create publication p for {what}"));
        last_error_is(&site, Some(&format!("{warning} {tables}")));
        // It goes on sending, and looks several times.
        site.update("again", r#"{"a": 1}"#);
        site.wait_drained();
        site.db.batch("select pg_sleep(2.5)");
        let log = site.cluster.log_since(mark);
        assert_eq!(
            log.matches(&format!("WARNING:  target_profile: {warning}")).count(),
            1,
            "{log}"
        );
        site.db.batch("drop publication p");
        last_error_is(&site, None);
    }
    let mark = site.cluster.log_mark();
    site.db
        .batch("create publication p for table crm, target_profile.dead_letter");
    site.db.batch("select pg_sleep(1.5)");
    assert!(!site.cluster.log_since(mark).contains("published"));
}

/// PostgreSQL refuses to delete from a published table that has neither a key nor another replica identity.
#[test]
fn whatever_is_published_dead_letters_are_overtaken_and_forgotten() {
    let site = site("published_letters");
    site.db.batch("create publication p for all tables");
    for name in ["a", "b"] {
        let rule = site.mock.on(Match::id("p")).respond(Reply::failure("no"));
        site.update("p", &format!(r#"{{"{name}": 1, "kept": 1}}"#));
        site.wait_drained();
        site.mock.remove_rule(rule);
        // Newer letters each time: what was noted before is replaced.
        for _ in 0..2 {
            site.update("p", r#"{"a": 2, "b": 2}"#);
            site.wait_drained();
        }
    }
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 2);
    assert_eq!(site.count("select count(*) from target_profile.superseded"), 2);
    site.db.batch("insert into target_profile.overtaken values (-1, 'a')");
    site.db.batch("delete from target_profile.dead_letter");
    site.cluster.restart(Mode::Fast);
    let db = site.cluster.db();
    wait::until("nothing is kept", SOON, || {
        let is_empty: bool = db.value(
            "select not exists (select from target_profile.superseded) and not exists (select from target_profile.overtaken)",
            &[],
        );
        is_empty.then_some(())
    });
}

#[test]
fn entries_that_arrive_by_replication_are_not_sent_again() {
    let site = site("subscribed");
    // The subscriber has a client of its own, and entries.
    let publisher = site.cluster.create_db("publisher");
    publisher.batch("create extension target_profile");
    publisher.query(
        "select target_profile.add_client('acme', endpoint => $1, auth_token => 'secret')",
        &[&site.mock.endpoint()],
    );
    publisher.batch(
        "select target_profile.pause('acme');
         select target_profile_update('acme', 'mbox3rdPartyId', 'theirs' || n, '{\"a\": 1}') from generate_series(1, 5) n;
         create publication ours for table target_profile.outbox",
    );
    publisher.batch("select pg_create_logical_replication_slot('ours', 'pgoutput')");
    site.db.batch("select setval('target_profile.outbox_id_seq', 1000)");
    let source = site.cluster.conninfo("publisher", "postgres").replace('\'', "''");
    site.db.batch(&format!(
        "create subscription theirs connection '{source}' publication ours with (create_slot = false, slot_name = ours)"
    ));
    site.wait_until("select count(*) = 5 from target_profile.outbox");
    site.wait_until("select bool_and(srsubstate = 'r') from pg_subscription_rel");
    last_error_is(
        &site,
        Some("nothing is sent, since entries of another server arrive here: subscription \"theirs\" has outbox"),
    );
    site.update("own", r#"{"a": 1}"#);
    site.db.batch("select pg_sleep(2.5)");
    assert_eq!(site.mock.request_count(), 0);
    assert_eq!(site.count("select count(*) from target_profile.outbox"), 6);
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 0);
    // Theirs are sent by the publisher alone, and go here when they have gone there.
    publisher.batch("select target_profile.resume('acme')");
    site.cluster.wait_sql(
        &publisher,
        "select not exists (select from target_profile.outbox)",
        SOON,
    );
    site.wait_until("select count(*) = 1 from target_profile.outbox");
    assert_eq!(site.mock.request_count(), 5);
    site.db.batch("alter subscription theirs disable");
    site.db.batch("alter subscription theirs set (slot_name = none)");
    site.db.batch("drop subscription theirs");
    site.wait_drained();
    last_error_is(&site, None);
    assert_eq!(site.mock.request_count(), 6);
}
