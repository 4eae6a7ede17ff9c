//! The worker's I/O thread, which uses the network.

use std::cell::RefCell;
use std::time::Duration;

use target_profile_client::{Options, Transport};
use target_profile_core::descriptors;
use target_profile_core::drain::{Dispatch, Limits, Report};

use super::transaction::with_signals_blocked;

/// How long the I/O thread is waited for at the end: a fast shutdown must not notice it.
const STOP_PATIENCE: Duration = Duration::from_millis(300);

thread_local! {
    /// Apart from the worker, so that the exit callback reaches it.
    static TRANSPORT: RefCell<Option<Transport>> = const { RefCell::new(None) };
    /// What a thread that has died had to report.
    static LEFT: RefCell<Vec<Report>> = const { RefCell::new(Vec::new()) };
}

/// What became of the I/O thread.
#[derive(Debug, PartialEq, Eq)]
pub enum Thread {
    /// It runs, as it did.
    Runs,
    /// It runs since now. `died`: what the one before has died of.
    Started {
        /// For the log and the view.
        died: Option<String>,
    },
}

/// Readable when there are answers.
pub fn wake_fd() -> Option<i32> {
    TRANSPORT.with_borrow(|transport| transport.as_ref().map(Transport::wake_fd))
}

/// The answers that have come, and the end of what will get none.
pub fn reports() -> Vec<Report> {
    let mut reports = LEFT.take();
    TRANSPORT.with_borrow(|transport| reports.extend(transport.iter().flat_map(Transport::reports)));
    reports
}

/// Hands over what is to be sent.
pub fn send(dispatches: Vec<Dispatch>) {
    if !dispatches.is_empty() {
        TRANSPORT.with_borrow(|transport| match transport {
            Some(transport) => transport.send(dispatches),
            // Nothing that was claimed may be left without an end.
            None => LEFT.with_borrow_mut(|left| {
                left.extend(dispatches.into_iter().map(|lost| Report {
                    ticket: lost.ticket,
                    sent_at: lost.sent_at,
                    duration: Duration::ZERO,
                    result: Err("there is no I/O thread".to_owned()),
                }))
            }),
        });
    }
}

/// Starts the I/O thread when there is something to send for the first time, or when it has died. What the dead one was given and has
/// not reported is in the next [`reports`], as failed: nobody knows whether it arrived.
pub fn ensure(options: &Options) -> Result<Thread, String> {
    TRANSPORT.with_borrow_mut(|transport| {
        if transport.as_ref().is_some_and(Transport::is_alive) {
            return Ok(Thread::Runs);
        }
        let died = transport.take().map(|dead| {
            LEFT.with_borrow_mut(|left| left.extend(dead.reports()));
            let cause = dead.fault().unwrap_or("it was stopped");
            format!("the I/O thread has died ({cause}); what was under way is sent again")
        });
        // Signals are for this thread: one that lands on another would wake nobody.
        let started = with_signals_blocked(|| Transport::start(options));
        *transport = Some(started.map_err(|error| {
            let died = died.as_deref().map(|died| format!("{died}; ")).unwrap_or_default();
            format!("{died}{error}")
        })?);
        Ok(Thread::Started { died })
    })
}

/// Connects by these settings from now on, if there is an I/O thread.
pub fn renew(options: &Options) -> Result<(), String> {
    TRANSPORT.with_borrow(|transport| {
        transport
            .as_ref()
            .map_or(Ok(()), |transport| transport.renew(options))
            .map_err(|error| error.to_string())
    })
}

/// What may be in flight with the file descriptors that this process may have now.
pub fn limits(limits: &Limits) -> Limits {
    Limits {
        max_in_flight: descriptors::in_flight(limits.max_in_flight, target_profile_client::descriptors::limit()),
        ..limits.clone()
    }
}

/// Ends it. Runs when the process exits.
pub fn stop() {
    TRANSPORT.with(|transport| {
        if let Ok(mut transport) = transport.try_borrow_mut()
            && let Some(mut transport) = transport.take()
        {
            // One that does not end in time (a resolver that hangs) ends with the process.
            transport.stop(STOP_PATIENCE);
        }
    });
}
