//! Whether the outbox is as `sql/tables.sql` makes it: its columns, its constraints, and its four indexes.
//!
//! Its constraints are known by their names: a row that this library makes meets them, and they are not evaluated.
//!
//! The indexes are looked at anew for every insertion, under the table's lock, as the executor does it (`ExecOpenIndices`): which
//! indexes there are, what they are like and which relations are open belong together, whatever CREATE INDEX, REINDEX and DROP INDEX
//! CONCURRENTLY do meanwhile. Nothing of it is kept from one insertion to the next.

use std::ffi::CStr;

use pgrx::prelude::*;

use crate::pg::support::catalog::Known;
use crate::pg::support::unguarded;

/// As an INSERT locks a table and its indexes.
const LOCK: pg_sys::LOCKMODE = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;

/// Until the transaction ends: the next entry of the transaction finds it.
const KEEP_LOCK: pg_sys::LOCKMODE = pg_sys::NoLock as pg_sys::LOCKMODE;

/// How many columns the table has.
pub const COLUMNS: usize = 13;

/// The columns that version 0.1.0 of the SQL objects knows: all but the last.
const COLUMNS_AT_FIRST: usize = 12;

/// From here on a new entry may have NULL.
const FIRST_NULL: usize = 9;

const COLUMNS_MADE: [(&str, pg_sys::Oid); COLUMNS] = [
    ("id", pg_sys::INT8OID),
    ("client_code", pg_sys::TEXTOID),
    ("id_kind", pg_sys::TEXTOID),
    ("profile_id", pg_sys::TEXTOID),
    ("attrs", pg_sys::JSONBOID),
    ("priority", pg_sys::INT2OID),
    ("source", pg_sys::TEXTOID),
    ("enqueued_at", pg_sys::TIMESTAMPTZOID),
    ("attempts", pg_sys::INT4OID),
    ("next_attempt_at", pg_sys::TIMESTAMPTZOID),
    ("last_outcome", pg_sys::TEXTOID),
    ("retried_at", pg_sys::TIMESTAMPTZOID),
    ("enqueued_by", pg_sys::TEXTOID),
];

/// Its CHECK constraints. Version 0.1.0 of the SQL objects has none.
const CHECKS_MADE: [&CStr; 6] = [
    c"client_code_is_a_label",
    c"id_kind_is_known",
    c"profile_id_fits",
    c"attrs_are_an_object",
    c"attempts_are_counted",
    c"times_are_finite",
];

/// Number of the column that the predicate of `outbox_retried` is about.
const RETRIED_AT: pg_sys::AttrNumber = 12;

/// An index as it is made: B-tree, with the operators that its columns' types have by default.
struct Made {
    /// Numbers of its columns.
    columns: &'static [i16],
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unique,
    Plain,
    /// `WHERE retried_at IS NOT NULL`.
    Retried,
}

/// How many indexes the table has.
const INDEXES: usize = 4;

/// The primary key first: it says which ids are taken.
const INDEXES_MADE: [Made; INDEXES] = [
    Made {
        columns: &[1],
        kind: Kind::Unique,
    },
    Made {
        columns: &[2, 6, 1],
        kind: Kind::Plain,
    },
    Made {
        columns: &[2, 3, 4, 1],
        kind: Kind::Plain,
    },
    Made {
        columns: &[2, 3, 4, 1],
        kind: Kind::Retried,
    },
];

/// More than any of them has.
pub const MOST_INDEX_COLUMNS: usize = 4;

/// The table and its indexes, open. Whoever has it closes it; when an error keeps him from that, the end of the (sub)transaction does.
pub struct Outbox {
    /// The table, locked as an INSERT locks it.
    pub table: pg_sys::Relation,
    indexes: [pg_sys::Relation; INDEXES],
}

/// One that takes new entries.
pub struct Index {
    /// Open.
    pub relation: pg_sys::Relation,
    /// Numbers of its columns.
    pub columns: &'static [i16],
    /// Each row's must be new.
    pub is_unique: bool,
}

