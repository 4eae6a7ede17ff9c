//! Rows of the outbox that others write, change, move or delete, while they wait and while they are under way.

use std::time::{Duration, Instant};

use support::{Cluster, Match, Mode, Reply};

use crate::site::{SOON, Site};

/// The poll comes once, when the worker starts, or when a test asks for it by a reload.
fn without_polls(name: &str) -> Site {
    Site::with(Cluster::builder(name).conf("target_profile.poll_interval", "10min"))
}

fn values(site: &Site, id: &str, name: &str) -> Vec<String> {
    site.mock.value_history("acme", "mbox3rdPartyId", id, name)
}

/// Runs `change` while the update of this profile is under way; the outbox id.
fn under_way(site: &Site, id: &str, change: impl FnOnce(i64)) -> i64 {
    let gate = site
        .mock
        .on(Match::id(id))
        .once()
        .respond(Reply::ordinary().after_release());
    let entry = site.update(id, r#"{"v": "old"}"#);
    site.mock.wait_hung(1, SOON);
    change(entry);
    site.mock.remove_rule(gate);
    site.mock.release_hung();
    entry
}

#[test]
fn an_entry_that_is_changed_under_way_is_sent_as_it_is_now() {
    let site = without_polls("changed");
    under_way(&site, "attrs", |entry| {
        site.db.query(
            "update target_profile.outbox set attrs = '{\"v\": \"new\"}' where id = $1",
            &[&entry],
        );
    });
    site.wait_drained();
    assert_eq!(values(&site, "attrs", "v"), ["old", "new"]);

    // What says nothing new is not sent again.
    under_way(&site, "priority", |entry| {
        site.db.query(
            "update target_profile.outbox set priority = 5, source = 'x' where id = $1",
            &[&entry],
        );
    });
    site.wait_drained();
    assert_eq!(values(&site, "priority", "v"), ["old"]);

    let before = site.mock.request_count();
    under_way(&site, "deleted", |entry| {
        site.db
            .query("delete from target_profile.outbox where id = $1", &[&entry]);
    });
    under_way(&site, "truncated", |_| site.db.batch("truncate target_profile.outbox"));
    site.wait_until("select count(*) = 2 from target_profile.response where profile_id in ('deleted', 'truncated')");
    assert_eq!(site.mock.request_count() - before, 2);
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 0);
    site.wait_until("select last_error_at is null from target_profile.worker");
}

#[test]
fn an_entry_that_is_changed_under_way_is_not_held_answerable() {
    let site = without_polls("changed_failed");
    // What was rejected is not what the row says now.
    let id = "rejected";
    let gate = site
        .mock
        .on(Match::id(id))
        .once()
        .respond(Reply::failure("Invalid").after_release());
    let entry = site.update(id, r#"{"v": "bad"}"#);
    site.mock.wait_hung(1, SOON);
    site.db.query(
        "update target_profile.outbox set attrs = '{\"v\": \"good\"}' where id = $1",
        &[&entry],
    );
    site.mock.remove_rule(gate);
    site.mock.release_hung();
    site.wait_drained();
    assert_eq!(values(&site, id, "v"), ["good"]);
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 0);
}

#[test]
fn an_entry_that_is_given_to_another_under_way_is_sent_there() {
    let site = without_polls("moved");
    site.add_client("other");
    under_way(&site, "mine", |entry| {
        site.db.query(
            "update target_profile.outbox set client_code = 'other' where id = $1",
            &[&entry],
        );
    });
    site.wait_drained();
    assert_eq!(site.mock.requests_of("acme").len(), 1);
    assert_eq!(site.mock.requests_of("other").len(), 1);
    under_way(&site, "him", |entry| {
        site.db.query(
            "update target_profile.outbox set profile_id = 'her' where id = $1",
            &[&entry],
        );
    });
    site.wait_drained();
    assert_eq!(values(&site, "her", "v"), ["old"]);
}

