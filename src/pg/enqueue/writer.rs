//! Who has enqueued an entry: the role that may ask what became of it.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::owner::Outbox;
use crate::pg::support::catalog::Known;

/// Whether the tables of this database have a place for it: they get one with version 0.2.0 of the SQL objects.
pub fn is_recorded() -> bool {
    thread_local! {
        static IS_RECORDED: Known<bool> = const { Known::new() };
    }
    IS_RECORDED
        .with(|known| known.get(|| Outbox::find().map(|outbox| has_column(outbox.table, c"enqueued_by"))))
        .unwrap_or(false)
}

fn has_column(table: pg_sys::Oid, name: &CStr) -> bool {
    // SAFETY: a look-up in the system cache, inside a transaction; the name is only read.
    unsafe { pg_sys::get_attnum(table, name.as_ptr()) != pg_sys::InvalidAttrNumber as pg_sys::AttrNumber }
}