impl Outbox {
    /// Locks the table and opens it with its indexes. `None`: it is not as it was made; it is locked then, and closed.
    ///
    /// # Safety
    /// Inside a transaction that may write.
    pub unsafe fn open(table: pg_sys::Oid) -> Option<Self> {
        // SAFETY: the caller's promise. The list of the indexes is read under the table's lock: while it is held, whoever makes or drops
        // an index waits before it relies on what others write into it. What comes in while the indexes are locked is looked at after
        // they are all open.
        unsafe {
            let (table, indexes, count) = unguarded::guarded(|| {
                let table = unguarded::table_open(table, LOCK);
                let list = unguarded::RelationGetIndexList(table);
                let mut indexes = [std::ptr::null_mut(); INDEXES];
                let count = list.as_ref().map_or(0, |list| list.length) as usize;
                if count == INDEXES {
                    for (at, index) in indexes.iter_mut().enumerate() {
                        *index = unguarded::index_open((*(*list).elements.add(at)).oid_value, LOCK);
                    }
                }
                unguarded::list_free(list);
                (table, indexes, count)
            });
            let mut outbox = Self { table, indexes };
            if count != INDEXES {
                pg_sys::table_close(table, KEEP_LOCK);
                return None;
            }
            if is_as_made(table) && outbox.put_in_order() {
                return Some(outbox);
            }
            outbox.close();
            None
        }
    }

    /// Each index to the place of the one that it is; `false`: there are others.
    ///
    /// # Safety
    /// All are open.
    unsafe fn put_in_order(&mut self) -> bool {
        let mut ordered: [pg_sys::Relation; INDEXES] = [std::ptr::null_mut(); INDEXES];
        for index in self.indexes {
            // SAFETY: the caller's promise.
            let place = INDEXES_MADE.iter().position(|made| unsafe { made.is(index) });
            match place {
                Some(place) if ordered[place].is_null() => ordered[place] = index,
                _ => return false,
            }
        }
        self.indexes = ordered;
        true
    }

    /// Those into which new entries go, the primary key first. An index that is being built is left out until it says that it is ready,
    /// as the executor does it. New entries are not retried ones: `outbox_retried` takes none of them.
    ///
    /// # Safety
    /// What [`Outbox::open`] gave.
    pub unsafe fn indexes(&self) -> impl Iterator<Item = Index> {
        let places = self.indexes.iter().zip(&INDEXES_MADE);
        // SAFETY: the caller's promise: an open index has its description.
        let ready =
            places.filter(|(index, made)| made.kind != Kind::Retried && unsafe { (*(***index).rd_index).indisready });
        ready.map(|(&relation, made)| Index {
            relation,
            columns: made.columns,
            is_unique: made.kind == Kind::Unique,
        })
    }

    /// Closes them; the locks stay.
    ///
    /// # Safety
    /// What [`Outbox::open`] gave, once.
    pub unsafe fn close(&self) {
        // SAFETY: the caller's promise.
        unsafe {
            unguarded::guarded(|| {
                for index in self.indexes {
                    unguarded::index_close(index, KEEP_LOCK);
                }
                unguarded::table_close(self.table, KEEP_LOCK);
            });
        }
    }
}

/// Whether a plain row can go into the table without the executor.
///
/// # Safety
/// An open and locked relation.
unsafe fn is_as_made(table: pg_sys::Relation) -> bool {
    thread_local! {
        static IS_AS_MADE: Known<bool> = const { Known::new() };
    }
    let look = || {
        // SAFETY: the caller's promise; what a relation points to lives as long as it is open.
        unsafe {
            let relation = &*table;
            let class = &*relation.rd_rel;
            let descriptor = pgrx::PgTupleDesc::from_pg_unchecked(relation.rd_att);
            class.relkind == pg_sys::RELKIND_RELATION as std::ffi::c_char
                && class.relam == pg_sys::HEAP_TABLE_AM_OID
                && !class.relispartition
                && !class.relforcerowsecurity
                && relation.trigdesc.is_null()
                && relation.rd_rules.is_null()
                && (COLUMNS_AT_FIRST..=COLUMNS).contains(&descriptor.len())
                && has_checks(table, descriptor.len() == COLUMNS)
                && descriptor
                    .iter()
                    .zip(COLUMNS_MADE)
                    .enumerate()
                    .all(|(at, (column, (name, oid)))| {
                        !column.attisdropped
                            && column.name() == name
                            && column.atttypid == oid
                            && column.attgenerated == 0
                            && !(column.attnotnull && at >= FIRST_NULL)
                            // Else a long value has no place in a page.
                            && !(column.attlen == -1 && column.attstorage.cast_unsigned() == pg_sys::TYPSTORAGE_PLAIN)
                    })
        }
    };
    IS_AS_MADE.with(|known| known.get(|| Some(look()))).unwrap_or(false)
}

