//! ALTER SEQUENCE, where it would take the order away from the ids of entries.
//!
//! Of two updates of a profile, the one with the higher id counts as the later one. With CACHE each session draws a block of its own, so a
//! later update may have the lower id; with another INCREMENT or CYCLE ids may go down. All three are refused, with the library preloaded.

use std::ffi::CStr;

use pgrx::prelude::*;
use pgrx::{PgList, is_a};

use super::errors::{Fault, or_raise};
use super::{own_objects, renames};

/// Called before a statement runs.
///
/// # Safety
/// A valid statement.
pub unsafe fn before(statement: *mut pg_sys::Node) {
    // SAFETY: the caller's promise; the cast follows a look at the node's tag.
    unsafe {
        if !is_a(statement, pg_sys::NodeTag::T_AlterSeqStmt) {
            return;
        }
        let statement = &*statement.cast::<pg_sys::AlterSeqStmt>();
        if pg_sys::creating_extension || pg_sys::allowSystemTableMods || !pg_sys::IsTransactionState() {
            return;
        }
        let options = PgList::<pg_sys::DefElem>::from_pg(statement.options);
        if options.iter_ptr().any(|option| disorders(option))
            && let Some(extension) = own_objects::extension()
            && let Some(sequence) = renames::relation(statement.sequence)
            && own_objects::is_member(extension, pg_sys::RelationRelationId, sequence)
        {
            or_raise(Err(Fault::OwnSequence(renames::relation_name(sequence))))
        }
    }
}

/// Whether numbers could be drawn in another order than theirs.
///
/// # Safety
/// An option of ALTER SEQUENCE.
unsafe fn disorders(option: *mut pg_sys::DefElem) -> bool {
    // SAFETY: the caller's promise. CYCLE has a boolean; the other two have a number, or are a syntax error.
    unsafe {
        if (*option).arg.is_null() {
            return false;
        }
        match CStr::from_ptr((*option).defname).to_bytes() {
            b"cache" | b"increment" => pg_sys::defGetInt64(option) != 1,
            b"cycle" => pg_sys::defGetBoolean(option),
            _ => false,
        }
    }
}
