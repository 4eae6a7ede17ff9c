//! The transport against servers that answer well, badly, late or not at all.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bell;
mod faults;
mod hostile;
mod proxy;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use support::wait::until;
use support::{Match, MockTarget, RefusedPort, Reply};
use target_profile_client::{Error, Options, Transport};
use target_profile_core::drain::{Answer, Dispatch, Report};
use target_profile_core::limits::VERDICT_BODY_BYTES;
use target_profile_core::request::{Method, POST_CONTENT_TYPE, Request};
use target_profile_core::secret::Secret;
use target_profile_core::time::Timestamp;

const PATIENCE: Duration = Duration::from_secs(20);
const TOKEN: &str = "hush-hush-token";

fn options() -> Options {
    Options {
        ca_file: None,
        proxy: None,
        idle_connections: 4,
        user_agent: "test/1".to_owned(),
    }
}

fn start() -> Transport {
    Transport::start(&options()).unwrap()
}

fn get(ticket: u64, url: &str) -> Dispatch {
    let request = Request {
        method: Method::Get,
        url: url.to_owned(),
        body: None,
        attrs: 1,
    };
    Dispatch {
        ticket,
        sent_at: Timestamp::from_unix_micros(1_700_000_000_000_000),
        request,
        auth_token: None,
        timeout: Duration::from_secs(10),
    }
}

/// Waits for so many reports.
fn reports(transport: &Transport, count: usize) -> Vec<Report> {
    let mut all = Vec::new();
    until("reports", PATIENCE, || {
        all.extend(transport.reports());
        (all.len() >= count).then_some(())
    });
    assert_eq!(all.len(), count);
    all
}

fn result_of(dispatch: Dispatch) -> Result<Answer, String> {
    let transport = start();
    transport.send(vec![dispatch]);
    reports(&transport, 1).remove(0).result
}

fn error_of(dispatch: Dispatch) -> String {
    result_of(dispatch).unwrap_err()
}

/// A server of one connection: reads one request's head, hands it out, and does what `serve` does. The answer is its URL and
/// what it read.
fn raw(serve: impl FnOnce(TcpStream) + Send + 'static) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/m2/acme/profile/update", listener.local_addr().unwrap());
    let (heard, hears) = mpsc::channel();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut read = Vec::new();
        let mut buffer = [0; 4096];
        while !read.windows(4).any(|end| end == b"\r\n\r\n") {
            let count = stream.read(&mut buffer).unwrap_or(0);
            if count == 0 {
                break;
            }
            read.extend_from_slice(&buffer[..count]);
        }
        let _ = heard.send(String::from_utf8_lossy(&read).into_owned());
        serve(stream);
    });
    (url, hears)
}

fn hangs(_stream: &TcpStream) {
    thread::sleep(PATIENCE);
}

#[test]
fn an_answer_comes_with_status_retry_after_and_body() {
    let mock = MockTarget::start();
    mock.on(Match::any())
        .respond(Reply::status(429).retry_after("17").body("slow down"));
    let transport = start();
    transport.send(vec![get(7, &(mock.url("acme") + "?mbox3rdPartyId=ada&profile.a=1"))]);
    let report = reports(&transport, 1).remove(0);
    assert_eq!(report.ticket, 7);
    assert!(report.duration > Duration::ZERO && report.duration < PATIENCE);
    let answer = report.result.unwrap();
    assert_eq!((answer.status, answer.retry_after.as_deref()), (429, Some("17")));
    assert_eq!(answer.body, b"slow down");
    let seen = mock.requests();
    assert_eq!(seen[0].header("user-agent"), Some("test/1"));
    assert_eq!(seen[0].header("authorization"), None);
    assert_eq!(seen[0].attrs["a"], "1");
}

