//! The thread that runs the network, and its two queues.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use target_profile_core::drain::{Dispatch, Report};
use target_profile_core::time::Timestamp;
use tokio::runtime::Runtime;
use tokio::sync::mpsc as tokio_mpsc;

use crate::answers::{Answers, Held};
use crate::bell::Bell;
use crate::descriptors::are_scarce;
use crate::error::Error;
use crate::exchange::{exchange, now};
use crate::http::{Http, Options};

/// The I/O thread, seen from the worker's thread.
#[derive(Debug)]
pub struct Transport {
    orders: Option<tokio_mpsc::UnboundedSender<Order>>,
    reports: mpsc::Receiver<Arrival>,
    /// What was handed over and is not reported, with the time it was sent at.
    outstanding: RefCell<BTreeMap<u64, Timestamp>>,
    bell: Arc<Bell>,
    end: Arc<OnceLock<End>>,
    ended: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

/// How the I/O thread has ended.
#[derive(Debug)]
enum End {
    /// The worker's side was dropped.
    Stopped,
    /// It has panicked, with this text.
    Panicked(String),
}

enum Order {
    Send(Vec<Dispatch>),
    Renew(Box<(Options, Http)>),
    Sabotage(Sabotage),
}

/// A fault of our own, made on purpose by a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// The I/O thread panics.
    Thread,
    /// The task of the request with this ticket panics; it is handed over afterwards.
    Request(u64),
}

/// A report, and what its answer holds.
type Arrival = (Report, Held);

impl Transport {
    /// Starts the I/O thread. The thread inherits the caller's signal mask: where signals matter, block them around this call.
    ///
    /// # Errors
    /// The options cannot be followed, or the system has no thread or descriptor left.
    pub fn start(options: &Options) -> Result<Self, Error> {
        let http = Http::new(options)?;
        let bell = Arc::new(Bell::new()?);
        let end = Arc::new(OnceLock::new());
        let (orders, orders_in) = tokio_mpsc::unbounded_channel();
        let (reports_out, reports) = mpsc::channel();
        let (ended_out, ended) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let office = Office {
            options: options.clone(),
            http,
            answers: Answers::default(),
            reports: reports_out,
            bell: Arc::clone(&bell),
            to_panic: None,
        };
        let (thread_bell, thread_end) = (Arc::clone(&bell), Arc::clone(&end));
        let thread = std::thread::Builder::new()
            .name("target_profile io".to_owned())
            .spawn(move || {
                let done = catch_unwind(AssertUnwindSafe(|| {
                    let runtime = Background(Some(runtime));
                    if let Some(runtime) = &runtime.0 {
                        runtime.block_on(office.serve(orders_in));
                    }
                }));
                // All tasks are gone by now, and each has left its report.
                let end = done.map_or_else(|panic| End::Panicked(text_of(panic.as_ref())), |()| End::Stopped);
                let _ = thread_end.set(end);
                // Nobody may be listening any more, which is fine.
                let _ = ended_out.send(());
                thread_bell.ring();
            })?;
        Ok(Self {
            orders: Some(orders),
            reports,
            outstanding: RefCell::default(),
            bell,
            end,
            ended,
            thread: Some(thread),
        })
    }

    /// Makes connections differently from now on. What is in flight ends as it began.
    ///
    /// # Errors
    /// The options cannot be followed; the old ones stay in force.
    pub fn renew(&self, options: &Options) -> Result<(), Error> {
        let http = Http::new(options)?;
        self.order(Order::Renew(Box::new((options.clone(), http))));
        Ok(())
    }

    /// Hands requests to the network, in this order, and returns at once. Each of them is reported once, whatever happens.
    pub fn send(&self, requests: Vec<Dispatch>) {
        let handed_over = requests.iter().map(|dispatch| (dispatch.ticket, dispatch.sent_at));
        self.outstanding.borrow_mut().extend(handed_over);
        self.order(Order::Send(requests));
    }

    /// For tests.
    #[doc(hidden)]
    pub fn sabotage(&self, sabotage: Sabotage) {
        self.order(Order::Sabotage(sabotage));
    }

    fn order(&self, order: Order) {
        let is_taken = self.orders.as_ref().is_some_and(|orders| orders.send(order).is_ok());
        if !is_taken {
            // The thread has ended: what it does not take is in the next reports.
            self.bell.ring();
        }
    }

