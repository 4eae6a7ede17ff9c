//! The one way into the outbox: entries and their ids, the insertion, what triggers collect, dead letters of rows, the rights of the owner, and the
//! wake-up at commit.

pub mod burial;
pub mod clients;
pub mod collector;
pub mod deferred;
pub mod ids;
pub mod insertion;
pub mod jsonb;
pub mod outbox;
pub mod owner;
pub mod row_version;
pub mod wake;
pub mod writer;
