//! Moves bytes between the worker and Target: takes requests, reports each one's end at once, decides nothing.
//!
//! One thread of its own runs the network; the worker's thread never waits for it. The two meet at two queues and
//! at a file descriptor that becomes readable when an answer has come, so that the worker can wait for answers and for
//! its latch in one place.

mod answers;
pub mod bell;
pub mod descriptors;
mod error;
mod exchange;
mod http;
mod transport;
mod wire;

pub use error::Error;
pub use http::Options;
pub use transport::{Sabotage, Transport};
