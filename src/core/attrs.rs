//! The attributes of an update: from nested JSON to a flat map of names and texts.

mod options;
mod walk;

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::error::{Error, Excerpt, JsonType};
use crate::limits::{FLAT_ATTRS, FLAT_BYTES, JSON_DEPTH};
pub(crate) use options::PREFIX;
pub use options::{Arrays, FlattenOptions};
use walk::{Key, is_blank, quoted, scalar_text, walk};

/// The attributes of an update, ready to be encoded: names without the prefix `profile.`, no name blank, no NUL
/// anywhere. Only the default, to which others are merged, is empty.
///
/// How values become text:
/// - strings as they are, the empty one included; `true` and `false`; numbers digit by digit, never by way of a float.
///   Only an exponent is respelled, `1E5` as `1e+5`; `jsonb` never prints one;
/// - the members of an object as attributes of their own, `address.city`, at any depth; an empty object leaves nothing;
/// - arrays as [`Arrays`] says, null as [`FlattenOptions::null_value`] says. Within an array that is sent as JSON, null
///   stays null.
///
/// How names are made: keys are joined by dots, and one leading `profile.` is dropped from the result, once. So
/// `profile.age`, `age` and the member `age` of an object `profile` are one attribute, while `profileLevel` and
/// `profile` itself keep their names, and `profile.profile.age` is sent as such. A dot within a key is the user's
/// own, and is kept wherever it stands. A key must not be blank, nor may what follows the prefix. Names are
/// case-sensitive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlatAttrs(BTreeMap<String, String>);

/// What an attribute takes beside its texts: two strings in a node of a tree that is hardly more than half full, and two pieces of the
/// heap.
const EACH: usize = 3 * size_of::<String>() + 2 * 32;

impl FlatAttrs {
    /// Flattens a JSON object, as `jsonb` prints it. Of the very same key given twice the later counts, as in `jsonb`.
    ///
    /// # Errors
    /// - [`Error::AttrsNotJson`], [`Error::AttrsNotObject`]: not a JSON object;
    /// - [`Error::BlankAttr`], [`Error::NulInAttr`]: a name or value that cannot be sent;
    /// - [`Error::AttrCollision`]: two keys give one name, even if one of them is null today;
    /// - [`Error::AttrsTooDeep`], [`Error::AttrsTooLarge`]: beyond [`JSON_DEPTH`] or [`FLAT_BYTES`];
    /// - [`Error::NothingToSend`]: nothing is left.
    pub fn from_json(text: &str, options: &FlattenOptions) -> Result<Self, Error> {
        let object: Map<String, Value> = serde_json::from_str(text).map_err(|error| not_an_object(text, &error))?;
        Self::flatten(object.iter().map(|(name, value)| (name.as_str(), value)), options)
    }

    /// Flattens values that have come one by one, such as the columns of a row; the names may have dots and the prefix.
    ///
    /// # Errors
    /// As [`FlatAttrs::from_json`], save that there is no JSON to be wrong, and that a name given twice is a collision.
    pub fn from_pairs(
        pairs: impl IntoIterator<Item = (String, Value)>,
        options: &FlattenOptions,
    ) -> Result<Self, Error> {
        let pairs: Vec<(String, Value)> = pairs.into_iter().collect();
        Self::flatten(pairs.iter().map(|(name, value)| (name.as_str(), value)), options)
    }

    /// The same for names that are borrowed.
    ///
    /// # Errors
    /// As [`FlatAttrs::from_pairs`].
    pub fn from_columns(columns: &[(&str, Value)], options: &FlattenOptions) -> Result<Self, Error> {
        Self::flatten(columns.iter().map(|(name, value)| (*name, value)), options)
    }

    /// Reads back what [`FlatAttrs::to_json_text`] wrote, without dropping a prefix again. Should someone have edited
    /// it, scalars other than strings become text as ever, and nulls are skipped.
    ///
    /// # Errors
    /// Never for text that [`FlatAttrs::to_json_text`] wrote of at least one attribute, or that `jsonb` made of it.
    /// For other text as [`FlatAttrs::from_json`], and [`Error::StoredAttrNested`] for a value that is an object or
    /// an array.
    pub fn from_stored_json(text: &str) -> Result<Self, Error> {
        let object: Map<String, Value> = serde_json::from_str(text).map_err(|error| not_an_object(text, &error))?;
        let mut stored = Stored::default();
        for (name, value) in object {
            stored.put(name, value)?;
        }
        stored.finish()
    }

