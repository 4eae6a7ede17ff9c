//! Each scripted misbehaviour, as a client sees it.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use support::mock_target::{Ending, MockTarget, Stop};
use support::{Match, Reply};

use crate::raw::{DEADLINE, Raw};

const QUERY: &str = "mbox3rdPartyId=1&profile.a=1";
const SUCCESS_BYTES: usize = 106;

/// A stand-in that plays this reply once, and a client that has sent a request to it.
fn playing(reply: Reply) -> (MockTarget, Raw) {
    let mock = MockTarget::builder().create_unknown(true).start();
    mock.on(Match::any()).once().respond(reply);
    let mut raw = Raw::connect(mock.port());
    raw.send_get("acme", QUERY);
    (mock, raw)
}

/// How the one request ended: status, ending, whether it was applied.
fn end(mock: &MockTarget) -> (Option<u16>, Ending, bool) {
    mock.wait_for("the end of the request", DEADLINE, |state| {
        state.counters().finished == 1
    });
    let request = &mock.requests()[0];
    assert_eq!(
        mock.value("acme", "mbox3rdPartyId", "1", "a").is_some(),
        request.applied
    );
    (request.status, request.ending, request.applied)
}

#[test]
fn hang_until_released() {
    let (mock, mut raw) = playing(Reply::hang());
    mock.wait_hung(1, DEADLINE);
    assert!(raw.is_silent());
    assert_eq!(
        mock.value("acme", "mbox3rdPartyId", "1", "a").as_deref(),
        Some("1"),
        "applied at once"
    );
    mock.release_hung();
    assert_eq!(raw.response().unwrap().status, 200);
    assert_eq!(end(&mock), (Some(200), Ending::Answered, true));
    assert_eq!(raw.get("acme", QUERY).status, 200, "the connection is kept");
}

#[test]
fn hang_until_the_client_goes() {
    let (mock, raw) = playing(Reply::hang().applied(false));
    mock.wait_hung(1, DEADLINE);
    drop(raw);
    assert_eq!(end(&mock), (None, Ending::ClientGone, false));
    assert_eq!((mock.in_flight(), mock.counters().hung), (0, 0));
}

#[test]
fn delay() {
    let start = Instant::now();
    let (mock, mut raw) = playing(Reply::delay(Duration::from_millis(80)));
    assert_eq!(raw.response().unwrap().status, 200);
    assert!(start.elapsed() >= Duration::from_millis(80));
    assert_eq!(end(&mock), (Some(200), Ending::Answered, true));
    assert!(mock.requests()[0].duration().unwrap() >= Duration::from_millis(80));
}

#[test]
fn a_late_write_comes_even_when_the_client_has_gone() {
    let (mock, raw) = playing(Reply::delay(Duration::from_millis(200)).applied_late());
    mock.wait_requests(1, DEADLINE);
    drop(raw);
    mock.wait_for("the request's end", DEADLINE, |state| state.counters().finished == 1);
    assert_eq!(mock.requests()[0].ending, Ending::ClientGone);
    assert_eq!(mock.value("acme", "mbox3rdPartyId", "1", "a"), None);
    mock.wait_value("acme", "mbox3rdPartyId", "1", "a", "1", DEADLINE);
}

