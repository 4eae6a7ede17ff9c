//! The requests of an update: how they are encoded, measured and, where one does not hold them all, split.

use crate::attrs::{FlatAttrs, PREFIX};
use crate::endpoint::Endpoint;
use crate::error::{Error, Excerpt};
use crate::id::ProfileKey;
use crate::limits::GET_URL_BYTES;
pub use crate::method::Method;

/// The type of a POST's body. \[assumed\] The charset is named because a servlet container may otherwise take the
/// escapes of a form for ISO-8859-1, and Target runs in one.
pub const POST_CONTENT_TYPE: &str = "application/x-www-form-urlencoded; charset=UTF-8";

/// Which method a client's requests use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MethodPolicy {
    /// One GET if that holds everything, else POST.
    #[default]
    Auto,
    /// Always GET.
    Get,
    /// Always POST.
    Post,
}

impl MethodPolicy {
    /// Reads `auto`, `get` or `post`.
    ///
    /// # Errors
    /// [`Error::UnknownMethod`] for any other text.
    pub fn parse(given: &str) -> Result<Self, Error> {
        match given {
            "auto" => Ok(Self::Auto),
            "get" => Ok(Self::Get),
            "post" => Ok(Self::Post),
            _ => Err(Error::UnknownMethod {
                given: Excerpt::of(given),
            }),
        }
    }

    /// The name that [`MethodPolicy::parse`] reads.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Get => "get",
            Self::Post => "post",
        }
    }

    /// The method with the most room that the policy allows: what fits in none of its requests cannot be sent.
    const fn roomiest(self) -> Method {
        match self {
            Self::Auto | Self::Post => Method::Post,
            Self::Get => Method::Get,
        }
    }
}

/// One request to Target. It holds no token: the token is a header, which the sender adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// GET or POST.
    pub method: Method,
    /// The whole URL; with the query if it is a GET.
    pub url: String,
    /// The body if it is a POST: [`POST_CONTENT_TYPE`].
    pub body: Option<String>,
    /// How many of the update's attributes are in it: those that come next in the order of names.
    pub attrs: usize,
}

impl Request {
    /// The bytes that count against the limit of the method: of a GET the whole URL, of a POST the body.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.body.as_ref().map_or(self.url.len(), String::len)
    }
}

/// Makes the requests of one update, each within the limit of its method, in the order of the attributes' names. Nearly
/// always that is one; more hold the attributes between them, each attribute once, and each request names the id.
/// Without attributes there is no request. Takes time in proportion to the encoded size.
///
/// Each request is filled before the next is begun. Fitting smaller attributes into the gaps might save a request now
/// and then, of updates that are near the whole of what Target keeps for a profile.
///
/// # Errors
/// [`Error::AttrTooLarge`] for the first attribute that is too large for any request of this policy.
pub fn build(
    endpoint: &Endpoint,
    key: &ProfileKey,
    attrs: &FlatAttrs,
    policy: MethodPolicy,
) -> Result<Vec<Request>, Error> {
    let plan = Plan::of(endpoint, key, attrs, policy)?;
    let mut left = attrs.clone();
    let mut requests = Vec::with_capacity(plan.parts());
    while let Some(request) = plan.next(key, &left) {
        drop(left.take_first(request.attrs));
        requests.push(request);
    }
    Ok(requests)
}

/// How an update is sent: what [`build`] would make, made one at a time.
#[derive(Debug, Clone)]
pub struct Plan {
    endpoint: Endpoint,
    method: Method,
    parts: usize,
}

impl Plan {
    /// Measures the update without making its requests.
    ///
    /// # Errors
    /// Exactly those of [`build`].
    pub fn of(endpoint: &Endpoint, key: &ProfileKey, attrs: &FlatAttrs, policy: MethodPolicy) -> Result<Self, Error> {
        let plan = |method, parts| Self {
            endpoint: endpoint.clone(),
            method,
            parts,
        };
        if attrs.is_empty() {
            return Ok(plan(policy.roomiest(), 0));
        }
        if policy == MethodPolicy::Auto {
            let frame = Frame::new(endpoint, key, Method::Get);
            if frame.bytes + attrs.iter().map(|(name, value)| pair_bytes(name, value)).sum::<usize>() <= GET_URL_BYTES {
                return Ok(plan(Method::Get, 1));
            }
        }
        let frame = Frame::new(endpoint, key, policy.roomiest());
        let (mut parts, mut bytes) = (1, frame.bytes);
        for (name, value) in attrs.iter() {
            let pair = frame.check(name, value)?;
            if bytes + pair > frame.method.max_bytes() {
                parts += 1;
                bytes = frame.bytes;
            }
            bytes += pair;
        }
        Ok(plan(frame.method, parts))
    }

