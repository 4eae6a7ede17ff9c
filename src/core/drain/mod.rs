//! The drain: which entries are sent when, and what their answers mean for them.
//!
//! It is a state machine without a clock, a table or a network. Whoever drives it (the worker in `src/pg`, a model
//! in the tests) repeats one cycle:
//!
//! 1. [`Drain::observe`] a snapshot, [`Drain::reads`] the lanes it asks for and hand the rows to [`Drain::select`], which
//!    picks the profiles whose turn it is;
//! 2. read *all* entries of those profiles in the same snapshot and hand them to [`Drain::claim`], which merges them
//!    into requests;
//! 3. make durable what [`Drain::reservations`] asks for, [`Drain::send`] the requests, and hand each answer to
//!    [`Drain::complete`] as it comes;
//! 4. have [`Drain::report`] add to the [`Batch`](crate::settlement::Batch) what else is to be written, settle it in one transaction and say so
//!    with [`Drain::settled`].
//!
//! A profile has at most one delivery under way, from its selection until its batch is settled: that keeps its values
//! in order. Nothing here needs to survive a crash: what is in the outbox has not been settled, and is sent (again).

mod accounts;
mod client;
mod clock;
mod completion;
mod delivery;
mod fate;
mod holding;
mod lanes;
mod listening;
mod merging;
mod messages;
mod parked;
mod partial;
mod places;
mod reading;
mod selection;
mod sending;
mod state;

pub use client::UNSETTLED_LIMIT;
pub use fate::{Carried, Fate, GivenUp, RequestEnd, UNRECOGNISED_ATTEMPTS, fate};
pub use holding::{Admission, HELD_BYTES, LARGE_BYTES, Reading};
pub use merging::{MERGE_LIMIT, OVERTAKEN};
pub use messages::{Answer, Dispatch, Entry, Head, LaneRead, Limits, Registration, Report};
pub use state::Drain;
