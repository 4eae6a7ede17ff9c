//! The HTTP client: its certificates, and the proxy for endpoints that are not on this machine.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Response, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::{self, Client};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use target_profile_core::endpoint::Way;
use target_profile_core::limits::ANSWER_HEAD_BYTES;
use target_profile_core::request::{Method, POST_CONTENT_TYPE, Request};
use target_profile_core::secret::Secret;

use crate::error::Error;
use crate::wire::Connector;

/// How connections are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Certificates (PEM) that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The proxy for all requests but those to loopback, a URL. Proxies named in the environment are not used.
    pub proxy: Option<Secret>,
    /// Idle connections kept for each host.
    pub idle_connections: usize,
    /// What is sent as `User-Agent`.
    pub user_agent: String,
}

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(90);
/// How often a connection is tried on which nothing comes.
const KEEPALIVE: Duration = Duration::from_secs(15);

type Body = Full<Bytes>;
type Direct = Client<Connector<HttpsConnector<HttpConnector>>, Body>;
/// TLS to the host, in a tunnel, over a connection to the proxy that may be TLS itself.
type Proxied = Client<Connector<HttpsConnector<Tunnel<HttpsConnector<HttpConnector>>>>, Body>;

/// Makes requests as the options say. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    direct: Direct,
    proxied: Option<Proxied>,
    user_agent: Option<HeaderValue>,
    /// What no message may show.
    secrets: Arc<[Secret]>,
}

impl Http {
    pub(crate) fn new(options: &Options) -> Result<Self, Error> {
        let tls = Arc::new(tls(options.ca_file.as_deref())?);
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        let connector = HttpsConnector::from((tcp, Arc::clone(&tls)));
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(options.idle_connections)
            .http1_max_buf_size(ANSWER_HEAD_BYTES);
        let mut secrets = Vec::new();
        let proxied = match &options.proxy {
            None => None,
            Some(proxy) => {
                let tunnel = tunnel(proxy.expose(), connector.clone()).ok_or(Error::Proxy)?;
                secrets.push(proxy.clone());
                secrets.extend(password(proxy.expose()).map(Secret::new));
                Some(builder.build(Connector(HttpsConnector::from((tunnel, tls)))))
            }
        };
        Ok(Self {
            direct: builder.build(Connector(connector)),
            proxied,
            user_agent: HeaderValue::try_from(&options.user_agent).ok(),
            secrets: secrets.into(),
        })
    }

    /// Sends a request and reads the head of its answer.
    pub(crate) async fn request(
        &self,
        request: Request,
        token: Option<&Secret>,
    ) -> Result<Response<Incoming>, Failure> {
        let way = Way::of(&request.url);
        if way == Way::Refused {
            return Err(Failure::Unfit("http is for loopback only".to_owned()));
        }
        let request = to_hyper(request, token, self.user_agent.clone())?;
        // What may go in clear must not leave the machine, so loopback is reached directly, whatever the options say.
        let sent = match (&self.proxied, way) {
            (Some(proxied), Way::Tls) => proxied.request(request).await,
            _ => self.direct.request(request).await,
        };
        sent.map_err(Failure::NoAnswer)
    }

    pub(crate) fn secrets(&self) -> &[Secret] {
        &self.secrets
    }
}

fn to_hyper(
    request: Request,
    token: Option<&Secret>,
    user_agent: Option<HeaderValue>,
) -> Result<hyper::Request<Body>, Failure> {
    let uri = Uri::try_from(request.url).map_err(|error| Failure::Unfit(error.to_string()))?;
    let mut made = hyper::Request::new(Full::new(request.body.map_or_else(Bytes::new, Bytes::from)));
    *made.uri_mut() = uri;
    let headers = made.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    if let Some(user_agent) = user_agent {
        headers.insert(USER_AGENT, user_agent);
    }
    if let Some(token) = token {
        // The settings admit printable ASCII only, so this cannot fail; if it did, Target would answer 401.
        if let Ok(mut value) = HeaderValue::try_from(["Bearer ", token.expose()].concat()) {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
    }
    if request.method == Method::Post {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(POST_CONTENT_TYPE));
        *made.method_mut() = hyper::Method::POST;
    }
    Ok(made)
}

/// The system's certificates, and those of the file.
fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, Error> {
    let fault = |error: rustls::Error| Error::Http(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = match ca_file {
        None => rustls_platform_verifier::Verifier::new(Arc::clone(&provider)),
        Some(path) => {
            let certificates = certificates(path)?;
            rustls_platform_verifier::Verifier::new_with_extra_roots(certificates, Arc::clone(&provider))
        }
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(fault)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier.map_err(fault)?))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The largest file of certificates that is read, in bytes. A system's whole bundle takes a quarter of a megabyte.
const CA_FILE_BYTES: u64 = 16 * 1024 * 1024;

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let fault = |reason: String| Error::CaFile {
        path: path.to_owned(),
        reason,
    };
    // Opening a FIFO waits for a writer, and a device may be endless.
    let file = std::fs::metadata(path).map_err(|error| fault(error.to_string()))?;
    if !file.is_file() {
        return Err(fault("it is not a regular file".to_owned()));
    }
    if file.len() > CA_FILE_BYTES {
        return Err(fault(format!("it is larger than {CA_FILE_BYTES} bytes")));
    }
    let pem = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| fault(error.to_string()))?;
    if certificates.is_empty() {
        return Err(fault("it holds no certificate in PEM form".to_owned()));
    }
    Ok(certificates)
}

/// The way through a proxy. `None`: its address is no URL of one that speaks HTTP.
fn tunnel(proxy: &str, connector: HttpsConnector<HttpConnector>) -> Option<Tunnel<HttpsConnector<HttpConnector>>> {
    let proxy = Matcher::builder().all(proxy.to_owned()).build();
    let proxy = proxy.intercept(&Uri::from_static("https://host.invalid/"))?;
    if !matches!(proxy.uri().scheme_str(), Some("http" | "https")) {
        return None;
    }
    let tunnel = Tunnel::new(proxy.uri().clone(), connector);
    Some(match proxy.basic_auth() {
        Some(credentials) => tunnel.with_auth(credentials.clone()),
        None => tunnel,
    })
}

/// The password in a URL.
fn password(url: &str) -> Option<&str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest
        .split_once(['/', '?', '#'])
        .map_or(rest, |(authority, _)| authority);
    let (user, _host) = authority.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password)
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It took longer than the request may take.
    Timeout,
    /// It was not sent, and why.
    Unfit(String),
    /// It was sent, or was to be.
    NoAnswer(legacy::Error),
    /// The answer had begun.
    BrokeOff(hyper::Error),
}

impl Failure {
    /// The causes, outermost first, without the URL: it would repeat the profile's attributes.
    pub(crate) fn describe(&self) -> String {
        let (kind, mut cause) = match self {
            Self::Timeout => return "timeout".to_owned(),
            Self::Unfit(why) => return format!("cannot be sent: {why}"),
            Self::NoAnswer(error) if error.is_connect() => ("cannot connect", error.source()),
            Self::NoAnswer(error) => ("connection failed", error.source()),
            Self::BrokeOff(error) => ("answer broke off", Some(error as _)),
        };
        let mut text = kind.to_owned();
        while let Some(inner) = cause {
            let inner_text = inner.to_string();
            if !text.ends_with(&inner_text) {
                text.push_str(": ");
                text.push_str(&inner_text);
            }
            cause = inner.source();
        }
        text
    }
}
