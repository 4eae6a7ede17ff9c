//! What the worker takes of memory, whatever waits, and what becomes of it when there is none.

use std::fs;

use support::mock_target::Recording;
use support::{Cluster, Match, Reply, sqlstate};

use crate::site::{SOON, Site, WORKER};

const MIB: u64 = 1024 * 1024;

/// A field of a process' status, in bytes.
fn status(pid: i32, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| {
        line.trim_start_matches(':')
            .trim()
            .strip_suffix(" kB")?
            .trim()
            .parse::<u64>()
            .ok()
    });
    kib.expect("a number of kB") * 1024
}

/// Anonymous memory: its own, in contrast to shared buffers.
fn own(pid: i32) -> u64 {
    status(pid, "RssAnon")
}

/// As large as an update may be, nearly.
const LARGE: &str = "(select jsonb_object_agg('k' || g, repeat('v', 50000)) from generate_series(1, 310) g)";

fn warm(site: &Site) -> i32 {
    site.mock.record(Recording::Counters);
    for n in 0..20 {
        site.update(&format!("warm{n}"), r#"{"a": 1}"#);
    }
    site.wait_drained();
    site.cluster.wait_backend(WORKER, SOON)
}

#[test]
fn what_waits_is_held_in_bounded_memory_whatever_its_size() {
    let site = Site::new("memory");
    let worker = warm(&site);
    let start = own(worker);
    site.db.batch("select target_profile.pause('acme', 'test')");
    for profile in ["a", "b", "c", "a", "a"] {
        site.db.batch(&format!(
            "select target_profile_update('acme', 'mbox3rdPartyId', '{profile}', {LARGE})"
        ));
    }
    site.db.batch(
        "select count(target_profile_update('acme', 'mbox3rdPartyId', 'p' || i % 300,
             jsonb_build_object('a' || i / 300, repeat('w', 40000)))) from generate_series(1, 3000) i;
         -- by hand, larger than any update may be
         insert into target_profile.outbox (client_code, id_kind, profile_id, attrs)
             values ('acme', 'mbox3rdPartyId', 'huge', jsonb_build_object('a', repeat('x', 100000000)));
         select target_profile.resume('acme')",
    );
    let mut highest = start;
    support::wait::until("all to be sent", SOON * 3, || {
        highest = highest.max(own(worker));
        site.db
            .query_one("select not exists (select from target_profile.outbox)", &[])
            .get::<_, bool>(0)
            .then_some(())
    });
    println!(
        "worker {} MiB at its start, {} MiB at most, {} MiB at the end; high water of all {} MiB",
        start / MIB,
        highest / MIB,
        own(worker) / MIB,
        status(worker, "VmHWM") / MIB
    );
    assert!(
        highest <= start + 64 * MIB,
        "{} MiB above its start",
        (highest - start) / MIB
    );
    support::wait::until("memory to go back", SOON, || {
        (own(worker) <= start + 16 * MIB).then_some(())
    });
    assert_eq!(
        site.db
            .text("select string_agg(profile_id || ': ' || reason, ', ') from target_profile.dead_letter"),
        "huge: invalid entry: value is too large"
    );
    assert_eq!(site.cluster.wait_backend(WORKER, SOON), worker);
}

