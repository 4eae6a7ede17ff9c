//! The address that updates go to, as a template of the client code.

use std::sync::Arc;

use url::{Host, Url};

use crate::client_code::ClientCode;
use crate::error::{Error, Excerpt};
use crate::limits::{CLIENT_CODE_BYTES, ENDPOINT_URL_BYTES};

/// The placeholder of the client code in a template.
const PLACEHOLDER: &str = "{client}";

/// A client code to try a template with. It begins with a letter, so that it is no part of an IPv4 address; that it
/// is an unlikely one keeps the hint of [`Error::EndpointNotCanonical`] readable.
const SAMPLE: &str = "sample-code-0";

/// The URL of Target's Single Profile Update API, in which `{client}` stands for the client code. Cheap to clone.
///
/// What an endpoint promises: whatever the client code, the URL is a valid one in canonical form, of the same scheme,
/// port and host, save for whole labels of the host that are the code, and without credentials, query and fragment.
/// So a client code cannot change where the data is sent beyond what the template admits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    template: Arc<str>,
    placeholders: usize,
}

impl Endpoint {
    /// Adobe's own endpoint. The documentation prints `/m2/client/…`; the client code belongs there as well. \[seen\]
    pub const DEFAULT: &'static str = "https://{client}.tt.omtrdc.net/m2/{client}/profile/update";

    /// Accepts an https URL with any number of `{client}` in the path and in labels of the host. http will do where the
    /// host is loopback: `localhost`, `127.0.0.0/8` (also as `[::ffff:127.0.0.1]`) or `[::1]`. A CNAME of the customer's needs no placeholder.
    ///
    /// The template has to be canonical, that is, read exactly as the URL will be sent: then what is measured,
    /// previewed and recorded is what is sent, and no rule of URL parsers, of which there are many, comes between.
    ///
    /// # Errors
    /// One of the `Endpoint…` variants of [`Error`]: see each.
    pub fn parse(template: &str) -> Result<Self, Error> {
        let https = template.starts_with("https://");
        if !https && !template.starts_with("http://") {
            return Err(Error::EndpointNotUrl);
        }
        // Before anything that shows the template.
        if template.contains('@') {
            return Err(Error::EndpointCredentials);
        }
        if let Some((base, _)) = template.split_once(['?', '#']) {
            return Err(Error::EndpointQuery {
                base: Excerpt::of(base),
            });
        }

        let shown = || Excerpt::of(template);
        if template.split(PLACEHOLDER).any(|literal| literal.contains(['{', '}'])) {
            return Err(Error::EndpointPlaceholder { template: shown() });
        }
        if !has_safe_host(template) {
            return Err(Error::EndpointHost { template: shown() });
        }
        if !has_whole_escapes(template) {
            return Err(Error::EndpointEscape { template: shown() });
        }
        let sample = template.replace(PLACEHOLDER, SAMPLE);
        let url = Url::parse(&sample).map_err(|_| Error::EndpointNotUrl)?;
        if url.as_str() != sample {
            let canonical = Excerpt::of(&url.as_str().replace(SAMPLE, PLACEHOLDER));
            return Err(Error::EndpointNotCanonical {
                template: shown(),
                canonical,
            });
        }
        if way_to(&url) == Way::Refused {
            return Err(Error::EndpointInsecure { template: shown() });
        }

        let endpoint = Self {
            template: template.into(),
            placeholders: template.matches(PLACEHOLDER).count(),
        };
        let bytes = endpoint.url_bytes(CLIENT_CODE_BYTES);
        if bytes > ENDPOINT_URL_BYTES {
            return Err(Error::EndpointTooLong {
                template: shown(),
                bytes,
            });
        }
        Ok(endpoint)
    }

    /// The template as it was given.
    #[must_use]
    pub fn template(&self) -> &str {
        &self.template
    }

    /// The URL for one client, without a query.
    #[must_use]
    pub fn url_for(&self, client: &ClientCode) -> String {
        self.template.replace(PLACEHOLDER, client.as_str())
    }

    /// The length of the URL for a client code of `code_bytes` bytes, in bytes.
    pub(crate) fn url_bytes(&self, code_bytes: usize) -> usize {
        self.template.len() - self.placeholders * PLACEHOLDER.len() + self.placeholders * code_bytes
    }
}

impl Default for Endpoint {
    /// [`Endpoint::DEFAULT`].
    fn default() -> Self {
        Self {
            template: Self::DEFAULT.into(),
            placeholders: Self::DEFAULT.matches(PLACEHOLDER).count(),
        }
    }
}

/// Whether every placeholder before the path is a whole label of the host, and not the last.
///
/// Were it the last, the code would be the top-level domain, or would make the host an IPv4 address, as `123` does;
/// were it part of a label, a code could complete a prefix such as `xn--` to a name in another script.
fn has_safe_host(template: &str) -> bool {
    let Some((_, rest)) = template.split_once("://") else {
        return false;
    };
    let (authority, _path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let host = host.strip_suffix('.').unwrap_or(host);
    let (labels, last) = host.rsplit_once('.').unwrap_or(("", host));
    !port.contains(PLACEHOLDER)
        && !last.contains(PLACEHOLDER)
        && labels
            .split('.')
            .all(|label| label == PLACEHOLDER || !label.contains(PLACEHOLDER))
}

/// Whether every percent sign starts an escape that is complete without the client code, which could complete
/// `%{client}` to any character.
fn has_whole_escapes(template: &str) -> bool {
    template.split(PLACEHOLDER).all(|literal| {
        literal.split('%').skip(1).all(|escape| {
            let mut digits = escape.bytes();
            let mut is_digit = || digits.next().is_some_and(|byte| byte.is_ascii_hexdigit());
            is_digit() && is_digit()
        })
    })
}

/// How a URL may be reached. One rule for what an endpoint may be and for how its requests travel, so that what may go in
/// clear never leaves the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The host is loopback: directly, never through a proxy.
    Loopback,
    /// https to another host: through the proxy, if there is one.
    Tls,
    /// Anything else: not at all, since it would show the token and the profile to everyone on the way.
    Refused,
}

impl Way {
    /// The way to the URL of a request.
    #[must_use]
    pub fn of(url: &str) -> Self {
        // The query is most of a URL, and does not say where it is sent.
        let base = url.split_once(['?', '#']).map_or(url, |(base, _)| base);
        Url::parse(base).map_or(Self::Refused, |url| way_to(&url))
    }
}

fn way_to(url: &Url) -> Way {
    let is_loopback = match url.host() {
        // Names other than this one are names: what they resolve to is not known before they are asked for.
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        None => false,
    };
    match url.scheme() {
        "http" | "https" if is_loopback => Way::Loopback,
        "https" => Way::Tls,
        _ => Way::Refused,
    }
}
