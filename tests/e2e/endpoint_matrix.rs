//! Everything an endpoint may do to one request: what is recorded, what becomes of the entry, and of its client.

use std::ops::Range;
use std::time::Duration;

use support::tls::{Authority, Identity, TlsFront};
use support::{Match, MockTarget, RefusedPort, Reply};

use crate::site::{SOON, Site};

/// How much later than promised something may be noted: the machine may be busy.
const SLACK: f64 = 8.0;

/// What becomes of the entry after the first answer.
#[derive(Clone, Debug)]
enum Becomes {
    Accepted,
    /// A dead letter after so many answers alike.
    Dead(u64),
    /// It waits for its next attempt, this one counted; not before so many seconds have passed, and soon after.
    Retried(f64),
    /// It waits, nothing counted, and its client backs off for so many seconds.
    BackingOff(f64),
    /// It waits, nothing counted, until somebody does something about its client.
    Paused,
}

/// One client with one entry.
struct Case {
    code: &'static str,
    /// `None`: the endpoint cannot be reached at all.
    reply: Option<Reply>,
    endpoint: Option<String>,
    timeout: &'static str,
    outcome: &'static str,
    status: Option<i32>,
    /// What the message contains; `None`: there is no message.
    message: Option<&'static str>,
    /// Of the first request, in seconds.
    duration: Range<f64>,
    becomes: Becomes,
}

impl Case {
    fn new(code: &'static str, reply: Reply, outcome: &'static str, becomes: Becomes) -> Self {
        Self {
            code,
            reply: Some(reply),
            endpoint: None,
            timeout: "30 s",
            outcome,
            status: None,
            message: None,
            duration: 0.0..SLACK,
            becomes,
        }
    }

    /// Ends with this status, which the body comments in these words.
    fn answers(
        code: &'static str,
        status: u16,
        outcome: &'static str,
        change: impl FnOnce(Reply) -> Reply,
        becomes: Becomes,
    ) -> Self {
        let reply = change(Reply::status(status).body("said the endpoint"));
        Self::new(code, reply, outcome, becomes)
            .status(status)
            .message("said the endpoint")
    }

    /// Fails without an answer, for this reason.
    fn fails(code: &'static str, reply: Reply, why: &'static str) -> Self {
        Self::new(code, reply, "failed", Becomes::Retried(0.0)).message(why)
    }

    /// Has not ended within the client's timeout.
    fn times_out(code: &'static str, reply: Reply) -> Self {
        Self {
            timeout: "1 s",
            duration: 1.0..1.0 + SLACK,
            ..Self::fails(code, reply, "timeout")
        }
    }

    fn accepts(code: &'static str, reply: Reply) -> Self {
        Self::new(code, reply, "accepted", Becomes::Accepted)
            .status(200)
            .message("Request successfully submitted")
    }

    /// Nobody answers there.
    fn unreachable(code: &'static str, endpoint: String, why: &'static str) -> Self {
        Self {
            reply: None,
            endpoint: Some(endpoint),
            // The name's look-up may have to wait for a resolver that is not there either.
            duration: 0.0..20.0,
            ..Self::fails(code, Reply::ordinary(), why)
        }
    }

    fn status(self, status: u16) -> Self {
        let status = Some(i32::from(status));
        Self { status, ..self }
    }

    fn message(self, message: &'static str) -> Self {
        let message = Some(message);
        Self { message, ..self }
    }

    fn lasts(self, duration: Range<f64>) -> Self {
        Self { duration, ..self }
    }
}

