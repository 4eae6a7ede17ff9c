//! The method of a request.

use std::fmt;

use crate::limits::{GET_URL_BYTES, POST_BODY_BYTES};

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Everything in the query of the URL.
    Get,
    /// Everything in the body, as a form, so that the id does not end up in the logs of proxies.
    Post,
}

impl Method {
    /// The method as HTTP spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }

    /// The most bytes that a request may have: [`GET_URL_BYTES`] or [`POST_BODY_BYTES`].
    #[must_use]
    pub const fn max_bytes(self) -> usize {
        match self {
            Self::Get => GET_URL_BYTES,
            Self::Post => POST_BODY_BYTES,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
