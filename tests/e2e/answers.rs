//! What Target answers, and what does not come from Target at all.

use support::mock_target::{Form, Stop};
use support::{Match, RefusedPort, Reply};

use crate::site::{SOON, Site};

fn outcome(site: &Site, id: i64) -> (String, Option<i32>) {
    let row = site.db.query_one(
        "select outcome, http_status from target_profile.response where outbox_ids[1] = $1 order by id limit 1",
        &[&id],
    );
    (row.get(0), row.get(1))
}

#[test]
fn only_a_body_that_says_success_is_a_success() {
    // segmentio/action-destinations: the body never read.
    let site = Site::new("verdict");
    site.mock
        .on(Match::id("false"))
        .respond(Reply::failure("Invalid profile"));
    site.mock
        .on(Match::id("html"))
        .respond(Reply::status(200).body("<html><body>true success</body></html>"));
    site.mock.on(Match::id("empty")).respond(Reply::status(200).body(""));
    site.mock.on(Match::id("400")).respond(Reply::status(400).body("no"));
    site.mock
        .on(Match::id("302"))
        .respond(Reply::redirect(302, "http://127.0.0.1:1/elsewhere"));
    let xml = site.update("xml", r#"{"a": 1}"#);
    site.wait_drained();
    site.mock.answer_in(Form::Text);
    let text = site.update("text", r#"{"a": 1}"#);
    site.wait_drained();
    let refused = site.update("false", r#"{"a": 1}"#);
    let bad = site.update("400", r#"{"a": 1}"#);
    let redirected = site.update("302", r#"{"a": 1}"#);
    site.wait_until("select count(*) = 3 from target_profile.dead_letter");
    let html = site.update("html", r#"{"a": 1}"#);
    site.wait_until(&format!(
        "select exists (select from target_profile.response where outbox_ids[1] = {html})"
    ));
    let empty = site.update("empty", r#"{"a": 1}"#);
    site.wait_until(&format!(
        "select exists (select from target_profile.response where outbox_ids[1] = {empty})"
    ));
    for (id, expected, status) in [
        (xml, "accepted", 200),
        (text, "accepted", 200),
        (refused, "rejected", 200),
        (bad, "rejected", 400),
        (redirected, "rejected", 302),
        (html, "unrecognised", 200),
        (empty, "unrecognised", 200),
    ] {
        assert_eq!(outcome(&site, id), (expected.to_owned(), Some(status)), "entry {id}");
    }
    let row = site
        .db
        .query_one("select state, message from target_profile.result($1)", &[&refused]);
    assert_eq!(row.get::<_, &str>(0), "dead");
    assert!(row.get::<_, &str>(1).contains("Invalid profile"));
}

#[test]
fn an_unrecognised_answer_is_tried_three_times_and_then_given_up() {
    let site = Site::new("unrecognised");
    site.mock
        .on(Match::id("html"))
        .respond(Reply::status(200).body("<html>maintenance</html>"));
    let id = site.update("html", r#"{"a": 1}"#);
    site.wait_until("select count(*) = 1 from target_profile.dead_letter");
    assert_eq!(site.mock.request_count(), 3);
    assert_eq!(
        site.count(&format!(
            "select attempts::bigint from target_profile.dead_letter where id = {id}"
        )),
        3
    );
}

#[test]
fn a_failure_is_retried_and_retry_after_wins() {
    let site = Site::new("retry");
    site.mock.on(Match::id("flaky")).times(2).respond(Reply::status(500));
    site.mock.on(Match::id("flaky")).once().respond(Reply::reset());
    let id = site.update("flaky", r#"{"a": 1}"#);
    site.wait_drained();
    assert_eq!(site.mock.request_count(), 4);
    let outcomes = site
        .db
        .rows("select outcome, attempt::text from target_profile.response order by id");
    let outcomes: Vec<_> = outcomes
        .iter()
        .map(|row| (row[0].as_deref().unwrap(), row[1].as_deref().unwrap()))
        .collect();
    assert_eq!(
        outcomes,
        [("failed", "1"), ("failed", "2"), ("failed", "3"), ("accepted", "4")]
    );
    assert_eq!(
        site.db.text(&format!("select state from target_profile.result({id})")),
        "accepted"
    );

    site.mock
        .on(Match::id("limited"))
        .once()
        .respond(Reply::status(429).retry_after("2"));
    site.update("limited", r#"{"a": 1}"#);
    site.wait_until("select state = 'backing off' and next_try_at > now() from target_profile.status");
    site.wait_drained();
    let rested: bool = site.db.value(
        "select max(sent_at) - min(sent_at) >= interval '2 s' from target_profile.response where profile_id = 'limited'",
        &[],
    );
    assert!(rested, "it came back before Retry-After was over");
    site.wait_until("select state = 'idle' from target_profile.status");
}

#[test]
fn resume_tries_a_client_that_is_backing_off_at_once() {
    let site = Site::new("resume");
    let limited = site
        .mock
        .on(Match::any())
        .respond(Reply::status(429).retry_after("3600"));
    site.update("1", r#"{"a": 1}"#);
    site.wait_until(
        "select state = 'backing off' and next_try_at > now() + interval '50 min' and reason is not null
         and since is not null from target_profile.status",
    );
    site.mock.remove_rule(limited);
    site.db.batch("select target_profile.resume('acme')");
    site.wait_drained();
    site.wait_until("select state = 'idle' and next_try_at is null from target_profile.status");
}

#[test]
fn an_endpoint_that_keeps_failing_is_left_alone_and_burns_nobody() {
    let site = Site::new("breaker");
    site.add_client("healthy");
    let sick = site.mock.on(Match::client("acme")).respond(Reply::status(500));
    for n in 0..200 {
        site.update(&format!("p{n}"), r#"{"a": 1}"#);
    }
    site.wait_until("select state = 'backing off' from target_profile.status where client_code = 'acme'");
    site.db
        .batch("select target_profile_update('healthy', 'mboxPC', 'x', '{\"a\": 1}')");
    site.mock.wait_value("healthy", "mboxPC", "x", "a", "1", SOON);
    assert!(site.mock.requests_of("acme").len() < 200, "it was hammered");
    site.mock.remove_rule(sick);
    site.wait_drained();
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 0);
}

#[test]
fn bodies_that_are_no_text_or_huge_are_recorded_capped_and_can_be_dumped() {
    let site = Site::with(support::Cluster::builder("bodies").conf("target_profile.response_body_limit", "1000"));
    site.mock
        .on(Match::id("latin1"))
        .respond(Reply::status(400).body(b"\xff\xfe caf\xe9".to_vec()));
    site.mock
        .on(Match::id("nul"))
        .respond(Reply::status(400).body(b"a\0b\0c".to_vec()));
    site.mock
        .on(Match::id("huge"))
        .respond(Reply::status(400).body(vec![b'x'; 10_000_000]));
    site.mock.on(Match::id("short")).once().respond(
        Reply::status(200)
            .body("<response>")
            .content_length(5_000)
            .then(Stop::Close),
    );
    for id in ["latin1", "nul", "huge", "short"] {
        site.update(id, r#"{"a": 1}"#);
    }
    site.wait_drained();
    let body = |id: &str| -> String {
        site.db.value(
            "select body from target_profile.response where profile_id = $1 order by id limit 1",
            &[&id],
        )
    };
    assert!(body("latin1").contains("caf"));
    assert_eq!(body("nul"), "abc");
    assert_eq!(body("huge").len(), 1_000);
    let cut: bool = site.db.value(
        "select outcome = 'failed' and body is null from target_profile.response where profile_id = 'short' order by id limit 1",
        &[],
    );
    assert!(cut, "a body that breaks off is no answer");
    let dump = site.cluster.pg_dump(&["postgres"]);
    let dump = String::from_utf8(dump).expect("a dump is UTF-8");
    assert!(dump.contains(&"x".repeat(1_000)), "the responses are part of the dump");
}

#[test]
fn a_refused_connection_is_retried_until_somebody_listens() {
    let site = Site::new("refused");
    let refused = RefusedPort::new();
    site.db.query(
        "select target_profile.set_client('acme', endpoint => $1)",
        &[&refused.endpoint()],
    );
    site.update("1", r#"{"a": 1}"#);
    site.wait_until("select exists (select from target_profile.response where outcome = 'failed')");
    let message = site
        .db
        .text("select message from target_profile.response order by id limit 1");
    assert!(message.contains("connect"), "{message}");
    assert!(
        !message.contains("mbox3rdPartyId"),
        "the message repeats the URL: {message}"
    );
    site.db.query(
        "select target_profile.set_client('acme', endpoint => $1)",
        &[&site.mock.endpoint()],
    );
    site.wait_drained();
    assert_eq!(site.sent_value("1", "a").as_deref(), Some("1"));
}
