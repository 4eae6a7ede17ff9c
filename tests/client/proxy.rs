//! What goes through the proxy, and what must not.

use std::io::Write;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use support::MockTarget;
use target_profile_client::{Options, Transport};
use target_profile_core::drain::{Dispatch, Report};
use target_profile_core::secret::Secret;

use crate::{PATIENCE, TOKEN, get, options, raw, reports};

const PASSWORD: &str = "hush-hush-password";

fn proxied(proxy: &str) -> Transport {
    Transport::start(&Options {
        proxy: Some(Secret::new(proxy)),
        ..options()
    })
    .unwrap()
}

fn with_token(ticket: u64, url: &str) -> Dispatch {
    Dispatch {
        auth_token: Some(Secret::new(TOKEN)),
        timeout: Duration::from_secs(5),
        ..get(ticket, url)
    }
}

fn error(report: &Report) -> &str {
    report.result.as_ref().unwrap_err()
}

#[test]
fn what_goes_to_another_machine_goes_through_the_proxy_and_is_closed_to_it() {
    let (proxy, hears) = raw(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 502 No Such Host\r\nContent-Length: 0\r\n\r\n");
    });
    let proxy = proxy
        .replace("/m2/acme/profile/update", "")
        .replace("http://", &format!("http://user:{PASSWORD}@"));
    let transport = proxied(&proxy);
    transport.send(vec![with_token(
        1,
        "https://target.example/m2/acme/profile/update?mboxPC=1",
    )]);
    let report = reports(&transport, 1).remove(0);
    assert!(report.result.is_err());
    let head = hears.recv_timeout(PATIENCE).unwrap();
    assert!(head.starts_with("CONNECT target.example:443 HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("proxy-authorization: basic "), "{head}");
    assert!(!head.contains(TOKEN) && !head.contains("mboxPC"), "{head}");
}

/// However the host is spelled: what may go in clear does not leave the machine.
#[test]
fn loopback_never_goes_through_the_proxy() {
    let mock = MockTarget::start();
    let proxy = MockTarget::start();
    let transport = proxied(&format!("http://127.0.0.1:{}", proxy.port()));
    let hosts = [
        "localhost",
        "127.0.0.1",
        "127.1.2.3",
        "[::1]",
        "[::ffff:7f00:1]",
        "[::ffff:127.0.0.1]",
        "LOCALHOST",
    ];
    for (ticket, host) in (1..).zip(hosts) {
        let url = format!(
            "http://{host}:{}/m2/acme/profile/update?mboxPC=1&profile.a=1",
            mock.port()
        );
        transport.send(vec![with_token(ticket, &url)]);
    }
    let all = reports(&transport, hosts.len());
    // The stand-in listens on 127.0.0.1 only; what counts is who is asked.
    assert!(
        all.iter().filter(|report| report.result.is_ok()).count() >= 2,
        "{all:?}"
    );
    assert_eq!(proxy.request_count(), 0);
    assert!(mock.request_count() >= 2);
}

#[test]
fn nothing_goes_in_clear_to_another_machine() {
    let proxy = MockTarget::start();
    let transport = proxied(&format!("http://127.0.0.1:{}", proxy.port()));
    let urls = [
        "http://target.example/?mboxPC=1",
        "http://10.0.0.1/",
        "http://[::2]/",
        "http://localhost.target.example/",
        "http://127.0.0.1.target.example/",
        "http://target.example/?http://localhost/",
        "ftp://localhost/",
        "",
    ];
    for (ticket, url) in (1..).zip(urls) {
        transport.send(vec![with_token(ticket, url)]);
    }
    for report in reports(&transport, urls.len()) {
        assert_eq!(error(&report), "cannot be sent: http is for loopback only");
    }
    assert_eq!(proxy.request_count(), 0);
}

/// A proxy that refuses, that is not there, and that talks nonsense.
#[test]
fn no_message_shows_the_proxys_password_or_the_token() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let mut proxies = vec![
        format!("http://user:{PASSWORD}@127.0.0.1:{closed}"),
        format!("http://user:{PASSWORD}@no-such-host.invalid:1"),
        format!("https://user:{PASSWORD}@127.0.0.1:{closed}"),
    ];
    let answers: [&'static [u8]; 2] = [
        b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
        b"nonsense\r\n\r\n",
    ];
    for answer in answers {
        let (url, _hears) = raw(move |mut stream| _ = stream.write_all(answer));
        let url = url.replace("/m2/acme/profile/update", "");
        proxies.push(url.replace("http://", &format!("http://user:{PASSWORD}@")));
    }
    for proxy in proxies {
        let transport = proxied(&proxy);
        transport.send(vec![with_token(1, "https://target.example/?mboxPC=1")]);
        let report = reports(&transport, 1).remove(0);
        let text = error(&report);
        assert!(!text.contains(PASSWORD) && !text.contains(TOKEN), "{proxy}: {text}");
        assert!(!text.contains("mboxPC"), "{text}");
    }
}

/// What comes back is recorded, so a server that returns what it was sent must not bring the token there.
#[test]
fn a_token_that_the_server_sends_back_is_masked() {
    for cut in [0, 5] {
        let (url, hears) = raw(move |mut stream| {
            let body = format!("you said Bearer {TOKEN}");
            let body = &body[..body.len() - cut];
            let head = format!(
                "HTTP/1.1 503 No\r\nRetry-After: {TOKEN}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + body).as_bytes());
        });
        let transport = Transport::start(&options()).unwrap();
        transport.send(vec![with_token(1, &url)]);
        let answer = reports(&transport, 1).remove(0).result.unwrap();
        assert!(hears.recv_timeout(PATIENCE).unwrap().contains(TOKEN));
        assert_eq!(answer.body, b"you said Bearer [masked]");
        assert_eq!(answer.retry_after.as_deref(), Some("[masked]"));
        thread::yield_now();
    }
}
