//! Everything that talks to Postgres. It stores and wakes; what to send, when, and what an answer means is decided in
//! `target_profile_core`.
//!
//! The way of an entry: [`api::update`] or [`triggers::row_trigger`] (bulk: [`enqueue::collector`]), then [`enqueue::outbox`], the commit,
//! [`enqueue::wake`] and the [`worker`]. Workers are started by the [`launcher`], and go when a statement wants their database for itself
//! ([`launcher::statements`]).
//!
//! A room uses those that stand before it here, and none of the others.

// The only place of the project that needs it; `undocumented_unsafe_blocks` asks for the reason each time.
#![allow(unsafe_code)]

pub mod support;

pub mod shmem;

pub mod enqueue;

pub mod triggers;

pub mod api;

pub mod worker;

pub mod launcher;
