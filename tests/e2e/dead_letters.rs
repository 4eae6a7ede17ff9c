//! Dead letters: sent again, without an old value ever following a newer one, or gone on purpose.

use support::cluster::{Db, sqlstate};
use support::{Match, Mode, Reply, wait};
use tokio_postgres::error::{DbError, SqlState};

use crate::site::{SOON, Site};

/// An update that is rejected, once; the id of the dead letter.
fn dead(site: &Site, profile: &str, attrs: &str) -> i64 {
    let rule = site
        .mock
        .on(Match::id(profile))
        .respond(Reply::failure("Invalid profile"));
    let id = site.update(profile, attrs);
    wait_state(site, id, "dead");
    site.mock.remove_rule(rule);
    id
}

/// Gives a dead letter of another profile this id.
fn take(site: &Site, id: i64) {
    site.db.batch(&format!(
        "insert into target_profile.dead_letter
             (id, client_code, id_kind, profile_id, attrs, priority, source, enqueued_at, attempts, reason)
         values ({id}, 'acme', 'mbox3rdPartyId', 'elsewhere', '{{}}', 0, '', now(), 1, 'taken')"
    ));
}

/// Has an entry that waits for its client die again, under another id; that id.
fn dies_under_another_id(site: &Site, profile: &str) -> i64 {
    let rule = site
        .mock
        .on(Match::id(profile))
        .respond(Reply::failure("Invalid profile"));
    site.db.batch("select target_profile.resume('acme')");
    let letter = format!("select id from target_profile.dead_letter where profile_id = '{profile}'");
    site.wait_until(&format!("select exists ({letter})"));
    site.mock.remove_rule(rule);
    let id = site.count(&letter);
    assert!(id < 0, "{id}");
    id
}

fn state(site: &Site, id: i64) -> String {
    site.db.value("select state from target_profile.result($1)", &[&id])
}

fn wait_state(site: &Site, id: i64, state: &str) {
    site.wait_until(&format!(
        "select coalesce((select state = '{state}' from target_profile.result({id})), false)"
    ));
}

fn retry(site: &Site, id: i64) {
    site.db.query("select target_profile.retry($1)", &[&id]);
}

/// The error of a call that must be refused.
fn refused(db: &Db, sql: &str, id: i64) -> DbError {
    match db.try_query(sql, &[&id]) {
        Ok(_) => panic!("it was not refused: {sql} with {id}"),
        Err(error) => error.as_db_error().cloned().unwrap(),
    }
}

fn history(site: &Site, profile: &str, attr: &str) -> Vec<String> {
    site.mock.value_history("acme", "mbox3rdPartyId", profile, attr)
}

#[test]
fn a_rejected_entry_goes_back_under_its_own_id_and_is_accepted_once_the_endpoint_is_mended() {
    let site = Site::new("retry_dead");
    let id = dead(&site, "p", r#"{"a": 1}"#);
    site.db.batch("select target_profile.pause('acme', 'test')");
    retry(&site, id);
    assert_eq!(state(&site, id), "waiting");
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 0);
    assert_eq!(
        site.count(&format!(
            "select attempts::bigint from target_profile.outbox where id = {id}"
        )),
        0,
        "its attempts count anew"
    );
    site.db.batch("select target_profile.resume('acme')");
    wait_state(&site, id, "accepted");
    assert_eq!(site.sent_value("p", "a").as_deref(), Some("1"));
    assert_eq!(
        site.count(&format!(
            "select count(*) from target_profile.response where outbox_ids = array[{id}::bigint]"
        )),
        2,
        "both answers are on record"
    );
    let error = refused(&site.db, "select target_profile.retry($1)", id);
    assert_eq!(error.code().code(), "22023", "it is no dead letter any more");
}