fn cases(elsewhere: &MockTarget, refused: &RefusedPort, date: &str) -> Vec<Case> {
    use Becomes::{BackingOff, Dead, Paused, Retried};
    let ms = Duration::from_millis;
    let plain = |reply: Reply| reply;
    let moved = format!("http://localhost:{}/m2/moved/profile/update", elsewhere.port());
    let megabytes = |start: &str| {
        let mut body = start.as_bytes().to_vec();
        body.resize(10_000_000, b' ');
        body
    };
    let success = "<response><success>true</success><message>Request successfully submitted</message></response>";
    vec![
        Case::times_out("hangs", Reply::hang()),
        Case::times_out("trickles", Reply::slow_body(ms(50))),
        Case::times_out("interim-only", Reply::interim_then_nothing(103)),
        Case::accepts("trickles-in-time", Reply::ordinary().trickle(10, ms(20))).lasts(0.1..SLACK),
        Case::fails("resets", Reply::reset(), "connection failed: "),
        Case::fails("closes", Reply::close(), "connection failed: "),
        Case::fails("no-http", Reply::raw("220 smtp ready\r\n"), "connection failed: "),
        Case::fails("resets-mid-body", Reply::reset_mid_body(), "answer broke off: "),
        Case::fails(
            "length-too-long",
            Reply::ordinary().content_length(5_000),
            "answer broke off: ",
        ),
        Case::new(
            "length-too-short",
            Reply::ordinary().content_length(20),
            "unrecognised",
            Retried(0.0),
        )
        .status(200),
        Case::fails(
            "two-lengths",
            Reply::raw(format!(
                "HTTP/1.1 200 OK\r\ncontent-length: 7\r\ncontent-length: {}\r\n\r\n{success}",
                success.len()
            )),
            "connection failed: ",
        ),
        // What counts is at the front; the rest is given up with the connection.
        Case::accepts("huge-success", Reply::status(200).body(megabytes(success))),
        Case::new(
            "huge-other",
            Reply::status(200).body(megabytes("<html>")),
            "unrecognised",
            Retried(0.0),
        )
        .status(200),
        Case::new(
            "huge-400",
            Reply::status(400).body(megabytes("<html>")),
            "rejected",
            Dead(1),
        )
        .status(400),
        Case::accepts("interim-100", Reply::ordinary().interim(100)),
        Case::accepts("interim-103", Reply::ordinary().interim(103).interim(103)),
        Case::new("s204", Reply::status(204), "unrecognised", Dead(3)).status(204),
        Case::new("s301", Reply::redirect(301, &moved), "rejected", Dead(1))
            .status(301)
            .message("redirect not followed"),
        Case::answers("s400", 400, "rejected", plain, Dead(1)),
        Case::answers("s401", 401, "unauthorized", plain, Paused),
        Case::answers("s403", 403, "unauthorized", plain, Paused),
        Case::answers("s404", 404, "rejected", plain, Dead(1)),
        Case::answers("s408", 408, "failed", plain, Retried(0.0)),
        Case::answers("s413", 413, "rejected", plain, Dead(1)),
        Case::answers("s420", 420, "throttled", plain, BackingOff(0.0)),
        Case::answers("s425", 425, "failed", plain, Retried(0.0)),
        Case::answers("s429", 429, "throttled", plain, BackingOff(0.0)),
        Case::answers(
            "s429-seconds",
            429,
            "throttled",
            |r| r.retry_after("2"),
            BackingOff(2.0),
        ),
        // An hour ahead when the table is made.
        Case::answers(
            "s429-date",
            429,
            "throttled",
            |r| r.retry_after(date),
            BackingOff(3_500.0),
        ),
        Case::answers(
            "s429-nonsense",
            429,
            "throttled",
            |r| r.retry_after("soon"),
            BackingOff(0.0),
        ),
        Case::answers("s500", 500, "failed", plain, Retried(0.0)),
        Case::answers("s500-seconds", 500, "failed", |r| r.retry_after("2"), Retried(2.0)),
        Case::answers("s502", 502, "failed", plain, Retried(0.0)),
        Case::answers("s503", 503, "throttled", plain, BackingOff(60.0)),
        Case::answers(
            "s503-seconds",
            503,
            "throttled",
            |r| r.retry_after("2"),
            BackingOff(2.0),
        ),
        Case::unreachable("refused", refused.endpoint(), "cannot connect: "),
        Case::unreachable(
            "no-such-host",
            "https://target.invalid/m2/{client}/profile/update".to_owned(),
            "dns error: ",
        ),
    ]
}

