//! Rows that a statement takes: the name of each column, its type and where its values come from are written once, in [`rows!`].
//!
//! In the SQL, `:arrays` stands for the parameters, one array for each column, and `:columns` for the names:
//! `FROM unnest(:arrays) AS r (:columns)`. A parameter that follows them is `:name`.

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;

use super::errors::Fault;

/// Rows that a statement takes. [`rows!`] implements it.
pub trait Rows: Sized {
    /// The columns' names in the statement.
    const COLUMNS: &'static [&'static str];

    /// The types of the arrays.
    fn types() -> Vec<pg_sys::PgOid>;

    /// The arrays, in the order of the columns.
    ///
    /// # Errors
    /// A value is beyond what its type holds.
    fn arrays(rows: &[Self]) -> Result<Vec<DatumWithOid<'_>>, Fault>;
}

/// Implements [`Rows`]: `rows! { Type as row { column: type = value; … } }`.
macro_rules! rows {
    ($of:ty as $row:ident { $($column:ident: $type:ty = $value:expr;)* }) => {
        impl $crate::pg::support::rows::Rows for $of {
            const COLUMNS: &'static [&'static str] = &[$(stringify!($column)),*];

            fn types() -> Vec<::pgrx::pg_sys::PgOid> {
                vec![$(<Vec<$type> as ::pgrx::datum::IntoDatum>::type_oid().into()),*]
            }

            fn arrays(rows: &[Self]) -> Result<Vec<::pgrx::datum::DatumWithOid<'_>>, $crate::pg::support::errors::Fault> {
                Ok(vec![$(
                    rows.iter()
                        .map(|$row| Ok($value))
                        .collect::<Result<Vec<$type>, $crate::pg::support::errors::Fault>>()?
                        .into()
                ),*])
            }
        }
    };
}
pub(crate) use rows;

/// A number as a column of type `int4` holds it.
pub fn int4(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

/// A number as a column of type `int2` holds it.
pub fn int2(number: impl TryInto<i16>) -> i16 {
    number.try_into().unwrap_or(i16::MAX)
}
