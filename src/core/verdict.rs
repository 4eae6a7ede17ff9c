//! The outcome of a request, from the status and the body of its response.

use std::borrow::Cow;

use serde_json::Value;

use crate::limits::{MESSAGE_BYTES, VERDICT_BODY_BYTES, VERDICT_XML_DEPTH};

/// How a request ended, as far as the response tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Submitted. That does not mean written, nor that the profile exists.
    Accepted,
    /// Refused for what it says; the same request would be refused again.
    Rejected,
    /// A status that says success with a body that says neither success nor failure.
    Unrecognised,
    /// The client may not send, or not with this token: it is not about this update.
    Unauthorized,
    /// Too many requests; the same one may be accepted later.
    Throttled,
    /// Something is wrong at the other end; the same request may be accepted later.
    Failed,
}

impl Outcome {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 6] = [
        Self::Accepted,
        Self::Rejected,
        Self::Unrecognised,
        Self::Unauthorized,
        Self::Throttled,
        Self::Failed,
    ];

    /// The name in `response.outcome`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Unrecognised => "unrecognised",
            Self::Unauthorized => "unauthorized",
            Self::Throttled => "throttled",
            Self::Failed => "failed",
        }
    }
}

/// A response, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How the request ended.
    pub outcome: Outcome,
    /// What the response says in words: one line, at most [`MESSAGE_BYTES`] bytes, without control characters.
    pub message: Option<String>,
}

/// The message of a verdict on a redirect.
const NOT_FOLLOWED: &str = "redirect not followed: set the client's endpoint to the address that answers itself";

/// Judges a response by its status and the first [`VERDICT_BODY_BYTES`] bytes of its body. Total over any status and
/// any bytes, in linear time and bounded memory.
///
/// Neither the status nor the body is enough. Target documents the body of a success as `trueRequest successfully
/// submitted`, which is what a page shows of the XML that is sent; and it answers errors with 200 and `success`
/// false. So a 2xx is accepted only if the body says so, in one of the two forms:
/// - XML whose outermost element is `response`, complete, with `true` as the whole text of its child `success`, and no
///   other `success` that says otherwise;
/// - exactly the words above, with any white space between and around them.
///
/// It is rejected if `success` is `false` in such XML, even if that is cut short, or if text begins with `false`.
///
/// No JSON is a success: Target documents JSON for errors of fetching only, and to take `{"success":true}` for one
/// would be to guess. It is [`Outcome::Unrecognised`], is retried, and ends where someone sees it. Its `message` is
/// shown.
///
/// 503 is throttling: it is the limiter of Target's bulk API \[doc\], as 420 is that of its Delivery API \[doc\].
#[must_use]
pub fn judge(status: u16, body: &[u8]) -> Verdict {
    let said = read(body.get(..VERDICT_BODY_BYTES).unwrap_or(body));
    let outcome = match status {
        200..=299 => match said.success {
            Claim::True => Outcome::Accepted,
            Claim::False => Outcome::Rejected,
            Claim::Absent | Claim::Unclear => Outcome::Unrecognised,
        },
        300..=399 => {
            return Verdict {
                outcome: Outcome::Rejected,
                message: Some(NOT_FOLLOWED.to_owned()),
            };
        }
        401 | 403 => Outcome::Unauthorized,
        408 | 425 => Outcome::Failed,
        420 | 429 | 503 => Outcome::Throttled,
        400..=499 => Outcome::Rejected,
        // 5xx, and what is no answer at all: 1xx, and numbers that HTTP does not have.
        _ => Outcome::Failed,
    };
    Verdict {
        outcome,
        message: said.message.as_deref().and_then(one_line),
    }
}

/// A body as it is recorded: valid UTF-8 (what is not becomes U+FFFD), without NUL, which Postgres' `text` cannot
/// hold, and at most `cap` bytes, cut between characters.
#[must_use]
pub fn body_for_record(bytes: &[u8], cap: usize) -> String {
    let mut text = String::with_capacity(bytes.len().min(cap));
    for chunk in bytes.utf8_chunks() {
        let replacement = (!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER);
        for c in chunk.valid().chars().chain(replacement).filter(|&c| c != '\0') {
            if text.len() + c.len_utf8() > cap {
                return text;
            }
            text.push(c);
        }
    }
    text
}

