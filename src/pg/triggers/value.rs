//! A column's value as JSON, from which the core makes attributes.
//!
//! Scalars become text, exactly: nothing goes through a float, and nothing depends on a session's settings where another session
//! could have other ones. Runs with the rights of the session that writes the row: output functions and casts to json may be a user's.

use std::ffi::CStr;

use pgrx::prelude::*;
use pgrx::varlena;
use serde_json::Value;
use target_profile_core::error::Error as CoreError;
use target_profile_core::limits::STORED_BYTES;

use crate::pg::support::errors::{Fault, TriggerFault};
use crate::pg::support::session::{TEXT, with_settings};
use crate::pg::support::{subtransaction, unguarded};

/// The types below are Postgres' own, and none of them is a domain.
const OWN_TYPES: u32 = 10_000;

/// A value of which more than so many bytes are stored is not read: no update takes it, and its text would be larger still.
const READ_BYTES: usize = STORED_BYTES;

/// An element of an array takes so many bytes of JSON at least: a digit and a comma.
const ELEMENT_BYTES: usize = 2;

/// A value that is not JSON that can be sent.
pub struct Unread {
    /// What is wrong.
    message: Message,
    /// Its text, as far as there is one.
    pub text: Option<String>,
}

enum Message {
    Deep,
    Other(String),
}

impl Unread {
    /// As a fault of the row; `what` says which value it is.
    pub fn fault(self, what: impl FnOnce() -> String) -> Fault {
        match self.message {
            Message::Deep => Fault::Core(CoreError::AttrsTooDeep),
            Message::Other(message) => Fault::Trigger(TriggerFault::Value { what: what(), message }),
        }
    }

    /// For another reason than its text.
    pub fn other(message: String) -> Self {
        Self {
            message: Message::Other(message),
            text: None,
        }
    }
}

/// `datum`, which is of the type `oid` and not NULL, as JSON: scalars as strings, arrays, composites and json as
/// they are. Whatever fails while it is read is no error of the statement.
///
/// # Errors
/// It cannot be read.
///
/// # Safety
/// The datum is of that type and lives in the current memory context or longer. Where a subtransaction may begin.
pub unsafe fn to_json(datum: pg_sys::Datum, oid: pg_sys::Oid) -> Result<Value, Unread> {
    // SAFETY: the caller's promise, passed on. A domain is stored as its base type.
    unsafe {
        let oid = if oid.to_u32() < OWN_TYPES {
            oid
        } else {
            pg_sys::getBaseType(oid)
        };
        match trust(datum, oid) {
            Trust::Cannot => read(datum, oid),
            Trust::May => subtransaction::attempt(std::panic::AssertUnwindSafe(|| read(datum, oid)))
                .unwrap_or_else(|message| Err(Unread::other(message))),
            Trust::TooLarge(bytes) => Err(Unread::other(format!(
                "it takes {bytes} bytes, and values of more than {READ_BYTES} are not read"
            ))),
        }
    }
}

/// Whether reading a value can fail.
enum Trust {
    /// It cannot, short of what ends any statement.
    Cannot,
    /// It may: it is stored elsewhere, or somebody else's function reads it.
    May,
    /// It is not tried.
    TooLarge(usize),
}

/// For a look-up by one key.
const NOTHING: pg_sys::Datum = pg_sys::Datum::null();

/// Whether all of a value is in its row, as it is: reading one that is compressed or stored elsewhere may fail.
///
/// # Safety
/// A value of variable length.
pub unsafe fn is_stored_here(datum: pg_sys::Datum) -> bool {
    let stored: *const pg_sys::varlena = datum.cast_mut_ptr();
    // SAFETY: the caller's promise.
    unsafe { varlena::varatt_is_4b_u(stored) || varlena::varatt_is_1b(stored) && !varlena::varatt_is_1b_e(stored) }
}

