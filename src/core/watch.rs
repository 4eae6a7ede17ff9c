//! How a watched table is wired: the options of a watch, and the names of its triggers.

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
}

impl Options {
    /// What a trigger does that has no options.
    pub const DEFAULT: Self = Self {
        send: Send::All,
        on_invalid: OnInvalid::Warn,
        priority: 0,
    };

    /// Reads the arguments of a trigger.
    #[must_use]
    pub fn parse(send: &str, on_invalid: &str, priority: &str) -> Option<Self> {
        Some(Self {
            send: Send::parse(send)?,
            on_invalid: OnInvalid::parse(on_invalid)?,
            priority: priority.parse().ok()?,
        })
    }
}
