//! What the server's thread and the test share.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::request::{Ending, Request};
use super::state::{Begun, State};

pub(super) type Observer = Box<dyn Fn(&Request) + Send + Sync>;

pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// How many wait for a change; nobody, mostly, and then telling them would cost a system call for each request.
    waiting: AtomicUsize,
    /// Rises at each release; who hangs waits for a rise.
    releases: watch::Sender<u64>,
    pub(super) observer: Option<Observer>,
    pub(super) admin: bool,
}

impl Shared {
    pub(super) fn new(state: State, observer: Option<Observer>, admin: bool) -> Self {
        let releases = watch::Sender::new(0);
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            waiting: AtomicUsize::new(0),
            releases,
            observer,
            admin,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who wait that something has changed.
    pub(super) fn tell(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.changed.notify_all();
        }
    }

    /// Waits for a change, at most so long. The state is locked before it counts as waiting and until it sleeps, so no
    /// change made in between is missed.
    pub(super) fn wait<'a>(&self, state: MutexGuard<'a, State>, at_most: Duration) -> MutexGuard<'a, State> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let state = self
            .changed
            .wait_timeout(state, at_most)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        state
    }

    pub(super) fn release(&self) {
        self.releases.send_modify(|release| *release += 1);
    }

    /// Hangs until the next release.
    pub(super) async fn hang(self: Arc<Self>) {
        let mut releases = self.releases.subscribe();
        self.state().counters.hung += 1;
        let _hung = Hung(&self);
        self.tell();
        // The sender lives as long as `self`.
        let _ = releases.changed().await;
    }

    /// Counts a request in. When another one for its profile is being handled, first lets the news of a closed
    /// connection come in: a client that has given up on the other one may well begin anew.
    pub(super) async fn begin(shared: &Arc<Self>, request: Request) -> Exchange {
        for _ in 0..2 {
            if !shared.state().is_busy(&request) {
                break;
            }
            tokio::task::yield_now().await;
        }
        let begun = shared.state().begin(request);
        shared.tell();
        Exchange {
            shared: Arc::clone(shared),
            begun,
            status: None,
            finished: false,
        }
    }
}

struct Hung<'a>(&'a Shared);

impl Drop for Hung<'_> {
    fn drop(&mut self) {
        self.0.state().counters.hung -= 1;
        self.0.tell();
    }
}

/// A request being handled. Dropped unfinished, it ends as stopped.
pub(super) struct Exchange {
    shared: Arc<Shared>,
    begun: Begun,
    pub(super) status: Option<u16>,
    finished: bool,
}

impl Exchange {
    pub(super) fn finish(&mut self, ending: Ending) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let mut state = self.shared.state();
        let record = state.finish(&self.begun, ending, self.status);
        let seen = record.filter(|_| self.shared.observer.is_some()).cloned();
        drop(state);
        self.shared.tell();
        if let (Some(observer), Some(request)) = (&self.shared.observer, seen) {
            observer(&request);
        }
    }

    pub(super) fn is_late(&self) -> bool {
        self.begun.late.is_some()
    }

    pub(super) fn apply_late(&mut self) {
        if let Some((key, attrs)) = self.begun.late.take() {
            self.shared.state().apply_late(self.begun.seq, key, &attrs);
            self.shared.tell();
        }
    }
}

impl Deref for Exchange {
    type Target = Begun;

    fn deref(&self) -> &Begun {
        &self.begun
    }
}

impl DerefMut for Exchange {
    fn deref_mut(&mut self) -> &mut Begun {
        &mut self.begun
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.finish(Ending::Stopped);
    }
}
