//! How a watched table is wired: the options of a watch, its columns, and the names of its triggers.

use crate::client_code::ClientCode;
use crate::id::IdKind;

/// What an UPDATE sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Send {
    /// All mapped attributes, which also repairs an update that was missed.
    All,
    /// Those that changed.
    Changed,
}

impl Send {
    /// Reads `all` or `changed`.
    #[must_use]
    pub fn parse(given: &str) -> Option<Self> {
        match given {
            "all" => Some(Self::All),
            "changed" => Some(Self::Changed),
            _ => None,
        }
    }

    /// As [`Send::parse`] reads it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Changed => "changed",
        }
    }
}

/// Which of its mapped columns a row sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// All of them.
    All,
    /// Those that changed.
    Changed,
    /// The row sends nothing.
    Nothing,
}

impl Send {
    /// What an UPDATE sends. Another id is another profile, which gets everything. A row that is `chosen` is sent whatever changed: its
    /// trigger's WHEN has let it pass, because a watched column has changed or because the row has come to meet the condition.
    pub fn select(
        self,
        chosen: bool,
        id_changed: impl FnOnce() -> bool,
        any_changed: impl FnOnce() -> bool,
    ) -> Selection {
        let changed = match self {
            Self::All if chosen => true,
            // The columns first: an id that is an expression costs more than they do.
            Self::All => any_changed() || id_changed(),
            Self::Changed if id_changed() => true,
            Self::Changed if any_changed() => return Selection::Changed,
            Self::Changed => chosen,
        };
        if changed { Selection::All } else { Selection::Nothing }
    }
}

/// What becomes of a row that cannot be a valid update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnInvalid {
    /// The row is written; a WARNING, and a dead letter.
    Warn,
    /// The write fails.
    Error,
}

impl OnInvalid {
    /// Reads `warn` or `error`.
    #[must_use]
    pub fn parse(given: &str) -> Option<Self> {
        match given {
            "warn" => Some(Self::Warn),
            "error" => Some(Self::Error),
            _ => None,
        }
    }

    /// As [`OnInvalid::parse`] reads it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// The options of a watch that its row triggers act upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// What an UPDATE sends.
    pub send: Send,
    /// What becomes of a row that cannot be a valid update.
    pub on_invalid: OnInvalid,
    /// The entries' priority.
    pub priority: i16,
    /// The trigger's WHEN lets pass what is stored otherwise than before, and nothing else: whether something else is to be sent, the
    /// trigger has to say. Not so for the triggers of version 0.1.0, and not where a row may have come to meet a condition.
    pub by_image: bool,
}

/// Follows the value of `send` among the arguments of a trigger.
const BY_IMAGE: &str = ", by image";

impl Options {
    /// What a trigger does that has no options.
    pub const DEFAULT: Self = Self {
        send: Send::All,
        on_invalid: OnInvalid::Warn,
        priority: 0,
        by_image: false,
    };

    /// Reads the arguments of a trigger.
    #[must_use]
    pub fn parse(send: &str, on_invalid: &str, priority: &str) -> Option<Self> {
        let (send, by_image) = match send.strip_suffix(BY_IMAGE) {
            Some(send) => (send, true),
            None => (send, false),
        };
        Some(Self {
            send: Send::parse(send)?,
            on_invalid: OnInvalid::parse(on_invalid)?,
            priority: priority.parse().ok()?,
            by_image,
        })
    }

    /// The arguments of a trigger, as [`Options::parse`] reads them.
    #[must_use]
    pub fn arguments(self) -> [String; 3] {
        let by_image = if self.by_image { BY_IMAGE } else { "" };
        [
            format!("{}{by_image}", self.send.as_str()),
            self.on_invalid.as_str().to_owned(),
            self.priority.to_string(),
        ]
    }
}

/// What `column` or `attribute=column` says: the attribute, and the column that it is made of. A column whose own name holds an
/// equals sign is taken by its whole name.
#[must_use]
pub fn mapping(argument: &str, is_column: impl FnOnce(&str) -> bool) -> (&str, &str) {
    match argument.split_once('=') {
        Some((attribute, column)) if !is_column(argument) => (attribute, column),
        _ => (argument, argument),
    }
}

/// Whether an argument of a trigger names a column: as the id, as an attribute, or within an expression.
#[must_use]
pub fn names_column(argument: &str, column: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || matches!(character, '_' | '$');
    argument == column
        || argument.split_once('=').is_some_and(|(attribute, source)| {
            source == column
                || attribute.is_empty()
                    && source.match_indices(column).any(|(at, _)| {
                        let (before, after) = (source.get(..at), source.get(at + column.len()..));
                        !before.and_then(|text| text.chars().next_back()).is_some_and(is_part)
                            && !after.and_then(|text| text.chars().next()).is_some_and(is_part)
                    })
        })
}

/// The most bytes that Postgres keeps of a name.
const NAME_BYTES: usize = 63;

/// The three triggers of a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerNames {
    /// For each row that is inserted.
    pub insert: String,
    /// For each row that is updated.
    pub update: String,
    /// At the end of the statement.
    pub flush: String,
}

impl TriggerNames {
    /// The same for the same client and kind, and different for others, so that a table can have several watches.
    #[must_use]
    pub fn of(client: &ClientCode, kind: IdKind) -> Self {
        let name = |part: &str| {
            let whole = format!("target_profile_{client}_{kind}_{part}");
            if whole.len() <= NAME_BYTES {
                return whole;
            }
            // A client code has no underscore, so no short name can look like this one. Cut for the longest part, so that the
            // names of one watch begin alike.
            let hash = format!("_{:08x}_{kind}_", fingerprint(client.as_str()));
            let mut name = format!("target_profile_{client}");
            name.truncate(NAME_BYTES - hash.len() - "insert".len());
            name + &hash + part
        };
        Self {
            insert: name("insert"),
            update: name("update"),
            flush: name("flush"),
        }
    }
}

/// FNV-1a: stays the same with any version of the library, unlike the hashes of Rust's own maps.
fn fingerprint(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}
