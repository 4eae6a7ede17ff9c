//! Columns that are computed when they are read: virtual generated columns, which PostgreSQL has from version 18 on.
//!
//! A trigger written in C finds NULL in them. So the value is computed from the row, and a trigger's WHEN compares the columns that it
//! is made of: a WHEN that computed it would make the write fail where it cannot be computed.

use std::ffi::c_char;

use pgrx::pg_sys;

use super::backend;
use super::session::{TEXT, with_pinned_path, with_settings};

unsafe extern "C-unwind" {
    /// catalog/pg_inherits.h: a table and all its partitions, each locked.
    fn find_all_inheritors(
        parent: pg_sys::Oid,
        lock: pg_sys::LOCKMODE,
        parents: *mut *mut pg_sys::List,
    ) -> *mut pg_sys::List;
}

/// `attgenerated` of a column that is not stored.
const VIRTUAL: c_char = b'v'.cast_signed();

/// How a virtual column is made.
pub struct Generated {
    /// Its expression over `new`, as Postgres writes it.
    pub expression: String,
    /// The columns in it.
    pub columns: Vec<String>,
}

/// Whether a column is virtual.
pub fn is_virtual(attribute: &pg_sys::FormData_pg_attribute) -> bool {
    attribute.attgenerated == VIRTUAL
}

/// How a column is made; `None`: it is stored.
///
/// # Safety
/// A relation that is open, and the number of one of its columns.
pub unsafe fn of(relation: pg_sys::Relation, number: i16) -> Option<Generated> {
    // SAFETY: the caller's promise; a descriptor has the columns that it counts, from 1 on.
    unsafe {
        let descriptor = pgrx::PgTupleDesc::from_pg_unchecked((*relation).rd_att);
        let attribute = descriptor.get(usize::try_from(number - 1).ok()?)?;
        if !is_virtual(attribute) {
            return None;
        }
        Some(read(relation, expression(relation, number)?))
    }
}

/// The columns that a virtual column of a table is made of, in any of its partitions: each makes it in its own way. `None`: it is stored.
///
/// # Safety
/// A table that is locked, and the number of one of its columns.
pub unsafe fn made_of(table: pg_sys::Oid, number: i16) -> Option<Vec<String>> {
    let keep = pg_sys::NoLock as pg_sys::LOCKMODE;
    let of_table = |table: pg_sys::Oid, number: i16| {
        // SAFETY: the caller's promise; the partitions are locked as they are found.
        unsafe {
            let relation = pg_sys::table_open(table, keep);
            let generated = of(relation, number);
            pg_sys::table_close(relation, keep);
            generated.map(|generated| generated.columns)
        }
    };
    let mut columns = of_table(table, number)?;
    // SAFETY: the caller's promise. A partition has the columns of its parent by their names.
    unsafe {
        if pg_sys::get_rel_relkind(table).cast_unsigned() == pg_sys::RELKIND_PARTITIONED_TABLE {
            let name = pg_sys::get_attname(table, number, false);
            let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
            let tables = pg_sys::ffi::pg_guard_ffi_boundary(|| find_all_inheritors(table, lock, std::ptr::null_mut()));
            for at in 0..pg_sys::list_length(tables) {
                let partition = pg_sys::list_nth_oid(tables, at);
                columns.extend(of_table(partition, pg_sys::get_attnum(partition, name)).unwrap_or_default());
            }
        }
    }
    Some(columns)
}

/// # Safety
/// A relation that is open, and the number of a virtual column of it.
#[cfg(feature = "pg18")]
unsafe fn expression(relation: pg_sys::Relation, number: i16) -> Option<*mut pg_sys::Node> {
    // SAFETY: the caller's promise.
    Some(unsafe { pg_sys::build_generation_expression(relation, i32::from(number)) })
}

#[cfg(not(feature = "pg18"))]
unsafe fn expression(_relation: pg_sys::Relation, _number: i16) -> Option<*mut pg_sys::Node> {
    None
}

/// An expression in which virtual columns are replaced by what they are made of.
///
/// # Safety
/// A relation that is open, and an expression over it as the relation of that number.
pub unsafe fn expanded(relation: pg_sys::Relation, expression: *mut pg_sys::Node, number: i32) -> *mut pg_sys::Node {
    #[cfg(feature = "pg18")]
    // SAFETY: the caller's promise.
    unsafe {
        pg_sys::expand_generated_columns_in_expr(expression, relation, number)
    }
    #[cfg(not(feature = "pg18"))]
    {
        let _ = (relation, number);
        expression
    }
}

/// # Safety
/// A relation that is open, and an expression over it as the first relation.
unsafe fn read(relation: pg_sys::Relation, expression: *mut pg_sys::Node) -> Generated {
    // SAFETY: the caller's promise; the answers are C strings.
    unsafe {
        let table = (*relation).rd_id;
        let context = pg_sys::deparse_context_for(c"new".as_ptr(), table);
        let text = with_settings(&TEXT, || {
            with_pinned_path(|| backend::string(pg_sys::deparse_expression(expression, context, true, false)))
        });
        Generated {
            expression: text,
            columns: columns(table, expression).0,
        }
    }
}

/// The columns that an expression is made of, and whether there is anything else of the row in it.
///
/// # Safety
/// An expression over the table as the first relation.
pub unsafe fn columns(table: pg_sys::Oid, expression: *mut pg_sys::Node) -> (Vec<String>, bool) {
    let mut columns = Vec::new();
    let mut others = false;
    // SAFETY: the caller's promise; the answers of get_attname are C strings.
    unsafe {
        let mut numbers = std::ptr::null_mut();
        pg_sys::pull_varattnos(expression, 1, &mut numbers);
        let mut member = pg_sys::bms_next_member(numbers, -1);
        while member >= 0 {
            // A whole row and the system columns have numbers below 1.
            match i16::try_from(member + pg_sys::FirstLowInvalidHeapAttributeNumber) {
                Ok(number) if number > 0 => columns.push(backend::string(pg_sys::get_attname(table, number, false))),
                _ => others = true,
            }
            member = pg_sys::bms_next_member(numbers, member);
        }
    }
    (columns, others)
}