    /// The attributes as a flat JSON object of strings, for a `jsonb` column.
    #[must_use]
    pub fn to_json_text(&self) -> String {
        // Written by hand because it cannot fail: serde_json's way returns a Result, or wants a copy of everything.
        let strings = self
            .0
            .iter()
            .map(|(name, value)| name.len() + value.len() + "\"\":\"\",".len());
        let mut json = String::with_capacity(2 + strings.sum::<usize>());
        json.push('{');
        for (name, value) in &self.0 {
            if json.len() > 1 {
                json.push(',');
            }
            push_json_string(&mut json, name);
            json.push(':');
            push_json_string(&mut json, value);
        }
        json.push('}');
        json
    }

    /// Adds the attributes of a later update; where both have a name, the later value wins. The answer is by how much
    /// [`FlatAttrs::memory`] grows.
    pub fn merge(&mut self, newer: Self) -> isize {
        let mut growth: isize = 0;
        for (name, value) in newer.0 {
            let (name_bytes, value_bytes) = (name.len(), value.len());
            let (more, less) = match self.0.insert(name, value) {
                Some(old) => (value_bytes, old.len()),
                None => (name_bytes + value_bytes + EACH, 0),
            };
            growth = growth.saturating_add_unsigned(more).saturating_sub_unsigned(less);
        }
        growth
    }

    /// Drops the attributes of which this says so.
    pub fn drop_where(&mut self, mut is_dropped: impl FnMut(&str, &str) -> bool) {
        self.0.retain(|name, value| !is_dropped(name, value));
    }

    /// Drops one attribute, by its name without the prefix.
    pub fn drop_one(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Takes away the first `count` attributes, in the order of names.
    #[must_use]
    pub fn take_first(&mut self, count: usize) -> Self {
        if count >= self.0.len() {
            return std::mem::take(self);
        }
        Self(std::iter::from_fn(|| self.0.pop_first()).take(count).collect())
    }

    /// How much memory they take with all that belongs to them, rather more than less: bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        let texts = self.0.iter().map(|(name, value)| name.len() + value.len());
        texts.sum::<usize>() + self.len() * EACH
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of one attribute, by its name without the prefix.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// How many attributes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True of the default, and of nothing else: what would be empty is [`Error::NothingToSend`] instead.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn flatten<'a, I>(entries: I, options: &'a FlattenOptions) -> Result<Self, Error>
    where
        I: Iterator<Item = (&'a str, &'a Value)> + Clone,
    {
        let mut flat = BTreeMap::new();
        // Skipped nulls hold their names: whether two keys collide must not depend on the day's values.
        let mut skipped = BTreeSet::new();
        let mut bytes = 0;
        walk(entries.clone(), options, |name, path, text| {
            check_leaf(name, text.as_deref().unwrap_or(""), || Excerpt::of(&quoted(path)))?;
            bytes += name.len() + text.as_deref().map_or(0, str::len);
            if bytes > FLAT_BYTES {
                return Err(Error::AttrsTooLarge);
            }
            if flat.len() + skipped.len() >= FLAT_ATTRS {
                return Err(Error::AttrsTooMany);
            }
            let is_taken = match text {
                Some(text) => skipped.contains(name) || flat.insert(name.to_owned(), text.into_owned()).is_some(),
                None => flat.contains_key(name) || !skipped.insert(name.to_owned()),
            };
            if is_taken {
                Err(collision(entries.clone(), options, name, path))
            } else {
                Ok(())
            }
        })?;
        if flat.is_empty() {
            Err(Error::NothingToSend)
        } else {
            Ok(Self(flat))
        }
    }
}

/// Attributes that are read back from where they are stored, one by one.
#[derive(Debug, Default)]
pub struct Stored {
    flat: BTreeMap<String, String>,
    bytes: usize,
}

impl Stored {
    /// One member of the stored object.
    ///
    /// # Errors
    /// [`Error::StoredAttrNested`], [`Error::BlankAttr`], [`Error::NulInAttr`], and [`Error::AttrsTooLarge`] or
    /// [`Error::AttrsTooMany`] when there is too much of it by now.
    pub fn put(&mut self, name: String, value: Value) -> Result<(), Error> {
        let text = match value {
            Value::Null => return Ok(()),
            Value::String(text) => text,
            Value::Bool(_) | Value::Number(_) => scalar_text(&value).into_owned(),
            Value::Array(_) | Value::Object(_) => {
                return Err(Error::StoredAttrNested {
                    name: Excerpt::of(&name),
                    found: JsonType::of(&value),
                });
            }
        };
        check_leaf(&name, &text, || Excerpt::of(&quoted(&[Key::Name(&name)])))?;
        self.bytes += name.len() + text.len();
        if self.bytes > FLAT_BYTES {
            return Err(Error::AttrsTooLarge);
        }
        self.flat.insert(name, text);
        if self.flat.len() > FLAT_ATTRS {
            return Err(Error::AttrsTooMany);
        }
        Ok(())
    }

