//! The client code: whose Target account an update goes to.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Excerpt};
use crate::limits::CLIENT_CODE_BYTES;

/// Adobe Target's client code, such as `acme`: one lower-case label of a host name, cheap to clone.
///
/// It is put into the host and the path of the endpoint, so anything but a plain label is refused: a code with a dot or
/// a slash in it would choose the host that the data goes to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientCode(Arc<str>);

impl ClientCode {
    /// Accepts 1 to 63 of `a`–`z`, `0`–`9` and `-`, the first and the last not a hyphen, and nothing else: neither
    /// case nor white space is corrected, because a mistyped code may be another customer's.
    ///
    /// # Errors
    /// [`Error::InvalidClientCode`] for anything else, and for a label that starts with `xn--`: such a label stands
    /// for one in another script, or for none at all, in which case no URL could be made from it.
    pub fn parse(given: &str) -> Result<Self, Error> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let valid = (1..=CLIENT_CODE_BYTES).contains(&given.len())
            && given.bytes().all(plain)
            && !given.starts_with('-')
            && !given.ends_with('-')
            && !given.starts_with("xn--");
        if valid {
            Ok(Self(given.into()))
        } else {
            Err(Error::InvalidClientCode {
                given: Excerpt::of(given),
            })
        }
    }

    /// The code as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for ClientCode {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for ClientCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
