//! The id of a profile, of one of the two kinds that Target knows.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::client_code::ClientCode;
use crate::error::{Error, Excerpt};
pub use crate::id_kind::IdKind;
use crate::limits::MBOX_PC_DOTS;

impl IdKind {
    /// Reads Target's own names, `mboxPC` and `mbox3rdPartyId`, and those of its other APIs: `pcId` and `tntId` for the
    /// first, `thirdPartyId` for the second. Case matters, as it does to Target.
    ///
    /// # Errors
    /// [`Error::UnknownIdKind`] for any other text; its hint lists the names.
    pub fn parse(given: &str) -> Result<Self, Error> {
        match given {
            "mboxPC" | "pcId" | "tntId" => Ok(Self::MboxPc),
            "mbox3rdPartyId" | "thirdPartyId" => Ok(Self::Mbox3rdPartyId),
            _ => Err(Error::UnknownIdKind {
                given: Excerpt::of(given),
            }),
        }
    }
}

/// An id that Target may know, exactly as it was given: it has to equal what the site sends, so nothing is trimmed.
/// Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProfileId(Arc<str>);

impl ProfileId {
    /// Checks an id by the rules of its kind: not blank, no control character, and
    /// - `mbox3rdPartyId`: no `+` and no `/`, at most 256 characters;
    /// - `mboxPC`: at most one `.`, at most 128 characters. The location hint after the dot may be missing.
    ///
    /// # Errors
    /// [`Error::BlankId`], [`Error::IdCharacter`], [`Error::IdDots`] or [`Error::IdTooLong`].
    pub fn parse(kind: IdKind, given: &str) -> Result<Self, Error> {
        if given.chars().all(char::is_whitespace) {
            return Err(Error::BlankId { kind });
        }
        let forbidden = |c: char| c.is_control() || (kind == IdKind::Mbox3rdPartyId && matches!(c, '+' | '/'));
        if let Some(character) = given.chars().find(|&c| forbidden(c)) {
            return Err(Error::IdCharacter {
                kind,
                id: Excerpt::of(given),
                character,
            });
        }
        if kind == IdKind::MboxPc && given.matches('.').count() > MBOX_PC_DOTS {
            return Err(Error::IdDots { id: Excerpt::of(given) });
        }
        let chars = given.chars().count();
        if chars > kind.max_chars() {
            return Err(Error::IdTooLong {
                kind,
                id: Excerpt::of(given),
                chars,
            });
        }
        Ok(Self(given.into()))
    }

    /// The id as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProfileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One profile of one client: what updates are ordered and merged by, and what at most one request is in flight for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProfileKey {
    /// Whose profile it is.
    pub client: ClientCode,
    /// What kind of id it is found by.
    pub kind: IdKind,
    /// The id, checked by the rules of `kind`.
    pub id: ProfileId,
}

impl ProfileKey {
    /// Checks `id` by the rules of `kind` and puts the key together.
    ///
    /// # Errors
    /// As [`ProfileId::parse`].
    pub fn new(client: ClientCode, kind: IdKind, id: &str) -> Result<Self, Error> {
        Ok(Self {
            client,
            kind,
            id: ProfileId::parse(kind, id)?,
        })
    }
}

impl ProfileKey {
    /// A number that stands for the profile where its text has no room: the same in every process that runs the same
    /// library, and not to be stored.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}
