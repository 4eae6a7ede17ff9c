//! From an entry to its recorded response: what is sent, in which order, how often.

use std::collections::BTreeSet;

use support::{Match, Reply};

use crate::site::{SOON, Site, WORKER};

#[test]
fn a_committed_change_is_sent_and_recorded_and_a_rolled_back_one_is_not() {
    let site = Site::new("commit");
    site.create_customers();
    site.db
        .batch("insert into customers values ('c1', 'silver', 12345678901234567890.10), ('c2', 'silver', 1)");
    site.db
        .batch("begin; update customers set tier = 'stolen' where id = 'c1'; rollback");
    site.db.batch(
        "begin; update customers set tier = 'gold' where id = 'c2'; savepoint s;
         update customers set tier = 'lost' where id = 'c1'; rollback to s; commit",
    );
    site.wait_drained();
    assert_eq!(
        site.sent_value("c1", "balance").as_deref(),
        Some("12345678901234567890.10")
    );
    assert_eq!(site.sent_value("c1", "tier").as_deref(), Some("silver"));
    assert_eq!(site.sent_value("c2", "tier").as_deref(), Some("gold"));
    let tiers: BTreeSet<String> = site
        .mock
        .requests()
        .iter()
        .filter_map(|request| request.attrs.get("tier").cloned())
        .collect();
    assert!(!tiers.contains("stolen") && !tiers.contains("lost"), "{tiers:?}");
    assert_eq!(
        site.count("select count(*) from target_profile.response where outcome = 'accepted' and http_status = 200"),
        i64::try_from(site.mock.request_count()).unwrap()
    );
    // Every entry that was ever written is in exactly one accepted response.
    assert_eq!(
        site.count("select count(*) from (select unnest(outbox_ids) from target_profile.response) r"),
        3
    );
}

