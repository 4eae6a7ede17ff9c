//! Tests of the pure package: tables of vectors, and properties over arbitrary input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod attrs;
mod drain;
mod endpoint;
mod error;
mod ids;
mod outbox;
mod request;
mod verdict;
