//! Servers that misbehave below HTTP: each costs a bounded time and memory.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::{Match, MockTarget, Reply};
use target_profile_core::drain::Dispatch;
use target_profile_core::limits::{ANSWER_FLOOR_BYTES, ANSWERS_BYTES, VERDICT_BODY_BYTES};

use crate::{PATIENCE, get, raw, readable, reports, result_of, start};

const TIMEOUT: Duration = Duration::from_millis(1_500);

/// For ever, or until the other side has gone.
fn on_and_on(stream: &mut TcpStream, bytes: &[u8]) {
    while stream.write_all(bytes).is_ok() {}
}

type Serve = fn(TcpStream);

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n";
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn whatever_never_ends_is_given_up() {
    let cases: [(&str, Serve); 8] = [
        ("one header", |mut stream| {
            let _ = stream.write_all(&[HEAD, b"X: "].concat());
            on_and_on(&mut stream, &[b'y'; 65_536]);
        }),
        ("many headers", |mut stream| {
            let _ = stream.write_all(HEAD);
            on_and_on(&mut stream, b"X: y\r\n");
        }),
        ("a status line", |mut stream| on_and_on(&mut stream, b"HTTP/1.1 200 OK")),
        ("100 Continue", |mut stream| {
            on_and_on(&mut stream, b"HTTP/1.1 100 Continue\r\n\r\n");
        }),
        ("103 Early Hints", |mut stream| {
            on_and_on(&mut stream, b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
        }),
        ("a chunk's extension", |mut stream| {
            let _ = stream.write_all(&[CHUNKED, b"5;"].concat());
            on_and_on(&mut stream, &[b'e'; 65_536]);
        }),
        ("a chunk's size", |mut stream| {
            let _ = stream.write_all(CHUNKED);
            on_and_on(&mut stream, b"0000000000000000");
        }),
        ("trailers", |mut stream| {
            let _ = stream.write_all(&[CHUNKED, b"2\r\nok\r\n0\r\n"].concat());
            on_and_on(&mut stream, b"X: y\r\n");
        }),
    ];
    for (what, serve) in cases {
        let (url, _hears) = raw(serve);
        let started = Instant::now();
        let result = result_of(Dispatch {
            timeout: TIMEOUT,
            ..get(1, &url)
        });
        assert!(result.is_err(), "{what}: {result:?}");
        assert!(started.elapsed() < TIMEOUT + PATIENCE / 4, "{what}");
    }
}

/// A few are as HTTP has it.
#[test]
fn an_answer_may_follow_informational_ones() {
    let (url, _hears) = raw(|mut stream| {
        let early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(5);
        let _ = stream.write_all(&[&early, HEAD, b"Content-Length: 2\r\n\r\nok"].concat());
    });
    assert_eq!(result_of(get(1, &url)).unwrap().body, b"ok");
}

/// Each of them alone is read to its cap; all together are held to another.
#[test]
fn many_long_answers_are_held_to_a_sum() {
    let mock = MockTarget::start();
    mock.on(Match::any())
        .respond(Reply::status(200).body(vec![b'x'; 100_000]));
    let transport = start();
    let count = 200_usize;
    let url = |ticket| format!("{}?mbox3rdPartyId=p{ticket}&profile.a=1", mock.url("acme"));
    transport.send((0..count as u64).map(|ticket| get(ticket, &url(ticket))).collect());
    mock.wait_for("all requests", PATIENCE, |state| state.requests().len() >= count);
    assert!(readable(&transport, PATIENCE));
    // None is taken before the last has come, as far as the stand-in can tell.
    mock.wait_quiet(Duration::from_millis(500), PATIENCE);
    let all = reports(&transport, count);
    let held: usize = all
        .iter()
        .map(|report| report.result.as_ref().unwrap().body.len())
        .sum();
    assert!(held <= ANSWERS_BYTES + count * ANSWER_FLOOR_BYTES, "{held}");
    assert!(held >= ANSWERS_BYTES, "{held}");
    assert!(all.iter().all(|report| {
        let bytes = report.result.as_ref().unwrap().body.len();
        (ANSWER_FLOOR_BYTES..=VERDICT_BODY_BYTES).contains(&bytes)
    }));
    transport.send(vec![get(1_000, &url(1_000))]);
    let last = reports(&transport, 1).remove(0);
    assert_eq!(
        last.result.unwrap().body.len(),
        VERDICT_BODY_BYTES,
        "what was taken is free again"
    );
}
