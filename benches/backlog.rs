//! A long backlog goes out as fast as a short one, and costs the worker no memory.

use crate::Size;
use crate::drain::memory;
use crate::process::MemoryWatch;
use crate::site::{ATTRS, Site};
use crate::table::{Line, Required, Table, median, spread};

const MEASURED: usize = 10_000;
const ROUNDS: i32 = 7;

pub fn measure(table: &mut Table, size: Size) {
    let backlog: i32 = size.of(3_000_000, 300_000);
    let (short, long) = (
        Site::new("backlog-short", 256, 256),
        Site::new("backlog-long", 256, 256),
    );
    let watch = MemoryWatch::begin(long.worker());
    long.hold();
    fill(&long, backlog);
    long.db.batch("checkpoint");
    let (mut of_short, mut of_long) = (Vec::new(), Vec::new());
    let (short_worker, long_worker) = (short.worker(), long.worker());
    let (short_before, long_before) = (short_worker.cpu().postgres, long_worker.cpu().postgres);
    for _ in 0..ROUNDS {
        short.hold();
        short.db.batch("truncate target_profile.outbox");
        fill(&short, 10_000);
        short.db.batch("checkpoint");
        of_short.push(first_rate(&short));
        short.wait_drained(MEASURED);
        of_long.push(first_rate(&long));
        long.hold();
    }
    let (start, highest) = watch.end();
    table.note(&format!(
        "rounds: {backlog} {}/s, 10000 {}/s; processor time of one update on the worker's Postgres thread {:.0} and {:.0} µs",
        spread(&of_long),
        spread(&of_short),
        cost(long_worker.cpu().postgres - long_before, backlog - waiting(&long)),
        cost(short_worker.cpu().postgres - short_before, 10_000 * ROUNDS),
    ));
    let (of_long, of_short) = (median(of_long), median(of_short));
    table.line(Line {
        what: &format!("first {MEASURED} of a backlog of {backlog}"),
        measured: format!("{of_long:.0}/s"),
        floor: format!("of a backlog of 10000 {of_short:.0}/s"),
        ratio: of_long / of_short,
        required: Required::AtLeast(0.95),
    });
    memory(table, "worker memory above its start, that backlog", start, highest);
}

fn waiting(site: &Site) -> i32 {
    site.db.value("select count(*)::int from target_profile.outbox", &[])
}

fn cost(seconds: f64, updates: i32) -> f64 {
    seconds * 1e6 / f64::from(updates)
}

/// Straight into the table, as a restore does: by the function it would take minutes.
fn fill(site: &Site, count: i32) {
    site.db.query(
        "insert into target_profile.outbox (client_code, id_kind, profile_id, attrs)
         select 'acme', 'mbox3rdPartyId', 'customer-' || g, $1::text::jsonb from generate_series(1, $2) g",
        &[&ATTRS, &count],
    );
    site.db.batch("vacuum analyze target_profile.outbox");
}

fn first_rate(site: &Site) -> f64 {
    site.mock.clear();
    let started = site.go();
    site.wait_arrived(MEASURED);
    MEASURED as f64 / started.elapsed().as_secs_f64()
}
