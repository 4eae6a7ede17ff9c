//! What the end-to-end tests, the benchmarks and the demo stand on: a stand-in for Target and throwaway clusters.
//!
//! Everything here is synchronous for its caller, waits on conditions with a deadline, and panics with a message
//! that says what was being waited for: a helper that fails is a test that fails.
#![allow(clippy::expect_used)]

pub mod bank;
pub mod cluster;
pub mod mock_target;
pub mod tls;
pub mod wait;

pub use cluster::{Cluster, Db, Interposed, Mode, Offset, describe, sqlstate};
pub use mock_target::{IdKind, Match, MockTarget, RefusedPort, Reply};

/// The root of the repository.
pub fn repository() -> std::path::PathBuf {
    let tests = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}
