//! Dead letters that always fit: the values of a row in a form that every column and index of `dead_letter` can hold.
//!
//! The write of a watched row must not fail because of its dead letter. So `dead_letter` gets no text that is too long for an index, no
//! zero byte, no JSON that `jsonb` refuses, and nothing huge. Such a value is cut or kept as text, and the reason says so.
//!
//! What is kept must not be sent by mistake when it is not what the row had. So a text that was cut stays longer than Target
//! allows, and a value that was not kept as it was becomes an object with an empty name, which no update may have.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::id::IdKind;

/// The most bytes of an id. An index entry of `dead_letter` takes at most 2,704 bytes: these, those of the client code and of the
/// kind, the entry's own id, and what the index adds. An id that Target allows has at most 1,024.
pub const ID_BYTES: usize = 2_000;

/// The most bytes of a client code and of an id kind, which are what a trigger was given. More than any valid one has.
pub const NAME_BYTES: usize = 200;

/// The most bytes of a reason.
pub const REASON_BYTES: usize = 4_000;

/// The most bytes of the attributes, as JSON.
pub const ATTRS_BYTES: usize = 1024 * 1024;

/// An attribute of more bytes is cut when all of them together are too many; no request takes one of that size.
const CUT_ABOVE: usize = 64 * 1024;

/// What is left of it.
const CUT_TO: usize = 1_000;

/// `jsonb` keeps a number as `numeric`, which has at most 131,072 digits before and 16,383 after the point. Numbers of a tenth of
/// that are kept as they are.
const NUMBER_CHARS: usize = 1_000;
const NUMBER_EXPONENT: i64 = 1_000;

/// What is known of an update that cannot be sent.
#[derive(Debug, Default, Clone, Copy)]
pub struct Unsendable<'a> {
    /// The client code as it was given.
    pub client_code: Option<&'a str>,
    /// The id kind as it was given.
    pub id_kind: Option<&'a str>,
    /// The id as it was given.
    pub profile_id: Option<&'a str>,
    /// The attributes as far as they could be read.
    pub attrs: &'a [(&'a str, Value)],
    /// As in the outbox.
    pub priority: i16,
    /// As in the outbox.
    pub source: &'a str,
}

/// A dead letter that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The client code.
    pub client_code: Option<String>,
    /// The id kind; Target's own name of it, where an alias was given.
    pub id_kind: Option<String>,
    /// The id.
    pub profile_id: Option<String>,
    /// The attributes, as JSON.
    pub attrs: Option<String>,
    /// As in the outbox.
    pub priority: i16,
    /// As in the outbox.
    pub source: String,
    /// Why it was not sent, and what is not kept as it was.
    pub reason: String,
    /// Whether the attributes are as a row had them, not yet flattened.
    pub raw: bool,
}

impl DeadLetter {
    /// Of a row.
    #[must_use]
    pub fn of_row(update: Unsendable<'_>, reason: &str) -> Self {
        let mut notes = Vec::new();
        let attrs = attrs(update.attrs, &mut notes);
        Self {
            client_code: update.client_code.map(|text| bounded(text, NAME_BYTES)),
            id_kind: update.id_kind.map(id_kind),
            profile_id: update.profile_id.map(|id| profile_id(id, &mut notes)),
            attrs,
            priority: update.priority,
            source: bounded(update.source, NAME_BYTES),
            reason: with_notes(reason, &notes),
            raw: true,
        }
    }

    /// The same with nothing but what tells which row it was: for a table that has refused the whole.
    #[must_use]
    pub fn minimal(self, refusal: &str) -> Self {
        let note =
            format!("the attributes are not kept, because target_profile.dead_letter has refused them: {refusal}");
        Self {
            attrs: None,
            reason: with_notes(&self.reason, &[note]),
            ..self
        }
    }

    /// How much memory it takes, near enough.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let texts = [&self.client_code, &self.id_kind, &self.profile_id, &self.attrs];
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        size_of::<Self>() + texts + self.source.len() + self.reason.len()
    }
}

/// An id for a dead letter whose own is taken, below all that the sequence gives: so it is older than whatever is enqueued from now on.
/// Later ones are higher. `number` distinguishes those of one moment, and `jitter`, from 0 to 1, those of other sessions.
#[must_use]
pub fn spare_id(unix_micros: i64, number: usize, jitter: f64) -> i64 {
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    let moment = unix_micros.clamp(0, MOMENTS).saturating_add(number).min(MOMENTS);
    (i64::MIN / 2)
        .saturating_add(moment.saturating_mul(SPARE_STEP))
        .saturating_add((jitter.clamp(0.0, 1.0) * (SPARE_STEP - 1) as f64) as i64)
}