/// # Safety
/// As [`to_json`]; not a domain.
unsafe fn trust(datum: pg_sys::Datum, oid: pg_sys::Oid) -> Trust {
    // SAFETY: the caller's promise; look-ups in the system cache.
    unsafe {
        let is_varlena = match oid {
            pg_sys::BOOLOID
            | pg_sys::INT2OID
            | pg_sys::INT4OID
            | pg_sys::INT8OID
            | pg_sys::DATEOID
            | pg_sys::TIMESTAMPOID
            | pg_sys::TIMESTAMPTZOID
            | pg_sys::TIMEOID
            | pg_sys::TIMETZOID
            | pg_sys::UUIDOID => return Trust::Cannot,
            pg_sys::TEXTOID
            | pg_sys::VARCHAROID
            | pg_sys::BPCHAROID
            | pg_sys::NUMERICOID
            | pg_sys::JSONOID
            | pg_sys::JSONBOID
            | pg_sys::BYTEAOID => true,
            _ => pg_sys::get_typlen(oid) == -1,
        };
        let mut is_here = true;
        if is_varlena {
            is_here = is_stored_here(datum);
            let bytes = pg_sys::toast_raw_datum_size(datum);
            if bytes > READ_BYTES {
                return Trust::TooLarge(bytes);
            }
        }
        // The functions of Postgres' own types take whatever is stored of them, but for the pseudo-types and arrays of them.
        let is_own = oid.to_u32() < OWN_TYPES
            && !matches!(
                oid,
                pg_sys::RECORDOID | pg_sys::RECORDARRAYOID | pg_sys::XMLOID | pg_sys::XMLARRAYOID
            );
        let is_enum = || {
            pg_sys::get_typtype(oid) == pg_sys::TYPTYPE_ENUM as std::ffi::c_char
                // A superuser may have deleted it.
                && pg_sys::SearchSysCacheExists(
                    pg_sys::SysCacheIdentifier::ENUMOID as i32,
                    datum,
                    NOTHING,
                    NOTHING,
                    NOTHING,
                )
        };
        if is_here && (is_own || is_enum()) {
            Trust::Cannot
        } else {
            Trust::May
        }
    }
}

/// # Safety
/// As [`to_json`]; not a domain.
unsafe fn read(datum: pg_sys::Datum, oid: pg_sys::Oid) -> Result<Value, Unread> {
    // SAFETY: the caller's promise, passed on; each arm reads the datum as the type that it is.
    unsafe {
        match oid {
            pg_sys::BOOLOID => Ok(Value::Bool(datum.value() as u8 != 0)),
            pg_sys::JSONOID | pg_sys::JSONBOID => parse(output(datum, oid)),
            pg_sys::DATEOID | pg_sys::TIMESTAMPOID | pg_sys::TIMESTAMPTZOID | pg_sys::TIMEOID | pg_sys::TIMETZOID => {
                Ok(Value::String(date_time(datum, oid)))
            }
            pg_sys::BYTEAOID => Ok(Value::String(hex(datum))),
            pg_sys::TEXTOID | pg_sys::VARCHAROID | pg_sys::BPCHAROID => text(datum).map(Value::String),
            // Their text depends on nothing but the value.
            pg_sys::INT2OID => Ok(Value::String((datum.value() as i16).to_string())),
            pg_sys::INT4OID => Ok(Value::String((datum.value() as i32).to_string())),
            pg_sys::INT8OID => Ok(Value::String((datum.value() as i64).to_string())),
            pg_sys::NUMERICOID => Ok(Value::String(unguarded::call_output(unguarded::NUMERIC_OUT, datum))),
            pg_sys::UUIDOID => Ok(Value::String(output(datum, oid))),
            _ => read_other(datum, oid),
        }
    }
}

/// Refuses a value that is too large to be sent by its size, before anything of it is fetched, uncompressed or copied: where memory runs
/// out, what is written in Rust cannot go on, and the server would restart.
///
/// # Errors
/// It is too large.
///
/// # Safety
/// A datum of a type of variable length.
pub unsafe fn check_size(datum: pg_sys::Datum) -> Result<(), Fault> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { pg_sys::toast_raw_datum_size(datum) };
    if bytes > STORED_BYTES {
        return Err(Fault::Core(CoreError::ValueTooLarge { bytes }));
    }
    Ok(())
}

/// As [`read`], for types that are not read without a look-up.
///
/// # Errors
/// As there.
///
/// # Safety
/// As there.
unsafe fn read_other(datum: pg_sys::Datum, oid: pg_sys::Oid) -> Result<Value, Unread> {
    // SAFETY: a look-up, and the caller's promise.
    unsafe {
        if pg_sys::get_element_type(oid) != pg_sys::InvalidOid {
            let array = pg_sys::pg_detoast_datum(datum.cast_mut_ptr());
            let elements = elements(array.cast());
            if elements > READ_BYTES / ELEMENT_BYTES {
                return Err(Unread::other(format!(
                    "it has {elements} elements, whose text takes more than the {READ_BYTES} bytes that are read"
                )));
            }
            parse_json(with_settings(&TEXT, || {
                call(pg_sys::F_ARRAY_TO_JSON_ANYARRAY, array.into())
            }))
        } else if pg_sys::type_is_rowtype(oid) {
            parse_json(with_settings(&TEXT, || call(pg_sys::F_ROW_TO_JSON_RECORD, datum)))
        } else {
            Ok(Value::String(with_settings(&TEXT, || output(datum, oid))))
        }
    }
}