/// Whether the CHECK constraints are those that the table is made with, or, if it is made without, whether there is none. Its rows
/// may be older than they are.
///
/// # Safety
/// An open relation.
unsafe fn has_checks(table: pg_sys::Relation, made_with: bool) -> bool {
    // SAFETY: the caller's promise; a descriptor has as many constraints as it says, each with a name that no other has.
    unsafe {
        let checks = match (*(*table).rd_att).constr.as_ref() {
            Some(constraints) if constraints.num_check > 0 => {
                std::slice::from_raw_parts(constraints.check, usize::from(constraints.num_check))
            }
            _ => &[],
        };
        let expected = if made_with { CHECKS_MADE.len() } else { 0 };
        checks.len() == expected
            && checks
                .iter()
                .all(|check| CHECKS_MADE.contains(&CStr::from_ptr(check.ccname)))
    }
}

/// How many columns the table has, of those that are known.
///
/// # Safety
/// An open relation.
pub unsafe fn columns(table: pg_sys::Relation) -> usize {
    // SAFETY: the caller's promise.
    let columns = unsafe { (*(*table).rd_att).natts };
    usize::try_from(columns).unwrap_or(0).min(COLUMNS)
}

impl Made {
    /// Whether an index is this one.
    ///
    /// # Safety
    /// An open index.
    unsafe fn is(&self, index: pg_sys::Relation) -> bool {
        // SAFETY: the caller's promise; an index has as many operator families, types and collations as key columns.
        unsafe {
            let relation = &*index;
            let form = &*relation.rd_index;
            let count = self.columns.len();
            if (*relation.rd_rel).relam != pg_sys::BTREE_AM_OID
                || usize::try_from(form.indnatts) != Ok(count)
                || form.indnkeyatts != form.indnatts
                || form.indisexclusion
                || !form.indimmediate
                || form.indisunique != (self.kind == Kind::Unique)
            {
                return false;
            }
            let of_column = |(at, &number): (usize, &i16)| {
                let (_, oid) = COLUMNS_MADE[number as usize - 1];
                let (family, collation) = if oid == pg_sys::TEXTOID {
                    (pg_sys::TEXT_BTREE_FAM_OID, pg_sys::C_COLLATION_OID)
                } else {
                    (pg_sys::INTEGER_BTREE_FAM_OID, pg_sys::InvalidOid)
                };
                *form.indkey.values.as_ptr().add(at) == number
                    && *relation.rd_opfamily.add(at) == family
                    && *relation.rd_opcintype.add(at) == oid
                    && *relation.rd_indcollation.add(at) == collation
            };
            self.columns.iter().enumerate().all(of_column)
                && has_predicate(index) == (self.kind == Kind::Retried)
                && (self.kind != Kind::Retried || is_of_the_retried(index))
        }
    }
}

/// # Safety
/// An open index.
unsafe fn has_predicate(index: pg_sys::Relation) -> bool {
    // SAFETY: the caller's promise: a tuple of pg_index with its descriptor.
    unsafe {
        !pg_sys::heap_attisnull(
            (*index).rd_indextuple,
            pg_sys::Anum_pg_index_indpred as i32,
            std::ptr::null_mut(),
        )
    }
}

/// Whether the index is `WHERE retried_at IS NOT NULL`, which no new entry meets.
///
/// # Safety
/// An open index with a predicate.
unsafe fn is_of_the_retried(index: pg_sys::Relation) -> bool {
    // SAFETY: the caller's promise; the predicate is a list of expressions, each of which says what it is.
    unsafe {
        let list = pg_sys::RelationGetIndexPredicate(index);
        let Some(&pg_sys::List {
            length: 1, elements, ..
        }) = list.as_ref()
        else {
            return false;
        };
        let test: *const pg_sys::NullTest = (*elements).ptr_value.cast();
        if (*test).xpr.type_ != pg_sys::NodeTag::T_NullTest || (*test).argisrow {
            return false;
        }
        let column: *const pg_sys::Var = (*test).arg.cast();
        (*test).nulltesttype == pg_sys::NullTestType::IS_NOT_NULL
            && (*column).xpr.type_ == pg_sys::NodeTag::T_Var
            && (*column).varattno == RETRIED_AT
    }
}
