//! Tests of the pure package: tables of vectors, and properties over arbitrary input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod any_ids;
mod attrs;
mod backfill;
mod breaker;
mod budget;
mod collected;
mod condition;
mod delivery;
mod descriptors;
mod drain;
mod endpoint;
mod error;
mod fate;
mod horizon;
mod ids;
mod launcher;
mod listening;
mod names;
mod outbox;
mod pace;
mod quota;
mod redraw;
mod replication;
mod request;
mod retry;
mod settings;
mod settlement;
mod status;
mod step;
mod time;
mod trouble;
mod verdict;
mod version;
mod wal;
mod watch;
