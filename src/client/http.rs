//! How connections are made: with these certificates, and to other machines through this proxy.

use std::path::PathBuf;

use reqwest::{Certificate, Client, ClientBuilder, Proxy, redirect};
use target_profile_core::endpoint::Way;
use target_profile_core::secret::Secret;

use crate::exchange::CONNECT_TIMEOUT;
use crate::transport::Error;

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

/// The HTTP clients that follow the options. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    /// Without the proxy, whatever the options say: what goes in clear must not leave the machine.
    loopback: Client,
    others: Client,
    /// What no message may show.
    secrets: Vec<Secret>,
}

impl Http {
    pub(crate) fn new(options: &Options) -> Result<Self, Error> {
        let loopback = builder(options)?.build();
        let mut others = builder(options)?;
        let mut secrets = Vec::new();
        if let Some(proxy) = &options.proxy {
            others = others.proxy(Proxy::all(proxy.expose()).map_err(|_| Error::Proxy)?);
            secrets.push(proxy.clone());
            secrets.extend(password(proxy.expose()).map(Secret::new));
        }
        let done = |built: Result<Client, reqwest::Error>| built.map_err(|error| Error::Http(error.to_string()));
        Ok(Self {
            loopback: done(loopback)?,
            others: done(others.build())?,
            secrets,
        })
    }

    /// The client by which a URL is reached; `None`: it must not be.
    pub(crate) fn to(&self, url: &str) -> Option<&Client> {
        match Way::of(url) {
            Way::Loopback => Some(&self.loopback),
            Way::Tls => Some(&self.others),
            Way::Refused => None,
        }
    }

    pub(crate) fn secrets(&self) -> &[Secret] {
        &self.secrets
    }
}

fn builder(options: &Options) -> Result<ClientBuilder, Error> {
    // The second call in a process finds the provider in place.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(options.idle_connections)
        .tcp_nodelay(true)
        .http1_only()
        .retry(reqwest::retry::never())
        .user_agent(&options.user_agent);
    if let Some(path) = &options.ca_file {
        let fault = |reason: String| Error::CaFile {
            path: path.clone(),
            reason,
        };
        let pem = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| fault(error.to_string()))?;
        if certificates.is_empty() {
            return Err(fault("it holds no certificate in PEM form".to_owned()));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    Ok(builder)
}

/// The password in a URL.
fn password(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split_once(['/', '?', '#']).map_or(rest, |(authority, _)| authority);
    let (user, _host) = authority.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password)
}