#[test]
fn whatever_an_endpoint_does_is_recorded_and_decides_about_the_entry_and_its_client() {
    let site = Site::new("matrix");
    let elsewhere = MockTarget::builder().create_unknown(true).start();
    let refused = RefusedPort::new();
    let in_an_hour: String = site
        .db
        .text("select to_char(now() at time zone 'UTC' + interval '1 hour', 'Dy, DD Mon YYYY HH24:MI:SS \"GMT\"')");
    let cases = cases(&elsewhere, &refused, &in_an_hour);
    for case in &cases {
        if let Some(reply) = &case.reply {
            let times = if let Becomes::Dead(times) = case.becomes {
                times
            } else {
                1
            };
            site.mock
                .on(Match::client(case.code))
                .times(times)
                .respond(reply.clone());
        }
        let endpoint = case.endpoint.clone().unwrap_or_else(|| site.mock.endpoint());
        site.db.query(
            "select target_profile.add_client($1, endpoint => $2, timeout => $3::text::interval)",
            &[&case.code, &endpoint, &case.timeout],
        );
    }
    // What is sent again stays under way, so that there is time to look at what the first answer has done.
    site.mock.on(Match::any()).respond(Reply::hang());
    let entries: Vec<i64> = cases
        .iter()
        .map(|case| {
            site.db.value(
                "select target_profile_update($1, 'mbox3rdPartyId', 'p', '{\"a\": 1}')",
                &[&case.code],
            )
        })
        .collect();
    let waiting = entries.iter().zip(&cases);

    site.wait_until(&format!(
        "select count(distinct client_code) = {} from target_profile.response",
        cases.len()
    ));
    for (&id, case) in waiting.clone() {
        check_record(&site, case, id);
        check_fate(&site, case, id);
    }
    assert_eq!(elsewhere.counters().connections, 0, "a redirect was followed");

    // Once the cause is gone, everything that waits goes out, but for what has been told to wait for longer than a test.
    site.mock.clear_rules();
    site.mock.release_hung();
    site.db
        .batch("select target_profile.set_client('s401', auth_token => 'another'), target_profile.resume('s403')");
    for case in cases.iter().filter(|case| case.endpoint.is_some()) {
        site.db.query(
            "select target_profile.set_client($1, endpoint => $2)",
            &[&case.code, &site.mock.endpoint()],
        );
    }
    let rests = |case: &Case| matches!(case.becomes, Becomes::BackingOff(rest) if rest > 10.0);
    let resting: Vec<&str> = cases.iter().filter(|case| rests(case)).map(|case| case.code).collect();
    site.cluster.wait_text(
        &site.db,
        "select string_agg(client_code, ' ' order by client_code) from target_profile.outbox",
        &resting.join(" "),
        SOON,
    );
    for (&id, case) in waiting {
        check_end(&site, case, id, rests(case));
    }
}

/// The row of the first request.
fn check_record(site: &Site, case: &Case, id: i64) {
    let code = case.code;
    let row = site.db.query_one(
        "select outcome, http_status, message, extract(epoch from duration)::float8, attempt, outbox_ids, octet_length(body)
         from target_profile.response where client_code = $1 order by id limit 1",
        &[&code],
    );
    let message: Option<&str> = row.get(2);
    assert_eq!(row.get::<_, &str>(0), case.outcome, "{code}: outcome; {message:?}");
    assert_eq!(row.get::<_, Option<i32>>(1), case.status, "{code}: status; {message:?}");
    let as_expected = match case.message {
        None => message.is_none(),
        Some(part) => message.is_some_and(|message| message.contains(part)),
    };
    assert!(as_expected, "{code}: {message:?} instead of {:?}", case.message);
    assert!(
        message.is_none_or(|message| !message.contains("mbox3rdPartyId")),
        "{code}: the message repeats the URL: {message:?}"
    );
    let duration: f64 = row.get(3);
    assert!(case.duration.contains(&duration), "{code}: it took {duration} s");
    assert_eq!(row.get::<_, i32>(4), 1, "{code}: attempt");
    assert_eq!(row.get::<_, Vec<i64>>(5), [id], "{code}: entries");
    assert_eq!(
        row.get::<_, Option<i32>>(6).is_some(),
        case.status.is_some(),
        "{code}: a body is recorded if there was an answer"
    );
}

