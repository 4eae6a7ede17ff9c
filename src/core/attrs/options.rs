//! The options of flattening.

use crate::error::{Error, Excerpt};

/// What precedes the name of an attribute in the request, and is dropped once where it was given.
pub(crate) const PREFIX: &str = "profile.";

/// How an array becomes text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Arrays {
    /// One attribute, whose value is the array as compact JSON: `["a","b"]`.
    #[default]
    Json,
    /// One attribute for each element, with its index, from 0, as a part of the name: `tags.0`, `tags.1`. When the
    /// array shrinks, the attributes of its former tail stay as they were.
    Indexed,
}

impl Arrays {
    /// Reads `json` or `indexed`.
    ///
    /// # Errors
    /// [`Error::UnknownArrays`] for any other text.
    pub fn parse(given: &str) -> Result<Self, Error> {
        match given {
            "json" => Ok(Self::Json),
            "indexed" => Ok(Self::Indexed),
            _ => Err(Error::UnknownArrays {
                given: Excerpt::of(given),
            }),
        }
    }

    /// The name that [`Arrays::parse`] reads.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Indexed => "indexed",
        }
    }
}

/// The choices that flattening leaves to the client's settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlattenOptions {
    /// How an array becomes text.
    pub arrays: Arrays,
    /// What is sent for null. `None` skips it: Target cannot delete an attribute, so a value that stands for "none" is
    /// the only way to clear one.
    pub null_value: Option<String>,
}
