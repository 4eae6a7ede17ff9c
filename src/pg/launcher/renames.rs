//! ALTER … RENAME and SET SCHEMA, where they would take a name away that something of ours goes by.
//!
//! The names of the extension's own objects stand in its functions and in the worker's statements: renaming one is refused, with the library
//! preloaded. A watched column is read by its name, while the WHEN of its trigger follows the column itself: the session is warned of a rename.

use std::ffi::{CStr, c_void};

use pgrx::is_a;
use pgrx::prelude::*;
use pgrx::spi::quote_qualified_identifier;

use crate::pg::support::errors::{Fault, or_raise};
use crate::pg::support::extension;
use crate::pg::support::warning;

/// Called before a statement runs.
///
/// # Safety
/// A valid statement.
pub unsafe fn before(statement: *mut pg_sys::Node) {
    // SAFETY: the caller's promise; each cast follows a look at the node's tag.
    unsafe {
        let object = if is_a(statement, pg_sys::NodeTag::T_RenameStmt) {
            let statement = &*statement.cast::<pg_sys::RenameStmt>();
            Named {
                kind: statement.renameType,
                relation: statement.relation,
                object: statement.object,
                name: statement.subname,
            }
        } else if is_a(statement, pg_sys::NodeTag::T_AlterObjectSchemaStmt) {
            let statement = &*statement.cast::<pg_sys::AlterObjectSchemaStmt>();
            Named {
                kind: statement.objectType,
                relation: statement.relation,
                object: statement.object,
                name: std::ptr::null(),
            }
        } else {
            return;
        };
        // Scripts of the extension may, and so may a role that may change the catalog.
        if pg_sys::creating_extension || pg_sys::allowSystemTableMods || !pg_sys::IsTransactionState() {
            return;
        }
        if let Some(extension) = extension::extension()
            && let Some(what) = object.own(extension)
        {
            or_raise(Err(Fault::OwnName(what)))
        }
    }
}

/// What a statement renames or moves.
struct Named {
    kind: pg_sys::ObjectType::Type,
    relation: *mut pg_sys::RangeVar,
    object: *mut pg_sys::Node,
    name: *const std::ffi::c_char,
}

impl Named {
    /// What it is, if it is the extension's.
    ///
    /// # Safety
    /// Those of a valid statement.
    unsafe fn own(&self, extension: pg_sys::Oid) -> Option<String> {
        use pg_sys::ObjectType::{
            OBJECT_AGGREGATE, OBJECT_COLUMN, OBJECT_FOREIGN_TABLE, OBJECT_FUNCTION, OBJECT_INDEX, OBJECT_MATVIEW,
            OBJECT_PROCEDURE, OBJECT_ROUTINE, OBJECT_SCHEMA, OBJECT_SEQUENCE, OBJECT_TABLE, OBJECT_VIEW,
        };
        // SAFETY: the caller's promise; names are C strings, and what is looked up may be missing.
        unsafe {
            match self.kind {
                OBJECT_SCHEMA => (!self.name.is_null() && CStr::from_ptr(self.name) == c"target_profile")
                    .then(|| "schema target_profile".to_owned()),
                OBJECT_COLUMN | OBJECT_FOREIGN_TABLE | OBJECT_INDEX | OBJECT_MATVIEW | OBJECT_SEQUENCE
                | OBJECT_TABLE | OBJECT_VIEW => {
                    let oid = relation(self.relation)?;
                    extension::is_member(extension, pg_sys::RelationRelationId, oid).then(|| {
                        if self.kind == OBJECT_COLUMN && !self.name.is_null() {
                            let column = CStr::from_ptr(self.name).to_string_lossy();
                            format!("column \"{column}\" of {}", relation_name(oid))
                        } else {
                            relation_name(oid)
                        }
                    })
                }
                OBJECT_AGGREGATE | OBJECT_FUNCTION | OBJECT_PROCEDURE | OBJECT_ROUTINE => {
                    let oid = pg_sys::LookupFuncWithArgs(self.kind, self.object.cast(), true);
                    (oid != pg_sys::InvalidOid && extension::is_member(extension, pg_sys::ProcedureRelationId, oid))
                        .then(|| {
                            CStr::from_ptr(pg_sys::format_procedure(oid))
                                .to_string_lossy()
                                .into_owned()
                        })
                }
                _ => None,
            }
        }
    }
}