/// What the first answer, and where it cannot be held any longer the next ones, have made of the entry and its client.
fn check_fate(site: &Site, case: &Case, id: i64) {
    let code = case.code;
    match case.becomes {
        Becomes::Accepted => {
            assert_eq!(state_of(site, id), "accepted", "{code}");
            assert_eq!(client_state(site, code), "idle", "{code}");
        }
        Becomes::Dead(answers) => {
            site.wait_until(&format!(
                "select exists (select from target_profile.dead_letter where id = {id})"
            ));
            let row = site.db.query_one(
                "select d.reason, d.attempts, d.last_outcome, r.state, r.http_status,
                     (select count(*) from target_profile.response a where a.client_code = $2 and a.outcome = d.last_outcome)
                 from target_profile.dead_letter d, target_profile.result($1) r where d.id = $1",
                &[&id, &code],
            );
            let reason: &str = row.get(0);
            let said = format!("{} with HTTP status {}", case.outcome, case.status.unwrap());
            let start = match answers {
                1 if case.status == Some(301) => said + ": redirect not followed",
                1 => said,
                _ => format!("gave up after {answers} answers that are not Target's; last: {said}"),
            };
            assert!(reason.starts_with(&start), "{code}: {reason}");
            assert_eq!(
                i64::from(row.get::<_, i32>(1)),
                i64::try_from(answers).unwrap(),
                "{code}"
            );
            assert_eq!(row.get::<_, &str>(2), case.outcome, "{code}");
            assert_eq!(row.get::<_, &str>(3), "dead", "{code}");
            assert_eq!(row.get::<_, Option<i32>>(4), case.status, "{code}");
            assert_eq!(row.get::<_, i64>(5), i64::try_from(answers).unwrap(), "{code}");
            assert_eq!(client_state(site, code), "idle", "{code}");
        }
        Becomes::Retried(wait) => {
            let now = Waiting::of(site, case);
            // The fifth failure in a row is the endpoint's fault rather than the entry's.
            let (counted, state) = if now.answers < 5 {
                (now.answers, "active")
            } else {
                (4, "backing off")
            };
            assert_eq!(i64::from(now.attempts), counted, "{code}: {now:?}");
            assert_eq!(now.last_outcome.as_deref(), Some(case.outcome), "{code}: {now:?}");
            assert_eq!(now.client_state, state, "{code}: {now:?}");
            let backoff = f64::from(1 << (now.answers - 1).min(8));
            let next = now.next_attempt_in.unwrap();
            if wait > 0.0 {
                assert!((wait..wait + SLACK).contains(&next), "{code}: {now:?}");
            } else {
                assert!((-0.01..backoff + SLACK).contains(&next), "{code}: {now:?}");
            }
            assert!(["waiting", "in flight"].contains(&&*state_of(site, id)), "{code}");
        }
        Becomes::BackingOff(rest) => {
            let now = Waiting::of(site, case);
            assert_eq!((now.answers, now.attempts), (1, 0), "{code}: {now:?}");
            assert_eq!(now.last_outcome.as_deref(), Some("throttled"), "{code}: {now:?}");
            assert_eq!(now.client_state, "backing off", "{code}: {now:?}");
            let reason = now.reason.as_deref().unwrap();
            let said = format!("throttled with HTTP status {}", case.status.unwrap());
            assert!(reason.starts_with(&said), "{code}: {reason}");
            // Without a wish of the endpoint's, the first pause is at most a second.
            let most = if rest > 1_000.0 { 3_601.0 } else { rest.max(1.0) };
            for next in [now.next_try_in.unwrap(), now.next_attempt_in.unwrap()] {
                assert!((rest - 0.01..most + SLACK).contains(&next), "{code}: {now:?}");
            }
            assert!(["waiting", "in flight"].contains(&&*state_of(site, id)), "{code}");
        }
        Becomes::Paused => {
            let now = Waiting::of(site, case);
            assert_eq!((now.answers, now.attempts), (1, 0), "{code}: {now:?}");
            assert_eq!(now.client_state, "paused", "{code}: {now:?}");
            let reason = now.reason.as_deref().unwrap();
            let said = format!("unauthorized with HTTP status {}", case.status.unwrap());
            assert!(reason.contains(&said), "{code}: {reason}");
            assert_eq!(now.next_attempt_in, None, "{code}: {now:?}");
            assert_eq!(now.next_try_in, None, "{code}: {now:?}");
            assert_eq!(state_of(site, id), "waiting", "{code}");
        }
    }
}

