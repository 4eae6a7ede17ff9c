//! Walks through nested JSON and yields the name and the text of each value that becomes an attribute.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::Value;

use super::options::{Arrays, FlattenOptions, PREFIX};
use crate::error::{Error, Excerpt};
use crate::limits::JSON_DEPTH;

/// One step from a value to a part of it.
#[derive(Clone, Copy)]
pub(super) enum Key<'a> {
    Name(&'a str),
    Index(usize),
}

/// The keys as they were spelled: `"a.b"` and `"a"."b"` are told apart.
pub(super) fn quoted(path: &[Key<'_>]) -> String {
    let mut text = String::new();
    for key in path {
        // Writing to a String cannot fail.
        let _ = match key {
            Key::Name(name) if text.is_empty() => write!(text, "\"{name}\""),
            Key::Name(name) => write!(text, ".\"{name}\""),
            Key::Index(index) => write!(text, "[{index}]"),
        };
    }
    text
}

/// Calls `visit` for every scalar, and every array that stays whole, with its name without the prefix, the keys that
/// led to it, and its text, which is `None` for a null to be skipped. Stops at the first error.
pub(super) fn walk<'a, V>(
    entries: impl Iterator<Item = (&'a str, &'a Value)>,
    options: &'a FlattenOptions,
    visit: V,
) -> Result<(), Error>
where
    V: FnMut(&str, &[Key<'a>], Option<Cow<'a, str>>) -> Result<(), Error>,
{
    let mut walker = Walker {
        options,
        visit,
        path: Vec::new(),
        name: String::new(),
    };
    for (key, value) in entries {
        match value {
            Value::Object(_) | Value::Array(_) => walker.step(Key::Name(key), value)?,
            _ => walker.leaf(key, value)?,
        }
    }
    Ok(())
}

struct Walker<'a, V> {
    options: &'a FlattenOptions,
    visit: V,
    path: Vec<Key<'a>>,
    /// The keys of `path`, joined by dots: one buffer that grows and shrinks with the path.
    name: String,
}

impl<'a, V> Walker<'a, V>
where
    V: FnMut(&str, &[Key<'a>], Option<Cow<'a, str>>) -> Result<(), Error>,
{
    /// A value of the outermost object that has no parts: there is no path to be kept. Most have none.
    fn leaf(&mut self, key: &'a str, value: &'a Value) -> Result<(), Error> {
        let path = [Key::Name(key)];
        if is_blank(key) {
            return Err(Error::BlankAttr {
                path: Excerpt::of(&quoted(&path)),
            });
        }
        let text = self.text(value);
        (self.visit)(without_prefix(key), &path, text)
    }

    fn step(&mut self, key: Key<'a>, value: &'a Value) -> Result<(), Error> {
        let parent = self.name.len();
        self.path.push(key);
        if parent > 0 {
            self.name.push('.');
        }
        match key {
            Key::Name(name) if is_blank(name) => {
                return Err(Error::BlankAttr {
                    path: Excerpt::of(&quoted(&self.path)),
                });
            }
            Key::Name(name) => self.name.push_str(name),
            Key::Index(index) => {
                // Writing to a String cannot fail.
                let _ = write!(self.name, "{index}");
            }
        }
        self.value(value)?;
        self.path.pop();
        self.name.truncate(parent);
        Ok(())
    }

    fn value(&mut self, value: &'a Value) -> Result<(), Error> {
        // The levels around this value: the path, which includes the outermost object.
        let levels_left = JSON_DEPTH - self.path.len().min(JSON_DEPTH);
        let text = match value {
            Value::Object(_) | Value::Array(_) if levels_left == 0 => return Err(Error::AttrsTooDeep),
            Value::Object(members) => {
                return members
                    .iter()
                    .try_for_each(|(key, value)| self.step(Key::Name(key), value));
            }
            Value::Array(elements) => match self.options.arrays {
                Arrays::Indexed => {
                    return (0..)
                        .zip(elements)
                        .try_for_each(|(index, value)| self.step(Key::Index(index), value));
                }
                Arrays::Json if !is_within(value, levels_left) => return Err(Error::AttrsTooDeep),
                Arrays::Json => Some(Cow::Owned(value.to_string())),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => self.text(value),
        };
        (self.visit)(without_prefix(&self.name), &self.path, text)
    }

    /// What is sent for a value that has no parts.
    fn text(&self, value: &'a Value) -> Option<Cow<'a, str>> {
        match value {
            Value::Null => self.options.null_value.as_deref().map(Cow::Borrowed),
            _ => Some(scalar_text(value)),
        }
    }
}

fn without_prefix(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

/// Whether a value has at most so many levels of its own. Recurses no deeper than that.
fn is_within(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(elements) => levels > 0 && elements.iter().all(|element| is_within(element, levels - 1)),
        Value::Object(members) => levels > 0 && members.values().all(|member| is_within(member, levels - 1)),
        _ => true,
    }
}

/// A string as it is; anything else as JSON prints it, which for a number is digit by digit.
pub(super) fn scalar_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Bool(true) => Cow::Borrowed("true"),
        Value::Bool(false) => Cow::Borrowed("false"),
        other => Cow::Owned(other.to_string()),
    }
}

pub(super) fn is_blank(name: &str) -> bool {
    name.chars().all(char::is_whitespace)
}
