//! A query whose rows are fetched a few at a time.

use std::ffi::CString;

use pgrx::memcxt::PgMemoryContexts;
use pgrx::prelude::*;
use serde_json::Value;

use crate::pg::support::errors::Fault;
use crate::pg::triggers::value;
use crate::pg::triggers::value::Unread;

/// So many rows are fetched at once; each may be large.
const ROWS_AT_A_TIME: i64 = 64;

/// An open query. It ends with the transaction, or when it is closed.
pub struct Cursor {
    portal: pg_sys::Portal,
}

/// One row of it.
pub struct FetchedRow {
    tuple: pg_sys::HeapTuple,
    descriptor: pg_sys::TupleDesc,
}

impl Cursor {
    /// Plans and starts the query; what it reads is checked against the current user's rights.
    ///
    /// # Errors
    /// The text is none. Whatever else fails is raised by Postgres.
    ///
    /// # Safety
    /// Inside of a connection to SPI that lives longer than the cursor; the arguments are of these types.
    pub unsafe fn open(query: &str, arguments: &[(pg_sys::Oid, pg_sys::Datum)]) -> Result<Self, Fault> {
        let query = CString::new(query).map_err(|_| Fault::Internal("a query has a zero byte"))?;
        let (mut types, mut values): (Vec<_>, Vec<_>) = arguments.iter().copied().unzip();
        let count = i32::try_from(arguments.len()).map_err(|_| Fault::Internal("too many arguments"))?;
        // SAFETY: the caller's promise; the arrays live until the portal has copied them.
        let portal = unsafe {
            pg_sys::SPI_cursor_open_with_args(
                std::ptr::null(),
                query.as_ptr(),
                count,
                types.as_mut_ptr(),
                values.as_mut_ptr(),
                std::ptr::null(),
                false,
                0,
            )
        };
        Ok(Self { portal })
    }

    /// The type of the first column.
    pub fn type_of_first(&self) -> pg_sys::Oid {
        // SAFETY: an open portal of a query has a descriptor.
        unsafe { pg_sys::SPI_gettypeid((*self.portal).tupDesc, 1) }
    }

    /// Calls `work` for each row, with memory that is freed after it.
    ///
    /// # Errors
    /// The first of `work`.
    pub fn each(&self, mut work: impl FnMut(&FetchedRow) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut memory = PgMemoryContexts::new("target_profile row");
        loop {
            // SAFETY: an open portal, and the connection to SPI that it was opened in; what `work` connects to SPI it disconnects.
            let table = unsafe {
                pg_sys::SPI_cursor_fetch(self.portal, true, ROWS_AT_A_TIME as _);
                pg_sys::SPI_tuptable
            };
            // SAFETY: the result of the fetch.
            let count = unsafe { (*table).numvals };
            for number in 0..usize::try_from(count).unwrap_or_default() {
                // SAFETY: one of its rows.
                let row = unsafe {
                    FetchedRow {
                        tuple: *(*table).vals.add(number),
                        descriptor: (*table).tupdesc,
                    }
                };
                // SAFETY: what is allocated there is not used after the reset: `work` keeps nothing of Postgres' memory.
                unsafe { memory.switch_to(|_| work(&row)) }?;
                // SAFETY: as above.
                unsafe { memory.reset() };
            }
            // SAFETY: the result of the fetch, which nobody refers to any more.
            unsafe { pg_sys::SPI_freetuptable(table) };
            if count == 0 {
                return Ok(());
            }
        }
    }

    /// Ends it.
    pub fn close(self) {
        // SAFETY: an open portal.
        unsafe { pg_sys::SPI_cursor_close(self.portal) }
    }
}

impl FetchedRow {
    /// The value of a column, from 1; `None`: it is NULL.
    pub fn get(&self, column: usize) -> Option<pg_sys::Datum> {
        let mut is_null = true;
        // SAFETY: a row with its descriptor; a number beyond its columns gives NULL.
        let datum = unsafe {
            pg_sys::SPI_getbinval(
                self.tuple,
                self.descriptor,
                i32::try_from(column).unwrap_or(i32::MAX),
                &mut is_null,
            )
        };
        (!is_null).then_some(datum)
    }

    /// The type of a column, from 1.
    pub fn type_of(&self, column: usize) -> pg_sys::Oid {
        // SAFETY: as above.
        unsafe { pg_sys::SPI_gettypeid(self.descriptor, i32::try_from(column).unwrap_or(i32::MAX)) }
    }

    /// A value of a type that is known from the query; `None`: it is NULL, or of another type.
    pub fn value<T: FromDatum + IntoDatum>(&self, column: usize) -> Option<T> {
        let datum = self
            .get(column)
            .filter(|_| T::is_compatible_with(self.type_of(column)))?;
        // SAFETY: a value of that type, which is not NULL.
        unsafe { T::from_datum(datum, false) }
    }

    /// A value as text, as it is sent; `None`: it is NULL.
    pub fn text(&self, column: usize) -> Option<Result<String, Fault>> {
        let datum = self.get(column)?;
        // SAFETY: a value of the row, of the column's type.
        Some(unsafe { value::to_text(datum, self.type_of(column)) })
    }

    /// A value as JSON, as it is sent.
    pub fn json(&self, column: usize) -> Result<Value, Unread> {
        let Some(datum) = self.get(column) else {
            return Ok(Value::Null);
        };
        // SAFETY: a value of the row, of the column's type.
        unsafe { value::to_json(datum, self.type_of(column)) }
    }
}
