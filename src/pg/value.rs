//! A column's value as JSON, from which the core makes attributes.
//!
//! Scalars become text, exactly: nothing goes through a float, and nothing depends on a session's settings where another session
//! could have other ones. Runs with the rights of whoever writes the row: output functions and casts to json may be theirs.

use std::ffi::CStr;

use pgrx::prelude::*;
use serde_json::Value;

/// `datum`, which is of the type `oid` and not NULL, as JSON: scalars as strings, arrays, composites and json as
/// they are.
///
/// # Safety
/// The datum is of that type and lives in the current memory context or longer.
pub unsafe fn to_json(datum: pg_sys::Datum, oid: pg_sys::Oid) -> Value {
    // SAFETY: a look-up; a domain is stored as its base type.
    let oid = unsafe { pg_sys::getBaseType(oid) };
    // SAFETY: the caller's promise, passed on; each arm reads the datum as the type that it is.
    unsafe {
        match oid {
            pg_sys::BOOLOID => Value::Bool(datum.value() as u8 != 0),
            pg_sys::JSONOID | pg_sys::JSONBOID => parse(output(datum, oid)),
            pg_sys::DATEOID | pg_sys::TIMESTAMPOID | pg_sys::TIMESTAMPTZOID | pg_sys::TIMEOID | pg_sys::TIMETZOID => {
                let text = pg_sys::JsonEncodeDateTime(std::ptr::null_mut(), datum, oid, std::ptr::null());
                Value::String(CStr::from_ptr(text).to_string_lossy().into_owned())
            }
            pg_sys::BYTEAOID => Value::String(hex(datum)),
            pg_sys::FLOAT4OID => {
                Value::String(f32::from_datum(datum, false).map_or_else(String::new, |x| float(&format!("{x:e}"))))
            }
            pg_sys::FLOAT8OID => {
                Value::String(f64::from_datum(datum, false).map_or_else(String::new, |x| float(&format!("{x:e}"))))
            }
            _ if pg_sys::get_element_type(oid) != pg_sys::InvalidOid => parse(json_text(pg_sys::OidFunctionCall1Coll(
                pg_sys::Oid::from(pg_sys::F_ARRAY_TO_JSON_ANYARRAY),
                pg_sys::InvalidOid,
                datum,
            ))),
            _ if pg_sys::type_is_rowtype(oid) => parse(json_text(pg_sys::OidFunctionCall1Coll(
                pg_sys::Oid::from(pg_sys::F_ROW_TO_JSON_RECORD),
                pg_sys::InvalidOid,
                datum,
            ))),
            _ => Value::String(output(datum, oid)),
        }
    }
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
        let text = pg_sys::OidOutputFunctionCall(function, datum);
        let owned = CStr::from_ptr(text).to_string_lossy().into_owned();
        pg_sys::pfree(text.cast());
        owned
    }
}

/// The text of a `json` datum.
///
/// # Safety
/// It is one.
unsafe fn json_text(datum: pg_sys::Datum) -> String {
    // SAFETY: json is stored as text.
    unsafe { String::from_datum(datum, false) }.unwrap_or_default()
}

/// Postgres has written it, so it is JSON; text that is nested too deeply for a parser stays text, and the core refuses it by
/// its size or sends it as it is.
fn parse(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
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

/// A float as Postgres writes it with `extra_float_digits` at its default, from Rust's shortest exact digits (`1.5e-7`).
fn float(scientific: &str) -> String {
    let (digits, exponent) = match scientific.split_once('e') {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().unwrap_or(0)),
        None => {
            return match scientific {
                "inf" => "Infinity".to_owned(),
                "-inf" => "-Infinity".to_owned(),
                other => other.to_owned(),
            };
        }
    };
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let digits = digits.replace('.', "");
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    if !(-4..15).contains(&exponent) {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        return format!(
            "{sign}{first}{point}{rest}e{exponent_sign}{:02}",
            exponent.unsigned_abs()
        );
    }
    if exponent < 0 {
        return format!("{sign}0.{}{digits}", "0".repeat(exponent.unsigned_abs() as usize - 1));
    }
    let whole = exponent + 1;
    if count <= whole {
        return format!("{sign}{digits}{}", "0".repeat((whole - count) as usize));
    }
    let (whole, fraction) = digits.split_at(whole as usize);
    format!("{sign}{whole}.{fraction}")
}