#[test]
fn a_post_carries_its_body_type_and_token() {
    let mock = MockTarget::start();
    let body = "mbox3rdPartyId=ada&profile.a=%C3%A9";
    let request = Request {
        method: Method::Post,
        url: mock.url("acme"),
        body: Some(body.to_owned()),
        attrs: 1,
    };
    let dispatch = Dispatch {
        request,
        auth_token: Some(Secret::new(TOKEN)),
        ..get(1, "")
    };
    assert!(!format!("{dispatch:?}").contains(TOKEN));
    assert_eq!(result_of(dispatch).unwrap().status, 200);
    let seen = mock.requests();
    assert_eq!(
        (seen[0].method.as_str(), seen[0].body.as_slice()),
        ("POST", body.as_bytes())
    );
    assert_eq!(seen[0].header("content-type"), Some(POST_CONTENT_TYPE));
    assert_eq!(
        seen[0].header("authorization"),
        Some(format!("Bearer {TOKEN}").as_str())
    );
}

#[test]
fn no_error_shows_the_token_or_the_attributes() {
    let (hanging, _hears) = raw(|stream| hangs(&stream));
    let (garbled, _hears2) = raw(|mut stream| _ = stream.write_all(b"what?\r\n\r\n"));
    let refused = RefusedPort::new();
    for url in [
        hanging,
        garbled,
        format!("http://127.0.0.1:{}/m2/acme/profile/update", refused.port()),
        "http://[/".to_owned(),
        "https://localhost:1/x".to_owned(),
    ] {
        let mut dispatch = get(1, &format!("{url}?profile.a=private"));
        dispatch.auth_token = Some(Secret::new(TOKEN));
        dispatch.timeout = Duration::from_millis(300);
        let transport = start();
        transport.send(vec![dispatch]);
        let report = reports(&transport, 1).remove(0);
        let text = format!("{report:?} {transport:?}");
        assert!(report.result.is_err(), "{text}");
        assert!(!text.contains(TOKEN) && !text.contains("private"), "{text}");
    }
}

#[test]
fn a_large_body_is_read_to_the_cap_only() {
    let (url, _hears) = raw(|mut stream| {
        let bytes = 10_000_000;
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
        // Ends early when the other side has seen enough.
        let _ = stream.write_all(&vec![b'x'; bytes]);
    });
    let answer = result_of(get(1, &url)).unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, VERDICT_BODY_BYTES));
    assert!(answer.body.capacity() <= 4 * VERDICT_BODY_BYTES);
}

