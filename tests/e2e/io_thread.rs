//! The I/O thread: its end, its start, and what a server or a proxy must not have of it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use support::{Cluster, Interposed, Match, Reply, sqlstate};

use crate::site::{SOON, Site, WORKER};

#[test]
fn a_thread_that_dies_leaves_nothing_in_flight() {
    let site = Site::with(Cluster::builder("io_dies").interposed(Interposed::Epoll));
    site.mock.on(Match::any()).times(3).respond(Reply::hang());
    for n in 0..3 {
        site.update(&format!("p{n}"), r#"{"a": 1}"#);
    }
    site.mock.wait_hung(3, SOON);
    let worker = site.cluster.wait_backend(WORKER, SOON);
    let control = site.cluster.fail_io_thread();
    // An event for it.
    site.update("poke", r#"{"a": 1}"#);
    site.wait_drained();
    assert!(!control.exists(), "it has failed");
    assert!(
        site.cluster
            .log_contains("the I/O thread has died (unexpected error when polling")
    );
    assert_eq!(
        site.count("select count(distinct profile_id) from target_profile.response where outcome = 'accepted'"),
        4
    );
    let failed = "select count(*) from target_profile.response where outcome = 'failed'
         and message = 'the request was given up by the sender'";
    assert!(site.count(failed) >= 3);
    site.wait_until("select last_error is null from target_profile.worker");
    assert_eq!(site.cluster.wait_backend(WORKER, SOON), worker, "the same process");
}

#[test]
fn a_thread_that_cannot_be_started_is_tried_again() {
    let mut builder = Cluster::builder("no_thread");
    builder = builder.conf("target_profile.poll_interval", "1s");
    let mock = support::MockTarget::builder().create_unknown(true).start();
    let cluster = builder.build();
    let db = cluster.db();
    db.batch("create extension target_profile");
    let worker = cluster.wait_backend(WORKER, SOON);
    cluster.limit(worker, "nproc", Some(1));
    db.query(
        "select target_profile.add_client('acme', endpoint => $1)",
        &[&mock.endpoint()],
    );
    db.batch("select target_profile_update('acme', 'mbox3rdPartyId', 'p', '{\"a\": 1}')");
    cluster.wait_sql(
        &db,
        "select last_error like 'could not start the I/O thread: %' from target_profile.worker",
        SOON,
    );
    cluster.limit(worker, "nproc", None);
    cluster.wait_sql(&db, "select not exists (select from target_profile.outbox)", SOON);
    cluster.wait_sql(&db, "select last_error is null from target_profile.worker", SOON);
    assert_eq!(cluster.wait_backend(WORKER, SOON), worker);
}

/// A server on loopback; how many connections it has had.
fn server(serve: impl Fn(std::net::TcpStream) + Send + 'static) -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
            serve(stream);
        }
    });
    (port, count)
}

fn processor_time(pid: i32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
    let used = tasks.flatten().filter_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(used.sum())
}

#[test]
fn a_storm_of_informational_answers_costs_next_to_nothing() {
    let site = Site::new("storm");
    let (port, _count) = server(|mut stream| {
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer);
        let storm = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000);
        while stream.write_all(&storm).is_ok() {}
    });
    site.db.query(
        "select target_profile.add_client('storms', endpoint => $1, timeout => '20 s')",
        &[&format!("http://127.0.0.1:{port}/{{client}}")],
    );
    site.update("warm", r#"{"a": 1}"#);
    site.wait_drained();
    let worker = site.cluster.wait_backend(WORKER, SOON);
    let before = processor_time(worker);
    site.db
        .batch("select target_profile_update('storms', 'mbox3rdPartyId', 'p', '{\"a\": 1}')");
    site.wait_until("select exists (select from target_profile.response where client_code = 'storms')");
    let used = processor_time(worker) - before;
    assert_eq!(
        site.db.text("select distinct outcome || ': ' || (message like '%the answer takes more than%') from target_profile.response
             where client_code = 'storms'"),
        "failed: true"
    );
    assert!(used < Duration::from_secs(1), "{used:?}");
}

#[test]
fn a_loopback_endpoint_does_not_go_through_the_proxy() {
    let site = Site::new("loopback");
    let (port, count) = server(drop);
    site.cluster.set(
        "target_profile.proxy",
        &format!("http://user:pass-word@127.0.0.1:{port}"),
    );
    site.cluster.reload();
    site.db
        .batch("select target_profile.set_client('acme', auth_token => 's3cret')");
    site.db.query(
        "select target_profile.add_client('other', endpoint => 'https://target.example/{client}', timeout => '2 s')",
        &[],
    );
    // This one says when the proxy is in use.
    site.db
        .batch("select target_profile_update('other', 'mbox3rdPartyId', 'p', '{\"a\": 1}')");
    site.wait_until("select exists (select from target_profile.response where client_code = 'other')");
    let before = count.load(Ordering::SeqCst);
    assert!(before > 0);
    site.db.batch("select target_profile.pause('other', 'test')");
    site.update("p", r#"{"a": 1}"#);
    site.wait_until("select not exists (select from target_profile.outbox where client_code = 'acme')");
    let seen = site.mock.requests();
    assert_eq!(seen.last().unwrap().header("authorization"), Some("Bearer s3cret"));
    let shown = "select exists (select from target_profile.response r where r::text ~ 's3cret|pass-word')";
    assert!(!site.db.query_one(shown, &[]).get::<_, bool>(0));
    // Postgres itself writes each parameter that a reload changes into the log.
    let log = site.cluster.log();
    let shows = log
        .lines()
        .find(|line| line.contains("pass-word@") && !line.contains("\"target_profile.proxy\" changed to"));
    assert_eq!(shows, None);
}

#[test]
fn a_wait_may_be_as_long_as_an_interval() {
    let site = Site::new("wait_long");
    site.db.batch("select target_profile.pause('acme', 'test')");
    let id = site.update("p", r#"{"a": 1}"#);
    let endless = if site.count("select current_setting('server_version_num')::bigint") >= 170_000 {
        vec!["170000000 years", "infinity"]
    } else {
        vec!["170000000 years"]
    };
    for time in endless {
        let error = site
            .db
            .try_batch(&format!(
                "set statement_timeout = '300ms'; select target_profile.wait({id}, '{time}')"
            ))
            .unwrap_err();
        assert_eq!(sqlstate(&error), "57014", "{time}");
    }
    site.db.batch("set statement_timeout = '20s'");
    for time in ["-1 s", "-170000000 years", "0"] {
        let state = site
            .db
            .text(&format!("select state from target_profile.wait({id}, '{time}')"));
        assert_eq!(state, "waiting", "{time}");
    }
}