/// What is known at one moment of a client whose entry waits.
#[derive(Debug)]
struct Waiting {
    client_state: String,
    reason: Option<String>,
    /// In seconds from the end of the last request, as is the next one.
    next_try_in: Option<f64>,
    next_attempt_in: Option<f64>,
    attempts: i32,
    last_outcome: Option<String>,
    answers: i64,
}

impl Waiting {
    fn of(site: &Site, case: &Case) -> Self {
        let row = site.db.query_one(
            "select s.state, s.reason,
                 extract(epoch from s.next_try_at - (last.sent_at + last.duration))::float8,
                 extract(epoch from o.next_attempt_at - (last.sent_at + last.duration))::float8,
                 o.attempts, o.last_outcome, last.answers
             from target_profile.status s
             join target_profile.outbox o using (client_code)
             cross join lateral (
                 select r.sent_at, r.duration, count(*) over () as answers from target_profile.response r
                 where r.client_code = s.client_code order by r.id desc limit 1) last
             where s.client_code = $1",
            &[&case.code],
        );
        Self {
            client_state: row.get(0),
            reason: row.get(1),
            next_try_in: row.get(2),
            next_attempt_in: row.get(3),
            attempts: row.get(4),
            last_outcome: row.get(5),
            answers: row.get(6),
        }
    }
}

/// How it stands when the cause is gone.
fn check_end(site: &Site, case: &Case, id: i64, rests: bool) {
    let code = case.code;
    if rests {
        assert_eq!(site.mock.requests_of(code).len(), 1, "{code}: it came back too early");
        assert_eq!(client_state(site, code), "backing off", "{code}");
        assert_eq!(state_of(site, id), "waiting", "{code}");
        return;
    }
    assert_eq!(client_state(site, code), "idle", "{code}");
    let dead = matches!(case.becomes, Becomes::Dead(_));
    assert_eq!(state_of(site, id), if dead { "dead" } else { "accepted" }, "{code}");
    let value = site.mock.value(code, "mbox3rdPartyId", "p", "a");
    assert_eq!(
        value.as_deref() == Some("1"),
        !dead || case.status == Some(204),
        "{code}"
    );
    let row = site.db.query_one(
        "select (array_agg(attempt order by id desc))[1], count(*) filter (where outcome = 'failed' or outcome = 'unrecognised'),
             extract(epoch from coalesce((array_agg(sent_at order by id))[2] - (array_agg(sent_at + duration order by id))[1],
                 '0'))::float8
         from target_profile.response where client_code = $1",
        &[&code],
    );
    let (attempt, failures, gap): (i32, i64, f64) = (row.get(0), row.get(1), row.get(2));
    let counted = match case.becomes {
        Becomes::Retried(_) => failures.min(4) + 1,
        Becomes::Dead(answers) => i64::try_from(answers).unwrap(),
        Becomes::Accepted | Becomes::BackingOff(_) | Becomes::Paused => 1,
    };
    assert_eq!(i64::from(attempt), counted, "{code}: attempt of the last request");
    if let Becomes::Retried(wait) | Becomes::BackingOff(wait) = case.becomes {
        assert!(gap >= wait - 0.01, "{code}: it came back after {gap} s");
    }
}

fn client_state(site: &Site, code: &str) -> String {
    site.db.value(
        "select state from target_profile.status where client_code = $1",
        &[&code],
    )
}

fn state_of(site: &Site, id: i64) -> String {
    site.db.value("select state from target_profile.result($1)", &[&id])
}

