//! From rows to updates: triggers, what they are wired to do, values, and backfill.

pub mod backfill;
pub mod expression;
pub mod references;
pub mod row_id;
pub mod row_trigger;
pub mod row_update;
pub mod value;
pub mod watch;
pub mod wiring;