#[test]
fn a_day_dropped_and_indexes_dropped_under_way_stop_nothing() {
    let site = without_polls("dropped");
    site.mock
        .on(Match::any())
        .respond(Reply::ordinary().after(Duration::from_millis(200)));
    site.update("first", r#"{"a": 1}"#);
    site.wait_drained();
    let drained = |what: &str, ddl: &str| {
        for n in 0..10 {
            site.update(&format!("{what}{n}"), r#"{"a": 1}"#);
        }
        site.db.batch(ddl);
        site.update(what, r#"{"a": 1}"#);
        site.wait_drained();
        assert!(site.sent_value(what, "a").is_some(), "{what}");
    };
    drained(
        "day",
        "do $$ begin execute format('drop table target_profile.response_%s', to_char(now() at time zone 'utc', 'YYYYMMDD')); end $$",
    );
    drained("ledger", "truncate target_profile.activity");
    drained(
        "no index",
        "drop index target_profile.outbox_profile, target_profile.outbox_lane",
    );
    drained(
        "column",
        "alter table target_profile.outbox add column extra text default 'x'",
    );
    drained("column gone", "alter table target_profile.outbox drop column extra");
    drained("unlogged", "alter table target_profile.outbox set unlogged");
    drained("logged", "alter table target_profile.outbox set logged");
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 0);
}

/// What `pg_repack` does: the rows are copied into a new heap with ids of transactions of its own, what is deleted meanwhile is
/// deleted there, and under a lock the heaps change places. Whoever took a snapshot before he waited for that lock sees the copies.
#[test]
fn a_heap_that_is_exchanged_beneath_the_worker_sends_nothing_twice() {
    let site = without_polls("repacked");
    let swapper = site.cluster.db();
    for round in 0..5 {
        let gate = site.mock.on(Match::any()).respond(Reply::ordinary().after_release());
        site.update(&format!("settled{round}"), r#"{"a": 1}"#);
        site.mock.wait_hung(1, SOON);
        swapper.batch(
            "create table target_profile.copy (like target_profile.outbox including all);
             insert into target_profile.copy select * from target_profile.outbox",
        );
        site.mock.remove_rule(gate);
        site.mock.release_hung();
        site.wait_until("select not exists (select from target_profile.outbox)");
        // The worker takes its snapshot, and waits for this lock.
        swapper.batch("begin; lock table target_profile.outbox in access exclusive mode");
        site.db.batch("select target_profile._wake_for_all()");
        site.wait_until(
            "select exists (select from pg_stat_activity where backend_type = 'target_profile worker' and wait_event = 'relation')",
        );
        site.db.batch("delete from target_profile.copy");
        swapper.batch(
            "do $$
             declare
                 mine oid := 'target_profile.outbox'::regclass;
                 copied oid := 'target_profile.copy'::regclass;
                 files oid[];
             begin
                 select array_agg(c.relfilenode order by c.oid = copied) into files
                 from pg_class c where c.oid in (mine, copied);
                 update pg_class set relfilenode = files[2] where oid = mine;
                 update pg_class set relfilenode = files[1] where oid = copied;
                 -- The indexes in the order of their columns; the ids are few.
                 update pg_class c set relfilenode = o.relfilenode
                 from (
                     select a.indexrelid as index, b.indexrelid as other
                     from pg_index a join pg_index b on b.indkey::text = a.indkey::text and (b.indpred is null) = (a.indpred is null)
                     where a.indrelid = mine and b.indrelid = copied
                     union all
                     select b.indexrelid, a.indexrelid
                     from pg_index a join pg_index b on b.indkey::text = a.indkey::text and (b.indpred is null) = (a.indpred is null)
                     where a.indrelid = mine and b.indrelid = copied
                 ) pair
                 join pg_class o on o.oid = pair.other
                 where c.oid = pair.index;
             end $$;
             commit",
        );
        site.update(&format!("next{round}"), r#"{"a": 1}"#);
        site.wait_drained();
        swapper.batch("drop table target_profile.copy");
        for id in ["settled", "next"] {
            let id = format!("{id}{round}");
            let sent = site
                .mock
                .requests()
                .iter()
                .filter(|r| r.id.as_deref() == Some(&id))
                .count();
            assert_eq!(sent, 1, "{id}");
        }
    }
}

#[test]
fn the_ledger_is_read_after_a_table_that_is_built_anew() {
    // A rewrite by ALTER TABLE shows an old snapshot no rows at all.
    let site = Site::with(Cluster::builder("rewritten").conf("target_profile.poll_interval", "1s"));
    site.db
        .batch("select target_profile.set_client('acme', daily_quota => 3)");
    for n in 0..3 {
        site.update(&format!("p{n}"), r#"{"a": 1}"#);
        site.wait_drained();
    }
    site.update("p3", r#"{"a": 1}"#);
    site.wait_until("select state = 'quota' from target_profile.status");
    let admin = site.cluster.db();
    // A default that differs from row to row: each is written anew.
    admin.batch("begin; alter table target_profile.activity add column added timestamptz default clock_timestamp()");
    // A poll reads the ledgers of those that wait for their quota.
    site.wait_until(
        "select exists (select from pg_stat_activity where backend_type = 'target_profile worker' and wait_event = 'relation')",
    );
    admin.batch("commit");
    site.mock.wait_quiet(Duration::from_secs(3), SOON);
    assert_eq!(site.mock.request_count(), 3, "the quota holds");
}

/// From the call to the request.
fn latency(site: &Site, id: &str) -> Duration {
    let started = Instant::now();
    site.update(id, r#"{"v": 1}"#);
    site.mock.wait_value("acme", "mbox3rdPartyId", id, "v", "1", SOON);
    started.elapsed()
}

#[test]
fn an_id_beyond_the_sequence_makes_nobody_wait_for_the_poll() {
    let site = without_polls("beyond");
    assert!(latency(&site, "before") < Duration::from_secs(5));
    let ids = [
        1_000_000,
        i64::MAX,
        i64::MAX - 1,
        i64::MIN,
        i64::MIN + 1,
        -1,
        0,
        1_000_001,
    ];
    for id in ids {
        site.db.query(
            "insert into target_profile.outbox (id, client_code, id_kind, profile_id, attrs)
             values ($1, 'acme', 'mbox3rdPartyId', 'hand' || $1::bigint::text, '{\"v\": \"1\"}')",
            &[&id],
        );
    }
    // By a poll, as what comes by hand or by replication.
    site.db.batch("select pg_reload_conf()");
    for id in ids {
        site.mock
            .wait_value("acme", "mbox3rdPartyId", &format!("hand{id}"), "v", "1", SOON);
    }
    site.wait_drained();
    for n in 0..5 {
        let took = latency(&site, &format!("after{n}"));
        assert!(took < Duration::from_secs(5), "{took:?} until it was sent");
    }
    site.wait_drained();
    assert_eq!(site.mock.request_count(), 6 + ids.len() as u64);
    // After a restart they are found where they are, and nobody waits behind those that must wait.
    site.db.batch(
        "select target_profile.pause('acme');
         alter table target_profile.outbox drop constraint times_are_finite",
    );
    for id in ids {
        site.db.query(
            "insert into target_profile.outbox (id, client_code, id_kind, profile_id, attrs, next_attempt_at)
             values ($1, 'acme', 'mbox3rdPartyId', 'again' || $1::bigint::text, '{\"v\": \"1\"}', 'infinity')",
            &[&id],
        );
    }
    let mut site = site;
    site.db = {
        site.cluster.restart(Mode::Fast);
        site.cluster.db()
    };
    site.db.batch("select target_profile.resume('acme')");
    for n in 0..5 {
        let took = latency(&site, &format!("last{n}"));
        assert!(took < Duration::from_secs(10), "{took:?} until it was sent");
    }
    site.wait_until("select not exists (select from target_profile.outbox where profile_id like 'last%')");
    assert_eq!(
        site.count("select count(*) from target_profile.outbox"),
        ids.len() as i64
    );
}

#[test]
fn a_sequence_that_is_set_back_makes_nobody_wait_for_the_poll() {
    let site = without_polls("set_back");
    for n in 0..20 {
        site.update(&format!("p{n}"), r#"{"v": 1}"#);
    }
    site.wait_drained();
    site.db
        .batch("truncate target_profile.outbox; select setval('target_profile.outbox_id_seq', 1, false)");
    for n in 0..5 {
        let took = latency(&site, &format!("low{n}"));
        assert!(took < Duration::from_secs(5), "{took:?} until it was sent");
    }
    site.wait_drained();
    site.db.batch("select setval('target_profile.outbox_id_seq', 5000000)");
    assert!(latency(&site, "high") < Duration::from_secs(5));
    site.db.batch("select setval('target_profile.outbox_id_seq', 100)");
    for n in 0..5 {
        let took = latency(&site, &format!("lower{n}"));
        assert!(took < Duration::from_secs(5), "{took:?} until it was sent");
    }
    site.wait_drained();
}

/// Whatever a row holds that the table takes once its constraints are dropped: it is sent or buried, and the next one goes at once.
#[test]
fn odd_rows_are_sent_or_buried_and_cost_nobody_anything() {
    let site = without_polls("odd");
    site.db.batch(
        "do $$ begin execute (
             select format('alter table target_profile.outbox %s', string_agg(format('drop constraint %I', conname), ', '))
             from pg_constraint where conrelid = 'target_profile.outbox'::regclass and contype = 'c');
         end $$",
    );
    site.add_client("other");
    let odd = [
        "attempts => -2147483648",
        "attempts => 2147483647",
        "enqueued_at => 'infinity'",
        "enqueued_at => '-infinity'",
        "enqueued_at => '294276-01-01'",
        "next_attempt_at => '-infinity'",
        "priority => -32768",
        "priority => 32767",
        "retried_at => 'infinity'",
        "retried_at => '-infinity'",
        "attrs => '[]'",
        "attrs => '\"x\"'",
        "attrs => 'null'",
        "attrs => '{}'",
        "attrs => '{\"a\": 1}'",
        "attrs => '{\"a\": {\"b\": null}}'",
        "profile_id => e'a\\nb'",
        "profile_id => ''",
        "profile_id => repeat('x', 2000)",
        "id_kind => 'garbage'",
        "id_kind => ''",
        "id_kind => 'tntId'",
        "client_code => ''",
        "client_code => 'Nobody''s'",
        "last_outcome => 'x'",
    ];
    site.db.batch("select target_profile.pause('acme')");
    for (n, change) in odd.iter().enumerate() {
        let (column, value) = change.split_once(" => ").unwrap();
        let base = format!("p{n}");
        let row = [
            ("client_code", "'acme'".to_owned()),
            ("id_kind", "'mbox3rdPartyId'".to_owned()),
            ("profile_id", format!("'{base}'")),
            ("attrs", "'{\"a\": \"1\"}'".to_owned()),
        ];
        let mut names: Vec<&str> = vec![column];
        let mut list = vec![value.to_owned()];
        for (name, ordinary) in row {
            if name != column {
                names.push(name);
                list.push(ordinary);
            }
        }
        site.db.batch(&format!(
            "insert into target_profile.outbox ({}) values ({})",
            names.join(", "),
            list.join(", ")
        ));
    }
    assert_eq!(
        site.count("select count(*) from target_profile.status where oldest_age is not null or backlog > 0"),
        1
    );
    site.db
        .batch("select target_profile.resume('acme'); select pg_reload_conf()");
    let started = Instant::now();
    for n in 0..5 {
        site.db.query(
            "select target_profile_update('other', 'mbox3rdPartyId', $1, '{\"a\": 1}')",
            &[&format!("o{n}")],
        );
    }
    site.mock.wait_for("the other client's updates", SOON, |state| {
        state
            .requests()
            .iter()
            .filter(|r| r.client.as_deref() == Some("other"))
            .count()
            == 5
    });
    assert!(started.elapsed() < Duration::from_secs(10));
    site.wait_drained();
    site.wait_until("select last_error is null from target_profile.worker");
}

#[test]
fn rows_by_hand_in_the_other_tables_stop_nothing() {
    let site = without_polls("hand");
    site.update("first", r#"{"a": 1}"#);
    site.wait_drained();
    // Ids that will be drawn, numbers that are full, minutes and clients that nobody has.
    site.db.batch(
        "insert into target_profile.response
             (id, client_code, id_kind, profile_id, outbox_ids, method, request_bytes, attempt, sent_at, duration, outcome)
         select n, 'acme', 'mbox3rdPartyId', 'x', '{-9223372036854775808}'::bigint[], 'GET', 1, 1, now(), interval '0', 'accepted'
         from generate_series(2, 5) n
         union all
         select 9223372036854775807, 'acme', 'mbox3rdPartyId', 'x', '{0}', 'GET', 1, 1, now(), interval '0', 'accepted';
         update target_profile.activity set sent = 2147483647, accepted = 2147483647, counted_to = 9223372036854775807;
         insert into target_profile.backing_off values ('nobody', 'infinity', '-infinity', '');
         insert into target_profile.overtaken values (9223372036854775807, 'a'), (-9223372036854775808, 'b');
         insert into target_profile.superseded values ('acme', 'mbox3rdPartyId', 'p1', 'a', 9223372036854775807),
             ('', '', '', '', -9223372036854775808);
         alter table target_profile.dead_letter drop constraint attempts_are_counted;
         insert into target_profile.dead_letter (id, priority, source, enqueued_at, attempts, reason)
         values (9223372036854775807, 1, '', 'infinity', -1, ''), (-9223372036854775808, 1, '', '-infinity', 1, '')",
    );
    for n in 0..5 {
        site.update(&format!("p{n}"), r#"{"a": 1}"#);
        site.wait_drained();
    }
    for n in 0..5 {
        let id: i64 = site.db.value(
            "select count(*) from target_profile.response where profile_id = $1",
            &[&format!("p{n}")],
        );
        assert_eq!(id, 1, "p{n} is recorded");
    }
    site.db.batch("select pg_reload_conf()");
    site.update("last", r#"{"a": 1}"#);
    site.wait_drained();
    site.wait_until("select last_error is null from target_profile.worker");
}
