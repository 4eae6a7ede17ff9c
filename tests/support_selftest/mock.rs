//! What the stand-in does when nothing is scripted.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use support::mock_target::{Ending, Form, MockTarget, Recording, timestamp};
use support::{Match, RefusedPort, Reply};

use crate::raw::{DEADLINE, Raw};

const SUCCESS: &str =
    "<response><success>true</success><pcId></pcId><message>Request successfully submitted</message></response>";
const THIRD: &str = "mbox3rdPartyId";

pub fn attrs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn creating() -> MockTarget {
    MockTarget::builder().create_unknown(true).start()
}

#[test]
fn get_and_post_update_profiles() {
    let mock = creating();
    assert_eq!(
        mock.endpoint(),
        format!("http://127.0.0.1:{}/m2/{{client}}/profile/update", mock.port())
    );
    let mut raw = Raw::connect(mock.port());
    let answer = raw.get(
        "acme",
        "mboxPC=1368007744041-575948.01_00&profile.attr=0&profile.attr2=1",
    );
    assert_eq!((answer.status, answer.text()), (200, SUCCESS));
    let answer = raw.post("acme", "mbox3rdPartyId=123456&profile.attr=0&profile.attr2=1");
    assert_eq!((answer.status, answer.text()), (200, SUCCESS));
    let both = attrs(&[("attr", "0"), ("attr2", "1")]);
    assert_eq!(
        mock.profile("acme", "mboxPC", "1368007744041-575948.01_00"),
        Some(both.clone())
    );
    assert_eq!(mock.profile("acme", THIRD, "123456"), Some(both));
    assert_eq!(mock.profile("other", THIRD, "123456"), None);
    assert_eq!(mock.profiles().len(), 2);

    let requests = mock.wait_answered(2, DEADLINE);
    assert_eq!(
        requests
            .iter()
            .map(|request| request.method.as_str())
            .collect::<Vec<_>>(),
        ["GET", "POST"]
    );
    let first = &requests[0];
    assert_eq!(
        first.target,
        "/m2/acme/profile/update?mboxPC=1368007744041-575948.01_00&profile.attr=0&profile.attr2=1"
    );
    assert_eq!(
        (first.status, first.ending, first.applied, first.body_bytes),
        (Some(200), Ending::Answered, true, 0)
    );
    assert_eq!(first.header("Host"), Some("127.0.0.1"));
    assert!(first.finished.unwrap() >= first.arrived && first.finished_at.unwrap() >= UNIX_EPOCH);
    assert_eq!((requests[1].body_bytes, requests[1].connection), (52, first.connection));
}

#[test]
fn percent_encoding_and_utf8_arrive_as_they_were_meant() {
    let mock = creating();
    let mut raw = Raw::connect(mock.port());
    let query = "mbox3rdPartyId=a%26b%3Dc%20d&profile.city=New%20York+City&profile.name=%E5%B1%B1%F0%9F%98%80&profile.a.b=\
                 %25%2B%23&profile.=%20&profile.E=";
    assert_eq!(raw.get("acme", query).status, 400, "a blank name");
    let query = query.replace("&profile.=%20", "");
    let expected = attrs(&[("city", "New York City"), ("name", "山😀"), ("a.b", "%+#"), ("E", "")]);
    assert_eq!(raw.get("acme", &query).status, 200);
    assert_eq!(mock.profile("acme", THIRD, "a&b=c d"), Some(expected.clone()));
    assert_eq!(raw.post("acme", &query.replace("a%26b", "post")).status, 200);
    assert_eq!(mock.profile("acme", THIRD, "post=c d"), Some(expected));
    assert_eq!(
        raw.post(
            "acme",
            "mbox3rdPartyId=1&profileLevel=2&profile.profile.x=3&Profile.y=4"
        )
        .status,
        200
    );
    assert_eq!(mock.profile("acme", THIRD, "1"), Some(attrs(&[("profile.x", "3")])));
    for broken in ["profile.a=%zz", "profile.a=%e", "profile.a=%ff", "profile.%c3=1"] {
        assert_eq!(
            raw.get("acme", &format!("mbox3rdPartyId=9&{broken}")).status,
            400,
            "{broken}"
        );
    }
    // A byte above 0x7f that is not escaped.
    assert_eq!(raw.post("acme", "mbox3rdPartyId=9&profile.a=é").status, 400);
    assert_eq!(mock.profile("acme", THIRD, "9"), None);
}