    /// All of them.
    ///
    /// # Errors
    /// [`Error::NothingToSend`]: there were none.
    pub fn finish(self) -> Result<FlatAttrs, Error> {
        if self.flat.is_empty() {
            Err(Error::NothingToSend)
        } else {
            Ok(FlatAttrs(self.flat))
        }
    }
}

impl IntoIterator for FlatAttrs {
    type Item = (String, String);
    type IntoIter = btree_map::IntoIter<String, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// What holds for every attribute, whichever way it came.
fn check_leaf(name: &str, text: &str, path: impl FnOnce() -> Excerpt) -> Result<(), Error> {
    if is_blank(name) {
        return Err(Error::BlankAttr { path: path() });
    }
    if name.contains('\0') || text.contains('\0') {
        return Err(Error::NulInAttr {
            name: Excerpt::of(name),
        });
    }
    Ok(())
}

/// Finds the other keys that lead to `name`, by a second walk: the first would be slower if it kept the keys of all.
#[cold]
fn collision<'a>(
    entries: impl Iterator<Item = (&'a str, &'a Value)>,
    options: &'a FlattenOptions,
    name: &str,
    second: &[Key<'_>],
) -> Error {
    let second = Excerpt::of(&quoted(second));
    let found = walk(entries, options, |candidate, first, _| {
        if candidate != name {
            return Ok(());
        }
        let (name, first) = (Excerpt::of(name), Excerpt::of(&quoted(first)));
        Err(Error::AttrCollision {
            name,
            first,
            second: second.clone(),
        })
    });
    match found {
        Err(error) => error,
        // Unreachable, as this very name has been seen; an honest answer all the same.
        Ok(()) => Error::AttrCollision {
            name: Excerpt::of(name),
            first: second.clone(),
            second,
        },
    }
}

/// Why `text` could not be read as an object. Only here is it read a second time.
#[cold]
fn not_an_object(text: &str, error: &serde_json::Error) -> Error {
    if is_deep(text) {
        return Error::AttrsTooDeep;
    }
    match serde_json::from_str::<Value>(text) {
        Ok(value) => Error::AttrsNotObject {
            found: JsonType::of(&value),
        },
        Err(_) => Error::AttrsNotJson {
            line: error.line(),
            column: error.column(),
        },
    }
}

/// Whether brackets outside of strings nest beyond the limit; `serde_json` has but a message for that.
fn is_deep(text: &str) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > JSON_DEPTH {
            return true;
        }
    }
    false
}

fn push_json_string(json: &mut String, text: &str) {
    json.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
        let (plain, tail) = rest.split_at(at);
        json.push_str(plain);
        let mut tail = tail.chars();
        match tail.next() {
            Some(c @ ('"' | '\\')) => json.extend(['\\', c]),
            Some(c) => {
                // Writing to a String cannot fail.
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            None => {}
        }
        rest = tail.as_str();
    }
    json.push_str(rest);
    json.push('"');
}