/// A relation that a statement names; `None`: there is none. What is wrong with the name Postgres says, now or in a moment.
///
/// # Safety
/// Null, or that of a statement.
pub unsafe fn relation(name: *mut pg_sys::RangeVar) -> Option<pg_sys::Oid> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the caller's promise. Not locked: the statement does that.
    let oid = unsafe {
        pg_sys::RangeVarGetRelidExtended(
            name,
            pg_sys::NoLock as pg_sys::LOCKMODE,
            pg_sys::RVROption::RVR_MISSING_OK,
            None,
            std::ptr::null_mut::<c_void>(),
        )
    };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

pub fn relation_name(oid: pg_sys::Oid) -> String {
    // SAFETY: look-ups; the answers are C strings or null.
    unsafe {
        let text = |name: *mut std::ffi::c_char| {
            if name.is_null() {
                String::new()
            } else {
                CStr::from_ptr(name).to_string_lossy().into_owned()
            }
        };
        quote_qualified_identifier(
            text(pg_sys::get_namespace_name(pg_sys::get_rel_namespace(oid))),
            text(pg_sys::get_rel_name(oid)),
        )
    }
}

/// Called after a statement has run. Warns of the rename of a column that one of the extension's triggers reads by its name.
///
/// # Safety
/// A valid statement, which has run.
pub unsafe fn after(statement: *mut pg_sys::Node) {
    // SAFETY: the caller's promise; a cast follows a look at the node's tag. The statement has locked the table.
    unsafe {
        if !is_a(statement, pg_sys::NodeTag::T_RenameStmt) {
            return;
        }
        let statement = &*statement.cast::<pg_sys::RenameStmt>();
        if statement.renameType != pg_sys::ObjectType::OBJECT_COLUMN || statement.subname.is_null() {
            return;
        }
        let (Some(extension), Some(table)) = (extension::extension(), relation(statement.relation)) else {
            return;
        };
        let column = CStr::from_ptr(statement.subname).to_string_lossy();
        if let Some(trigger) = reads(extension, table, &column) {
            warning::raise(
                PgSqlErrorCode::ERRCODE_WARNING,
                &format!(
                    "trigger \"{trigger}\" of table {} reads column \"{column}\" by this name",
                    relation_name(table)
                ),
                Some(
                    "While no column has this name, updates become dead letters. A column that gets it is sent, but the WHEN of a \
                     watch goes on to compare the column that was renamed.",
                ),
                Some("Call target_profile.watch, or create the trigger anew, with the columns that the table has now."),
            );
        }
    }
}

/// The name of a trigger of ours that has the column among its arguments.
///
/// # Safety
/// A table, or another relation, that this transaction has locked.
unsafe fn reads(extension: pg_sys::Oid, table: pg_sys::Oid, column: &str) -> Option<String> {
    // SAFETY: the caller's promise; what a relation points to lives as long as it is open.
    unsafe {
        let relation = pg_sys::relation_open(table, pg_sys::NoLock as pg_sys::LOCKMODE);
        let mut found = None;
        if let Some(triggers) = (*relation).trigdesc.as_ref() {
            let count = usize::try_from(triggers.numtriggers).unwrap_or(0);
            found = (0..count)
                .map(|at| &*triggers.triggers.add(at))
                .filter(|trigger| extension::is_member(extension, pg_sys::ProcedureRelationId, trigger.tgfoid))
                .find(|trigger| {
                    (2..usize::try_from(trigger.tgnargs).unwrap_or(0)).any(|at| {
                        let argument = CStr::from_ptr(*trigger.tgargs.add(at)).to_string_lossy();
                        target_profile_core::watch::names_column(&argument, column)
                    })
                })
                .map(|trigger| CStr::from_ptr(trigger.tgname).to_string_lossy().into_owned());
        }
        pg_sys::relation_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        found
    }
}
