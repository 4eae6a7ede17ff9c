//! The process without a database, and the statements that it makes room for.

pub mod list;
pub mod main;
pub mod renames;
pub mod sequences;
pub mod statements;
