//! Statements that would take the order away from the ids of entries.
//!
//! Of two updates of a profile, the one with the higher id counts as the later one. With CACHE each session draws a block of its own, so a
//! later update may have the lower id; with another INCREMENT or CYCLE ids may go down, and so they do if the sequence is restarted, by
//! itself or by TRUNCATE. All are refused, with the library preloaded.

use std::ffi::CStr;

use pgrx::prelude::*;
use pgrx::{IntoDatum, PgList, direct_function_call, is_a};

use super::renames;
use crate::pg::support::errors::{Fault, or_raise};
use crate::pg::support::extension;

/// Called before a statement runs.
///
/// # Safety
/// A valid statement.
pub unsafe fn before(statement: *mut pg_sys::Node) {
    // SAFETY: the caller's promise; each cast follows a look at the node's tag.
    unsafe {
        let sequence = if is_a(statement, pg_sys::NodeTag::T_AlterSeqStmt) {
            altered(&*statement.cast::<pg_sys::AlterSeqStmt>())
        } else if is_a(statement, pg_sys::NodeTag::T_TruncateStmt) {
            restarted(&*statement.cast::<pg_sys::TruncateStmt>())
        } else {
            None
        };
        if let Some(sequence) = sequence {
            or_raise::<()>(Err(Fault::OwnSequence(renames::relation_name(sequence))));
        }
    }
}

/// The sequence of ours whose numbers would be drawn in another order.
///
/// # Safety
/// A valid statement.
unsafe fn altered(statement: &pg_sys::AlterSeqStmt) -> Option<pg_sys::Oid> {
    // SAFETY: the caller's promise.
    unsafe {
        let options = PgList::<pg_sys::DefElem>::from_pg(statement.options);
        let mut options = options.iter_ptr().filter(|option| may_disorder(*option)).peekable();
        options.peek()?;
        let sequence = own(statement.sequence)?;
        options.any(|option| disorders(option, sequence)).then_some(sequence)
    }
}

/// The first sequence of ours that would be restarted.
///
/// # Safety
/// A valid statement.
unsafe fn restarted(statement: &pg_sys::TruncateStmt) -> Option<pg_sys::Oid> {
    // SAFETY: the caller's promise; a list of RangeVar, and one of Oid.
    unsafe {
        if !statement.restart_seqs {
            return None;
        }
        let tables = PgList::<pg_sys::RangeVar>::from_pg(statement.relations);
        tables.iter_ptr().find_map(|table| {
            let owned = PgList::<pg_sys::Oid>::from_pg(pg_sys::getOwnedSequences(own(table)?));
            owned.get_oid(0)
        })
    }
}

/// The relation, if it is a member of the extension and nobody makes or repairs the extension itself.
///
/// # Safety
/// A valid name.
unsafe fn own(relation: *mut pg_sys::RangeVar) -> Option<pg_sys::Oid> {
    // SAFETY: the caller's promise; the look-ups happen inside a transaction.
    unsafe {
        if pg_sys::creating_extension || pg_sys::allowSystemTableMods || !pg_sys::IsTransactionState() {
            return None;
        }
        let extension = extension::extension()?;
        let relation = renames::relation(relation)?;
        extension::is_member(extension, pg_sys::RelationRelationId, relation).then_some(relation)
    }
}

/// Whether it is one of the options that [`disorders`] is about.
///
/// # Safety
/// An option of ALTER SEQUENCE.
unsafe fn may_disorder(option: *mut pg_sys::DefElem) -> bool {
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr((*option).defname) };
    [c"cache", c"increment", c"cycle", c"restart"].contains(&name)
}

/// Whether numbers could be drawn in another order than theirs.
///
/// # Safety
/// An option of ALTER SEQUENCE, and the sequence.
unsafe fn disorders(option: *mut pg_sys::DefElem, sequence: pg_sys::Oid) -> bool {
    // SAFETY: the caller's promise. CYCLE has a boolean; the others have a number, or none, which is a syntax error but for RESTART.
    unsafe {
        let has_value = !(*option).arg.is_null();
        match CStr::from_ptr((*option).defname).to_bytes() {
            b"cache" | b"increment" => has_value && pg_sys::defGetInt64(option) != 1,
            b"cycle" => has_value && pg_sys::defGetBoolean(option),
            b"restart" => {
                let last: Option<i64> = direct_function_call(pg_sys::pg_sequence_last_value, &[sequence.into_datum()]);
                last.is_some_and(|last| !has_value || pg_sys::defGetInt64(option) <= last)
            }
            _ => false,
        }
    }
}