#[test]
fn later_values_win_and_history_is_in_order() {
    let mock = creating();
    let mut raw = Raw::connect(mock.port());
    for (name, value) in [("a", "1"), ("b", "1"), ("a", "2"), ("a", "3")] {
        raw.get("acme", &format!("mbox3rdPartyId=7&profile.{name}={value}"));
    }
    assert_eq!(mock.profile("acme", THIRD, "7"), Some(attrs(&[("a", "3"), ("b", "1")])));
    assert_eq!(mock.value_history("acme", THIRD, "7", "a"), ["1", "2", "3"]);
    assert_eq!(mock.history("acme", THIRD, "7").len(), 4);
    mock.wait_value("acme", THIRD, "7", "a", "3", DEADLINE);
    assert_eq!(mock.max_in_flight_per_profile(), 1);
    assert_eq!(mock.overlaps(), []);
}

#[test]
fn unknown_ids_are_accepted_and_ignored() {
    let mock = MockTarget::start();
    let mut raw = Raw::connect(mock.port());
    assert_eq!(raw.get("acme", "mbox3rdPartyId=7&profile.a=1").text(), SUCCESS);
    assert_eq!(mock.profile("acme", THIRD, "7"), None);
    mock.known("acme", THIRD, "7");
    assert_eq!(raw.get("acme", "mbox3rdPartyId=7&profile.a=2").text(), SUCCESS);
    assert_eq!(mock.profile("acme", THIRD, "7"), Some(attrs(&[("a", "2")])));
    assert_eq!(
        mock.wait_answered(2, DEADLINE)
            .iter()
            .map(|r| r.applied)
            .collect::<Vec<_>>(),
        [false, true]
    );
}

#[test]
fn limits_are_those_of_the_api() {
    let mock = creating();
    let mut raw = Raw::connect(mock.port());
    let url = |length: usize| {
        let fixed = "http://127.0.0.1/m2/acme/profile/update?mbox3rdPartyId=1&profile.a=".len();
        format!("mbox3rdPartyId=1&profile.a={}", "x".repeat(length - fixed))
    };
    assert_eq!(raw.get("acme", &url(8_000)).status, 200);
    let refused = raw.get("acme", &url(8_001));
    assert_eq!(refused.status, 414);
    assert!(
        refused
            .text()
            .starts_with("<com.adobe.tnt.profileservice.crud.ResponseErrorBody>"),
        "{}",
        refused.text()
    );
    let body = |length: usize| format!("mbox3rdPartyId=2&profile.a={}", "x".repeat(length - 27));
    assert_eq!(raw.post("acme", &body(60_000)).status, 200);
    assert_eq!(raw.post("acme", &body(60_001)).status, 413);
    assert_eq!(mock.value("acme", THIRD, "2", "a").unwrap().len(), 60_000 - 27);
    assert_eq!(mock.requests()[0].url_bytes, 8_000);
}