#[test]
fn a_retried_value_does_not_follow_a_newer_one_that_was_accepted() {
    let site = Site::new("overtaken");
    let id = dead(&site, "p", r#"{"a": 1, "b": 1}"#);
    let newer = site.update("p", r#"{"a": 2}"#);
    wait_state(&site, newer, "accepted");
    retry(&site, id);
    wait_state(&site, id, "accepted");
    assert_eq!(history(&site, "p", "a"), ["2"]);
    assert_eq!(history(&site, "p", "b"), ["1"]);
}

#[test]
fn a_retried_value_does_not_follow_a_newer_one_that_is_under_way() {
    let site = Site::new("overtaking");
    let id = dead(&site, "p", r#"{"a": 1, "b": 1}"#);
    site.mock.on(Match::id("p")).once().respond(Reply::hang());
    let newer = site.update("p", r#"{"a": 2}"#);
    site.mock.wait_hung(1, SOON);
    retry(&site, id);
    assert_eq!(state(&site, newer), "in flight");
    assert_eq!(state(&site, id), "waiting", "it is no part of the request under way");
    site.mock.release_hung();
    wait_state(&site, newer, "accepted");
    wait_state(&site, id, "accepted");
    assert_eq!(history(&site, "p", "a"), ["2"]);
    assert_eq!(history(&site, "p", "b"), ["1"]);
    assert_eq!(site.mock.max_in_flight_per_profile(), 1);

    // What has arrived though its answer was lost is as new as what was accepted.
    let id = dead(&site, "q", r#"{"a": 1, "b": 1}"#);
    site.mock
        .on(Match::id("q"))
        .once()
        .respond(Reply::reset().applied(true).after_release());
    let newer = site.update("q", r#"{"a": 2}"#);
    site.mock.wait_hung(1, SOON);
    retry(&site, id);
    site.mock.release_hung();
    wait_state(&site, newer, "accepted");
    wait_state(&site, id, "accepted");
    assert_eq!(
        history(&site, "q", "a").iter().find(|value| *value != "2"),
        None,
        "an older value came after the newer one"
    );
    assert_eq!(history(&site, "q", "b").last().map(String::as_str), Some("1"));
}

#[test]
fn a_retry_that_comes_while_a_newer_entry_waits_lets_that_one_win() {
    let site = Site::new("both_wait");
    let id = dead(&site, "p", r#"{"a": 1, "b": 1}"#);
    site.db.batch("select target_profile.pause('acme', 'test')");
    let newer = site.update("p", r#"{"a": 2}"#);
    retry(&site, id);
    site.mock.clear();
    site.db.batch("select target_profile.resume('acme')");
    site.wait_drained();
    assert_eq!(site.mock.request_count(), 1, "they are merged");
    assert_eq!(history(&site, "p", "a"), ["2"]);
    assert_eq!(history(&site, "p", "b"), ["1"]);
    assert_eq!(
        (state(&site, id), state(&site, newer)),
        ("accepted".to_owned(), "accepted".to_owned())
    );
}

#[test]
fn a_dead_letter_with_nothing_left_to_say_is_not_sent_but_explained() {
    let site = Site::new("nothing_left");
    let id = dead(&site, "p", r#"{"a": 1, "b": 1}"#);
    for attrs in [r#"{"a": 2}"#, r#"{"b": 2, "c": 2}"#] {
        let newer = site.update("p", attrs);
        wait_state(&site, newer, "accepted");
    }
    let sent = site.mock.request_count();
    let error = refused(&site.db, "select target_profile.retry($1)", id);
    assert_eq!(error.code().code(), "55000");
    assert!(error.detail().unwrap().contains(&id.to_string()), "{error:?}");
    assert!(error.hint().unwrap().contains("target_profile.discard"), "{error:?}");
    assert_eq!(state(&site, id), "dead");
    assert_eq!(site.mock.request_count(), sent);
}

#[test]
fn a_retry_that_is_overtaken_on_its_way_ends_as_a_dead_letter_that_says_so() {
    let site = Site::new("overtaken_late");
    let id = dead(&site, "p", r#"{"a": 1}"#);
    site.mock.on(Match::id("p")).once().respond(Reply::hang());
    let newer = site.update("p", r#"{"a": 2}"#);
    site.mock.wait_hung(1, SOON);
    retry(&site, id);
    site.mock.release_hung();
    wait_state(&site, newer, "accepted");
    wait_state(&site, id, "dead");
    assert!(
        site.db
            .text("select reason from target_profile.dead_letter")
            .starts_with("overtaken"),
    );
    assert_eq!(history(&site, "p", "a"), ["2"]);
}

#[test]
fn retry_all_takes_those_since_then_and_warns_of_those_that_stay() {
    let site = Site::new("retry_all");
    site.add_client("other");
    let before = dead(&site, "before", r#"{"a": 1}"#);
    let first = dead(&site, "first", r#"{"a": 1}"#);
    let second = dead(&site, "second", r#"{"a": 1, "b": 1}"#);
    let overtaken = dead(&site, "overtaken", r#"{"a": 1}"#);
    let discarded = dead(&site, "discarded", r#"{"a": 1}"#);
    site.db.query("select target_profile.discard($1)", &[&discarded]);
    let newer = site.update("overtaken", r#"{"a": 2}"#);
    wait_state(&site, newer, "accepted");
    let since = format!("(select failed_at from target_profile.dead_letter where id = {first})");

    site.db.take_notices();
    assert_eq!(
        site.count("select target_profile.retry_all('other')"),
        0,
        "it has no dead letters"
    );
    assert!(site.db.take_notices().is_empty());
    assert_eq!(
        site.count(&format!("select target_profile.retry_all('acme', since => {since})")),
        2
    );
    let notices = site.db.take_notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_eq!(notices[0].severity(), "WARNING");
    assert_eq!(notices[0].message(), "1 of 3 dead letters stay where they are");
    assert!(notices[0].detail().unwrap().contains("newer updates"), "{notices:?}");
    assert!(
        notices[0].hint().unwrap().contains("target_profile.retry"),
        "{notices:?}"
    );
    site.wait_drained();
    for (id, expected) in [
        (before, "dead"),
        (first, "accepted"),
        (second, "accepted"),
        (overtaken, "dead"),
        (discarded, "discarded"),
    ] {
        assert_eq!(state(&site, id), expected, "entry {id}");
    }
    assert_eq!(history(&site, "overtaken", "a"), ["2"]);

    assert_eq!(site.count("select target_profile.retry_all('acme')"), 1);
    wait_state(&site, before, "accepted");
    let error = site
        .db
        .try_query("select target_profile.retry_all('nobody')", &[])
        .unwrap_err();
    assert_eq!(sqlstate(&error), "22023");
}

#[test]
fn a_row_of_a_client_that_was_not_registered_can_be_sent_once_it_is() {
    let site = Site::new("unregistered");
    site.db.batch(
        "create table visitor (id text primary key, tier text, extra jsonb);
         create trigger to_target after insert on visitor for each row
         execute function target_profile_trigger('late', 'mbox3rdPartyId', 'id', 'tier', 'extra');
         insert into visitor values ('v1', 'gold', '{\"city\": {\"name\": \"Basel\"}}')",
    );
    let id = site.count("select id from target_profile.dead_letter");
    let error = refused(&site.db, "select target_profile.retry($1)", id);
    assert_eq!(error.code().code(), "22023");
    assert!(error.detail().unwrap().contains("late"), "{error:?}");
    assert_eq!(state(&site, id), "dead");
    site.add_client("late");
    retry(&site, id);
    wait_state(&site, id, "accepted");
    let sent = |name| site.mock.value("late", "mbox3rdPartyId", "v1", name);
    assert_eq!(sent("tier").as_deref(), Some("gold"));
    assert_eq!(
        sent("extra.city.name").as_deref(),
        Some("Basel"),
        "flattened as any update is"
    );
}

#[test]
fn a_row_that_cannot_be_an_update_stays_a_dead_letter_and_says_why() {
    let site = Site::new("invalid");
    site.create_customers();
    site.db.batch("insert into customers values ('a/b', 'gold', 1)");
    let id = site.count("select id from target_profile.dead_letter");
    let error = refused(&site.db, "select target_profile.retry($1)", id);
    assert_eq!(error.code().code(), "22023");
    assert!(error.detail().unwrap().contains('/'), "{error:?}");
    assert!(error.hint().unwrap().contains("target_profile.discard"), "{error:?}");
    site.db.take_notices();
    assert_eq!(site.count("select target_profile.retry_all('acme')"), 0);
    let notices = site.db.take_notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert_eq!(notices[0].message(), "1 of 1 dead letters stay where they are");
    assert_eq!(state(&site, id), "dead");
    assert_eq!(site.mock.request_count(), 0);
}

#[test]
fn what_was_discarded_is_never_sent_and_still_answers_for_itself() {
    let site = Site::new("discard");
    let id = dead(&site, "p", r#"{"a": 1}"#);
    site.db.query("select target_profile.discard($1)", &[&id]);
    assert_eq!(state(&site, id), "discarded");
    let when = || {
        site.db
            .text(&format!("select finished_at from target_profile.result({id})"))
    };
    let first = when();
    let error = refused(&site.db, "select target_profile.retry($1)", id);
    assert_eq!(error.code().code(), "55000");
    assert!(error.hint().is_some());
    assert_eq!(site.count("select target_profile.retry_all('acme')"), 0);
    site.db.query("select target_profile.discard($1)", &[&id]);
    assert_eq!(when(), first, "the first time counts");
    assert_eq!(state(&site, id), "discarded");
    assert_eq!(site.sent_value("p", "a"), None);
}

#[test]
fn an_id_that_is_no_dead_letter_is_refused() {
    let site = Site::new("unknown");
    let id = site.update("p", r#"{"a": 1}"#);
    site.wait_drained();
    for function in ["retry", "discard"] {
        for id in [id, 4_711] {
            let error = refused(&site.db, &format!("select target_profile.{function}($1)"), id);
            assert_eq!(error.code().code(), "22023", "{function}({id})");
            assert!(error.detail().unwrap().contains(&id.to_string()), "{error:?}");
            assert!(error.hint().is_some(), "{error:?}");
        }
    }
}

#[test]
fn a_transaction_that_retries_or_discards_and_stays_open_holds_up_nobody() {
    let site = Site::new("open_retry");
    let id = dead(&site, "p", r#"{"a": 1, "b": 1}"#);
    let dropped = dead(&site, "q", r#"{"a": 1}"#);
    let open = site.cluster.db();
    open.batch("begin");
    open.query("select target_profile.retry($1)", &[&id]);
    open.query("select target_profile.discard($1)", &[&dropped]);
    let worker: i32 = site.db.value("select pid from target_profile.worker", &[]);
    for profile in ["p", "q", "elsewhere"] {
        let newer = site.update(profile, r#"{"a": 2}"#);
        wait_state(&site, newer, "accepted");
    }
    let rejected = dead(&site, "p", r#"{"c": 1}"#);
    assert_eq!(
        site.db.rows(&format!(
            "select last_error_at from target_profile.worker where pid = {worker}"
        )),
        [[None]],
        "the worker did not have to wait for a lock"
    );
    assert_eq!(state(&site, id), "dead", "nothing is committed");
    open.batch("commit");
    wait_state(&site, id, "accepted");
    assert_eq!(
        history(&site, "p", "a"),
        ["2"],
        "what was accepted while the transaction was open is newer"
    );
    assert_eq!(history(&site, "p", "b"), ["1"]);
    assert_eq!(state(&site, dropped), "discarded");

    open.batch("begin");
    open.query("select target_profile.retry($1)", &[&rejected]);
    open.batch("rollback");
    assert_eq!(state(&site, rejected), "dead");
    site.update("p", r#"{"d": 1}"#);
    site.wait_drained();
    assert_eq!(site.sent_value("p", "c"), None, "the retry was rolled back");
}

#[test]
fn only_an_admin_may_retry_or_discard() {
    let site = Site::new("roles");
    let id = dead(&site, "p", r#"{"a": 1}"#);
    let calls = [
        format!("select target_profile.retry({id})"),
        "select target_profile.retry_all('acme')".to_owned(),
        format!("select target_profile.discard({id})"),
    ];
    for level in ["writer", "reader", "admin"] {
        site.db.batch(&format!(
            "create role the_{level} login; select target_profile.grant_to('the_{level}', '{level}')"
        ));
        let session = site.cluster.client("postgres", &format!("the_{level}"));
        for call in &calls {
            session.batch("begin");
            let result = session.try_query(call, &[]);
            session.batch("rollback");
            match result {
                Ok(_) => assert_eq!(level, "admin", "{call}"),
                Err(error) => {
                    assert_ne!(level, "admin", "{call}: {error:?}");
                    assert_eq!(sqlstate(&error), "42501", "{level}: {call}");
                }
            }
        }
    }
    assert_eq!(state(&site, id), "dead");
}

/// The request has an older value and a newer one. Each overtakes what is older than itself.
#[test]
fn a_retried_entry_overtakes_nothing_that_is_newer_because_it_went_with_a_new_one() {
    let site = Site::new("retry_merged");
    let oldest = dead(&site, "p", r#"{"a": "oldest", "b": "oldest"}"#);
    let newer = dead(&site, "p", r#"{"a": "newer", "b": "newer"}"#);
    site.db.batch("select target_profile.pause('acme', 'test')");
    retry(&site, oldest);
    site.update("p", r#"{"a": "newest"}"#);
    site.db.batch("select target_profile.resume('acme')");
    site.wait_drained();
    assert_eq!(history(&site, "p", "b").last().map(String::as_str), Some("oldest"));
    retry(&site, newer);
    site.wait_drained();
    assert_eq!(state(&site, newer), "accepted");
    assert_eq!(site.sent_value("p", "b").as_deref(), Some("newer"));
    assert_eq!(site.sent_value("p", "a").as_deref(), Some("newest"));
}

/// An update costs what it sets, however many dead letters its profile has, and the clients beside it do not wait for it.
#[test]
fn thousands_of_dead_letters_of_a_profile_cost_a_newer_update_nothing() {
    let site = Site::new("many_letters");
    site.add_client("other");
    let letters = |ids: &str, profile: &str| {
        site.db.batch(&format!(
            "insert into target_profile.dead_letter
                 (id, client_code, id_kind, profile_id, attrs, priority, source, enqueued_at, attempts, reason)
             select n, 'acme', 'mbox3rdPartyId', '{profile}', '{{\"a1\": 1, \"kept\": 1}}', 0, '', now(), 1, ''
             from {ids} n"
        ));
    };
    letters("generate_series(1, 2000)", "p");
    letters("generate_series(-1999, 0)", "p");
    site.db.batch("select setval('target_profile.outbox_id_seq', 10000)");
    let attrs = "(select jsonb_object_agg('a' || n, 2) from generate_series(1, 400) n)";
    for _ in 0..3 {
        let id = site.db.value(
            &format!("select target_profile_update('acme', 'mbox3rdPartyId', 'p', {attrs})"),
            &[],
        );
        wait_state(&site, id, "accepted");
    }
    assert_eq!(
        site.count("select count(*) from target_profile.superseded"),
        800,
        "each attribute once for ids above 0, and once for the others"
    );
    assert_eq!(site.count("select count(*) from target_profile.overtaken"), 0);
    for id in [-1999, 0, 1, 2000] {
        retry(&site, id);
        wait_state(&site, id, "accepted");
    }
    assert_eq!(history(&site, "p", "a1").iter().find(|value| *value != "2"), None);
    assert_eq!(history(&site, "p", "kept"), ["1", "1", "1", "1"]);

    // Of what came after the update it says nothing.
    letters("generate_series(20001, 20001)", "p");
    retry(&site, 20001);
    wait_state(&site, 20001, "accepted");
    assert_eq!(site.sent_value("p", "a1").as_deref(), Some("1"));
    // Once the profile has no dead letters, nothing is kept for them.
    site.db
        .batch("delete from target_profile.dead_letter where profile_id = 'p'");
    site.cluster.restart(Mode::Fast);
    let db = site.cluster.db();
    wait::until("nothing is kept", SOON, || {
        let is_empty: bool = db.value("select not exists (select from target_profile.superseded)", &[]);
        is_empty.then_some(())
    });
}

/// A dead letter that dies again and whose id is taken gets another one, and goes on leaving out what newer updates have set.
#[test]
fn what_newer_updates_have_set_goes_with_a_dead_letter_that_gets_another_id() {
    let site = Site::new("another_id");
    let id = dead(&site, "p", r#"{"a": 1, "b": 1}"#);
    let newer = site.update("p", r#"{"a": 2}"#);
    wait_state(&site, newer, "accepted");
    let set_back = |id: i64| {
        site.db
            .batch(&format!("select setval('target_profile.outbox_id_seq', {id}, false)"));
    };
    // While an entry that waits has its id, it stays where it is.
    site.db.batch("select target_profile.pause('acme', 'test')");
    set_back(id);
    assert_eq!(site.update("q", r#"{"a": 1}"#), id);
    let error = refused(&site.db, "select target_profile.retry($1)", id);
    assert_eq!(error.code(), &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    assert_eq!(error.message(), "an entry of the outbox has the id of the dead letter");
    assert_eq!(site.count("select target_profile.retry_all('acme')"), 0);
    site.db.batch("select target_profile.resume('acme')");
    site.wait_drained();
    site.db.batch("select target_profile.pause('acme', 'test')");
    retry(&site, id);
    // It dies again, and its id is that of another dead letter.
    take(&site, id);
    let last = dies_under_another_id(&site, "p");
    retry(&site, last);
    wait_state(&site, last, "accepted");
    assert_eq!(history(&site, "p", "a"), ["2"]);
    assert_eq!(site.sent_value("p", "b").as_deref(), Some("1"));
    // The same when the client goes: its entries are buried.
    let id = dead(&site, "r", r#"{"a": 1, "b": 1}"#);
    let newer = site.update("r", r#"{"a": 2}"#);
    wait_state(&site, newer, "accepted");
    site.db.batch("select target_profile.pause('acme', 'test')");
    retry(&site, id);
    take(&site, id);
    site.db
        .batch("select target_profile.remove_client('acme', dead_letter_waiting => true)");
    site.add_client("acme");
    let id = site.count("select id from target_profile.dead_letter where profile_id = 'r'");
    assert!(id < 0, "{id}");
    retry(&site, id);
    wait_state(&site, id, "accepted");
    assert_eq!(history(&site, "r", "a"), ["2"]);
}

/// A name may be longer than an index takes.
#[test]
fn a_newer_update_with_names_of_any_length_is_settled_and_overtakes() {
    let site = Site::new("long_names");
    site.add_client("other");
    let name: String = site
        .db
        .text("select string_agg(md5(n::text), '') from generate_series(1, 600) n");
    let id = dead(&site, "p", &format!(r#"{{"{name}": 1, "b": 1}}"#));
    let newer = site.update("p", &format!(r#"{{"{name}": 2}}"#));
    wait_state(&site, newer, "accepted");
    retry(&site, id);
    wait_state(&site, id, "accepted");
    assert_eq!(history(&site, "p", &name), ["2"]);
    assert_eq!(history(&site, "p", "b"), ["1"]);
    // The same of a dead letter that gets another id.
    let id = dead(&site, "q", &format!(r#"{{"{name}": 1, "b": 1}}"#));
    let newer = site.update("q", &format!(r#"{{"{name}": 2}}"#));
    wait_state(&site, newer, "accepted");
    site.db.batch("select target_profile.pause('acme', 'test')");
    retry(&site, id);
    take(&site, id);
    let id = dies_under_another_id(&site, "q");
    retry(&site, id);
    wait_state(&site, id, "accepted");
    assert_eq!(history(&site, "q", &name), ["2"]);
    assert_eq!(history(&site, "q", "b"), ["1"]);
}

/// What is buried while its request is under way, and accepted, is no dead letter: sent again, it would follow what was newer.
#[test]
fn what_is_accepted_while_its_client_is_removed_is_not_sent_again() {
    let site = Site::new("removed_meanwhile");
    let open = site.cluster.db();
    for isolation in ["read committed", "repeatable read"] {
        let sent_before = history(&site, "p", "a").len();
        site.db
            .batch("select target_profile.set_client('acme', delay => '1 s')");
        let older = site.update("p", r#"{"a": 1, "b": 1}"#);
        open.batch(&format!(
            "begin isolation level {isolation}; select 1 from target_profile.outbox"
        ));
        let newer = site.update("p", r#"{"a": 2}"#);
        site.mock.on(Match::id("p")).once().respond(Reply::hang());
        site.mock.wait_hung(1, SOON);
        open.batch("select target_profile.remove_client('acme', dead_letter_waiting => true)");
        site.mock.release_hung();
        site.wait_until(&format!(
            "select exists (select from target_profile.response where {newer} = any(outbox_ids))"
        ));
        open.batch("commit");
        site.add_client("acme");
        site.wait_drained();
        for id in [older, newer] {
            wait_state(&site, id, "accepted");
        }
        site.db.batch("select target_profile.retry_all('acme')");
        site.update("p", r#"{"c": 1}"#);
        site.wait_drained();
        assert_eq!(history(&site, "p", "a")[sent_before..], ["2"], "{isolation}");
    }
}
