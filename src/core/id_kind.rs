//! The kinds of ids.

use std::fmt;

use crate::limits::{MBOX_PC_CHARS, THIRD_PARTY_ID_CHARS};

/// Which of Target's ids a profile is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IdKind {
    /// `mboxPC`: the id that Target itself gave to the visitor.
    MboxPc,
    /// `mbox3rdPartyId`: the id that the customer's own systems use, as the site sends it.
    Mbox3rdPartyId,
}

impl IdKind {
    /// The canonical name, which is also the parameter of the request.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MboxPc => "mboxPC",
            Self::Mbox3rdPartyId => "mbox3rdPartyId",
        }
    }

    /// The most characters that an id of this kind may have.
    #[must_use]
    pub const fn max_chars(self) -> usize {
        match self {
            Self::MboxPc => MBOX_PC_CHARS,
            Self::Mbox3rdPartyId => THIRD_PARTY_ID_CHARS,
        }
    }
}

impl fmt::Display for IdKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
