//! The thread that runs the network, and its two queues.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use reqwest::{Certificate, Proxy, redirect};
use rustix::event::{EventfdFlags, eventfd};
use target_profile_core::drain::{Dispatch, Report};
use target_profile_core::secret::Secret;
use thiserror::Error;
use tokio::sync::mpsc as tokio_mpsc;

use crate::descriptors::are_scarce;
use crate::exchange::{CONNECT_TIMEOUT, exchange, now};

/// How connections are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Certificates (PEM) that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The proxy for all requests, a URL. Proxies named in the environment are not used.
    pub proxy: Option<Secret>,
    /// Idle connections kept for each host.
    pub idle_connections: usize,
    /// What is sent as `User-Agent`.
    pub user_agent: String,
}

/// Why the transport cannot be set up.
#[derive(Debug, Error)]
pub enum Error {
    /// The file of further certificates.
    #[error("could not read certificates from \"{}\": {reason}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The proxy's address. Its text may hold a password and is not repeated.
    #[error("the proxy's address is not a URL")]
    Proxy,
    /// The TLS or HTTP library.
    #[error("could not set up the HTTP client: {0}")]
    Http(String),
    /// A system call.
    #[error("could not start the I/O thread: {0}")]
    Io(#[from] io::Error),
}

/// The I/O thread, seen from the worker's thread.
#[derive(Debug)]
pub struct Transport {
    orders: Option<tokio_mpsc::UnboundedSender<Order>>,
    reports: mpsc::Receiver<Report>,
    bell: Arc<Bell>,
    ended: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    Send(Vec<Dispatch>),
    Renew(Options, reqwest::Client),
}

impl Transport {
    /// Starts the I/O thread. The thread inherits the caller's signal mask: where signals matter, block them around this call.
    ///
    /// # Errors
    /// The options cannot be followed, or the system has no thread or descriptor left.
    pub fn start(options: &Options) -> Result<Self, Error> {
        let http = http_client(options)?;
        let bell = Arc::new(Bell::new()?);
        let (orders, orders_in) = tokio_mpsc::unbounded_channel();
        let (reports_out, reports) = mpsc::channel();
        let (ended_out, ended) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread_bell = Arc::clone(&bell);
        let options = options.clone();
        let thread = std::thread::Builder::new()
            .name("target_profile io".to_owned())
            .spawn(move || {
                let bell = thread_bell;
                runtime.block_on(serve(options, http, orders_in, reports_out, Arc::clone(&bell)));
                // Requests in flight are dropped, and a resolver that hangs in a blocking call is not waited for.
                runtime.shutdown_background();
                // Nobody may be listening any more, which is fine.
                let _ = ended_out.send(());
                bell.ring();
            })?;
        Ok(Self {
            orders: Some(orders),
            reports,
            bell,
            ended,
            thread: Some(thread),
        })
    }

    /// Makes connections differently from now on. What is in flight ends as it began.
    ///
    /// # Errors
    /// The options cannot be followed; the old ones stay in force.
    pub fn renew(&self, options: &Options) -> Result<(), Error> {
        let http = http_client(options)?;
        self.order(Order::Renew(options.clone(), http));
        Ok(())
    }

    /// Hands requests to the network, in this order, and returns at once.
    pub fn send(&self, requests: Vec<Dispatch>) {
        self.order(Order::Send(requests));
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // Fails only when the thread has ended, which `is_alive` tells.
            let _ = orders.send(order);
        }
    }

    /// What has ended since the last call, without waiting.
    pub fn reports(&self) -> Vec<Report> {
        self.bell.silence();
        self.reports.try_iter().collect()
    }

    /// Becomes readable when there is something for [`Transport::reports`], or when the thread has ended.
    pub fn wake_fd(&self) -> RawFd {
        self.bell.fd.as_fd().as_raw_fd()
    }

    /// Whether the I/O thread is running.
    pub fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Ends the I/O thread and gives up what is in flight. Waits at most `patience`; the answer is whether the thread has
    /// ended by then.
    pub fn stop(&mut self, patience: Duration) -> bool {
        self.orders = None;
        let deadline = Instant::now() + patience;
        let ended = matches!(
            self.ended
                .recv_timeout(deadline.saturating_duration_since(Instant::now())),
            Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected)
        );
        if ended && let Some(thread) = self.thread.take() {
            // It has said that it is done, or has panicked; either way there is nothing left to wait for.
            let _ = thread.join();
        }
        ended
    }
}

/// Idle connections are given up at most this often.
const RELIEF: Duration = Duration::from_secs(1);

async fn serve(
    mut options: Options,
    mut http: reqwest::Client,
    mut orders: tokio_mpsc::UnboundedReceiver<Order>,
    reports: mpsc::Sender<Report>,
    bell: Arc<Bell>,
) {
    let mut relieved: Option<Instant> = None;
    // Ends when the worker's side is dropped.
    while let Some(order) = orders.recv().await {
        match order {
            Order::Renew(asked, renewed) => (options, http) = (asked, renewed),
            Order::Send(requests) => {
                if relieved.is_none_or(|at| at.elapsed() >= RELIEF) && are_scarce(&bell.fd) {
                    // Another one begins without idle connections, and those of the old one end with it.
                    if let Ok(fresh) = http_client(&options) {
                        http = fresh;
                    }
                    relieved = Some(Instant::now());
                }
                for dispatch in requests {
                    let http = http.clone();
                    let receipt = Receipt::new(dispatch.ticket, reports.clone(), Arc::clone(&bell));
                    tokio::spawn(async move { receipt.hand_in(exchange(http, dispatch).await) });
                }
            }
        }
    }
}

/// Reports the end of a request when it is dropped, so that each request is reported once whatever happens to its task.
struct Receipt {
    reports: mpsc::Sender<Report>,
    bell: Arc<Bell>,
    report: Option<Report>,
}

impl Receipt {
    fn new(ticket: u64, reports: mpsc::Sender<Report>, bell: Arc<Bell>) -> Self {
        let given_up = Err("the request was given up by the sender".to_owned());
        let report = Report {
            ticket,
            sent_at: now(),
            duration: Duration::ZERO,
            result: given_up,
        };
        Self {
            reports,
            bell,
            report: Some(report),
        }
    }

    fn hand_in(mut self, report: Report) {
        self.report = Some(report);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(report) = self.report.take() {
            // The worker may have gone in the meantime: then nobody needs the report.
            let _ = self.reports.send(report);
            self.bell.ring();
        }
    }
}

fn http_client(options: &Options) -> Result<reqwest::Client, Error> {
    // The second call in a process finds the provider in place.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
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
    if let Some(proxy) = &options.proxy {
        builder = builder.proxy(Proxy::all(proxy.expose()).map_err(|_| Error::Proxy)?);
    }
    builder.build().map_err(|error| Error::Http(error.to_string()))
}

/// An eventfd that is written at most once between two looks.
#[derive(Debug)]
struct Bell {
    fd: OwnedFd,
    rung: AtomicBool,
}

impl Bell {
    fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self {
            fd,
            rung: AtomicBool::new(false),
        })
    }

    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // Only a counter at its maximum would refuse, and then the descriptor is readable anyway.
            let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
        }
    }

    fn silence(&self) {
        let mut count = [0u8; 8];
        // Empty already is fine: the descriptor does not block.
        let _ = rustix::io::read(&self.fd, &mut count);
        // After the read: a report sent from here on rings again.
        self.rung.store(false, Ordering::Release);
    }
}