/// So many ids there are for each microsecond.
const SPARE_STEP: i64 = 1024;

/// The last microsecond (of the year 2112) that has any below 0.
const MOMENTS: i64 = i64::MAX / 2 / SPARE_STEP - 1;

/// A value that could not be kept as it was, as text. It is never sent, because its name is empty.
#[must_use]
pub fn unsendable_text(text: &str) -> Value {
    let mut kept = Map::new();
    kept.insert(String::new(), Value::String(without_nul(text)));
    Value::Object(kept)
}

fn id_kind(given: &str) -> String {
    IdKind::parse(given).map_or_else(|_| bounded(given, NAME_BYTES), |kind| kind.as_str().to_owned())
}

/// An id with a zero byte keeps a control character in its place: such an id is no more valid than the one that was given.
fn profile_id(given: &str, notes: &mut Vec<String>) -> String {
    if given.contains('\0') {
        notes.push("zero bytes of the id are kept as \\x01".to_owned());
    }
    if given.len() > ID_BYTES {
        notes.push(format!(
            "of the id, which has {} bytes and the FNV-1a hash {:016x}, the beginning is kept",
            given.len(),
            fingerprint(given)
        ));
    }
    bounded(given, ID_BYTES)
}

/// No zero byte, and not more bytes than that.
fn bounded(text: &str, bytes: usize) -> String {
    without_nul(beginning(text, bytes))
}

fn beginning(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{1}")
}

fn with_notes(reason: &str, notes: &[String]) -> String {
    let mut whole = bounded(reason, REASON_BYTES / 2);
    for note in notes {
        // Writing to a String cannot fail.
        let _ = write!(whole, " ({note})");
    }
    bounded(&whole, REASON_BYTES)
}

/// The attributes as a JSON object that `jsonb` takes. Of a name that is given twice the later value is kept.
fn attrs(values: &[(&str, Value)], notes: &mut Vec<String>) -> Option<String> {
    if values.is_empty() {
        return None;
    }
    let mut altered = false;
    let mut object = Map::new();
    for (name, value) in values {
        object.insert(without_nul(name), fitting(value, &mut altered));
    }
    if altered {
        notes.push("values that jsonb cannot hold are kept as JSON text under an empty name".to_owned());
    }
    let whole = Value::Object(object).to_string();
    if whole.len() <= ATTRS_BYTES {
        return Some(whole);
    }
    drop(whole);
    let mut object = Map::new();
    for (name, value) in values {
        let value = fitting(value, &mut altered);
        let text = value.to_string();
        object.insert(
            without_nul(name),
            if text.len() > CUT_ABOVE {
                unsendable_text(beginning(value.as_str().unwrap_or(&text), CUT_TO))
            } else {
                value
            },
        );
    }
    notes.push("of attributes that are far too large the beginning is kept".to_owned());
    let whole = Value::Object(object).to_string();
    if whole.len() <= ATTRS_BYTES {
        return Some(whole);
    }
    notes.push("the attributes are not kept, because they are too many".to_owned());
    None
}

/// The value, or what is kept in its place.
fn fitting(value: &Value, altered: &mut bool) -> Value {
    match value {
        // Its text is what is sent, whichever way it is kept.
        Value::Number(number) if !number_fits(&number.to_string()) => Value::String(number.to_string()),
        _ if fits(value) => value.clone(),
        _ => {
            *altered = true;
            unsendable_text(&value.to_string())
        }
    }
}

/// Whether `jsonb` takes it. The depth is bounded by the parser that has read it.
fn fits(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) => true,
        Value::Number(number) => number_fits(&number.to_string()),
        Value::String(text) => !text.contains('\0'),
        Value::Array(values) => values.iter().all(fits),
        Value::Object(members) => members.iter().all(|(name, value)| !name.contains('\0') && fits(value)),
    }
}

fn number_fits(text: &str) -> bool {
    let exponent = text.split_once(['e', 'E']).map(|(_, exponent)| exponent.parse::<i64>());
    text.len() <= NUMBER_CHARS
        && match exponent {
            None => true,
            Some(exponent) => exponent.is_ok_and(|exponent| exponent.abs() <= NUMBER_EXPONENT),
        }
}

/// FNV-1a, by which the whole id can be found again in the table that it came from.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
