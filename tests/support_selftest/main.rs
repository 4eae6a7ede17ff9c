//! Tests of what the other tests stand on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod bank;
mod cluster;
mod leftovers;
mod mock;
mod program;
mod raw;
mod scripted;
mod speed;
