//! What the other rooms use: statements, errors, settings, transactions, the catalog, calls of PostgreSQL.

pub mod allocator;
pub mod backend;
pub mod backfill_fault;
pub mod catalog;
pub mod clock;
pub mod databases;
pub mod errors;
pub mod extension;
pub mod generated;
pub mod pins;
pub mod process;
pub mod rows;
pub mod session;
pub mod settings;
pub mod snapshot;
pub mod statement;
pub mod subtransaction;
pub mod text;
pub mod trigger_call;
pub mod unguarded;
pub mod versions;
pub mod wait_event;
pub mod warning;
