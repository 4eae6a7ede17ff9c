//! Old records go in small steps, many days are no burden, and a day that is not as it was made stops nothing.

use std::time::Duration;

use support::Cluster;

use crate::site::Site;

/// A server with few locks: all partitions at once would need more.
fn with_few_locks(name: &str) -> Site {
    Site::with(
        Cluster::builder(name)
            .conf("max_locks_per_transaction", "10")
            .conf("max_connections", "20")
            .conf("target_profile.poll_interval", "1s"),
    )
}

fn make_days(site: &Site, first: &str, count: i32) {
    for from in (0..count).step_by(20) {
        site.db.query(
            &format!(
                "select target_profile._ensure_response_partition(date '{first}' + n) from generate_series($1::int, least($1 + 19, $2::int - 1)) n"
            ),
            &[&from, &count],
        );
    }
}

fn days(site: &Site) -> i64 {
    site.count("select count(*) from pg_inherits where inhparent = 'target_profile.response'::regclass")
}

fn start_another_worker(site: &Site) {
    site.db
        .batch("select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'target_profile worker'");
}

const TODAY: &str = "('target_profile.response_' || to_char(now() at time zone 'utc', 'YYYYMMDD'))";

#[test]
fn many_old_days_go_and_what_became_of_an_entry_is_found_beside_them() {
    let site = with_few_locks("many_days");
    site.cluster.set("target_profile.response_retention", "3650d");
    let id = site.update("first", r#"{"a": 1}"#);
    site.wait_drained();
    make_days(&site, "2018-01-01", 400);
    let all = days(&site);
    assert!(all > 400);
    let found = |id: i64| {
        let rows = site
            .db
            .query("select state, response_id from target_profile.result($1)", &[&id]);
        rows.first().map(|row| row.get::<_, String>(0))
    };
    assert_eq!(found(id).as_deref(), Some("accepted"));
    assert_eq!(found(id + 1_000), None, "no such entry");
    let second = site.update("second", r#"{"a": 1}"#);
    assert_eq!(
        site.db
            .value::<String>("select state from target_profile.wait($1, '30 s')", &[&second]),
        "accepted"
    );
    // One that is long ago.
    site.db.batch(
        "insert into target_profile.response
             (client_code, id_kind, profile_id, outbox_ids, method, request_bytes, attempt, sent_at, duration, outcome)
         values ('acme', 'mboxPC', 'x', '{77777}', 'GET', 1, 1, '2018-01-02 12:00Z', '0', 'accepted'),
             ('acme', 'mboxPC', 'x', '{77778, 77779}', 'GET', 1, 1, '2018-01-03 12:00Z', '0', 'accepted')",
    );
    assert_eq!(found(77_777).as_deref(), Some("accepted"));
    assert_eq!(found(77_779).as_deref(), Some("accepted"));
    // A worker that starts beside them.
    start_another_worker(&site);
    site.update("third", r#"{"a": 1}"#);
    site.wait_drained();

    // One of them must stay.
    site.db
        .batch("create view kept as select * from target_profile.response_20180201");
    site.cluster.set("target_profile.response_retention", "30d");
    site.wait_until("select count(*) = 2 from pg_inherits where inhparent = 'target_profile.response'::regclass");
    site.wait_until("select last_error like '%response_20180201%' from target_profile.worker");
    site.update("fourth", r#"{"a": 1}"#);
    site.wait_drained();
    site.db.batch("drop view kept");
    site.wait_until("select to_regclass('target_profile.response_20180201') is null");
    assert_eq!(days(&site), 1);
    site.wait_until("select last_error is null from target_profile.worker");
    assert!(!site.cluster.log_contains("out of shared memory"));
}

#[test]
fn somebody_who_reads_an_old_day_does_not_stop_the_sending() {
    let site = with_few_locks("read_day");
    site.update("first", r#"{"a": 1}"#);
    site.wait_drained();
    make_days(&site, "2018-01-01", 10);
    let reader = site.cluster.db();
    reader.batch("begin; select count(*) from target_profile.response_20180105");
    site.db.batch("select pg_reload_conf()");
    for n in 0..5 {
        let id = site.update(&format!("p{n}"), r#"{"a": 1}"#);
        site.cluster.wait_sql(
            &site.db,
            &format!("select state = 'accepted' from target_profile.result({id})"),
            Duration::from_secs(10),
        );
    }
    reader.batch("commit");
    site.db.batch("select pg_reload_conf()");
    site.wait_until("select count(*) = 1 from pg_inherits where inhparent = 'target_profile.response'::regclass");
}

#[test]
fn old_activity_goes_in_parts() {
    let site = with_few_locks("old_activity");
    site.update("first", r#"{"a": 1}"#);
    site.wait_drained();
    site.db.batch(
        "insert into target_profile.activity (client_code, minute)
         select 'acme', timestamptz '2018-01-01' + n * interval '1 min' from generate_series(1, 25000) n",
    );
    let reader = site.cluster.db();
    reader.batch("begin; select from target_profile.activity where minute = '2018-01-01 00:30' for update");
    site.db.batch("select pg_reload_conf()");
    site.wait_until("select count(*) = 1 from target_profile.activity where minute < '2020-01-01'");
    reader.batch("commit");
    site.db.batch("select pg_reload_conf()");
    site.wait_until("select count(*) = 0 from target_profile.activity where minute < '2020-01-01'");
}

/// Today's day is what `change` makes of it: four updates are recorded somewhere, two of them by a worker that finds it so, and
/// `result` finds them.
fn with_day(name: &str, change: &str) -> Site {
    let site = Site::with(Cluster::builder(name).conf("target_profile.poll_interval", "1s"));
    site.update("before", r#"{"a": 1}"#);
    site.wait_drained();
    site.db.batch(&format!(
        "do $change$ declare today text := {TODAY}; lower text; upper text; begin
             lower := quote_literal(date_trunc('day', now(), 'utc')); upper := quote_literal(date_trunc('day', now(), 'utc') + interval '1 day');
             {change}
         end $change$"
    ));
    for n in 0..4 {
        if n == 2 {
            start_another_worker(&site);
        }
        let id = site.update(&format!("p{n}"), r#"{"a": 1}"#);
        site.wait_drained();
        site.wait_until(&format!("select state = 'accepted' from target_profile.result({id})"));
    }
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 0);
    assert_eq!(site.mock.request_count(), 5, "once each");
    site
}

fn is_quiet(site: &Site) {
    site.wait_until("select last_error is null from target_profile.worker");
    assert_eq!(
        site.count("select count(*) from target_profile.response where profile_id like 'p%'"),
        4
    );
}

#[test]
fn a_day_that_was_detached_gets_a_successor() {
    let site = with_day(
        "detached",
        "execute 'alter table target_profile.response detach partition ' || today;",
    );
    is_quiet(&site);
    assert_eq!(
        site.count(&format!("select count(*) from pg_class where oid = {TODAY}::regclass")),
        1
    );
}

#[test]
fn a_day_that_was_moved_or_is_part_of_a_month_takes_its_responses() {
    let site = with_day(
        "moved_day",
        "create schema archive; execute 'alter table ' || today || ' set schema archive';",
    );
    is_quiet(&site);
    let site = with_day(
        "month",
        "execute 'drop table ' || today;
         execute 'create table public.month partition of target_profile.response for values from (' || quote_literal(date_trunc('day', now(), 'utc') - interval '10 days') || ') to (' || quote_literal(date_trunc('day', now(), 'utc') + interval '10 days') || ')';",
    );
    is_quiet(&site);
}

#[test]
fn a_default_partition_takes_what_has_no_day() {
    let site = with_day(
        "default_day",
        "execute 'drop table ' || today;
         create table public.rest partition of target_profile.response default;
         insert into target_profile.response (client_code, id_kind, profile_id, outbox_ids, method, request_bytes, attempt, sent_at, duration, outcome)
         values ('acme', 'mboxPC', 'x', '{-5}', 'GET', 1, 1, now(), '0', 'accepted');",
    );
    site.wait_until("select last_error like '%default partition%' from target_profile.worker");
    site.db
        .batch("alter table target_profile.response detach partition public.rest");
    site.update("after", r#"{"a": 1}"#);
    site.wait_drained();
    site.wait_until("select last_error is null from target_profile.worker");
}

#[test]
fn a_day_that_takes_nothing_has_a_stand_in_until_it_is_mended() {
    for (name, change, mend) in [
        (
            "foreign_day",
            "execute 'drop table ' || today;
             create foreign data wrapper nothing; create server nowhere foreign data wrapper nothing;
             execute 'create foreign table public.far partition of target_profile.response for values from (' || lower || ') to (' || upper || ') server nowhere';",
            "drop foreign table public.far",
        ),
        (
            "checked_day",
            "execute 'alter table ' || today || ' add constraint no check (profile_id !~ ''^p'')';",
            "do $$ begin execute 'alter table target_profile.response_' || to_char(now() at time zone 'utc', 'YYYYMMDD') || ' drop constraint no'; end $$",
        ),
        (
            "checked_parent",
            "alter table target_profile.response add constraint no check (profile_id !~ '^p') not valid,
                 add column mine int not null default 1;
             alter table target_profile.response alter mine drop default;",
            "alter table target_profile.response drop constraint no, drop column mine",
        ),
        (
            "half_day",
            "execute 'drop table ' || today;
             execute 'create table public.half partition of target_profile.response for values from (' || quote_literal(now() + interval '2 min') || ') to (' || upper || '::timestamptz + interval ''1 day'')';",
            "drop table public.half",
        ),
    ] {
        let site = with_day(name, change);
        site.wait_until("select last_error like '%target_profile.response_stray%' from target_profile.worker");
        assert_eq!(site.count("select count(*) from target_profile.response_stray"), 4, "{name}");
        site.db.batch(mend);
        // The next poll tries again.
        site.wait_until("select true");
        support::wait::until("responses to be recorded where they belong", crate::site::SOON, || {
            site.update("after", r#"{"a": 1}"#);
            site.wait_drained();
            (site.count("select count(*) from target_profile.response where profile_id = 'after'") > 0).then_some(())
        });
        site.wait_until("select last_error is null from target_profile.worker");
    }
}