#[test]
fn wait_and_result_say_what_became_of_an_entry() {
    let site = Site::new("result");
    let id = site.update("1", r#"{"a": 1}"#);
    let row = site.db.query_one(
        "select state, http_status, message from target_profile.wait($1, '20 s')",
        &[&id],
    );
    assert_eq!(row.get::<_, &str>(0), "accepted");
    assert_eq!(row.get::<_, i32>(1), 200);
    assert_eq!(row.get::<_, &str>(2), "Request successfully submitted");

    site.mock.on(Match::id("2")).respond(Reply::hang());
    let id = site.update("2", r#"{"a": 1}"#);
    site.mock.wait_hung(1, SOON);
    site.wait_until(&format!("select state = 'in flight' from target_profile.result({id})"));
    let row = site
        .db
        .query_one("select state from target_profile.wait($1, '50 ms')", &[&id]);
    assert_eq!(
        row.get::<_, &str>(0),
        "in flight",
        "a wait that ends by its timeout says how it stands"
    );

    site.db.batch("select target_profile.pause('acme', 'test')");
    let id = site.update("3", r#"{"a": 1}"#);
    let row = site.db.query_one("select state from target_profile.result($1)", &[&id]);
    assert_eq!(row.get::<_, &str>(0), "waiting");
}

#[test]
fn entries_of_one_profile_are_merged_and_never_overlap() {
    let site = Site::new("merge");
    site.mock.on(Match::id("p")).once().respond(Reply::hang());
    site.update("p", r#"{"a": "first", "b": "kept"}"#);
    site.mock.wait_hung(1, SOON);
    for n in 0..100 {
        site.update("p", &format!(r#"{{"a": {n}, "c": {n}}}"#));
    }
    site.update("other", r#"{"a": 1}"#);
    site.wait_until("select count(*) = 101 from target_profile.outbox");
    site.mock.release_hung();
    site.wait_drained();
    assert_eq!(site.mock.max_in_flight_per_profile(), 1);
    assert_eq!(
        site.mock.history("acme", "mbox3rdPartyId", "p").len(),
        2,
        "100 entries, one request"
    );
    assert_eq!(site.sent_value("p", "a").as_deref(), Some("99"));
    assert_eq!(site.sent_value("p", "b").as_deref(), Some("kept"));
    assert_eq!(
        site.count(
            "select cardinality(outbox_ids)::bigint from target_profile.response where profile_id = 'p' order by id desc limit 1"
        ),
        100
    );
}

#[test]
fn an_entry_that_commits_late_with_a_lower_id_is_sent_by_its_commit() {
    let site = Site::with(support::Cluster::builder("late").conf("target_profile.poll_interval", "1h"));
    let late = site.cluster.db();
    late.batch("begin");
    let low: i64 = late.value(
        "select target_profile_update('acme', 'mboxPC', 'late', '{\"a\": 1}')",
        &[],
    );
    let high = site.update("early", r#"{"a": 1}"#);
    assert!(low < high);
    site.wait_drained();
    site.update("early", r#"{"a": 2}"#);
    site.wait_drained();
    late.batch("commit");
    site.mock.wait_value("acme", "mboxPC", "late", "a", "1", SOON);
}

/// A sequence that has given out nothing says the same `last_value` as one that has given out 1.
#[test]
fn the_very_first_entry_is_sent_by_its_commit_however_late() {
    let site = Site::with(support::Cluster::builder("first").conf("target_profile.poll_interval", "1h"));
    // The worker looks several times while there has never been an entry.
    for seconds in 1..=3 {
        let before: String = site.db.text("select clock_timestamp()::text");
        site.db.batch(&format!(
            "select target_profile.set_client('acme', timeout => '{seconds} s')"
        ));
        site.wait_until(&format!(
            "select exists (select from pg_stat_activity where backend_type = '{WORKER}'
                 and query = 'claiming' and state = 'idle' and state_change > '{before}')"
        ));
    }
    let late = site.cluster.db();
    late.batch("begin");
    let first: i64 = late.value(
        "select target_profile_update('acme', 'mboxPC', 'late', '{\"a\": 1}')",
        &[],
    );
    assert_eq!(first, 1);
    site.update("early", r#"{"a": 1}"#);
    site.wait_drained();
    late.batch("commit");
    site.mock.wait_value("acme", "mboxPC", "late", "a", "1", SOON);
}

#[test]
fn a_prepared_transaction_is_sent_when_it_is_committed() {
    let site = Site::with(support::Cluster::builder("prepared").conf("target_profile.poll_interval", "1h"));
    site.db.batch("begin");
    site.update("two-phase", r#"{"a": 1}"#);
    site.db.batch("prepare transaction 'p'");
    site.update("another", r#"{"a": 1}"#);
    site.mock
        .wait_value("acme", "mbox3rdPartyId", "another", "a", "1", SOON);
    assert_eq!(site.sent_value("two-phase", "a"), None);
    site.db.batch("commit prepared 'p'");
    site.mock
        .wait_value("acme", "mbox3rdPartyId", "two-phase", "a", "1", SOON);
}

/// Whatever waits inside a transaction resets the latch of the process: for a lock, as here, or for a page that another process
/// reads. What remains of a wait for a lock is an alarm at its timeout, which wakes the worker after all: what is sent before
/// that was not slept through.
#[test]
fn a_commit_is_not_slept_through_that_came_while_the_worker_waited_for_a_lock() {
    let site = Site::with(support::Cluster::builder("latch").conf("target_profile.poll_interval", "1h"));
    let prompt = (1..=5).any(|round| {
        site.mock.on(Match::id("hung")).once().respond(Reply::hang());
        site.update("hung", r#"{"a": 1}"#);
        site.mock.wait_hung(1, SOON);
        let locks = site.cluster.db();
        locks.batch("begin; lock table target_profile.response in access exclusive mode");
        site.mock.release_hung();
        let waiting = format!(
            "select waitstart::text from pg_locks join pg_stat_activity using (pid)
             where not granted and waitstart is not null and backend_type = '{WORKER}'"
        );
        let since = support::wait::until("the worker to wait for the lock", SOON, || {
            site.db.try_text(&waiting).unwrap()
        });
        let id = format!("meanwhile{round}");
        site.update(&id, r#"{"a": 1}"#);
        locks.batch("commit");
        site.mock.wait_value("acme", "mbox3rdPartyId", &id, "a", "1", SOON);
        site.wait_drained();
        site.db.value(
            "select sent_at < $1::text::timestamptz + interval '0.9 s' from target_profile.response where profile_id = $2",
            &[&since, &id],
        )
    });
    assert!(prompt, "each time the entry was sent only when the alarm came");
}

/// As logical replication of the outbox, a restore or an INSERT by hand bring them: no commit announces them, and their ids
/// lie behind what the worker has read.
#[test]
fn a_row_that_comes_behind_what_was_read_is_found_by_the_poll() {
    let site = Site::with(support::Cluster::builder("behind").conf("target_profile.poll_interval", "1s"));
    site.db.batch("select setval('target_profile.outbox_id_seq', 1000)");
    site.update("read", r#"{"a": 1}"#);
    site.wait_drained();
    site.db.batch(
        "set session_replication_role = replica;
         insert into target_profile.outbox (id, client_code, id_kind, profile_id, attrs)
         values (7, 'acme', 'mbox3rdPartyId', 'behind', '{\"a\": \"2\"}')",
    );
    site.mock.wait_value("acme", "mbox3rdPartyId", "behind", "a", "2", SOON);
    site.wait_drained();
}

/// Nothing would be settled any more: a response needs an id.
#[test]
fn a_sequence_of_responses_that_was_set_to_its_end_goes_on_after_what_is_there() {
    let site = Site::new("responses_at_the_end");
    site.update("before", r#"{"a": 1}"#);
    site.wait_drained();
    for at in ["9223372036854775806", "9223372036854775807"] {
        site.db
            .batch(&format!("select setval('target_profile.response_id_seq', {at})"));
        for n in 0..5 {
            site.update(&format!("after {at} {n}"), r#"{"a": 1}"#);
        }
        site.wait_drained();
    }
    let recorded: i64 = site
        .db
        .value("select count(distinct id) from target_profile.response", &[]);
    assert_eq!(recorded, 11, "each response is recorded with an id of its own");
}

#[test]
fn a_higher_priority_goes_first_when_room_is_scarce() {
    let site = Site::new("priority");
    site.db
        .batch("select target_profile.set_client('acme', max_in_flight => 1)");
    site.mock.on(Match::id("first")).respond(Reply::hang());
    site.update("first", r#"{"a": 1}"#);
    site.mock.wait_hung(1, SOON);
    for (id, priority) in [("low", -10_i16), ("middle", 0), ("high", 10)] {
        site.db.query(
            "select target_profile_update('acme', 'mbox3rdPartyId', $1, '{\"a\": 1}', $2)",
            &[&id, &priority],
        );
    }
    site.mock.release_hung();
    site.wait_drained();
    let order: Vec<String> = site
        .mock
        .requests()
        .iter()
        .filter_map(|request| request.id.clone())
        .collect();
    assert_eq!(order, ["first", "high", "middle", "low"]);
}

#[test]
fn an_update_that_does_not_fit_one_request_is_split_and_loses_nothing() {
    let site = Site::new("split");
    // 5 attributes of 20,000 bytes: no two POSTs can hold them.
    site.db.batch(
        "select target_profile_update('acme', 'mbox3rdPartyId', 'big',
            (select jsonb_object_agg('a' || n, repeat(n::text, 20000)) from generate_series(1, 5) n))",
    );
    site.wait_drained();
    let profile = site.mock.profile("acme", "mbox3rdPartyId", "big").expect("it arrived");
    for n in 1..=5 {
        assert_eq!(profile.get(&format!("a{n}")).map(String::len), Some(20_000));
    }
    let requests = site.mock.requests();
    assert!(
        requests
            .iter()
            .all(|request| request.method == "POST" && request.body_bytes <= 60_000)
    );
    let parts = site
        .db
        .rows("select part, parts from target_profile.response order by id");
    assert_eq!(parts.len(), requests.len());
    assert_eq!(parts.last().unwrap()[0], parts.last().unwrap()[1]);
    assert_eq!(
        site.mock.max_in_flight_per_profile(),
        1,
        "the parts go one after the other"
    );
}

#[test]
fn while_an_endpoint_hangs_no_transaction_is_open_and_others_are_served() {
    let site = Site::new("hang");
    site.add_client("other");
    site.mock
        .on(Match::client("acme").and_id("stuck"))
        .respond(Reply::hang());
    site.update("stuck", r#"{"a": 1}"#);
    site.mock.wait_hung(1, SOON);
    for n in 0..20 {
        site.update(&format!("free{n}"), r#"{"a": 1}"#);
    }
    site.db
        .batch("select target_profile_update('other', 'mbox3rdPartyId', 'x', '{\"a\": 1}')");
    site.wait_until("select count(*) = 1 from target_profile.outbox");
    let row = site.db.query_one(
        "select state, backend_xid is null, backend_xmin is null, xact_start is null
         from pg_stat_activity where backend_type = $1",
        &[&WORKER],
    );
    assert_eq!(row.get::<_, &str>(0), "idle");
    for column in 1..=3 {
        assert!(row.get::<_, bool>(column), "column {column} of the worker's row");
    }
    assert_eq!(site.mock.in_flight(), 1, "it still hangs");
}

/// Together they may have many more requests in flight than the worker.
#[test]
fn clients_whose_endpoints_hang_leave_room_for_another() {
    let site = Site::new("hang-many");
    site.db
        .batch("select target_profile.set_client('acme', timeout => '1 min')");
    site.add_client("other");
    site.db.batch(
        "select target_profile.add_client('hangs' || n, endpoint => c.endpoint, timeout => '1 min', max_in_flight => 100)
         from target_profile.client c, generate_series(1, 30) n where c.client_code = 'acme'",
    );
    for n in 1..=30 {
        site.mock.on(Match::client(&format!("hangs{n}"))).respond(Reply::hang());
    }
    site.db.batch(
        "select target_profile_update('hangs' || n, 'mbox3rdPartyId', 'p' || p, '{\"a\": 1}')
         from generate_series(1, 30) n, generate_series(1, 100) p",
    );
    site.mock.wait_hung(256 * 7 / 8, SOON);
    for n in 0..20 {
        site.db.query(
            "select target_profile_update('other', 'mbox3rdPartyId', $1, '{\"a\": 1}')",
            &[&format!("p{n}")],
        );
        site.wait_until("select not exists (select from target_profile.outbox where client_code = 'other')");
    }
    assert!(site.mock.in_flight() >= 256 * 7 / 8, "they still hang");
}

#[test]
fn a_new_token_is_used_without_a_restart_and_shows_nowhere() {
    let site = Site::new("token");
    site.mock.require_token("acme", "right-token");
    site.db
        .batch("select target_profile.set_client('acme', auth_token => 'wrong-token')");
    site.update("1", r#"{"a": 1}"#);
    site.wait_until("select state = 'paused' from target_profile.status");
    assert_eq!(
        site.count("select count(*) from target_profile.outbox"),
        1,
        "the entry waits"
    );
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 0);
    site.db
        .batch("select target_profile.set_client('acme', auth_token => 'right-token')");
    site.wait_drained();
    assert_eq!(site.sent_value("1", "a").as_deref(), Some("1"));
    let seen = site.db.rows("select r::text from target_profile.response r");
    let shown = format!(
        "{seen:?}{}",
        site.db.text("select coalesce(reason, '') from target_profile.status")
    );
    assert!(!shown.contains("-token"), "{shown}");
    assert!(
        !site.cluster.log().contains("right-token\""),
        "a token in an error of the log"
    );
}

#[test]
fn settings_reload_without_a_restart() {
    let site = Site::new("reload");
    site.cluster.set("target_profile.enabled", "off");
    site.wait_until("select state = 'disabled' from target_profile.worker");
    site.update("1", r#"{"a": 1}"#);
    site.wait_until("select state = 'disabled' and backlog = 1 from target_profile.status");
    assert_eq!(site.mock.request_count(), 0);
    site.cluster.set("target_profile.enabled", "on");
    site.wait_drained();
    assert_eq!(site.mock.request_count(), 1);
}

#[test]
fn a_delay_holds_a_profile_back_and_merges() {
    let site = Site::new("delay");
    site.db
        .batch("select target_profile.set_client('acme', delay => '1 s')");
    site.db
        .batch("create table written (at timestamptz); insert into written values (clock_timestamp())");
    site.update("1", r#"{"a": 1}"#);
    site.update("1", r#"{"b": 2}"#);
    site.wait_drained();
    assert_eq!(site.mock.request_count(), 1);
    let held: bool = site.db.value(
        "select r.sent_at >= w.at + interval '1 s' from target_profile.response r, written w",
        &[],
    );
    assert!(held, "it was sent before its delay was over");
}