/// The verdict needs no more than the cap: a server that goes on for ever is not waited for.
#[test]
fn an_endless_body_is_read_to_the_cap_only() {
    let (url, _hears) = raw(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    assert_eq!(result_of(get(1, &url)).unwrap().body.len(), VERDICT_BODY_BYTES);
}

#[test]
fn a_server_that_hangs_is_given_up_at_the_timeout() {
    let (url, _hears) = raw(|stream| hangs(&stream));
    let started = Instant::now();
    let error = error_of(Dispatch {
        timeout: Duration::from_millis(300),
        ..get(1, &url)
    });
    assert!(error.starts_with("timeout"), "{error}");
    let waited = started.elapsed();
    assert!(
        waited >= Duration::from_millis(290) && waited < Duration::from_secs(5),
        "{waited:?}"
    );
}

#[test]
fn a_body_that_trickles_does_not_stretch_the_timeout() {
    let (url, _hears) = raw(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        while stream.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    let started = Instant::now();
    let error = error_of(Dispatch {
        timeout: Duration::from_millis(500),
        ..get(1, &url)
    });
    assert!(error.starts_with("timeout"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_slow_body_within_the_timeout_is_read_whole() {
    let (url, _hears) = raw(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        for byte in b"hello" {
            thread::sleep(Duration::from_millis(30));
            let _ = stream.write_all(&[*byte]);
        }
    });
    assert_eq!(result_of(get(1, &url)).unwrap().body, b"hello");
}

#[test]
fn a_refused_connection_says_so() {
    let refused = RefusedPort::new();
    let error = error_of(get(1, &format!("http://127.0.0.1:{}/", refused.port())));
    assert!(
        error.starts_with("cannot connect") && error.contains("refused"),
        "{error}"
    );
}

#[test]
fn an_answer_that_breaks_off_is_none() {
    let replies: [&[u8]; 4] = [
        // A length that is not reached, chunks without an end, a head without an end, nothing.
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\ntrueRequest successfully submitted",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n22\r\ntrueRequest successfully submitted\r\n",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"",
    ];
    for reply in replies {
        let (url, _hears) = raw(move |mut stream| _ = stream.write_all(reply));
        let error = error_of(get(1, &url));
        assert!(!error.is_empty());
    }
    let mock = MockTarget::start();
    mock.on(Match::any()).respond(Reply::reset_mid_body());
    error_of(get(1, &(mock.url("acme") + "?mbox3rdPartyId=ada&profile.a=1")));
}

#[test]
fn what_follows_the_announced_length_is_not_part_of_the_answer() {
    let (url, _hears) = raw(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nokHTTP/1.1 500 No");
    });
    let answer = result_of(get(1, &url)).unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"ok"[..]));
}

#[test]
fn a_redirect_is_not_followed() {
    let mock = MockTarget::start();
    let elsewhere = MockTarget::start();
    mock.on(Match::any())
        .respond(Reply::redirect(307, &elsewhere.url("acme")));
    let dispatch = Dispatch {
        auth_token: Some(Secret::new(TOKEN)),
        ..get(1, &(mock.url("acme") + "?mboxPC=1"))
    };
    assert_eq!(result_of(dispatch).unwrap().status, 307);
    assert_eq!((mock.request_count(), elsewhere.request_count()), (1, 0));
}

#[test]
fn nothing_is_sent_twice_when_a_kept_connection_breaks() {
    let mock = MockTarget::start();
    let url = mock.url("acme") + "?mbox3rdPartyId=ada&profile.a=1";
    let transport = start();
    transport.send(vec![get(1, &url)]);
    reports(&transport, 1);
    mock.on(Match::any()).respond(Reply::reset());
    transport.send(vec![get(2, &url)]);
    assert!(reports(&transport, 1)[0].result.is_err());
    assert_eq!(mock.request_count(), 2);
}

#[test]
fn stop_does_not_wait_for_a_request_that_hangs_and_reports_it() {
    let (url, hears) = raw(|stream| hangs(&stream));
    let mut transport = start();
    transport.send(vec![get(9, &url)]);
    hears.recv_timeout(PATIENCE).unwrap();
    assert!(transport.is_alive());
    let started = Instant::now();
    assert!(transport.stop(Duration::from_secs(5)));
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(!transport.is_alive());
    let all = transport.reports();
    assert_eq!(all.iter().map(|report| report.ticket).collect::<Vec<_>>(), [9]);
    assert!(all[0].result.is_err());
    assert!(transport.stop(Duration::ZERO), "again is fine");
    transport.send(vec![get(10, &url)]);
    let all = transport.reports();
    assert_eq!(all.len(), 1, "what is handed over too late is not left without an end");
    assert!(all[0].ticket == 10 && all[0].result.is_err());
}

/// Whether the transport's descriptor becomes readable in time. `poll` takes a borrowed descriptor; a file opened anew is
/// none of an eventfd's, so the wait happens on a duplicate.
fn readable(transport: &Transport, patience: Duration) -> bool {
    let pid = rustix::process::getpid();
    let own = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    let fd =
        rustix::process::pidfd_getfd(&own, transport.wake_fd(), rustix::process::PidfdGetfdFlags::empty()).unwrap();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let timeout = Timespec::try_from(patience).unwrap();
    poll(&mut fds, Some(&timeout)).unwrap() == 1
}

#[test]
fn the_descriptor_becomes_readable_with_a_report_and_silent_when_it_is_taken() {
    let mock = MockTarget::start();
    let mut transport = start();
    let url = mock.url("acme") + "?mbox3rdPartyId=ada&profile.a=1";
    for ticket in 0..20 {
        assert!(!readable(&transport, Duration::ZERO), "nothing has happened");
        transport.send(vec![get(ticket, &url)]);
        assert!(readable(&transport, PATIENCE));
        assert!(readable(&transport, Duration::ZERO), "until it is taken");
        assert_eq!(transport.reports().len(), 1);
    }
    assert!(transport.stop(PATIENCE));
    assert!(readable(&transport, PATIENCE), "the thread has ended");
}

#[test]
fn every_request_is_reported_exactly_once() {
    let mock = MockTarget::start();
    mock.on(Match::nth(5)).respond(Reply::reset());
    mock.on(Match::nth(9)).respond(Reply::close());
    let refused = RefusedPort::new();
    let mut transport = start();
    let count = 300;
    for chunk in (0..count).collect::<Vec<u64>>().chunks(7) {
        let dispatches = chunk.iter().map(|&ticket| {
            let url = if ticket % 11 == 0 {
                format!("http://127.0.0.1:{}/", refused.port())
            } else {
                format!("{}?mbox3rdPartyId=p{ticket}&profile.a=1", mock.url("acme"))
            };
            get(ticket, &url)
        });
        transport.send(dispatches.collect());
    }
    let mut seen = BTreeMap::new();
    for report in reports(&transport, usize::try_from(count).unwrap()) {
        *seen.entry(report.ticket).or_insert(0) += 1;
    }
    assert_eq!(seen, (0..count).map(|ticket| (ticket, 1)).collect());
    assert!(transport.stop(PATIENCE));
    assert!(transport.reports().is_empty());
}

#[test]
fn options_that_cannot_be_followed_are_refused_and_the_old_ones_stay() {
    let mock = MockTarget::start();
    let transport = start();
    let missing = Options {
        ca_file: Some(PathBuf::from("/nowhere/ca.pem")),
        ..options()
    };
    let error = transport.renew(&missing).unwrap_err();
    assert!(matches!(error, Error::CaFile { .. }));
    assert!(error.to_string().contains("\"/nowhere/ca.pem\""), "{error}");
    assert!(Transport::start(&missing).is_err());
    // To open a FIFO would wait for a writer, and to read a device for its end.
    let directory = std::env::temp_dir().join(format!("target-profile-ca-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (fifo, empty) = (directory.join("fifo"), directory.join("empty.pem"));
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    std::fs::write(&empty, "").unwrap();
    for (file, reason) in [
        (PathBuf::from("/dev/zero"), "not a regular file"),
        (fifo, "not a regular file"),
        (empty, "no certificate"),
    ] {
        let options = Options {
            ca_file: Some(file),
            ..options()
        };
        let error = transport.renew(&options).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
    let proxy = Options {
        proxy: Some(Secret::new("http://user:hush@[")),
        ..options()
    };
    assert!(!format!("{proxy:?}").contains("hush"));
    let error = transport.renew(&proxy).unwrap_err();
    assert!(matches!(error, Error::Proxy) && !format!("{error} {error:?}").contains("hush"));
    transport.send(vec![get(1, &(mock.url("acme") + "?mbox3rdPartyId=ada&profile.a=1"))]);
    assert_eq!(reports(&transport, 1)[0].result.as_ref().unwrap().status, 200);
    transport
        .renew(&Options {
            user_agent: "test/2".to_owned(),
            ..options()
        })
        .unwrap();
    transport.send(vec![get(2, &(mock.url("acme") + "?mbox3rdPartyId=ada&profile.a=1"))]);
    reports(&transport, 1);
    assert_eq!(mock.requests()[1].header("user-agent"), Some("test/2"));
}

#[test]
fn a_server_that_does_not_speak_tls_is_a_failure_to_connect() {
    let (url, _hears) = raw(|mut stream| _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    let error = error_of(Dispatch {
        timeout: Duration::from_secs(5),
        ..get(1, &url.replace("http://", "https://"))
    });
    assert!(
        error.starts_with("cannot connect") || error.starts_with("timeout"),
        "{error}"
    );
}
