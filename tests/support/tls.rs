//! TLS before the stand-in: certificate authorities that exist for one test, and a front that ends TLS.
//!
//! The stand-in speaks plain HTTP. A [`TlsFront`] takes TLS connections with a certificate of the test's choice and
//! passes what they carry to the stand-in's port and back, so every scripted reply can be had over TLS too.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A certificate authority that nobody trusts unless told to.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// One with a new key, whose certificate bears this name.
    #[track_caller]
    pub fn new(name: &str) -> Self {
        let make = || {
            let mut params = CertificateParams::new(Vec::new())?;
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params.distinguished_name = named(name);
            let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
            Ok::<_, rcgen::Error>(Self { issuer })
        };
        make().unwrap_or_else(|error| panic!("cannot make the certificate authority \"{name}\": {error}"))
    }

    /// Its own certificate, for `target_profile.ca_file`.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for these host names and addresses that is valid now.
    #[track_caller]
    pub fn certify(&self, hosts: &[&str]) -> Identity {
        self.certify_until(hosts, 4000)
    }

    /// A certificate for these host names and addresses that ended years ago.
    #[track_caller]
    pub fn certify_expired(&self, hosts: &[&str]) -> Identity {
        self.certify_until(hosts, 2001)
    }

    #[track_caller]
    fn certify_until(&self, hosts: &[&str], year: i32) -> Identity {
        let make = || {
            let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
            let mut params = CertificateParams::new(hosts)?;
            params.distinguished_name = named("stand-in");
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(year, 1, 1);
            let key = KeyPair::generate()?;
            Ok::<_, rcgen::Error>(Identity {
                certificate: params.signed_by(&key, &self.issuer)?.der().clone(),
                key: PrivatePkcs8KeyDer::from(key.serialize_der()),
            })
        };
        make().unwrap_or_else(|error| panic!("cannot make a certificate for {hosts:?}: {error}"))
    }
}

/// Authorities of one name would be told apart by their keys only, and a wrong one be reported as a bad signature.
fn named(name: &str) -> rcgen::DistinguishedName {
    let mut distinguished = rcgen::DistinguishedName::new();
    distinguished.push(rcgen::DnType::CommonName, name);
    distinguished
}

/// A certificate and its key.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

/// Takes TLS connections on a port of 127.0.0.1 and passes what they carry to another one. Dropped, it stops at once.
pub struct TlsFront {
    port: u16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TlsFront {
    /// Starts one that shows this certificate and forwards to this port of 127.0.0.1.
    #[track_caller]
    pub fn start(identity: Identity, to: u16) -> Self {
        serve(identity, to).unwrap_or_else(|error| panic!("cannot start TLS before port {to}: {error}"))
    }

    /// The endpoint template to give to `target_profile.add_client`, under a host name or address of this machine.
    pub fn endpoint(&self, host: &str) -> String {
        format!("https://{host}:{}/m2/{{client}}/profile/update", self.port)
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in the thread has been reported by the panic itself.
            let _ = thread.join();
        }
    }
}

fn serve(identity: Identity, to: u16) -> io::Result<TlsFront> {
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate], PrivateKeyDer::Pkcs8(identity.key))
        .map_err(io::Error::other)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (stop, stopped) = oneshot::channel::<()>();
    let (report, listening) = mpsc::channel();
    let body = move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(report.send(Err(error))),
        };
        runtime.block_on(async move {
            let bound = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await;
            let listener = match bound.and_then(|listener| Ok((listener.local_addr()?.port(), listener))) {
                Ok((port, listener)) => {
                    let _ = report.send(Ok(port));
                    listener
                }
                Err(error) => return drop(report.send(Err(error))),
            };
            tokio::select! {
                _ = stopped => {}
                () = accept(listener, acceptor, to) => {}
            }
        });
    };
    let thread = thread::Builder::new().name("TLS front".to_owned()).spawn(body)?;
    let port = listening
        .recv()
        .map_err(|_| io::Error::other("the front's thread ended"))??;
    Ok(TlsFront {
        port,
        stop: Some(stop),
        thread: Some(thread),
    })
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, to: u16) {
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // A client that does not like the certificate ends the handshake, which is what some tests are about.
            let Ok(mut tls) = acceptor.accept(stream).await else {
                return;
            };
            if let Ok(mut plain) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await {
                let _ = copy_bidirectional(&mut tls, &mut plain).await;
            }
        });
    }
}
