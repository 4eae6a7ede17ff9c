//! What is sent is on disk, wherever on its page the record of the commit ends.

use std::time::Duration;

use support::cluster::Db;
use support::{Cluster, Match, Reply};

use crate::site::{SOON, Site};

const PAGE: i64 = 8_192;
/// What precedes a record on its page, the first page of a segment excepted.
const HEADER: i64 = 24;
/// The length of the record of such a commit that follows the header when it begins on the page before: whole, less this.
const ATTEMPTS: usize = 60;

fn position(db: &Db, of: &str) -> i64 {
    db.value(&format!("select pg_wal_lsn_diff({of}(), '0/0')::bigint"), &[])
}

fn insert_position(db: &Db) -> i64 {
    position(db, "pg_current_wal_insert_lsn")
}

#[test]
fn a_commit_is_flushed_before_it_is_sent_wherever_its_record_ends() {
    let site = Site::with(
        Cluster::builder("wal_flush")
            .conf("wal_writer_delay", "10s")
            .conf("wal_writer_flush_after", "1GB")
            .conf("autovacuum", "off")
            .conf("checkpoint_timeout", "1h"),
    );
    let writer = site.cluster.db();
    site.mock
        .on(Match::when(|request| {
            request.id.as_deref().is_some_and(|id| id.starts_with("hang"))
        }))
        .respond(Reply::hang());
    site.db
        .batch("select target_profile.set_client('acme', max_in_flight => 1000, timeout => '5 min')");
    let enqueue = |id: &str| -> i64 {
        writer.value(
            "select target_profile_update('acme', 'mbox3rdPartyId', $1, '{\"a\": 1}')",
            &[&id],
        )
    };
    for n in 0..5 {
        enqueue(&format!("warm{n}"));
        site.wait_drained();
    }
    // How long the record of the commit of one update is.
    writer.batch("set synchronous_commit = off");
    let mut hits = 0;
    for on_page in [HEADER + 8, HEADER + 16, HEADER + 24, HEADER + 32, 0] {
        let mut hit = false;
        for attempt in 0..ATTEMPTS {
            // A request went out a moment ago: what the next is charged has been reserved with it, and nothing else is written.
            let before = site.mock.request_count();
            writer.batch("set synchronous_commit = on");
            enqueue(&format!("hang-w{on_page}-{attempt}"));
            site.mock.wait_requests(before + 1, SOON);
            writer.batch("set synchronous_commit = off; begin");
            let id = format!("hang-{on_page}-{attempt}");
            enqueue(&id);
            let commit_bytes = 40;
            let first = insert_position(&writer);
            writer.batch("select pg_logical_emit_message(true, 'p', repeat('x', 1000))");
            let second = insert_position(&writer);
            if first / PAGE != second / PAGE {
                writer.batch("rollback");
                continue;
            }
            let overhead = second - first - 1_000;
            // The commit begins so that it ends there, on the next page.
            let behind_header = if on_page >= HEADER { on_page - HEADER } else { on_page };
            let target = (second / PAGE + 1) * PAGE - commit_bytes + behind_header;
            let pad = target - second - overhead;
            if pad < 300 {
                writer.batch("rollback; select pg_logical_emit_message(false, 'p', repeat('x', 3000))");
                continue;
            }
            writer.query(
                "select pg_logical_emit_message(true, 'p', repeat('x', $1::int))",
                &[&i32::try_from(pad).unwrap()],
            );
            if insert_position(&writer) != target {
                writer.batch("rollback");
                continue;
            }
            writer.batch("commit");
            let end = insert_position(&writer);
            site.mock.wait_for("the update to arrive", SOON, |state| {
                state
                    .requests()
                    .iter()
                    .any(|request| request.id.as_deref() == Some(id.as_str()))
            });
            let flushed = position(&site.db, "pg_current_wal_flush_lsn");
            // Behind a full page nothing begins before the header.
            let end = if end % PAGE == HEADER { end - HEADER } else { end };
            assert!(
                flushed >= end,
                "the request is on the wire, and its commit, which ends {} bytes into a page, lacks {} bytes on disk",
                end % PAGE,
                end - flushed
            );
            println!("a commit that ends {} bytes into a page is flushed", end % PAGE);
            hit |= end % PAGE == on_page;
            if hit {
                hits += 1;
                break;
            }
        }
    }
    assert!(hits >= 3, "only {hits} positions were met");
    // Nothing of this costs anything when nothing is to be done.
    site.mock.clear_rules();
    site.mock.release_hung();
    site.wait_drained();
    site.mock.wait_quiet(Duration::from_secs(2), SOON);
    let before = insert_position(&site.db);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(insert_position(&site.db), before, "an idle worker writes WAL");
}
