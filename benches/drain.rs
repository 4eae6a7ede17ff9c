//! How fast a backlog goes out.

use std::sync::Arc;
use std::time::Duration;

use support::{Match, Reply};

use crate::process::MemoryWatch;
use crate::site::Site;
use crate::table::{Line, Required, Table, median, spread};
use crate::{Size, bare};

const IN_FLIGHT: usize = 256;

/// The endpoint answers at once: what counts is the processor time that each update costs.
pub fn at_once(table: &mut Table, size: Size) {
    let count = size.of(50_000, 10_000);
    let mut site = Site::new("drain-0ms", IN_FLIGHT, IN_FLIGHT);
    let worker = site.worker();
    let watch = MemoryWatch::begin(worker.clone());
    site.say_settings(table);
    let (mut drain, mut floor, mut cost, mut stand_in) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let flushes_before = wal_flushes(&site);
    for _ in 0..3 {
        let urls = Arc::new(site.urls(count));
        let before = site.mock.cpu_time();
        floor.push(bare::rate(&urls, IN_FLIGHT));
        stand_in.push((site.mock.cpu_time() - before).as_secs_f64() * 1e6 / count as f64);
        let before = worker.cpu();
        drain.push(site.drain_rate(count));
        let after = worker.cpu();
        cost.push((
            (after.postgres - before.postgres) * 1e6 / count as f64,
            (after.io - before.io) * 1e6 / count as f64,
        ));
    }
    let (start, highest) = watch.end();
    table.note(&format!(
        "processor time of one update, µs: worker's Postgres thread {:.0}, its I/O thread {:.0}; stand-in {:.0}, so it could answer {:.0}/s",
        median(cost.iter().map(|cost| cost.0).collect()),
        median(cost.iter().map(|cost| cost.1).collect()),
        median(stand_in.clone()),
        1e6 / median(stand_in),
    ));
    table.note(&format!(
        "rounds: drain {}/s, bare loop {}/s; {:.0} updates a flush of the WAL",
        spread(&drain),
        spread(&floor),
        (3 * count) as f64 / (wal_flushes(&site) - flushes_before) as f64,
    ));
    let (drain, floor) = (median(drain), median(floor));
    table.line(Line {
        what: &format!("drain, 0 ms endpoint, {IN_FLIGHT} in flight"),
        measured: format!("{drain:.0}/s"),
        floor: format!("bare reqwest loop {floor:.0}/s"),
        ratio: drain / floor,
        required: Required::AtLeast(0.4),
    });
    memory(table, "worker memory above its start, that drain", start, highest);
}

/// Those of all processes; beside the worker's there are few.
fn wal_flushes(site: &Site) -> i64 {
    site.db.value("select wal_sync from pg_stat_wal", &[])
}

/// The line of a worker's memory.
pub fn memory(table: &mut Table, what: &str, start: f64, highest: f64) {
    table.line(Line {
        what,
        measured: format!("{:.1} MiB", highest - start),
        floor: format!("at its start {start:.1} MiB"),
        ratio: highest - start,
        required: Required::AtMost(64.0),
    });
}

/// The endpoint takes its time: what counts is that the limit of requests in flight is made use of.
pub fn after_50_ms(table: &mut Table, size: Size) {
    const LATENCY: Duration = Duration::from_millis(50);
    for in_flight in [32, 256] {
        let mut site = Site::new(&format!("drain-50ms-{in_flight}"), in_flight, in_flight);
        site.mock.on(Match::any()).respond(Reply::delay(LATENCY));
        let ideal = in_flight as f64 / LATENCY.as_secs_f64();
        let count = (ideal * size.of(4.0, 2.0)) as usize;
        let (mut drain, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..size.of(3, 1) {
            floor.push(bare::rate(&Arc::new(site.urls(count)), in_flight));
            drain.push(site.drain_rate(count));
        }
        table.note(&format!(
            "rounds: drain {}/s; a bare reqwest loop reaches {}/s",
            spread(&drain),
            spread(&floor)
        ));
        let drain = median(drain);
        table.line(Line {
            what: &format!("drain, 50 ms endpoint, {in_flight} in flight"),
            measured: format!("{drain:.0}/s"),
            floor: format!("{in_flight} / 50 ms = {ideal:.0}/s"),
            ratio: drain / ideal,
            required: Required::AtLeast(0.85),
        });
    }
}