/// What a body says.
#[derive(Default)]
struct Said {
    success: Claim,
    message: Option<String>,
}

/// What a body says of success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Claim {
    /// Nothing.
    #[default]
    Absent,
    True,
    False,
    /// Something other than true or false, or both.
    Unclear,
}

impl Claim {
    fn of(text: &[u8]) -> Self {
        match text.trim_ascii() {
            b"true" => Self::True,
            b"false" => Self::False,
            _ => Self::Unclear,
        }
    }

    fn and(self, other: Self) -> Self {
        if self == Self::Absent || self == other {
            other
        } else {
            Self::Unclear
        }
    }
}

fn read(body: &[u8]) -> Said {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    match body.first() {
        None => Said::default(),
        Some(b'<') => read_xml(body),
        Some(b'{') => read_json(body),
        Some(_) => read_text(body),
    }
}

fn read_json(body: &[u8]) -> Said {
    let message = match serde_json::from_slice(body) {
        Ok(Value::Object(mut members)) => match members.remove("message") {
            Some(Value::String(message)) => Some(message),
            _ => None,
        },
        _ => None,
    };
    Said {
        success: Claim::Absent,
        message,
    }
}

fn read_text(body: &[u8]) -> Said {
    let Ok(text) = std::str::from_utf8(body) else {
        return Said::default();
    };
    if let Some(message) = text.strip_prefix("false") {
        return Said {
            success: Claim::False,
            message: Some(message.to_owned()),
        };
    }
    if let Some(message) = text.strip_prefix("true")
        && message
            .split_ascii_whitespace()
            .eq(["Request", "successfully", "submitted"])
    {
        return Said {
            success: Claim::True,
            message: Some(message.to_owned()),
        };
    }
    Said {
        success: Claim::Absent,
        message: Some(text.to_owned()),
    }
}

/// Reads as much of a document as says something of success, and the first `message` in it.
///
/// By hand rather than with an XML parser: the body may be cut short, may not be XML at all, and comes from whoever
/// answers; five kinds of token are all that is needed of it, and giving up is always right, as what is not understood
/// is no success.
fn read_xml(body: &[u8]) -> Said {
    let mut open: Vec<&[u8]> = Vec::new();
    let mut success = Claim::Absent;
    let mut success_text: Vec<u8> = Vec::new();
    let mut message: Option<String> = None;
    let mut message_done = false;
    let mut complete = false;

    for token in Tokens(body) {
        match token {
            Token::Open { name, empty } => {
                match open.as_slice() {
                    [b"response"] if name == b"success" => {
                        success_text.clear();
                        if empty {
                            success = success.and(Claim::Unclear);
                        }
                    }
                    [b"response", b"success"] => success = Claim::Unclear,
                    _ => {}
                }
                if empty {
                    if open.is_empty() {
                        break;
                    }
                } else {
                    if open.len() == VERDICT_XML_DEPTH {
                        break;
                    }
                    open.push(name);
                }
            }
            Token::Close { name } => {
                if open.pop() != Some(name) {
                    break;
                }
                match open.as_slice() {
                    [] => {
                        complete = true;
                        break;
                    }
                    [b"response"] if name == b"success" => success = success.and(Claim::of(&success_text)),
                    _ => {}
                }
                message_done |= message.is_some() && name == b"message";
            }
            Token::Text { bytes, literal } => match open.as_slice() {
                [] if !bytes.trim_ascii().is_empty() => break,
                [b"response", b"success"] => success_text.extend_from_slice(bytes),
                [_, .., b"message"] if !message_done => {
                    let text = String::from_utf8_lossy(bytes);
                    let message = message.get_or_insert_default();
                    message.push_str(&if literal { text } else { decoded(&text) });
                }
                _ => {}
            },
        }
    }
    // A document that was cut short might have gone on to say otherwise.
    if success == Claim::True && !complete {
        success = Claim::Unclear;
    }
    Said { success, message }
}

/// A piece of an XML document. Comments, processing instructions and the document type are passed over.
enum Token<'a> {
    Open {
        name: &'a [u8],
        empty: bool,
    },
    Close {
        name: &'a [u8],
    },
    /// Text, or a CDATA section, in which nothing is to be decoded.
    Text {
        bytes: &'a [u8],
        literal: bool,
    },
}

