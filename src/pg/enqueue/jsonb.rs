//! Attributes as `jsonb`.

use pgrx::pg_sys;
use serde_json::{Map, Value};
use target_profile_core::attrs::{FlatAttrs, Stored};
use target_profile_core::error::{Error, JsonType};

use crate::pg::support::unguarded;
use crate::pg::support::unguarded::{NUMERIC_OUT, call_output};

/// An object of strings, made without its text: every entry needs one.
///
/// # Safety
/// Within [`unguarded::guarded`], in a memory context that lives as long as the datum is needed. The server's encoding is UTF8.
pub unsafe fn object(attrs: &FlatAttrs) -> pg_sys::Datum {
    let count = attrs.len();
    // SAFETY: room for so many pairs, each of which is written. The strings are read, and copied before this returns.
    unsafe {
        let pairs: *mut pg_sys::JsonbPair = unguarded::palloc(count * size_of::<pg_sys::JsonbPair>()).cast();
        for (at, (name, value)) in attrs.iter().enumerate() {
            pairs.add(at).write(pg_sys::JsonbPair {
                key: string(name),
                value: string(value),
                order: 0,
            });
        }
        // As jsonb keeps its names, which are different ones here.
        std::slice::from_raw_parts_mut(pairs, count).sort_unstable_by_key(|pair| {
            let name = pair.key.val.string;
            let length = usize::try_from(name.len).unwrap_or(0);
            (length, std::slice::from_raw_parts(name.val.cast::<u8>(), length))
        });
        let mut object = pg_sys::JsonbValue {
            type_: pg_sys::jbvType::jbvObject,
            ..Default::default()
        };
        object.val.object = pg_sys::JsonbValue__bindgen_ty_1__bindgen_ty_3 {
            nPairs: i32::try_from(count).unwrap_or(0),
            pairs,
        };
        pg_sys::Datum::from(unguarded::JsonbValueToJsonb(&mut object))
    }
}

/// The members of a flat object, without its text, which takes three times as long. `None`: it is something else.
///
/// # Safety
/// A `jsonb` datum. The server's encoding is UTF8.
pub unsafe fn members(datum: pg_sys::Datum) -> Option<Vec<(String, Value)>> {
    // SAFETY: as jsonb's own output function takes it apart.
    unsafe {
        let whole: *mut pg_sys::Jsonb = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast();
        let header = (*whole).root.header;
        if header & pg_sys::JB_FOBJECT == 0 {
            return None;
        }
        let count = usize::try_from(header & pg_sys::JB_CMASK).unwrap_or(0);
        let mut members = Vec::with_capacity(count);
        let mut iterator = pg_sys::JsonbIteratorInit(&raw mut (*whole).root);
        let mut value = pg_sys::JsonbValue::default();
        pg_sys::JsonbIteratorNext(&mut iterator, &mut value, false);
        for _ in 0..count {
            pg_sys::JsonbIteratorNext(&mut iterator, &mut value, false);
            let name = text(&value);
            pg_sys::JsonbIteratorNext(&mut iterator, &mut value, true);
            let value = match value.type_ {
                pg_sys::jbvType::jbvNull => Value::Null,
                pg_sys::jbvType::jbvBool => Value::Bool(value.val.boolean),
                pg_sys::jbvType::jbvString => Value::String(text(&value)),
                // Of a scalar the text is what is sent, and jsonb prints no exponent.
                pg_sys::jbvType::jbvNumeric => Value::String(call_output(NUMERIC_OUT, value.val.numeric.into())),
                _ => return None,
            };
            members.push((name, value));
        }
        Some(members)
    }
}

/// The attributes of an entry, as it is stored. What is fetched or uncompressed for it is freed again.
///
/// # Errors
/// As [`FlatAttrs::from_stored_json`].
///
/// # Safety
/// A `jsonb` datum. The server's encoding is UTF8.
pub unsafe fn stored(datum: pg_sys::Datum) -> Result<FlatAttrs, Error> {
    let given: *mut pg_sys::varlena = datum.cast_mut_ptr();
    // SAFETY: the caller's promise. A copy is nobody else's.
    unsafe {
        let whole = pg_sys::pg_detoast_datum(given);
        let attrs = stored_members(whole.cast());
        if whole != given {
            pg_sys::pfree(whole.cast());
        }
        attrs
    }
}

/// # Safety
/// A whole `jsonb`.
unsafe fn stored_members(whole: *mut pg_sys::Jsonb) -> Result<FlatAttrs, Error> {
    // SAFETY: as jsonb's own output function takes it apart.
    unsafe {
        let header = (*whole).root.header;
        let count = usize::try_from(header & pg_sys::JB_CMASK).unwrap_or(0);
        let mut iterator = pg_sys::JsonbIteratorInit(&raw mut (*whole).root);
        let mut value = pg_sys::JsonbValue::default();
        pg_sys::JsonbIteratorNext(&mut iterator, &mut value, false);
        if header & pg_sys::JB_FOBJECT == 0 {
            let found = if header & pg_sys::JB_FSCALAR == 0 {
                Value::Array(Vec::new())
            } else {
                pg_sys::JsonbIteratorNext(&mut iterator, &mut value, true);
                scalar_or_empty(&value)
            };
            return Err(Error::AttrsNotObject {
                found: JsonType::of(&found),
            });
        }
        let mut stored = Stored::default();
        for _ in 0..count {
            pg_sys::JsonbIteratorNext(&mut iterator, &mut value, false);
            let name = text(&value);
            pg_sys::JsonbIteratorNext(&mut iterator, &mut value, true);
            stored.put(name, scalar_or_empty(&value))?;
        }
        stored.finish()
    }
}

/// A scalar; an object or an array as an empty one.
///
/// # Safety
/// A value.
unsafe fn scalar_or_empty(value: &pg_sys::JsonbValue) -> Value {
    // SAFETY: the caller's promise; each arm reads what the type says.
    unsafe {
        match value.type_ {
            pg_sys::jbvType::jbvNull => Value::Null,
            pg_sys::jbvType::jbvBool => Value::Bool(value.val.boolean),
            pg_sys::jbvType::jbvString => Value::String(text(value)),
            pg_sys::jbvType::jbvNumeric => Value::String(call_output(NUMERIC_OUT, value.val.numeric.into())),
            pg_sys::jbvType::jbvBinary if (*value.val.binary.data).header & pg_sys::JB_FARRAY != 0 => {
                Value::Array(Vec::new())
            }
            _ => Value::Object(Map::new()),
        }
    }
}

/// # Safety
/// A string.
unsafe fn text(value: &pg_sys::JsonbValue) -> String {
    // SAFETY: the caller's promise.
    unsafe {
        let string = value.val.string;
        let bytes = std::slice::from_raw_parts(string.val.cast::<u8>(), usize::try_from(string.len).unwrap_or(0));
        String::from_utf8_lossy(bytes).into_owned()
    }
}

/// The core's limits keep it far below what a `jsonb` string may have.
fn string(text: &str) -> pg_sys::JsonbValue {
    let mut value = pg_sys::JsonbValue {
        type_: pg_sys::jbvType::jbvString,
        ..Default::default()
    };
    value.val.string = pg_sys::JsonbValue__bindgen_ty_1__bindgen_ty_1 {
        len: i32::try_from(text.len()).unwrap_or(0),
        val: text.as_ptr().cast_mut().cast(),
    };
    value
}