#[test]
fn what_target_refuses_is_refused() {
    let mock = creating();
    let mut raw = Raw::connect(mock.port());
    let long = "x".repeat(257);
    for (query, status) in [
        ("profile.a=1", 400),
        ("mbox3rdPartyId=&profile.a=1", 400),
        ("mbox3rdPartyId=1&mbox3rdPartyId=1&profile.a=1", 400),
        ("mbox3rdPartyId=1&mboxPC=1&profile.a=1", 400),
        ("mbox3rdPartyId=a%2Bb&profile.a=1", 400),
        ("mbox3rdPartyId=a%2Fb&profile.a=1", 400),
        ("mboxPC=a.b.c&profile.a=1", 400),
        (&format!("mbox3rdPartyId={long}&profile.a=1"), 400),
        (&format!("mboxPC={}&profile.a=1", &long[..129]), 400),
        (&format!("mbox3rdPartyId={}&profile.a=1", &long[..256]), 200),
        ("mboxPC=111492025094307-353046&profile.a=1", 200),
    ] {
        let answer = raw.get("acme", query);
        assert_eq!(answer.status, status, "{query}");
        assert_eq!(answer.text().contains("ResponseErrorBody"), status == 400, "{query}");
    }
    for client in ["Acme", "acme.evil.com", "x@y", "-a", "", "a_b"] {
        assert_eq!(raw.get(client, "mbox3rdPartyId=1&profile.a=1").status, 400, "{client}");
    }
    raw.send("PUT /m2/acme/profile/update?mbox3rdPartyId=1 HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(raw.response().unwrap().status, 405);
    raw.send("GET /m2/acme/profile/fetch?mbox3rdPartyId=1 HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(raw.response().unwrap().status, 404);
    // A form in a body that does not say it is one is not read.
    raw.send("POST /m2/acme/profile/update HTTP/1.1\r\nhost: x\r\ncontent-length: 16\r\n\r\nmbox3rdPartyId=1");
    assert_eq!(raw.response().unwrap().status, 400);
    mock.allow_clients(&["acme", "globex"]);
    assert_eq!(raw.get("globex", "mbox3rdPartyId=1&profile.a=1").status, 200);
    assert_eq!(raw.get("initech", "mbox3rdPartyId=1&profile.a=1").status, 400);
    assert_eq!(mock.profiles().len(), 3);
}

#[test]
fn tokens_are_checked_and_never_shown() {
    let mock = creating();
    mock.require_token("acme", "secret-1");
    let mut raw = Raw::connect(mock.port());
    let mut with = |client: &str, header: &str| {
        raw.send(format!(
            "GET /m2/{client}/profile/update?mbox3rdPartyId=1&profile.a=1 HTTP/1.1\r\nhost: x\r\n{header}\r\n"
        ));
        raw.response().unwrap()
    };
    assert!(with("acme", "").text().contains("ResponseErrorBody"));
    assert_eq!(with("acme", "Authorization: Bearer secret-2\r\n").status, 403);
    assert_eq!(with("acme", "authorization: Bearer secret-1\r\n").status, 200);
    assert_eq!(with("globex", "").status, 200);
    mock.require_token("acme", "secret-2");
    assert_eq!(with("acme", "authorization: Bearer secret-1\r\n").status, 403);
    mock.require_no_token("acme");
    assert_eq!(with("acme", "").status, 200);
    let requests = mock.requests();
    assert_eq!(requests[2].header("authorization"), Some("Bearer secret-1"));
    assert!(!format!("{requests:?}{requests:#?}").contains("secret"));
}

#[test]
fn success_comes_in_three_forms() {
    let mock = MockTarget::start();
    let mut raw = Raw::connect(mock.port());
    mock.answer_in(Form::Text);
    assert_eq!(
        raw.get("acme", "mboxPC=1&profile.a=1").text(),
        "trueRequest successfully submitted"
    );
    mock.answer_in(Form::Indented);
    let indented = raw.get("acme", "mboxPC=1&profile.a=1");
    let lines: String = indented.text().lines().map(str::trim).collect();
    assert_eq!(lines, SUCCESS);
}

#[test]
fn requests_may_come_in_pieces_chunks_and_pipelines() {
    let mock = creating();
    let mut raw = Raw::connect(mock.port());
    let get = "GET /m2/acme/profile/update?mbox3rdPartyId=1&profile.a=1 HTTP/1.1\r\nhost: x\r\n\r\n";
    for byte in get.bytes() {
        raw.send([byte]);
    }
    assert_eq!(raw.response().unwrap().status, 200);
    raw.send(get.repeat(3));
    for _ in 0..3 {
        assert_eq!(raw.response().unwrap().status, 200);
    }
    raw.send(
        "POST /m2/acme/profile/update HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded; \
         charset=utf-8\r\ntransfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n",
    );
    assert_eq!(raw.head().unwrap().0, 100);
    raw.send("12;x=y\r\nmbox3rdPartyId=2&p\r\nB\r\nrofile.a=%4\r\n1\r\n1\r\n0\r\n\r\n");
    assert_eq!(raw.response().unwrap().status, 200);
    assert_eq!(mock.value("acme", THIRD, "2", "a").as_deref(), Some("A"));
    raw.send("GET /m2/acme/profile/update?mboxPC=1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert_eq!(raw.response().unwrap().status, 200);
    assert!(matches!(raw.rest(), (rest, Ok(())) if rest.is_empty()));
    let mut raw = Raw::connect(mock.port());
    raw.send("no HTTP at all\r\n\r\n");
    assert_eq!(raw.response().unwrap().status, 400);
    assert_eq!(mock.request_count(), 6);
}

#[test]
fn counters_go_on_when_requests_are_not_kept() {
    let mock = MockTarget::builder()
        .create_unknown(true)
        .recording(Recording::Profiles)
        .start();
    let mut raw = Raw::connect(mock.port());
    raw.get("acme", "mbox3rdPartyId=1&profile.a=1");
    mock.record(Recording::Counters);
    raw.get("acme", "mbox3rdPartyId=1&profile.a=2");
    mock.wait_answered(2, DEADLINE);
    assert_eq!(mock.value("acme", THIRD, "1", "a").as_deref(), Some("1"));
    assert!(mock.requests().is_empty() && mock.history("acme", THIRD, "1").is_empty());
    let counters = mock.counters();
    assert_eq!(
        (counters.arrived, counters.by_status[&200], counters.max_in_flight),
        (2, 2, 1)
    );
    mock.clear();
    assert_eq!((mock.request_count(), mock.max_in_flight()), (0, 0));
    mock.record(Recording::Everything);
    raw.get("acme", "mbox3rdPartyId=1&profile.a=3");
    let requests = mock.wait_answered(1, DEADLINE);
    assert_eq!((requests.len(), requests[0].seq), (1, 3));
}

#[test]
fn overlapping_requests_of_one_profile_are_noticed() {
    let mock = creating();
    mock.on(Match::any()).times(3).respond(Reply::hang());
    let mut connections: Vec<Raw> = (0..3).map(|_| Raw::connect(mock.port())).collect();
    for (raw, id) in connections.iter_mut().zip(["1", "2", "1"]) {
        raw.send_get("acme", &format!("mbox3rdPartyId={id}&profile.a=1"));
    }
    mock.wait_hung(3, DEADLINE);
    assert_eq!(
        (mock.in_flight(), mock.max_in_flight(), mock.max_in_flight_per_profile()),
        (3, 3, 2)
    );
    assert_eq!((mock.max_in_flight_of("acme"), mock.max_in_flight_of("globex")), (3, 0));
    assert_eq!(mock.overlaps().len(), 1);
    mock.clear();
    assert_eq!(
        (mock.in_flight(), mock.max_in_flight_per_profile()),
        (3, 2),
        "what is in flight stays counted"
    );
    mock.release_hung();
    for raw in &mut connections {
        assert_eq!(raw.response().unwrap().status, 200);
    }
    mock.wait_quiet(Duration::from_millis(20), DEADLINE);
    assert_eq!(mock.in_flight(), 0);
}

#[test]
fn a_client_that_gives_up_and_begins_anew_is_no_overlap() {
    let mock = creating();
    mock.on(Match::any()).and_hang_odd();
    for _ in 0..200 {
        let mut first = Raw::connect(mock.port());
        first.send_get("acme", "mbox3rdPartyId=1&profile.a=1");
        mock.wait_hung(1, DEADLINE);
        let mut second = Raw::connect(mock.port());
        drop(first);
        assert_eq!(second.get("acme", "mbox3rdPartyId=1&profile.a=2").status, 200);
    }
    assert_eq!(mock.overlaps(), []);
}

/// Every other request hangs.
trait HangOdd {
    fn and_hang_odd(self);
}

impl HangOdd for support::mock_target::RuleBuilder<'_> {
    fn and_hang_odd(self) {
        let mut odd = false;
        self.respond_with(move |_| {
            odd = !odd;
            if odd { Reply::hang() } else { Reply::ordinary() }
        });
    }
}

#[test]
fn it_stops_at_once_and_starts_again_on_its_port() {
    let mock = creating();
    mock.on(Match::id("1")).respond(Reply::hang());
    let mut raw = Raw::connect(mock.port());
    raw.send_get("acme", "mbox3rdPartyId=1&profile.a=1");
    mock.wait_hung(1, DEADLINE);
    mock.stop();
    assert!(raw.rest().0.is_empty());
    assert!(std::net::TcpStream::connect(("127.0.0.1", mock.port())).is_err());
    assert_eq!((mock.in_flight(), mock.requests()[0].ending), (0, Ending::Stopped));
    mock.start_again();
    mock.start_again();
    assert_eq!(
        Raw::connect(mock.port())
            .get("acme", "mbox3rdPartyId=2&profile.a=1")
            .status,
        200
    );
    let port = mock.port();
    let mut raw = Raw::connect(port);
    raw.send_get("acme", "mbox3rdPartyId=1&profile.a=1");
    mock.wait_hung(1, DEADLINE);
    let start = std::time::Instant::now();
    drop(mock);
    assert!(start.elapsed() < Duration::from_secs(1), "a drop waits for nobody");
    assert!(raw.rest().0.is_empty());
}

#[test]
#[should_panic(expected = "in vain for 2 requests to arrive; received: ")]
fn waiting_in_vain_says_for_what_and_what_came() {
    let mock = creating();
    Raw::connect(mock.port()).get("acme", "mbox3rdPartyId=1&profile.a=1");
    mock.wait_requests(2, Duration::from_millis(50));
}

#[test]
fn a_refused_port_refuses() {
    let refused = RefusedPort::new();
    let error = std::net::TcpStream::connect(("127.0.0.1", refused.port())).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(refused.endpoint().starts_with("http://127.0.0.1:"));
}

#[test]
fn the_pages_of_the_binary_show_no_token() {
    let mock = MockTarget::builder().create_unknown(true).admin(true).start();
    let mut raw = Raw::connect(mock.port());
    raw.send(
        "GET /m2/acme/profile/update?mbox3rdPartyId=1&profile.a=1 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer \
         secret\r\n\r\n",
    );
    assert_eq!(raw.response().unwrap().status, 200);
    for (line, part) in [
        ("GET /_profiles", "\"a\": \"1\""),
        ("GET /_requests", "\"status\": 200"),
    ] {
        raw.send(format!("{line} HTTP/1.1\r\nhost: x\r\n\r\n"));
        let page = raw.response().unwrap();
        assert!(
            page.text().contains(part) && !page.text().contains("secret"),
            "{}",
            page.text()
        );
    }
    assert!(!mock.wait_quit(Duration::ZERO));
    raw.send("POST /_quit HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(raw.response().unwrap().status, 200);
    assert!(mock.wait_quit(DEADLINE));
    assert_eq!(mock.request_count(), 1);
}

#[test]
fn timestamps_are_civil() {
    for (seconds, expected) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_827_696, "2000-02-29T12:34:56.000Z"),
        (1_735_689_599, "2024-12-31T23:59:59.000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000Z"),
    ] {
        assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
    }
}