#[test]
fn a_worker_without_memory_says_so_and_goes_on_when_it_has_some() {
    let site = Site::with(Cluster::builder("no_memory").conf("target_profile.poll_interval", "1s"));
    let worker = warm(&site);
    // Enough for small updates, not for a large one.
    site.cluster
        .limit(worker, "as", Some(status(worker, "VmSize") + 40 * MIB));
    site.db.batch(&format!(
        "select target_profile_update('acme', 'mbox3rdPartyId', 'large', {LARGE})"
    ));
    site.wait_until("select last_error like 'out of memory: an update of 155%' from target_profile.worker");
    site.update("small", r#"{"a": 1}"#);
    site.wait_until("select count(*) = 1 from target_profile.response where profile_id = 'small'");
    site.cluster.limit(worker, "as", None);
    site.wait_drained();
    site.wait_until("select last_error is null from target_profile.worker");
    // What the large one took goes back a moment later.
    let mut sizes = Vec::new();
    support::wait::until("the size of the worker to settle", SOON, || {
        sizes.push(status(worker, "VmSize"));
        let last = sizes.iter().rev().take(20);
        (sizes.len() >= 20 && last.clone().all(|size| Some(size) == sizes.last())).then_some(())
    });
    // Not even for a small one.
    site.cluster
        .limit(worker, "as", Some(status(worker, "VmSize") + 8 * MIB));
    site.update("small", r#"{"a": 2}"#);
    site.wait_until("select last_error like 'claiming: out of memory%' from target_profile.worker");
    site.cluster.limit(worker, "as", None);
    site.wait_drained();
    site.wait_until("select last_error is null from target_profile.worker");
    assert_eq!(site.cluster.wait_backend(WORKER, SOON), worker, "the same process");
    assert!(!site.cluster.log_contains("terminated by signal"));
}

#[test]
fn a_value_that_is_too_large_is_refused_by_its_size() {
    let site = Site::new("too_large");
    site.db
        .batch("create table huge as select jsonb_build_object('a', repeat('x', 200000000)) as attrs");
    for function in ["target_profile_update", "target_profile_preview"] {
        let error = site
            .db
            .try_batch(&format!(
                "select {function}('acme', 'mbox3rdPartyId', 'p', attrs) from huge"
            ))
            .unwrap_err();
        assert_eq!(sqlstate(&error), "54000");
    }
    // By its size alone: the session has not even uncompressed it.
    let session = site.db.pid();
    assert!(own(session) < 100 * MIB, "{} MiB", own(session) / MIB);
}

/// Whatever is left to a process: it has an error, or it ends alone.
#[test]
fn an_allocation_that_fails_never_takes_the_server_along() {
    let site = Site::with(Cluster::builder("failed_allocation").conf("target_profile.poll_interval", "1s"));
    site.db.batch(
        "create table customers (id text primary key, attrs jsonb);
         select target_profile.watch('customers', 'acme', 'mbox3rdPartyId', 'id', array['attrs']);
         create table large as
             select jsonb_object_agg('k' || g, repeat('v', 100)) as attrs from generate_series(1, 9000) g",
    );
    let (mut refused, mut ended) = (0, 0);
    // In steps, so that it is another allocation each time which fails.
    for statement in [
        "select count(*) from large, target_profile_preview('acme', 'mbox3rdPartyId', 'p', attrs)",
        "select target_profile_update('acme', 'mbox3rdPartyId', 'p', attrs) from large",
        "insert into customers select g::text, attrs from large, generate_series(1, 3) g
             on conflict (id) do update set attrs = excluded.attrs || jsonb_build_object('n', now())",
    ] {
        for step in 0..60 {
            let session = site.cluster.db();
            let pid = session.pid();
            // Everything that the first call loads.
            session.batch("select target_profile_preview('acme', 'mbox3rdPartyId', 'p', '{\"a\": 1}')");
            site.cluster
                .limit(pid, "as", Some(status(pid, "VmSize") + step * MIB / 5));
            match session.try_batch(statement) {
                Ok(()) => {}
                Err(error) if sqlstate(&error) == "53200" => {
                    if error.as_db_error().is_some_and(|error| error.severity() == "FATAL") {
                        ended += 1;
                    } else {
                        refused += 1;
                    }
                }
                Err(error) => panic!("{statement}, {step}: {error:?}"),
            }
        }
    }
    println!("{refused} refused, {ended} sessions ended");
    assert!(refused > 0 && ended > 0, "{refused} refused, {ended} ended");
    assert!(!site.cluster.log_contains("terminated by signal"));
}

/// The network's thread cannot say so itself: the worker ends, and the next one sends what was under way.
#[test]
fn an_allocation_that_fails_in_the_io_thread_ends_the_worker_alone() {
    let site = Site::with(Cluster::builder("failed_io_allocation").conf("target_profile.poll_interval", "1s"));
    // The other thread may be the first that asks for memory: its error ends a transaction, and the requests get by.
    let ended = (0..5).any(|round| {
        let worker = warm(&site);
        let big = Reply::status(500)
            .header("content-type", "text/plain")
            .body("x".repeat(60_000));
        let rule = site.mock.on(Match::any()).respond(big.after_release());
        for n in 0..64 {
            site.update(&format!("p{round}-{n}"), r#"{"a": 1}"#);
        }
        site.mock.wait_hung(64, SOON);
        // Address space has been set aside for the thread already; memory has not.
        site.cluster.limit(worker, "data", Some(status(worker, "VmData")));
        site.mock.remove_rule(rule);
        site.mock.release_hung();
        site.wait_until(
            "select last_error like 'out of memory: the worker has ended%' from target_profile.worker
             union all select true where not exists (select from target_profile.outbox) order by 1 desc nulls last limit 1",
        );
        site.wait_drained();
        let ended = site.cluster.wait_backend(WORKER, SOON) != worker;
        if !ended {
            site.cluster.limit(worker, "data", None);
        }
        ended
    });
    assert!(ended, "it is never the thread's");
    assert_eq!(
        site.db
            .text("select last_error_at is not null from target_profile.worker"),
        "t"
    );
    assert!(!site.cluster.log_contains("terminated by signal"));
}

#[test]
fn a_session_holds_bounded_dead_letters_however_many_blocks_with_exceptions_there_are() {
    let site = Site::with(
        Cluster::builder("blocks")
            .fsync(false)
            .conf("log_min_messages", "fatal"),
    );
    site.db.batch(
        "create table t (id text, n text);
         select target_profile.watch('t', 'acme', 'mbox3rdPartyId', 'id', '{n}')",
    );
    let writer = site.cluster.db();
    writer.batch("set client_min_messages = error; insert into t values ('good', 'x'), ('bad/one', 'x')");
    let pid: i32 = writer.value("select pg_backend_pid()", &[]);
    let before = own(pid);
    // 4,000 dead letters of 20 kB.
    writer.batch(
        "begin; do $$ begin for i in 1..4000 loop
             begin insert into t values ('bad/' || i, repeat('x', 20000)); exception when no_data_found then null; end;
         end loop; end $$",
    );
    let grown = own(pid).saturating_sub(before) / MIB;
    writer.batch("commit");
    assert!(grown < 40, "{grown} MiB for 80 MB of dead letters");
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 4_001);
}
