//! The worker of one database: a loop that waits for its latch and for answers, and drives the drain.
//!
//! This thread does everything that concerns Postgres, in short transactions; the I/O thread of `target_profile_client`
//! has the network. While a request is under way no transaction is open.

mod activity;
mod claim;
mod clock;
mod clock_set;
mod housekeeping;
mod identity;
mod installation;
mod lifecycle;
mod memory;
mod network;
mod overtaking;
mod queries;
mod refresh;
mod replication;
mod reporting;
mod response_days;
mod retention;
mod rows;
mod run;
mod settle;
mod settle_rows;
mod state;
mod tables;
mod transaction;
mod unsettled;

pub use lifecycle::{install_signal_handlers, reload_if_asked};
pub use transaction::{ignore_cancels, look_again};
