//! Others have locked what the worker writes: what is theirs waits, and nobody else does.

use std::time::Duration;

use support::{Cluster, Match, Reply};

use crate::crash::reconnected;
use crate::site::{SOON, Site, WORKER};

/// The poll must not be what saves anybody.
fn with_two_clients(name: &str) -> Site {
    let site = Site::with(
        Cluster::builder(name)
            .conf("target_profile.poll_interval", "10min")
            .conf("max_prepared_transactions", "5"),
    );
    site.add_client("other");
    site
}

fn update(site: &Site, client: &str, id: &str) -> i64 {
    site.db.value(
        "select target_profile_update($1, 'mbox3rdPartyId', $2, '{\"a\": 1}')",
        &[&client, &id],
    )
}

/// The other client is served as if nothing were the matter: each of its updates is sent and settled within a moment.
fn other_is_served(site: &Site, prefix: &str) {
    for n in 0..5 {
        let id = update(site, "other", &format!("{prefix}{n}"));
        site.cluster.wait_sql(
            &site.db,
            &format!("select state = 'accepted' from target_profile.result({id})"),
            Duration::from_secs(5),
        );
    }
}

fn requests_for(site: &Site, id: &str) -> usize {
    let all = site.mock.requests();
    all.iter().filter(|request| request.id.as_deref() == Some(id)).count()
}

#[test]
fn a_client_that_somebody_changes_is_paused_when_he_is_done_and_sends_nothing_until_then() {
    let site = with_two_clients("lock_client");
    site.mock
        .on(Match::client("acme"))
        .respond(Reply::status(401).applied(false));
    let admin = site.cluster.db();
    admin.batch("begin; select target_profile.set_client('acme', delay => '0')");
    update(&site, "acme", "refused");
    site.mock.wait_requests(1, SOON);
    other_is_served(&site, "o");
    for n in 0..5 {
        update(&site, "acme", &format!("a{n}"));
    }
    other_is_served(&site, "p");
    assert_eq!(site.mock.requests_of("acme").len(), 1, "it has been refused");
    site.wait_until("select last_error like '%acme%locked%' from target_profile.worker");
    admin.batch("commit");
    site.wait_until("select state = 'paused' from target_profile.status where client_code = 'acme'");
    site.wait_until("select last_error is null from target_profile.worker");
    assert_eq!(site.mock.requests_of("acme").len(), 1, "it has been refused");
    assert_eq!(
        site.count("select count(*) from target_profile.outbox where client_code = 'acme'"),
        6
    );
}

#[test]
fn a_new_token_that_comes_before_the_pause_is_used() {
    let site = with_two_clients("lock_cured");
    let refused = site
        .mock
        .on(Match::client("acme"))
        .respond(Reply::status(401).applied(false));
    let admin = site.cluster.db();
    admin.batch("begin; select target_profile.set_client('acme', auth_token => 'new')");
    update(&site, "acme", "1");
    site.mock.wait_answered(1, SOON);
    other_is_served(&site, "o");
    site.mock.remove_rule(refused);
    admin.batch("commit");
    site.wait_drained();
    site.wait_until("select last_error is null from target_profile.worker");
    assert_eq!(
        site.db
            .text("select state from target_profile.status where client_code = 'acme'"),
        "idle"
    );
}

/// The worker writes that it is paused before it hears of the resume: its row says so already.
#[test]
fn a_resume_that_comes_before_the_pause_stays() {
    let site = Site::with(Cluster::builder("lock_resumed").conf("target_profile.poll_interval", "1h"));
    let gate = site
        .mock
        .on(Match::any())
        .respond(Reply::status(401).applied(false).after_release());
    site.update("p", r#"{"a": 1}"#);
    site.mock.wait_hung(1, SOON);
    // As a resume whose news has not come yet.
    site.db.batch(
        "alter table target_profile.client disable trigger user;
         update target_profile.client set resumed_at = now();
         alter table target_profile.client enable trigger user",
    );
    site.mock.remove_rule(gate);
    site.mock.release_hung();
    site.wait_until("select exists (select from target_profile.response)");
    assert_eq!(
        site.count("select count(*) from target_profile.client where paused_at is null"),
        1
    );
    site.db.batch("select target_profile.resume('acme')");
    site.wait_drained();
}

#[test]
fn a_locked_entry_holds_up_its_profile_and_nothing_else() {
    let site = with_two_clients("lock_entry");
    site.db.batch("select target_profile.pause('acme')");
    let locked = update(&site, "acme", "locked");
    let holder = site.cluster.db();
    holder.batch(&format!(
        "begin; select from target_profile.outbox where id = {locked} for update; prepare transaction 'holder'"
    ));
    site.db.batch("select target_profile.resume('acme')");
    site.mock.wait_for("the locked entry to be sent", SOON, |state| {
        !state.requests().is_empty()
    });
    other_is_served(&site, "o");
    for n in 0..5 {
        update(&site, "acme", &format!("a{n}"));
    }
    update(&site, "acme", "locked");
    site.wait_until("select count(*) = 2 from target_profile.outbox");
    other_is_served(&site, "p");
    site.wait_until("select last_error like '%acme%locked%' from target_profile.worker");
    assert_eq!(
        requests_for(&site, "locked"),
        1,
        "it has arrived and only its end is missing"
    );
    holder.batch("rollback prepared 'holder'");
    site.wait_drained();
    site.wait_until("select last_error is null from target_profile.worker");
    assert_eq!(requests_for(&site, "locked"), 2, "once each");
}

#[test]
fn a_retry_and_a_dead_letter_wait_for_their_locked_entries_as_well() {
    let site = with_two_clients("lock_failed");
    site.mock.on(Match::id("again")).once().respond(Reply::status(500));
    site.mock.on(Match::id("dead")).respond(Reply::failure("Invalid"));
    site.db.batch("select target_profile.pause('acme')");
    update(&site, "acme", "again");
    update(&site, "acme", "dead");
    let holder = site.cluster.db();
    holder.batch("begin; select from target_profile.outbox for update");
    site.db.batch("select target_profile.resume('acme')");
    site.mock.wait_answered(2, SOON);
    other_is_served(&site, "o");
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 0);
    holder.batch("commit");
    site.wait_drained();
    assert_eq!(
        site.count(
            "select count(*) from target_profile.dead_letter d
             join target_profile.response r on r.id = d.response_id and r.outcome = 'rejected' and r.profile_id = 'dead'"
        ),
        1
    );
    assert_eq!((requests_for(&site, "again"), requests_for(&site, "dead")), (2, 1));
}