    /// What has ended since the last call, without waiting. When the thread has ended, so has everything that was handed over.
    pub fn reports(&self) -> Vec<Report> {
        self.bell.silence();
        // Before the queue is looked into: what came before the end is in the queue then.
        let has_ended = self.end.get().is_some();
        let mut outstanding = self.outstanding.borrow_mut();
        let mut reports = Vec::new();
        for (report, _held) in self.reports.try_iter() {
            outstanding.remove(&report.ticket);
            reports.push(report);
        }
        if has_ended {
            let lost = std::mem::take(&mut *outstanding);
            reports.extend(lost.into_iter().map(|(ticket, sent_at)| given_up(ticket, sent_at)));
        }
        reports
    }

    /// Becomes readable when there is something for [`Transport::reports`], or when the thread has ended.
    pub fn wake_fd(&self) -> RawFd {
        self.bell.wake_fd()
    }

    /// Whether the I/O thread is running.
    pub fn is_alive(&self) -> bool {
        self.end.get().is_none() && self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// What the I/O thread has died of, if it has.
    pub fn fault(&self) -> Option<&str> {
        match self.end.get()? {
            End::Stopped => None,
            End::Panicked(text) => Some(text),
        }
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

/// A runtime whose end waits for nothing: requests in flight are dropped, and a resolver that hangs in a blocking call is not
/// waited for, also when the thread panics.
struct Background(Option<Runtime>);

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The text of a panic.
fn text_of(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it panicked without a text".to_owned())
}

/// Nobody knows whether it arrived.
fn given_up(ticket: u64, sent_at: Timestamp) -> Report {
    Report {
        ticket,
        sent_at,
        duration: Duration::ZERO,
        result: Err("the request was given up by the sender".to_owned()),
    }
}

/// Idle connections are given up at most this often.
const RELIEF: Duration = Duration::from_secs(1);

/// What the I/O thread works with.
struct Office {
    options: Options,
    http: Http,
    answers: Answers,
    reports: mpsc::Sender<Arrival>,
    bell: Arc<Bell>,
    /// A test's request.
    to_panic: Option<u64>,
}

impl Office {
    async fn serve(mut self, mut orders: tokio_mpsc::UnboundedReceiver<Order>) {
        let mut relieved: Option<Instant> = None;
        // Ends when the worker's side is dropped.
        while let Some(order) = orders.recv().await {
            match order {
                Order::Renew(renewed) => (self.options, self.http) = *renewed,
                Order::Send(requests) => {
                    if relieved.is_none_or(|at| at.elapsed() >= RELIEF) && are_scarce(&self.bell) {
                        // Another one begins without idle connections, and those of the old one end with it.
                        if let Ok(fresh) = Http::new(&self.options) {
                            self.http = fresh;
                        }
                        relieved = Some(Instant::now());
                    }
                    for dispatch in requests {
                        self.begin(dispatch);
                    }
                }
                Order::Sabotage(Sabotage::Request(ticket)) => self.to_panic = Some(ticket),
                Order::Sabotage(Sabotage::Thread) => std::panic::panic_any("sabotage".to_owned()),
            }
        }
    }

    /// Sends one request, in a task of its own: what goes wrong in it is its own end and no other's.
    fn begin(&self, dispatch: Dispatch) {
        let http = self.http.clone();
        let mut receipt = Receipt {
            reports: self.reports.clone(),
            bell: Arc::clone(&self.bell),
            arrival: Some((given_up(dispatch.ticket, now()), self.answers.next())),
        };
        let panics = self.to_panic == Some(dispatch.ticket);
        tokio::spawn(async move {
            if panics {
                std::panic::panic_any("sabotage".to_owned());
            }
            if let Some((report, held)) = &mut receipt.arrival {
                *report = exchange(http, dispatch, held).await;
            }
        });
    }
}

/// Reports the end of a request when it is dropped, so that each request is reported once whatever happens to its task.
struct Receipt {
    reports: mpsc::Sender<Arrival>,
    bell: Arc<Bell>,
    arrival: Option<Arrival>,
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(arrival) = self.arrival.take() {
            // The worker may have gone in the meantime: then nobody needs the report.
            let _ = self.reports.send(arrival);
            self.bell.ring();
        }
    }
}
