//! A value that no log, error or debug output may show.

use std::fmt;

/// A client's bearer token, or a proxy's address with its password. Its `Debug` shows a mask; the text is reached only by
/// [`Secret::expose`], which is called where it is put to use and nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[masked]")
    }
}