    /// How many requests there are.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// The next request: it holds the first of the attributes that are left, as many as fit. `None`: there are none left.
    #[must_use]
    pub fn next(&self, key: &ProfileKey, left: &FlatAttrs) -> Option<Request> {
        let frame = Frame::new(&self.endpoint, key, self.method);
        let (mut part, mut bytes) = (0, frame.bytes);
        for (name, value) in left.iter() {
            let pair = pair_bytes(name, value);
            if part > 0 && bytes + pair > self.method.max_bytes() {
                break;
            }
            part += 1;
            bytes += pair;
        }
        (part > 0).then(|| frame.request(left.iter().take(part), bytes))
    }
}

/// Checks that [`build`] can make requests of these attributes, by counting and without allocating: it is called for
/// every row of a bulk load. Merging updates that pass gives one that passes, as each attribute needs to fit but
/// alone.
///
/// # Errors
/// Exactly those of [`build`].
pub fn check_fits(endpoint: &Endpoint, key: &ProfileKey, attrs: &FlatAttrs, policy: MethodPolicy) -> Result<(), Error> {
    let frame = Frame::new(endpoint, key, policy.roomiest());
    attrs
        .iter()
        .try_for_each(|(name, value)| frame.check(name, value).map(drop))
}

/// What every request of an update has in common, and how many bytes of the limit that takes.
struct Frame<'a> {
    endpoint: &'a Endpoint,
    key: &'a ProfileKey,
    method: Method,
    bytes: usize,
}

impl<'a> Frame<'a> {
    fn new(endpoint: &'a Endpoint, key: &'a ProfileKey, method: Method) -> Self {
        let id = key.kind.as_str().len() + "=".len() + encoded_bytes(key.id.as_str());
        let bytes = match method {
            Method::Get => endpoint.url_bytes(key.client.as_str().len()) + "?".len() + id,
            Method::Post => id,
        };
        Self {
            endpoint,
            key,
            method,
            bytes,
        }
    }

    /// The bytes that an attribute takes, if it fits in a request by itself.
    fn check(&self, name: &str, value: &str) -> Result<usize, Error> {
        let bytes = pair_bytes(name, value);
        let room = self.method.max_bytes().saturating_sub(self.bytes);
        if bytes > room {
            return Err(Error::AttrTooLarge {
                name: Excerpt::of(name),
                bytes,
                room,
                method: self.method,
            });
        }
        Ok(bytes)
    }

    /// The request that holds `part`, of which the limit counts `bytes` bytes.
    fn request<'p>(&self, part: impl Iterator<Item = (&'p str, &'p str)>, bytes: usize) -> Request {
        let url = self.endpoint.url_for(&self.key.client);
        let mut text = String::with_capacity(bytes);
        if self.method == Method::Get {
            text.push_str(&url);
            text.push('?');
        }
        text.push_str(self.key.kind.as_str());
        text.push('=');
        push_encoded(&mut text, self.key.id.as_str());
        let mut attrs = 0;
        for (name, value) in part {
            attrs += 1;
            text.push('&');
            text.push_str(PREFIX);
            push_encoded(&mut text, name);
            text.push('=');
            push_encoded(&mut text, value);
        }
        match self.method {
            Method::Get => Request {
                method: Method::Get,
                url: text,
                body: None,
                attrs,
            },
            Method::Post => Request {
                method: Method::Post,
                url,
                body: Some(text),
                attrs,
            },
        }
    }
}

/// The bytes of `&profile.name=value`.
fn pair_bytes(name: &str, value: &str) -> usize {
    "&".len() + PREFIX.len() + encoded_bytes(name) + "=".len() + encoded_bytes(value)
}

/// Whether a byte is not percent-encoded: the unreserved characters of RFC 3986, section 2.3.
///
/// Every other byte of the UTF-8 text becomes `%XX`. That is more than a URL demands, and is right for all readers:
/// `&`, `=`, `#`, `+` and `%` would change the meaning, and a space as `%20` is a space both to a reader of URLs and
/// to one of forms, whereas `+` is a space to the latter only. So one encoding serves the query and the body alike.
const fn is_unreserved(byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~')
}

/// The length of `text` once encoded, in bytes.
fn encoded_bytes(text: &str) -> usize {
    text.len() + 2 * text.bytes().filter(|&byte| !is_unreserved(byte)).count()
}

/// Appends `text`, percent-encoded.
fn push_encoded(out: &mut String, text: &str) {
    const HEX: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    for byte in text.bytes() {
        if is_unreserved(byte) {
            out.push(char::from(byte));
        } else {
            out.extend(['%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}
