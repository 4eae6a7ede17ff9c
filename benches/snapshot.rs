//! An old snapshot keeps dead rows from being removed; the drain must not have to wade through them.

use std::time::{Duration, Instant};

use crate::Size;
use crate::site::{ATTRS, Site};
use crate::table::{Line, Required, Table};

/// Profiles that are updated in turn, so that each has its dead entries in the indexes.
const PROFILES: i64 = 20_000;
/// Entries that wait, at most: fewer than profiles, so that nothing is merged.
const BACKLOG: u64 = 4_000;

pub fn measure(table: &mut Table, size: Size) {
    let site = Site::new("snapshot", 256, 256);
    let (clean, held) = (
        Duration::from_secs(size.of(30, 10)),
        Duration::from_secs(size.of(60, 15)),
    );
    // Not counted: the plans are made, and the files are there.
    let mut next = load(&site, Duration::from_secs(3), 0).1;
    let worker = site.worker();
    let mut rates = Vec::new();
    for (old, how_long) in [(false, clean), (true, held), (false, clean)] {
        let session = site.cluster.db();
        if old {
            session.batch("begin isolation level repeatable read; select count(*) from target_profile.outbox");
        }
        let before = worker.cpu().postgres;
        let (rate, after) = load(&site, how_long, next);
        let cost = (worker.cpu().postgres - before) * 1e6 / (after - next) as f64;
        let size = site.db.text(
            "select pg_size_pretty(pg_total_relation_size('target_profile.outbox')) || ', dead rows '
                 || coalesce(pg_stat_get_dead_tuples('target_profile.outbox'::regclass), 0)",
        );
        table.note(&format!(
            "{} for {} s: {rate:.0}/s, worker's Postgres thread {cost:.0} µs an update; the outbox is {size}",
            if old { "snapshot held" } else { "clean" },
            how_long.as_secs()
        ));
        rates.push(rate);
        next = after;
        drop(session);
        site.db.batch("vacuum target_profile.outbox");
    }
    let floor = (rates[0] + rates[2]) / 2.0;
    table.line(Line {
        what: "enqueue and drain, a snapshot held open",
        measured: format!("{:.0}/s", rates[1]),
        floor: format!("without, before and after {floor:.0}/s"),
        ratio: rates[1] / floor,
        required: Required::AtLeast(0.95),
    });
}

/// Keeps the worker busy for so long; the rate at which requests arrived, and the next number.
fn load(site: &Site, how_long: Duration, from: i64) -> (f64, i64) {
    const PIECE: i64 = 500;
    let enqueue = site.db.prepare(
        "select count(target_profile_update('acme', 'mbox3rdPartyId', 'customer-' || g % $4, $1::text::jsonb))
         from generate_series($2::bigint, $3) g",
    );
    site.mock.clear();
    let (started, mut next) = (Instant::now(), from);
    while started.elapsed() < how_long {
        let waiting = u64::try_from(next - from)
            .unwrap_or(0)
            .saturating_sub(site.mock.request_count());
        if waiting < BACKLOG {
            site.db
                .query_prepared(&enqueue, &[&ATTRS, &next, &(next + PIECE - 1), &PROFILES]);
            next += PIECE;
        } else {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let rate = site.mock.request_count() as f64 / started.elapsed().as_secs_f64();
    site.wait_drained(usize::try_from(next - from).unwrap_or(0));
    (rate, next)
}
