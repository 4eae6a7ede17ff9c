//! Text that is checked to be valid UTF-8.
//!
//! PostgreSQL checks what a client sends in a statement, but not every text is checked: a setting in the startup packet is not, and
//! `current_setting` returns it. pgrx trusts the texts of a database with the encoding UTF8, and Rust reads beyond the end of a `str` that ends
//! within a character. So what a role gives is checked where it comes in: arguments of functions, rows of `client`, values of watched columns.

use std::ops::Deref;

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::datum::FromDatum;
use pgrx::nullable::Nullable;
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

/// An element of an array, checked.
pub fn checked(text: String) -> String {
    verify(text.as_bytes());
    text
}

/// Raises PostgreSQL's error 22021 if the bytes are not valid in the encoding of the database.
pub fn verify(bytes: &[u8]) {
    let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    // SAFETY: that many bytes are read.
    unsafe { pg_sys::pg_verifymbstr(bytes.as_ptr().cast(), length, false) };
}

/// An argument of type `text`. One that is not valid is an error 22021, as in PostgreSQL.
pub struct Text<'a>(&'a str);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        self.0
    }
}

impl FromDatum for Text<'_> {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, oid: pg_sys::Oid) -> Option<Self> {
        // SAFETY: the caller's promise; a text is stored as its bytes.
        let bytes = unsafe { <&[u8]>::from_polymorphic_datum(datum, is_null, oid) }?;
        verify(bytes);
        std::str::from_utf8(bytes).ok().map(Self)
    }
}

// SAFETY: declared as text in SQL, read as text above.
unsafe impl SqlTranslatable for Text<'_> {
    const TYPE_IDENT: &'static str = "target_profile::Text";
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("text"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> = Ok(ReturnsRef::One(SqlMappingRef::literal("text")));
}

// SAFETY: goes through FromDatum, as pgrx's own types do.
unsafe impl<'fcx> ArgAbi<'fcx> for Text<'fcx> {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the caller's promise. The functions that take one without Option are STRICT.
        unsafe { arg.unbox_arg_using_from_datum().unwrap_or(Self("")) }
    }

    unsafe fn unbox_nullable_arg(arg: Arg<'_, 'fcx>) -> Nullable<Self> {
        // SAFETY: the caller's promise.
        unsafe { arg.unbox_arg_using_from_datum().into() }
    }
}
