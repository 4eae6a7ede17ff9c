//! Benchmarks: one table of what is measured, its floor measured beside it in the same run, and what the ratio must reach.
//!
//! The machine may be shared and noisy. So figures are ratios within one run, both sides taken in turns, and of several
//! rounds the median counts. Nothing is asserted: a benchmark is not a test.
#![allow(clippy::print_stdout, clippy::expect_used)]

mod backlog;
mod bare;
mod drain;
mod enqueue;
mod hang;
mod latency;
mod process;
mod site;
mod snapshot;
mod table;
mod wal;

use std::process::ExitCode;

use table::Table;

/// How much is done.
#[derive(Clone, Copy)]
pub struct Size {
    quick: bool,
}

impl Size {
    /// One number for the whole run, another for a quick look.
    pub fn of<T>(self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

type Row = (&'static str, &'static str, fn(&mut Table, Size));

const ROWS: [Row; 10] = [
    (
        "enqueue-bulk",
        "UPDATE of 100,000 rows of a table with triggers",
        enqueue::triggers,
    ),
    (
        "enqueue-many",
        "the function for each of 100,000 rows",
        enqueue::selected,
    ),
    (
        "enqueue-one",
        "the function, one a transaction, 1, 8 and 32 clients, beside a worker that is off, paused, sending",
        enqueue::function,
    ),
    (
        "drain-0ms",
        "drain rate, endpoint that answers at once; the worker's memory",
        drain::at_once,
    ),
    (
        "drain-50ms",
        "drain rate, 50 ms endpoint, 32 and 256 in flight",
        drain::after_50_ms,
    ),
    (
        "hang",
        "one endpoint of 100 hangs; one request of 100 hangs",
        hang::measure,
    ),
    (
        "latency",
        "from commit to request, 1, 10 and 100 commits a second",
        latency::measure,
    ),
    ("snapshot", "drain rate beside an old snapshot", snapshot::measure),
    (
        "backlog",
        "drain rate by the length of the backlog; the worker's memory",
        backlog::measure,
    ),
    ("wal", "bytes of WAL for each update", wal::measure),
];

fn main() -> ExitCode {
    let mut size = Size { quick: false };
    let mut wanted = Vec::new();
    for argument in std::env::args().skip(1) {
        if argument == "--quick" {
            size.quick = true;
        } else if ROWS.iter().any(|(name, ..)| *name == argument) {
            wanted.push(argument);
        } else {
            usage();
            return ExitCode::from(if matches!(argument.as_str(), "--help" | "-h") {
                0
            } else {
                2
            });
        }
    }
    let mut table = Table::begin();
    for (name, _, measure) in ROWS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            measure(&mut table, size);
        }
    }
    table.end();
    ExitCode::SUCCESS
}

fn usage() {
    println!("usage: benches/run [--quick] [row …]\n\nrows (all of them, unless named):");
    for (name, what, _) in ROWS {
        println!("  {name:<12} {what}");
    }
}