#[test]
fn a_locked_row_of_the_ledger_holds_up_its_client_and_nobody_else() {
    let site = with_two_clients("lock_ledger");
    update(&site, "acme", "warm");
    site.wait_drained();
    let holder = site.cluster.db();
    holder.batch(
        "begin; insert into target_profile.activity (client_code, minute)
         select 'acme', date_trunc('minute', now()) + n * interval '1 min' from generate_series(0, 10) n
         on conflict (client_code, minute) do update set sent = activity.sent",
    );
    for n in 0..3 {
        update(&site, "acme", &format!("a{n}"));
        other_is_served(&site, &format!("o{n}"));
    }
    site.wait_until("select last_error like '%acme%locked%' from target_profile.worker");
    holder.batch("rollback");
    site.wait_drained();
    site.wait_until("select last_error is null from target_profile.worker");
    site.wait_until(
        "select sum(sent) = 4 and sum(accepted) = 4 from target_profile.activity where client_code = 'acme'",
    );
    for n in 0..3 {
        assert_eq!(requests_for(&site, &format!("a{n}")), 1);
    }
}

#[test]
fn a_table_that_is_locked_as_a_whole_loses_nothing() {
    let site = with_two_clients("lock_table");
    for table in [
        "outbox",
        "response",
        "activity",
        "dead_letter",
        "client",
        "overtaken",
        "superseded",
        "backing_off",
    ] {
        let gate = site.mock.on(Match::any()).respond(Reply::ordinary().after_release());
        update(&site, "acme", &format!("before-{table}"));
        site.mock.wait_hung(1, SOON);
        let holder = site.cluster.db();
        holder.batch(&format!(
            "begin; lock table target_profile.{table} in access exclusive mode"
        ));
        site.mock.remove_rule(gate);
        site.mock.release_hung();
        // Longer than the worker waits for a lock.
        holder.batch("select pg_sleep(1.5); commit");
        update(&site, "acme", &format!("after-{table}"));
        site.wait_drained();
        for when in ["before", "after"] {
            assert_eq!(requests_for(&site, &format!("{when}-{table}")), 1, "{when} {table}");
        }
        site.wait_until("select last_error is null from target_profile.worker");
    }
    assert_eq!(site.count("select count(*) from target_profile.response"), 16);
}

/// Two entries of one profile that went with one request, the older of which somebody has locked.
fn merged_and_locked(name: &str) -> (Site, i64, i64) {
    let site = with_two_clients(name);
    site.db.batch("select target_profile.pause('acme', 'test')");
    let (older, newer) = (
        site.update("merged", r#"{"a": 1, "b": 1}"#),
        site.update("merged", r#"{"a": 2}"#),
    );
    let rule = site
        .mock
        .on(Match::id("merged"))
        .respond(Reply::ordinary().after_release());
    site.db.batch("select target_profile.resume('acme')");
    site.mock.wait_hung(1, SOON);
    site.cluster.db().batch(&format!(
        "begin; select from target_profile.outbox where id = {older} for update; prepare transaction 'holder'"
    ));
    site.mock.remove_rule(rule);
    site.mock.release_hung();
    site.wait_until("select last_error like '%acme%locked%' from target_profile.worker");
    other_is_served(&site, "o");
    assert_eq!(
        site.count(&format!(
            "select count(*) from target_profile.outbox where id in ({older}, {newer})"
        )),
        2,
        "a delivery is settled as a whole"
    );
    // A newer value waits behind them.
    site.update("merged", r#"{"a": 3}"#);
    other_is_served(&site, "p");
    assert_eq!(requests_for(&site, "merged"), 1);
    (site, older, newer)
}

#[test]
fn entries_that_went_together_are_settled_together_once_all_of_them_are_free() {
    let (site, older, newer) = merged_and_locked("lock_merged");
    site.db.batch("rollback prepared 'holder'");
    site.wait_drained();
    assert_eq!(requests_for(&site, "merged"), 2, "the newest value, and nothing again");
    assert_eq!(site.sent_value("merged", "a").as_deref(), Some("3"));
    for id in [older, newer] {
        assert_eq!(
            site.db.text(&format!("select state from target_profile.result({id})")),
            "accepted"
        );
    }
}

#[test]
fn entries_that_went_together_and_are_sent_again_after_a_crash_do_not_overtake() {
    let (mut site, ..) = merged_and_locked("lock_merged_crash");
    site.cluster.kill9(site.cluster.wait_backend(WORKER, SOON));
    site.db = reconnected(&site);
    site.db.batch("rollback prepared 'holder'");
    site.wait_drained();
    // Whatever was sent again went with the newest value or before it.
    assert_eq!(site.sent_value("merged", "a").as_deref(), Some("3"));
    assert_eq!(site.sent_value("merged", "b").as_deref(), Some("1"));
}
