//! Tests of the pure package: tables of vectors, and properties over arbitrary input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

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
mod holding;
mod horizon;
mod ids;
mod launcher;
mod outbox;
mod quota;
mod request;
mod retry;
mod secret;
mod settings;
mod status;
mod step;
mod trouble;
mod verdict;
mod version;
mod watch;
