//! A request as the stand-in received it, and what became of it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

/// The attributes of a profile, or of one update of it, by name without `profile.`.
pub type Attributes = BTreeMap<String, String>;

/// Which of its two ids a request names a profile by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdKind {
    /// `mboxPC`, Target's own id of a visitor.
    MboxPc,
    /// `mbox3rdPartyId`, the customer's.
    Mbox3rdPartyId,
}

impl IdKind {
    /// The name of the parameter.
    pub fn name(self) -> &'static str {
        match self {
            Self::MboxPc => "mboxPC",
            Self::Mbox3rdPartyId => "mbox3rdPartyId",
        }
    }
}

impl fmt::Display for IdKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<&str> for IdKind {
    /// Panics on any other name than the two parameters'.
    fn from(name: &str) -> Self {
        match name {
            "mboxPC" => Self::MboxPc,
            "mbox3rdPartyId" => Self::Mbox3rdPartyId,
            _ => panic!("\"{name}\" is neither mboxPC nor mbox3rdPartyId"),
        }
    }
}

/// What identifies a profile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileKey {
    /// The client code in the path.
    pub client: String,
    /// Which id.
    pub kind: IdKind,
    /// The id, decoded.
    pub id: String,
}

/// How the handling of a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Still being handled.
    Open,
    /// The answer was written as scripted, to its end.
    Answered,
    /// The connection was reset or closed, as scripted, before the answer's end.
    Cut,
    /// The client went away first.
    ClientGone,
    /// The stand-in was stopped.
    Stopped,
}

/// One recorded request.
#[derive(Clone)]
pub struct Request {
    /// Its place in the order of arrival, from 1; never reused, not even after `clear`.
    pub seq: u64,
    /// The connection it came over, from 1.
    pub connection: u64,
    /// When its first bytes were read.
    pub arrived: Instant,
    /// The same by the wall clock.
    pub arrived_at: SystemTime,
    /// When the last byte of the answer was written, or the connection was found or made dead.
    pub finished: Option<Instant>,
    /// The same by the wall clock.
    pub finished_at: Option<SystemTime>,
    /// `GET`, `POST` or whatever came.
    pub method: String,
    /// Path and query exactly as sent.
    pub target: String,
    /// The headers in order, with names as sent; empty unless everything is recorded.
    pub headers: Vec<(String, String)>,
    /// The body; empty unless everything is recorded.
    pub body: Vec<u8>,
    /// The length of the body.
    pub body_bytes: usize,
    /// The length of the whole URL as the client sees it, with scheme and host.
    pub url_bytes: usize,
    /// The client code in the path, if the path is the API's.
    pub client: Option<String>,
    /// Which id, if exactly one was given.
    pub kind: Option<IdKind>,
    /// The id, decoded, if exactly one was given.
    pub id: Option<String>,
    /// Every parameter of query and body, decoded, in order, whatever its name.
    pub pairs: Vec<(String, String)>,
    /// The attributes: the parameters that begin with `profile.`, without it; of several of one name the last.
    pub attrs: Attributes,
    /// Whether a profile was changed by it.
    pub applied: bool,
    /// The status of the answer, when one was begun.
    pub status: Option<u16>,
    /// How it ended.
    pub ending: Ending,
    pub(super) defect: Option<Defect>,
    pub(super) token: Option<String>,
}

/// What is wrong with a request in itself, whatever the settings.
#[derive(Clone, Debug)]
pub(super) struct Defect {
    pub(super) status: u16,
    pub(super) message: String,
}

impl Request {
    /// The value of a header, by its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Which profile it names, if client code and id are there.
    pub fn profile(&self) -> Option<ProfileKey> {
        Some(ProfileKey {
            client: self.client.clone()?,
            kind: self.kind?,
            id: self.id.clone()?,
        })
    }

    /// From arrival to finish.
    pub fn duration(&self) -> Option<Duration> {
        self.finished.map(|finished| finished.duration_since(self.arrived))
    }

    /// Names that were given more than once, in order.
    pub fn duplicates(&self) -> Vec<&str> {
        let repeated =
            |(at, (name, _)): (usize, &'_ (String, String))| self.pairs[..at].iter().any(|(before, _)| before == name);
        let numbered = self.pairs.iter().enumerate();
        numbered
            .filter(|(at, pair)| repeated((*at, *pair)))
            .map(|(_, (name, _))| name.as_str())
            .collect()
    }
}

/// One line, without headers: for messages and for the binary. The token is in none of them.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {} ", self.seq, self.method)?;
        match (&self.client, self.kind, &self.id) {
            (Some(client), Some(kind), Some(id)) => write!(f, "{client} {kind}={id}")?,
            _ => write!(f, "{}", self.target)?,
        }
        for (name, value) in &self.attrs {
            match value.char_indices().nth(60) {
                Some((cut, _)) => write!(f, " {name}={:?}…", &value[..cut])?,
                None => write!(f, " {name}={value:?}")?,
            }
        }
        match self.status {
            Some(status) => write!(f, " → {status}")?,
            None => write!(f, " → no status")?,
        }
        match self.ending {
            Ending::Answered => Ok(()),
            other => write!(f, " ({other:?})"),
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
