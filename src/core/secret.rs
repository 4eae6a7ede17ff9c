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

/// What stands where a secret was.
pub const MASK: &str = "[masked]";

/// The longest piece of a secret that may be shown.
const SHOWN: usize = 3;

/// Masks every occurrence of `secret` in `bytes`, also one whose end is cut off by the end of `bytes`: a server may send back
/// what it was sent.
pub fn mask(bytes: &mut Vec<u8>, secret: &str) {
    let secret = secret.as_bytes();
    if secret.len() <= SHOWN {
        return;
    }
    let mut from = 0;
    while let Some(at) = find(bytes, secret, from) {
        let end = (at + secret.len()).min(bytes.len());
        bytes.splice(at..end, MASK.bytes());
        from = at + MASK.len();
    }
}

/// Where `secret`, or a beginning of it that ends the text, is found from `from` on.
fn find(bytes: &[u8], secret: &[u8], from: usize) -> Option<usize> {
    let text = bytes.get(from..)?;
    let first = *secret.first()?;
    text.iter()
        .enumerate()
        .filter(|(_, byte)| **byte == first)
        .find(|(at, _)| {
            let rest = &text[*at..];
            rest.starts_with(secret) || rest.len() > SHOWN && secret.starts_with(rest)
        })
        .map(|(at, _)| from + at)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}