/// Takes a document apart, from the front, each byte looked at a fixed number of times. Ends early at what is no XML.
struct Tokens<'a>(&'a [u8]);

impl<'a> Tokens<'a> {
    /// Takes what comes before `end`, and `end` itself.
    fn through(&mut self, end: &[u8]) -> Option<&'a [u8]> {
        let at = self.0.windows(end.len()).position(|window| window == end)?;
        let (taken, rest) = self.0.split_at(at);
        self.0 = rest.get(end.len()..)?;
        Some(taken)
    }

    fn skip(&mut self, start: &[u8]) -> bool {
        let rest = self.0.strip_prefix(start);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn token(&mut self) -> Option<Token<'a>> {
        loop {
            if self.skip(b"<!--") {
                self.through(b"-->")?;
            } else if self.skip(b"<![CDATA[") {
                return Some(Token::Text {
                    bytes: self.through(b"]]>")?,
                    literal: true,
                });
            } else if self.skip(b"<?") {
                self.through(b"?>")?;
            } else if self.skip(b"<!") {
                // A document type of its own declarations could redefine what the rest means.
                if self.through(b">")?.contains(&b'[') {
                    return None;
                }
            } else if self.skip(b"</") {
                return Some(Token::Close {
                    name: self.through(b">")?.trim_ascii_end(),
                });
            } else if self.skip(b"<") {
                return self.open_tag();
            } else if self.0.is_empty() {
                return None;
            } else {
                let end = self.0.iter().position(|&byte| byte == b'<').unwrap_or(self.0.len());
                let (bytes, rest) = self.0.split_at(end);
                self.0 = rest;
                return Some(Token::Text { bytes, literal: false });
            }
        }
    }

    /// The rest of a start tag, to the first `>` that is not within the quotes of an attribute.
    fn open_tag(&mut self) -> Option<Token<'a>> {
        let mut quote = None;
        let end = self.0.iter().position(|&byte| {
            match quote {
                Some(mark) if byte == mark => quote = None,
                None if matches!(byte, b'"' | b'\'') => quote = Some(byte),
                _ => {}
            }
            quote.is_none() && byte == b'>'
        })?;
        let (tag, rest) = self.0.split_at(end);
        self.0 = rest.get(1..)?;
        let (tag, empty) = tag.strip_suffix(b"/").map_or((tag, false), |tag| (tag, true));
        let name = tag
            .split(u8::is_ascii_whitespace)
            .next()
            .filter(|name| !name.is_empty())?;
        Some(Token::Open { name, empty })
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let token = self.token();
        if token.is_none() {
            self.0 = &[];
        }
        token
    }
}

/// Decodes the five entities that XML has by itself, and characters by number. What is neither stays as it is.
fn decoded(text: &str) -> Cow<'_, str> {
    let Some((before, mut rest)) = text.split_once('&') else {
        return Cow::Borrowed(text);
    };
    let mut out = before.to_owned();
    loop {
        // The longest is `&#x10FFFF;`: looking no further keeps this linear.
        let end = rest.bytes().take(10).position(|byte| byte == b';');
        match end
            .and_then(|end| rest.split_at_checked(end))
            .and_then(|(name, tail)| Some((entity(name)?, tail)))
        {
            Some((c, tail)) => {
                out.push(c);
                rest = tail.get(1..).unwrap_or_default();
            }
            None => out.push('&'),
        }
        let Some((before, after)) = rest.split_once('&') else {
            break;
        };
        out.push_str(before);
        rest = after;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn entity(name: &str) -> Option<char> {
    Some(match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)?
        }
    })
}

/// Makes one line of a message: each run of white space one space, no other control characters, at most
/// [`MESSAGE_BYTES`] bytes. `None` if nothing is left.
fn one_line(message: &str) -> Option<String> {
    let mut line = String::new();
    for word in message.split_whitespace() {
        let space = if line.is_empty() { "" } else { " " };
        for c in space.chars().chain(word.chars().filter(|c| !c.is_control())) {
            if line.len() + c.len_utf8() > MESSAGE_BYTES {
                return Some(line);
            }
            line.push(c);
        }
    }
    (!line.is_empty()).then_some(line)
}