#[test]
fn reset_before_answering() {
    let (mock, mut raw) = playing(Reply::reset());
    let (bytes, end_of_it) = raw.rest();
    assert!(bytes.is_empty());
    assert_eq!(end_of_it.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(end(&mock), (None, Ending::Cut, false));
}

#[test]
fn reset_after_applying() {
    let (mock, mut raw) = playing(Reply::reset().applied(true).after(Duration::from_millis(10)));
    assert_eq!(raw.rest().1.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(end(&mock), (None, Ending::Cut, true));
}

#[test]
fn close_without_answer() {
    let (mock, mut raw) = playing(Reply::close());
    assert!(matches!(raw.rest(), (bytes, Ok(())) if bytes.is_empty()));
    assert_eq!(end(&mock), (None, Ending::Cut, false));
}

#[test]
fn reset_mid_body() {
    let (mock, mut raw) = playing(Reply::reset_mid_body());
    assert_eq!(raw.head().unwrap().0, 200);
    let (bytes, end_of_it) = raw.rest();
    assert_eq!(bytes, b"<response><success>t");
    assert_eq!(end_of_it.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(end(&mock), (Some(200), Ending::Cut, true));
}

#[test]
fn close_and_hang_mid_body() {
    let (mock, mut raw) = playing(Reply::ordinary().cut_body(5, Stop::Close));
    raw.head().unwrap();
    assert!(matches!(raw.rest(), (bytes, Ok(())) if bytes == b"<resp"));
    assert_eq!(end(&mock), (Some(200), Ending::Cut, true));
    let (mock, mut raw) = playing(Reply::status(500).body("0123456789").cut_body(4, Stop::Hang));
    assert_eq!(raw.head().unwrap().0, 500);
    mock.wait_hung(1, DEADLINE);
    mock.release_hung();
    raw.send("GET /m2/acme/profile/update?mboxPC=1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(raw.rest().0.starts_with(b"0123456789HTTP/1.1 200"));
    mock.wait_answered(2, DEADLINE);
}

#[test]
fn slow_body() {
    let start = Instant::now();
    let (mock, mut raw) = playing(Reply::slow_body(Duration::from_millis(1)));
    assert_eq!(raw.response().unwrap().body.len(), SUCCESS_BYTES);
    assert!(start.elapsed() >= Duration::from_millis(SUCCESS_BYTES as u64 - 1));
    assert_eq!(end(&mock), (Some(200), Ending::Answered, true));
    let (mock, raw) = playing(Reply::ordinary().trickle(50, Duration::from_secs(3600)));
    mock.wait_requests(1, DEADLINE);
    drop(raw);
    assert_eq!(end(&mock).1, Ending::ClientGone);
}

#[test]
fn content_length_longer_than_what_follows() {
    let (mock, mut raw) = playing(Reply::status(200).body("short").content_length(100));
    assert_eq!(raw.response().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(end(&mock), (Some(200), Ending::Cut, true));
    let (mock, mut raw) = playing(Reply::ordinary().content_length(100_000).then(Stop::Hang));
    assert!(raw.head().unwrap().1.contains("content-length: 100000\r\n"));
    mock.wait_hung(1, DEADLINE);
    drop(raw);
    assert_eq!(end(&mock), (Some(200), Ending::ClientGone, true));
}

#[test]
fn content_length_shorter_than_what_follows() {
    let (mock, mut raw) = playing(
        Reply::status(200)
            .body("<success>true</success>HTTP/1.1 ")
            .content_length(23),
    );
    assert_eq!(raw.response().unwrap().text(), "<success>true</success>");
    assert!(matches!(raw.rest(), (rest, Ok(())) if rest == b"HTTP/1.1 "));
    assert_eq!(end(&mock), (Some(200), Ending::Answered, true));
}

#[test]
fn any_status_headers_and_bytes() {
    let body = vec![0xff; 10_000_000];
    let reply = Reply::status(599)
        .header("x-a", "1")
        .header("x-a", "2")
        .retry_after("120")
        .body(body.clone());
    let (mock, mut raw) = playing(reply);
    let answer = raw.response().unwrap();
    assert_eq!((answer.status, answer.body), (599, body));
    for header in ["x-a: 1\r\n", "x-a: 2\r\n", "retry-after: 120\r\n"] {
        assert!(answer.head.contains(header), "{}", answer.head);
    }
    assert_eq!(end(&mock), (Some(599), Ending::Answered, false));
    let (mock, mut raw) = playing(Reply::status(204));
    assert_eq!(raw.response().unwrap().head, "HTTP/1.1 204 Scripted\r\n\r\n");
    assert_eq!(end(&mock), (Some(204), Ending::Answered, true));
}

#[test]
fn failure_with_status_200() {
    let (mock, mut raw) = playing(Reply::failure("quota"));
    assert_eq!(
        raw.response().unwrap().text(),
        "<response><success>false</success><message>quota</message></response>"
    );
    assert_eq!(end(&mock), (Some(200), Ending::Answered, false));
}

#[test]
fn interim_then_final_and_interim_then_nothing() {
    let (mock, mut raw) = playing(Reply::status(503).interim(103).interim(100));
    assert_eq!((raw.head().unwrap().0, raw.head().unwrap().0), (103, 100));
    assert_eq!(raw.response().unwrap().status, 503);
    assert_eq!(end(&mock), (Some(503), Ending::Answered, false));
    let (mock, mut raw) = playing(Reply::interim_then_nothing(100));
    assert_eq!(raw.head().unwrap().0, 100);
    mock.wait_hung(1, DEADLINE);
    assert!(raw.is_silent());
    drop(raw);
    assert_eq!(end(&mock), (None, Ending::ClientGone, true));
}

#[test]
fn redirect_and_garbage() {
    let (mock, mut raw) = playing(Reply::redirect(302, "http://127.0.0.1:1/elsewhere"));
    let answer = raw.response().unwrap();
    assert!(answer.status == 302 && answer.head.contains("location: http://127.0.0.1:1/elsewhere\r\n"));
    assert_eq!(end(&mock), (Some(302), Ending::Answered, false));
    let (mock, mut raw) = playing(Reply::raw(*b"\x16\x03\x01 this is not HTTP"));
    assert!(matches!(raw.rest(), (bytes, Ok(())) if bytes == b"\x16\x03\x01 this is not HTTP"));
    assert_eq!(end(&mock), (None, Ending::Answered, false));
}

#[test]
fn rules_are_tried_in_order_and_used_up() {
    let mock = MockTarget::builder().create_unknown(true).start();
    let mut raw = Raw::connect(mock.port());
    let status =
        |client: &str, id: &str, raw: &mut Raw| raw.get(client, &format!("mbox3rdPartyId={id}&profile.a=1")).status;
    let throttled = mock
        .on(Match::client("acme"))
        .times(2)
        .respond(Reply::status(503).retry_after("1"));
    mock.on(Match::id("7").and_client("acme"))
        .once()
        .respond(Reply::status(500));
    mock.on(Match::client("globex").and_nth(2)).respond(Reply::status(429));
    mock.on(Match::any().and_client("initech").and_every(2))
        .respond(Reply::status(420));
    mock.on(Match::client("hooli").and_method("POST"))
        .respond(Reply::status(408));
    mock.on(Match::client("umbrella"))
        .respond_each([Reply::status(401), Reply::status(403)]);
    mock.on(Match::when(|request| request.attrs.contains_key("poison")))
        .respond(Reply::failure("no"));
    let mut seen = |client: &str, ids: &[&str]| ids.iter().map(|id| status(client, id, &mut raw)).collect::<Vec<_>>();
    assert_eq!(seen("acme", &["1", "7", "1", "7", "7"]), [503, 503, 200, 500, 200]);
    assert_eq!(seen("globex", &["1", "1", "1"]), [200, 429, 200]);
    assert_eq!(seen("initech", &["1", "1", "1", "1"]), [200, 420, 200, 420]);
    assert_eq!(seen("umbrella", &["1", "1", "1"]), [401, 403, 200]);
    assert_eq!(seen("hooli", &["1"]), [200]);
    assert_eq!(raw.post("hooli", QUERY).status, 408);
    assert!(raw.get("stark", "mboxPC=1&profile.poison=1").text().contains("false"));
    assert_eq!(mock.rule_hits(throttled), 2);
    mock.remove_rule(throttled);
    assert_eq!(mock.rule_hits(throttled), 0);
    mock.clear_rules();
    assert_eq!(raw.post("hooli", QUERY).status, 200);
}

#[test]
fn probability_is_seeded() {
    let run = |seed: u64| {
        let mock = MockTarget::start();
        mock.on(Match::probability(0.25, seed)).respond(Reply::status(500));
        let mut raw = Raw::connect(mock.port());
        (0..400)
            .map(|_| raw.get("acme", QUERY).status == 500)
            .collect::<Vec<_>>()
    };
    let first = run(42);
    assert_eq!(first, run(42));
    assert_ne!(first, run(43));
    let failures = first.iter().filter(|failed| **failed).count();
    assert!((60..140).contains(&failures), "{failures} of 400");
}
