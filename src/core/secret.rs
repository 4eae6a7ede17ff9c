//! A value that no log, error or debug output may show.

use std::fmt;
use std::ops::Range;

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
/// what it was sent. It may spell it in another way: in other case, with escapes of URLs, JSON, HTML or XML, and broken by white space.
pub fn mask(bytes: &mut Vec<u8>, secret: &str) {
    let secret = secret.as_bytes();
    if secret.len() <= SHOWN {
        return;
    }
    // As it is, first: read as an escape, what stands before it could swallow a part of it.
    mask_where(bytes, &plain(secret), plain);
    let read = spelled(secret);
    if read.len() > SHOWN {
        mask_where(bytes, &read, spelled);
    }
}

/// A character as it is read, and where in the text it stands.
#[derive(Clone)]
struct Read {
    byte: u8,
    place: Range<usize>,
}

fn mask_where(bytes: &mut Vec<u8>, secret: &[Read], read: impl Fn(&[u8]) -> Vec<Read>) {
    let text = read(bytes);
    let mut from = 0;
    let mut shown = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let same = rest.iter().zip(secret).take_while(|(a, b)| a.byte == b.byte).count();
        let found = same == secret.len() || same == rest.len() && same > SHOWN;
        let (Some(first), Some(last), true) = (rest.first(), rest.get(same.saturating_sub(1)), found) else {
            at += 1;
            continue;
        };
        shown.extend_from_slice(&bytes[from..first.place.start]);
        shown.extend_from_slice(MASK.as_bytes());
        from = last.place.end;
        at += same;
    }
    if from > 0 {
        shown.extend_from_slice(&bytes[from..]);
        *bytes = shown;
    }
}

fn plain(bytes: &[u8]) -> Vec<Read> {
    let read = |(at, byte): (usize, &u8)| Read {
        byte: *byte,
        place: at..at + 1,
    };
    bytes.iter().enumerate().map(read).collect()
}

/// Without escapes, which may be escaped themselves, white space and case.
fn spelled(bytes: &[u8]) -> Vec<Read> {
    let mut text = unescaped(&unescaped(&plain(bytes)));
    for read in &mut text {
        read.byte.make_ascii_lowercase();
    }
    text
}

fn unescaped(text: &[Read]) -> Vec<Read> {
    let mut read = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.first() {
        let (byte, used) = escape(rest).unwrap_or((Some(first.byte), 1));
        let used = used.min(rest.len());
        let end = rest.get(used - 1).map_or(first.place.end, |last| last.place.end);
        if let Some(byte) = byte.filter(|byte| !byte.is_ascii_whitespace()) {
            read.push(Read {
                byte,
                place: first.place.start..end,
            });
        }
        rest = rest.get(used..).unwrap_or_default();
    }
    read
}

/// The longest character reference, such as `&#x0041;` and `&equals;`.
const REFERENCE: usize = 10;

/// The character that an escape at the beginning of the text stands for, and how many characters the escape takes. `None`: there is
/// no escape.
fn escape(text: &[Read]) -> Option<(Option<u8>, usize)> {
    let letters = |from: usize, to: usize| -> Option<String> {
        let part = text.get(from..to)?;
        Some(part.iter().map(|read| char::from(read.byte)).collect())
    };
    // One that is cut off by the end of the text says nothing.
    let is_cut = |length: usize| (text.len() < length).then_some((None, text.len()));
    let number = |from, to, radix| u8::from_str_radix(letters(from, to)?.trim_start_matches('0'), radix).ok();
    match text.first()?.byte {
        b'%' => is_cut(3).or_else(|| Some((Some(number(1, 3, 16)?), 3))),
        b'\\' if text.len() == 1 => Some((None, 1)),
        b'\\' => match text.get(1)?.byte {
            b'u' => is_cut(6).or_else(|| Some((Some(number(2, 6, 16)?), 6))),
            b'x' => is_cut(4).or_else(|| Some((Some(number(2, 4, 16)?), 4))),
            b'n' | b'r' | b't' => Some((None, 2)),
            other => Some((Some(other), 2)),
        },
        b'&' => {
            let Some(end) = text.iter().take(REFERENCE).position(|read| read.byte == b';') else {
                return is_cut(REFERENCE);
            };
            let name = letters(1, end)?;
            let byte = match name.strip_prefix('#') {
                Some(digits) => match digits.strip_prefix(['x', 'X']) {
                    Some(hexadecimal) => u8::from_str_radix(hexadecimal, 16).ok()?,
                    None => digits.parse().ok()?,
                },
                None => NAMED.iter().find(|(known, _)| *known == name)?.1,
            };
            Some((Some(byte), end + 1))
        }
        _ => None,
    }
}

/// Characters that HTML and XML name, of those that a token may have.
const NAMED: [(&str, u8); 24] = [
    ("amp", b'&'),
    ("apos", b'\''),
    ("ast", b'*'),
    ("bsol", b'\\'),
    ("colon", b':'),
    ("comma", b','),
    ("commat", b'@'),
    ("dollar", b'$'),
    ("equals", b'='),
    ("excl", b'!'),
    ("grave", b'`'),
    ("gt", b'>'),
    ("hyphen", b'-'),
    ("lowbar", b'_'),
    ("lpar", b'('),
    ("lt", b'<'),
    ("num", b'#'),
    ("percnt", b'%'),
    ("period", b'.'),
    ("plus", b'+'),
    ("quest", b'?'),
    ("quot", b'"'),
    ("rpar", b')'),
    ("sol", b'/'),
];

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}
