//! Tests of the pure package: tables of vectors, and properties over arbitrary input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod attrs;
mod backfill;
mod breaker;
mod budget;
mod burial;
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
mod losses;
mod outbox;
mod quota;
mod redraw;
mod request;
mod retry;
mod settings;
mod status;
mod step;
mod trouble;
mod verdict;
mod version;
mod watch;