/// The string of a text, varchar or char.
///
/// # Safety
/// It is one.
unsafe fn text(datum: pg_sys::Datum) -> Result<String, Unread> {
    let mut stored: *const pg_sys::varlena = datum.cast_mut_ptr();
    // SAFETY: the caller's promise. Read where it is, if it is neither compressed nor kept elsewhere.
    let bytes = unsafe {
        if !is_stored_here(datum) {
            stored = pg_sys::pg_detoast_datum_packed(stored.cast_mut());
        }
        varlena::varlena_to_byte_slice(stored)
    };
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(Unread::other("its text is not valid UTF-8".to_owned())),
    }
}

/// The same as one text, for an id.
///
/// # Errors
/// As [`to_json`].
///
/// # Safety
/// As [`to_json`].
pub unsafe fn to_text(datum: pg_sys::Datum, oid: pg_sys::Oid) -> Result<String, Fault> {
    // SAFETY: the caller's promise.
    let read = unsafe { to_json(datum, oid) };
    Ok(match read.map_err(|unread| unread.fault(|| "the id".to_owned()))? {
        Value::String(text) => text,
        other => other.to_string(),
    })
}

/// The text that the type's output function gives.
///
/// # Safety
/// As [`to_json`].
pub unsafe fn output(datum: pg_sys::Datum, oid: pg_sys::Oid) -> String {
    let mut function = pg_sys::InvalidOid;
    let mut is_varlena = false;
    // SAFETY: a look-up, then a call of the type's own function on a value of the type.
    unsafe {
        pg_sys::getTypeOutputInfo(oid, &mut function, &mut is_varlena);
        unguarded::call_output(function, datum)
    }
}

/// Calls one of Postgres' own functions of one argument.
///
/// # Safety
/// The function takes the datum's type.
unsafe fn call(function: u32, datum: pg_sys::Datum) -> pg_sys::Datum {
    // SAFETY: the caller's promise.
    unsafe { pg_sys::OidFunctionCall1Coll(pg_sys::Oid::from(function), pg_sys::InvalidOid, datum) }
}

/// ISO 8601, and UTC for a point in time. DateStyle and TimeZone do not matter.
///
/// # Safety
/// As [`to_json`], for the date and time types.
unsafe fn date_time(datum: pg_sys::Datum, oid: pg_sys::Oid) -> String {
    let utc: i32 = 0;
    let zone = if oid == pg_sys::TIMESTAMPTZOID {
        &raw const utc
    } else {
        std::ptr::null()
    };
    // SAFETY: the caller's promise; the answer is a palloc'd string.
    unsafe {
        let text = pg_sys::JsonEncodeDateTime(std::ptr::null_mut(), datum, oid, zone);
        CStr::from_ptr(text).to_string_lossy().into_owned()
    }
}

/// How many elements an array has. A NULL takes a bit of it, and as JSON hundreds of times as much: more than a statement may have, or
/// the server.
///
/// # Safety
/// An array that is neither compressed nor kept elsewhere.
unsafe fn elements(array: *const pg_sys::ArrayType) -> usize {
    // SAFETY: the caller's promise; the dimensions follow the header.
    unsafe {
        let dimensions = usize::try_from((*array).ndim).unwrap_or_default();
        if dimensions == 0 {
            return 0;
        }
        std::slice::from_raw_parts(array.add(1).cast::<i32>(), dimensions)
            .iter()
            .fold(1, |all, length| {
                all.saturating_mul(usize::try_from(*length).unwrap_or_default())
            })
    }
}

/// What a `json` datum says. Its text may be much larger than what it was made of: names of the columns of a row, for one, which
/// are stored nowhere in it.
///
/// # Errors
/// It is too large, or cannot be sent.
///
/// # Safety
/// One that one of Postgres' functions has made.
unsafe fn parse_json(datum: pg_sys::Datum) -> Result<Value, Unread> {
    // SAFETY: the caller's promise; json is stored as text.
    unsafe {
        let bytes = pg_sys::toast_raw_datum_size(datum);
        if bytes > READ_BYTES {
            return Err(Unread::other(format!(
                "its text takes {bytes} bytes, and values of more than {READ_BYTES} are not read"
            )));
        }
        parse(String::from_datum(datum, false).unwrap_or_default())
    }
}

/// Postgres takes more for JSON than can be sent: any depth, and half a pair of surrogates.
fn parse(text: String) -> Result<Value, Unread> {
    serde_json::from_str(&text).map_err(|error| {
        let message = error.to_string();
        Unread {
            message: if message.starts_with("recursion limit") {
                Message::Deep
            } else {
                Message::Other(message)
            },
            text: Some(text),
        }
    })
}

/// As `bytea_output = 'hex'` writes it.
///
/// # Safety
/// It is a bytea.
unsafe fn hex(datum: pg_sys::Datum) -> String {
    // SAFETY: the caller's promise.
    let bytes = unsafe { Vec::<u8>::from_datum(datum, false) }.unwrap_or_default();
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("\\x");
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    text
}