#[test]
fn a_certificate_must_be_for_the_host_valid_and_of_an_authority_that_is_known() {
    let site = Site::new("tls");
    let (ours, theirs) = (
        Authority::new("authority in ca_file"),
        Authority::new("authority of nobody"),
    );
    let ca_file = site.cluster.dir().join("ca.pem");
    std::fs::write(&ca_file, ours.pem()).unwrap();

    let front = |identity: Identity| TlsFront::start(identity, site.mock.port());
    let here = ["localhost", "127.0.0.1"];
    let good = front(ours.certify(&here));
    let unknown = front(theirs.certify(&here));
    let expired = front(ours.certify_expired(&here));
    let of_another = front(ours.certify(&["target.example"]));
    let by_address = front(ours.certify(&["127.0.0.1"]));
    let no_tls = format!("https://127.0.0.1:{}/m2/{{client}}/profile/update", site.mock.port());
    let cases: [(&str, String, Option<&str>); 8] = [
        ("good-name", good.endpoint("localhost"), None),
        ("good-address", good.endpoint("127.0.0.1"), None),
        ("good-address-only", by_address.endpoint("127.0.0.1"), None),
        (
            "unknown-authority",
            unknown.endpoint("localhost"),
            Some("UnknownIssuer"),
        ),
        ("expired", expired.endpoint("localhost"), Some("expired")),
        (
            "other-name",
            of_another.endpoint("localhost"),
            Some("not valid for name"),
        ),
        (
            "name-not-address",
            by_address.endpoint("localhost"),
            Some("not valid for name"),
        ),
        ("no-tls", no_tls, Some("InvalidContentType")),
    ];
    for (code, endpoint, _) in &cases {
        site.db.query(
            "select target_profile.add_client($1, endpoint => $2), target_profile_update($1, 'mboxPC', 'p', '{\"a\": 1}')",
            &[code, endpoint],
        );
    }
    let one_each = format!(
        "select count(distinct client_code) = {} from target_profile.response where outcome = 'failed'",
        cases.len()
    );
    site.wait_until(&one_each);
    for (code, _, _) in &cases[..4] {
        let message = first_message(&site, code);
        assert!(
            message.starts_with("cannot connect: ") && message.contains("UnknownIssuer"),
            "{code}, before the authority is known: {message}"
        );
    }

    site.cluster.set("target_profile.ca_file", ca_file.to_str().unwrap());
    let trusted = cases.iter().filter(|(_, _, why)| why.is_none());
    for (code, _, _) in trusted {
        site.mock.wait_value(code, "mboxPC", "p", "a", "1", SOON);
    }
    // From here on the new certificates are in force.
    let in_force: String = site.db.text("select clock_timestamp()::text");
    for (code, _, why) in &cases {
        let Some(why) = why else { continue };
        site.wait_until(&format!(
            "select count(*) > 0 from target_profile.response where client_code = '{code}' and sent_at > '{in_force}'"
        ));
        let row = site.db.query_one(
            "select message, outcome, http_status, extract(epoch from duration)::float8 from target_profile.response
             where client_code = $1 order by id desc limit 1",
            &[code],
        );
        let message: &str = row.get(0);
        assert!(
            message.starts_with("cannot connect: ") && message.contains(why),
            "{code}: {message}"
        );
        assert_eq!(row.get::<_, &str>(1), "failed", "{code}");
        assert_eq!(row.get::<_, Option<i32>>(2), None, "{code}");
        assert!(row.get::<_, f64>(3) < SLACK, "{code}");
        let row = site.db.query_one(
            "select attempts > 0, last_outcome from target_profile.outbox where client_code = $1",
            &[code],
        );
        assert!(row.get::<_, bool>(0), "{code}");
        assert_eq!(row.get::<_, &str>(1), "failed", "{code}");
        assert!(
            site.mock.requests_of(code).is_empty(),
            "{code}: a request was sent all the same"
        );
    }
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 0);
}

fn first_message(site: &Site, code: &str) -> String {
    site.db.value(
        "select message from target_profile.response where client_code = $1 order by id limit 1",
        &[&code],
    )
}
