//! From the commit that enqueues to the arrival of its request at the stand-in, on one clock.

use std::time::{Duration, Instant};

use support::mock_target::Recording;

use crate::Size;
use crate::site::{ATTRS, Site, wait_until};
use crate::table::{Line, Required, Table, percentile};

pub fn measure(table: &mut Table, size: Size) {
    let site = Site::new("latency", 256, 64);
    site.mock.record(Recording::Everything);
    // The floor: a row like an entry's, without what the function does before and after its INSERT.
    site.db
        .batch("create table plain (like target_profile.outbox including all)");
    for (rate, seconds) in [(1, size.of(30, 6)), (10, size.of(10, 5)), (100, size.of(20, 5))] {
        let mut at = at_rate(&site, rate, rate * seconds);
        table.note(&format!(
            "{rate}/s: from before COMMIT to arrival p50 {:.2}, p99 {:.2} ms; COMMIT itself p50 {:.2}, p99 {:.2} ms; of {} commits",
            percentile(&mut at.from_before, 0.5),
            percentile(&mut at.from_before, 0.99),
            percentile(&mut at.commit, 0.5),
            percentile(&mut at.commit, 0.99),
            at.commit.len()
        ));
        for (name, part, most) in [("p50", 0.5, 1.0), ("p99", 0.99, 5.0)] {
            let latency = percentile(&mut at.from_after, part);
            let bare = percentile(&mut at.bare, part);
            table.line(Line {
                what: &format!("commit to request, {rate}/s, {name} (ms)"),
                measured: format!("{latency:.2} ms"),
                floor: format!("a bare commit {bare:.2} ms"),
                ratio: latency,
                required: if rate == 100 {
                    Required::AtMost(most)
                } else {
                    Required::Nothing
                },
            });
        }
    }
}

/// Milliseconds, one figure a commit.
#[derive(Default)]
struct Latencies {
    from_before: Vec<f64>,
    from_after: Vec<f64>,
    commit: Vec<f64>,
    bare: Vec<f64>,
}

fn at_rate(site: &Site, rate: u32, commits: u32) -> Latencies {
    let db = &site.db;
    let enqueue = db.prepare("select target_profile_update('acme', 'mbox3rdPartyId', $1, $2::text::jsonb)");
    let plain = db.prepare(
        "insert into plain (client_code, id_kind, profile_id, attrs) values ('acme', 'mbox3rdPartyId', $1, $2::text::jsonb)",
    );
    site.mock.clear();
    let mut latencies = Latencies::default();
    let mut committed = Vec::new();
    let started = Instant::now();
    for number in 0..commits {
        // The bare commits are half a beat off: each has the machine for itself.
        let beat = |halves: u32| Duration::from_secs(1) * halves / (2 * rate);
        let id = format!("{rate}-{number}");
        for (statement, halves) in [(&enqueue, 2 * number), (&plain, 2 * number + 1)] {
            std::thread::sleep((started + beat(halves)).saturating_duration_since(Instant::now()));
            db.batch("begin");
            db.query_prepared(statement, &[&id, &ATTRS]);
            let before = Instant::now();
            db.batch("commit");
            let after = Instant::now();
            if halves == 2 * number {
                committed.push((id.clone(), before, after));
            } else {
                latencies.bare.push(milliseconds(before, after));
            }
        }
    }
    wait_until(|| site.mock.request_count() >= u64::from(commits));
    let requests = site.mock.requests();
    for (id, before, after) in committed {
        let request = requests
            .iter()
            .find(|request| request.id.as_ref() == Some(&id))
            .expect("each is sent");
        latencies.from_before.push(milliseconds(before, request.arrived));
        latencies.from_after.push(milliseconds(after, request.arrived));
        latencies.commit.push(milliseconds(before, after));
    }
    latencies
}

/// Below zero when the second came first: the request may be there before the client hears of its commit.
fn milliseconds(from: Instant, to: Instant) -> f64 {
    match to.checked_duration_since(from) {
        Some(later) => later.as_secs_f64() * 1e3,
        None => -(from - to).as_secs_f64() * 1e3,
    }
}
