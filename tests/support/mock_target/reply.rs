//! What the stand-in does with a request, when it is not what Target would do.

use std::time::Duration;

/// When a request's attributes reach the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Apply {
    /// Before anything else happens.
    AtOnce,
    /// When the reply's wait is over, even if the client has gone in the meantime.
    Late,
    /// Not at all.
    Never,
}

/// What comes before the answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hold {
    None,
    For(Duration),
    UntilReleased,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    /// What Target would answer.
    Ordinary,
    /// A status, headers and a body.
    Answer {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// Bytes that need not be HTTP; the connection closes after them.
    Raw(Vec<u8>),
}

/// Where the answer stops short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopAt {
    /// Before its status line.
    Start,
    /// After so many bytes of the body.
    Body(usize),
}

/// What happens at a stop, and after a body that is not as long as announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The connection is closed.
    Close,
    /// The connection is reset (RST).
    Reset,
    /// Silence until `release_hung`, or until the client goes; then the rest follows.
    Hang,
}

/// A scripted reply. Built from one of the constructors, changed by the modifiers.
///
/// Whether the request's attributes reach the profile follows from the reply unless said with [`applied`](Self::applied):
/// they do for 2xx answers, delays and hangs (at once: a server that did its work and is slow to say so), and do not for
/// other statuses, for a failure message and when the connection is cut before the status line.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(super) hold: Hold,
    pub(super) interim: Vec<u16>,
    pub(super) content: Content,
    pub(super) stop: Option<(StopAt, Stop)>,
    pub(super) pace: Option<(usize, Duration)>,
    pub(super) announced: Option<usize>,
    pub(super) at_end: Option<Stop>,
    pub(super) apply: Option<Apply>,
}

impl Reply {
    fn new(content: Content) -> Self {
        let (hold, interim) = (Hold::None, Vec::new());
        Self {
            hold,
            interim,
            content,
            stop: None,
            pace: None,
            announced: None,
            at_end: None,
            apply: None,
        }
    }

    /// What Target would do; a base for the modifiers.
    pub fn ordinary() -> Self {
        Self::new(Content::Ordinary)
    }

    /// An answer with this status and an empty body.
    pub fn status(status: u16) -> Self {
        Self::new(Content::Answer {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        })
    }

    /// 200 with `<success>false</success>` and this message.
    pub fn failure(message: &str) -> Self {
        let body = format!("<response><success>false</success><message>{message}</message></response>");
        Self::status(200)
            .header("content-type", "application/xml;charset=UTF-8")
            .body(body)
            .applied(false)
    }

    /// A redirect to this location.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::status(status)
            .header("location", location)
            .body("<html><body>moved</body></html>")
    }

    /// What Target would answer, so much later.
    pub fn delay(wait: Duration) -> Self {
        Self::ordinary().after(wait)
    }

    /// Nothing until `release_hung`, then what Target would answer.
    pub fn hang() -> Self {
        Self::ordinary().after_release()
    }

    /// A reset (RST) instead of an answer.
    pub fn reset() -> Self {
        let mut reply = Self::ordinary();
        reply.stop = Some((StopAt::Start, Stop::Reset));
        reply
    }

    /// A closed connection instead of an answer.
    pub fn close() -> Self {
        let mut reply = Self::ordinary();
        reply.stop = Some((StopAt::Start, Stop::Close));
        reply
    }

    /// An interim status (100, 102, 103), then silence. For one with a final answer: [`interim`](Self::interim).
    pub fn interim_then_nothing(status: u16) -> Self {
        let mut reply = Self::ordinary().interim(status);
        reply.stop = Some((StopAt::Start, Stop::Hang));
        reply
    }

    /// These bytes, which need not be HTTP, and then a closed connection.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(Content::Raw(bytes.into()))
    }

    /// Adds a header. Only for replies that began with a status.
    #[track_caller]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match &mut self.content {
            Content::Answer { headers, .. } => headers.push((name.to_owned(), value.to_owned())),
            _ => panic!("begin with Reply::status(…) to set headers"),
        }
        self
    }

    /// Adds `Retry-After`.
    #[track_caller]
    pub fn retry_after(self, value: &str) -> Self {
        self.header("retry-after", value)
    }

    /// Sets the body, any bytes. Only for replies that began with a status.
    #[track_caller]
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        match &mut self.content {
            Content::Answer { body, .. } => *body = bytes.into(),
            _ => panic!("begin with Reply::status(…) to set a body"),
        }
        self
    }

    /// Waits first, and notices a client that goes meanwhile.
    pub fn after(mut self, wait: Duration) -> Self {
        self.hold = Hold::For(wait);
        self
    }

    /// Waits for `release_hung` first.
    pub fn after_release(mut self) -> Self {
        self.hold = Hold::UntilReleased;
        self
    }

    /// Sends an interim status first; may be repeated.
    pub fn interim(mut self, status: u16) -> Self {
        self.interim.push(status);
        self
    }

    /// Sends the body in pieces of so many bytes, one every so often.
    pub fn trickle(mut self, bytes: usize, every: Duration) -> Self {
        self.pace = Some((bytes.max(1), every));
        self
    }

    /// What Target would answer, the body byte by byte.
    pub fn slow_body(every: Duration) -> Self {
        Self::ordinary().trickle(1, every)
    }

    /// Sends so many bytes of the body, then does as told.
    pub fn cut_body(mut self, bytes: usize, stop: Stop) -> Self {
        self.stop = Some((StopAt::Body(bytes), stop));
        self
    }

    /// What Target would answer, reset (RST) in the midst of the body.
    pub fn reset_mid_body() -> Self {
        Self::ordinary().cut_body(20, Stop::Reset)
    }

    /// Announces so many bytes, whatever the body's length; the whole body follows, then the connection closes.
    pub fn content_length(mut self, bytes: usize) -> Self {
        self.announced = Some(bytes);
        self.at_end.get_or_insert(Stop::Close);
        self
    }

    /// What happens to the connection after the answer, instead of being kept.
    pub fn then(mut self, stop: Stop) -> Self {
        self.at_end = Some(stop);
        self
    }

    /// Whether the request's attributes reach the profile, at once.
    pub fn applied(mut self, applied: bool) -> Self {
        self.apply = Some(if applied { Apply::AtOnce } else { Apply::Never });
        self
    }

    /// They reach the profile when the wait is over, even if the client has gone: a late write of a slow server.
    pub fn applied_late(mut self) -> Self {
        self.apply = Some(Apply::Late);
        self
    }

    pub(super) fn application(&self) -> Apply {
        self.apply.unwrap_or(match (&self.content, self.stop) {
            (_, Some((StopAt::Start, Stop::Close | Stop::Reset))) | (Content::Raw(_), _) => Apply::Never,
            (Content::Answer { status, .. }, _) if !(200..300).contains(status) => Apply::Never,
            _ => Apply::AtOnce,
        })
    }
}
