//! A stand-in for Adobe Target's Single Profile Update API.
//!
//! It answers as Target is known to, keeps profiles, records what it receives, and misbehaves as told:
//!
//! ```no_run
//! use std::time::Duration;
//! use support::{Match, MockTarget, Reply};
//!
//! let mock = MockTarget::builder().create_unknown(true).start();
//! mock.on(Match::client("acme")).times(3).respond(Reply::status(503).retry_after("1"));
//! // … point the client "acme" to mock.endpoint() …
//! mock.wait_requests(4, Duration::from_secs(10));
//! assert_eq!(mock.value("acme", "mbox3rdPartyId", "7", "city").as_deref(), Some("Basel"));
//! ```
//!
//! One thread serves all connections. So a request is counted out before the next byte that its client might send is
//! looked at, and "at most one in flight per profile" can be asserted exactly.

mod admin;
mod answer;
mod connection;
mod decode;
mod interpret;
mod refused;
mod reply;
mod request;
mod rule;
mod shared;
mod state;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;

pub use admin::timestamp;
pub use answer::Form;
pub use refused::RefusedPort;
pub use reply::{Reply, Stop};
pub use request::{Attributes, Ending, IdKind, ProfileKey, Request};
pub use rule::{Match, RuleId};
pub use state::{Counters, Profile, Recording, State};

use connection::Connection;
use rule::{Rule, Script};
use shared::{Observer, Shared};
use state::{Settings, key};

/// The stand-in. Dropped, it stops at once, whatever hangs.
pub struct MockTarget {
    shared: Arc<Shared>,
    port: u16,
    server: Mutex<Option<Server>>,
}

struct Server {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
    /// The thread's directory in /proc.
    proc: PathBuf,
}

/// The settings a stand-in starts with. All but port, admin pages and observer can be changed later.
pub struct Builder {
    port: u16,
    settings: Settings,
    observer: Option<Observer>,
    admin: bool,
}

impl Builder {
    /// A fixed port of 127.0.0.1 instead of any free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Whether an update creates the profile of an unknown id. As with Target: false.
    pub fn create_unknown(mut self, create: bool) -> Self {
        self.settings.create_unknown = create;
        self
    }

    /// How much is kept of the requests; everything, unless told otherwise.
    pub fn recording(mut self, recording: Recording) -> Self {
        self.settings.recording = recording;
        self
    }

    /// The form of a success; XML on one line, unless told otherwise.
    pub fn form(mut self, form: Form) -> Self {
        self.settings.form = form;
        self
    }

    /// Called with every finished request, on the server's thread; needs `Recording::Everything`.
    pub fn observer(mut self, observer: impl Fn(&Request) + Send + Sync + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Whether `GET /_profiles`, `GET /_requests` and `POST /_quit` are served.
    pub fn admin(mut self, admin: bool) -> Self {
        self.admin = admin;
        self
    }

    /// Starts it. Panics if the port is taken.
    #[track_caller]
    pub fn start(self) -> MockTarget {
        let shared = Arc::new(Shared::new(State::new(self.settings), self.observer, self.admin));
        match serve(&shared, self.port) {
            Ok((server, port)) => MockTarget {
                shared,
                port,
                server: Mutex::new(Some(server)),
            },
            Err(error) => panic!("cannot start the stand-in for Target on port {}: {error}", self.port),
        }
    }
}

impl MockTarget {
    /// Starts one as Target is, on any free port of 127.0.0.1.
    #[track_caller]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// One with other settings.
    pub fn builder() -> Builder {
        let settings = Settings {
            recording: Recording::Everything,
            create_unknown: false,
            clients: None,
            tokens: HashMap::new(),
            form: Form::Line,
            scheme: "http",
        };
        Builder {
            port: 0,
            settings,
            observer: None,
            admin: false,
        }
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The endpoint template to give to `target_profile.add_client`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/m2/{{client}}/profile/update", self.port)
    }

    /// The URL of one client, without a query.
    pub fn url(&self, client: &str) -> String {
        self.endpoint().replace("{client}", client)
    }

    /// Stops listening and drops every connection, as an outage does; what it knows stays. Returns when it is done.
    pub fn stop(&self) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Server { stop, thread, .. }) = server {
            drop(stop);
            // A panic in the server's thread has been reported by the panic itself.
            let _ = thread.join();
        }
    }

    /// Listens again, on the same port, after `stop`.
    #[track_caller]
    pub fn start_again(&self) {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if server.is_none() {
            match serve(&self.shared, self.port) {
                Ok((started, _)) => *server = Some(started),
                Err(error) => panic!("cannot start the stand-in again on port {}: {error}", self.port),
            }
        }
    }

    /// The processor time that the server's thread has used since it was started: for benchmarks, which share the
    /// machine with it. Zero after `stop`.
    pub fn cpu_time(&self) -> Duration {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(server) = server.as_ref() else {
            return Duration::ZERO;
        };
        let stat = std::fs::read_to_string(server.proc.join("schedstat")).unwrap_or_default();
        let nanoseconds = stat.split(' ').next().and_then(|first| first.parse().ok());
        Duration::from_nanos(nanoseconds.unwrap_or(0))
    }

    // ---- settings

    /// Whether an update creates the profile of an unknown id.
    pub fn create_unknown(&self, create: bool) {
        self.state().settings.create_unknown = create;
    }

    /// Registers a visit: the profile exists from now on.
    pub fn known(&self, client: &str, kind: impl Into<IdKind>, id: &str) {
        self.state().profiles.entry(key(client, kind.into(), id)).or_default();
    }

    /// Only these clients exist from now on; others are answered with 400.
    pub fn allow_clients(&self, clients: &[&str]) {
        self.state().settings.clients = Some(
            clients
                .iter()
                .map(|client| (*client).to_owned())
                .collect::<HashSet<_>>(),
        );
    }

    /// The client's requests need this bearer token from now on; otherwise 403. A new token ends the old one.
    pub fn require_token(&self, client: &str, token: &str) {
        self.state().settings.tokens.insert(client.to_owned(), token.to_owned());
    }

    /// The client's requests need no token any more.
    pub fn require_no_token(&self, client: &str) {
        self.state().settings.tokens.remove(client);
    }

    /// How much is kept of the requests from now on.
    pub fn record(&self, recording: Recording) {
        self.state().settings.recording = recording;
    }

    /// The form of a success from now on.
    pub fn answer_in(&self, form: Form) {
        self.state().settings.form = form;
    }

    // ---- scripts

    /// Begins a rule. Rules are tried in the order in which they were made; the first that is for the request and not
    /// used up decides. Without one, the stand-in does what Target would.
    pub fn on(&self, condition: Match) -> RuleBuilder<'_> {
        RuleBuilder {
            mock: self,
            condition,
            times: None,
        }
    }

    /// Removes one rule.
    pub fn remove_rule(&self, id: RuleId) {
        self.state().rules.retain(|rule| rule.id != id);
    }

    /// Removes all rules.
    pub fn clear_rules(&self) {
        self.state().rules.clear();
    }

    /// How many requests a rule has decided; 0 for one that was removed.
    pub fn rule_hits(&self, id: RuleId) -> u64 {
        self.state()
            .rules
            .iter()
            .find(|rule| rule.id == id)
            .map_or(0, |rule| rule.hits)
    }

    /// Lets every request that hangs now go on.
    pub fn release_hung(&self) {
        self.shared.release();
    }

    // ---- what happened

    /// The recorded requests, in the order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    /// The recorded requests of one client.
    pub fn requests_of(&self, client: &str) -> Vec<Request> {
        let state = self.state();
        let of_client = state
            .requests
            .iter()
            .filter(|request| request.client.as_deref() == Some(client));
        of_client.cloned().collect()
    }

    /// How many requests have arrived, whatever is recorded.
    pub fn request_count(&self) -> u64 {
        self.state().counters.arrived
    }

    /// All counters.
    pub fn counters(&self) -> Counters {
        self.state().counters.clone()
    }

    /// Forgets the requests and starts the counters again; profiles, rules and settings stay, and what is in flight
    /// stays counted.
    pub fn clear(&self) {
        self.state().clear();
    }

    /// Forgets the profiles, and which ids are known.
    pub fn clear_profiles(&self) {
        self.state().profiles.clear();
    }

    /// How many requests are being handled.
    pub fn in_flight(&self) -> u64 {
        self.state().counters.in_flight
    }

    /// The most that were handled at one time.
    pub fn max_in_flight(&self) -> u64 {
        self.state().counters.max_in_flight
    }

    /// The most that were handled at one time for one client.
    pub fn max_in_flight_of(&self, client: &str) -> u64 {
        self.state().max_by_client.get(client).copied().unwrap_or(0)
    }

    /// The most that were handled at one time for one profile; must be 1.
    pub fn max_in_flight_per_profile(&self) -> u64 {
        self.state().counters.max_in_flight_per_profile
    }

    /// The pairs of requests, by `seq`, of which the second began for a profile that the first was being handled for.
    pub fn overlaps(&self) -> Vec<(u64, u64)> {
        self.state().overlaps.clone()
    }

    /// The present values of all profiles.
    pub fn profiles(&self) -> BTreeMap<ProfileKey, Attributes> {
        let state = self.state();
        state
            .profiles
            .iter()
            .map(|(key, profile)| (key.clone(), profile.attrs.clone()))
            .collect()
    }

    /// The present values of all profiles as JSON, as the binary prints them.
    pub fn profiles_json(&self) -> String {
        format!("{:#}", admin::profiles(&self.state()))
    }

    /// The present values of a profile, `None` if there is no such profile.
    pub fn profile(&self, client: &str, kind: impl Into<IdKind>, id: &str) -> Option<Attributes> {
        self.state().profile(client, kind, id).cloned()
    }

    /// One present value of a profile.
    pub fn value(&self, client: &str, kind: impl Into<IdKind>, id: &str, name: &str) -> Option<String> {
        self.state().value(client, kind, id, name).map(str::to_owned)
    }

    /// The updates that were applied to a profile, in order.
    pub fn history(&self, client: &str, kind: impl Into<IdKind>, id: &str) -> Vec<Attributes> {
        let state = self.state();
        state
            .profiles
            .get(&key(client, kind.into(), id))
            .map(|profile| profile.history.clone())
            .unwrap_or_default()
    }

    /// The values that one attribute of a profile was set to, in order.
    pub fn value_history(&self, client: &str, kind: impl Into<IdKind>, id: &str, name: &str) -> Vec<String> {
        self.history(client, kind, id)
            .iter()
            .filter_map(|attrs| attrs.get(name).cloned())
            .collect()
    }

    // ---- waiting

    /// Waits until `condition` holds; panics with `what`, the counters and the last requests when `deadline` has passed.
    #[track_caller]
    pub fn wait_for(&self, what: &str, deadline: Duration, condition: impl FnMut(&State) -> bool) {
        if let Err(received) = self.await_state(deadline, condition) {
            panic!("waited {deadline:?} in vain for {what}; received: {received}");
        }
    }

    /// Waits until so many requests have arrived since the start or the last `clear`, and returns the recorded ones.
    #[track_caller]
    pub fn wait_requests(&self, count: u64, deadline: Duration) -> Vec<Request> {
        self.wait_for(&format!("{count} requests to arrive"), deadline, |state| {
            state.counters.arrived >= count
        });
        self.requests()
    }

    /// Waits until so many requests have been answered to the end, and returns the recorded ones.
    #[track_caller]
    pub fn wait_answered(&self, count: u64, deadline: Duration) -> Vec<Request> {
        self.wait_for(&format!("{count} requests to be answered"), deadline, |state| {
            state.counters.answered >= count
        });
        self.requests()
    }

    /// Waits until so many requests hang.
    #[track_caller]
    pub fn wait_hung(&self, count: u64, deadline: Duration) {
        self.wait_for(&format!("{count} requests to hang"), deadline, |state| {
            state.counters.hung >= count
        });
    }

    /// Waits until a profile's attribute has this value.
    #[track_caller]
    pub fn wait_value(
        &self,
        client: &str,
        kind: impl Into<IdKind>,
        id: &str,
        name: &str,
        value: &str,
        deadline: Duration,
    ) {
        let kind = kind.into();
        let what = format!("{name} = {value:?} in the profile {client} {kind}={id}");
        self.wait_for(&what, deadline, |state| {
            state.value(client, kind, id, name) == Some(value)
        });
    }

    /// Waits until nothing is in flight and nothing has arrived for `calm`: for "and nothing more is sent".
    #[track_caller]
    pub fn wait_quiet(&self, calm: Duration, deadline: Duration) {
        let mut last = (self.state().last_seq, Instant::now());
        let quiet = crate::wait::poll(deadline, || {
            let state = self.state();
            if state.last_seq != last.0 || state.counters.in_flight > 0 {
                last = (state.last_seq, Instant::now());
            }
            (last.1.elapsed() >= calm).then_some(())
        });
        if quiet.is_none() {
            panic!(
                "waited {deadline:?} in vain for {calm:?} without a request; received: {}",
                self.state().summary()
            );
        }
    }

    /// Waits until `POST /_quit` comes, or until `deadline`; true if it came.
    pub fn wait_quit(&self, deadline: Duration) -> bool {
        self.await_state(deadline, |state| state.quit).is_ok()
    }

    fn await_state(&self, deadline: Duration, mut condition: impl FnMut(&State) -> bool) -> Result<(), String> {
        let end = Instant::now() + deadline;
        let mut state = self.state();
        while !condition(&state) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(state.summary());
            }
            state = self.shared.wait(state, left);
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for MockTarget {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A rule being made; lasts until cleared, unless told otherwise.
#[must_use = "a rule is made by respond, respond_each or respond_with"]
pub struct RuleBuilder<'a> {
    mock: &'a MockTarget,
    condition: Match,
    times: Option<u64>,
}

impl RuleBuilder<'_> {
    /// For one request only.
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// For so many requests only.
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// The same reply each time.
    pub fn respond(self, reply: Reply) -> RuleId {
        self.make(Script::Same(reply))
    }

    /// These replies, one request each; then the rule is used up.
    pub fn respond_each(self, replies: impl IntoIterator<Item = Reply>) -> RuleId {
        self.make(Script::Sequence(replies.into_iter().collect()))
    }

    /// A reply computed from the request, on the server's thread; it must not ask the stand-in anything.
    pub fn respond_with(self, compute: impl FnMut(&Request) -> Reply + Send + 'static) -> RuleId {
        self.make(Script::Computed(Box::new(compute)))
    }

    fn make(self, script: Script) -> RuleId {
        let mut state = self.mock.state();
        let id = RuleId(state.next_rule);
        state.next_rule += 1;
        state.rules.push(Rule::new(id, self.condition, self.times, script));
        id
    }
}

/// Starts the server's thread, and returns when it listens.
fn serve(shared: &Arc<Shared>, port: u16) -> io::Result<(Server, u16)> {
    let (stop, stopped) = oneshot::channel::<()>();
    let (report, listening) = mpsc::channel();
    let shared = Arc::clone(shared);
    let body = move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(report.send(Err(error))),
        };
        runtime.block_on(async move {
            let bound = listen(port).and_then(|listener| Ok((listener.local_addr()?.port(), listener)));
            let listener = match bound {
                Ok((port, listener)) => {
                    let proc = Path::new("/proc").join(std::fs::read_link("/proc/thread-self").unwrap_or_default());
                    let _ = report.send(Ok((port, proc)));
                    listener
                }
                Err(error) => return drop(report.send(Err(error))),
            };
            tokio::select! {
                _ = stopped => {}
                () = accept(listener, shared) => {}
            }
        });
        // Dropping the runtime drops every connection, hung or not.
    };
    let thread = thread::Builder::new().name("mock target".to_owned()).spawn(body)?;
    let ended = |_| io::Error::other("the server's thread ended");
    let (port, proc) = listening.recv().map_err(ended)??;
    Ok((Server { stop, thread, proc }, port))
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    socket.listen(4096)
}

/// Accepts connections until dropped. The place for TLS: wrap the stream here, and set `Settings::scheme`.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let number = {
                    let mut state = shared.state();
                    state.counters.connections += 1;
                    state.counters.connections
                };
                let _ = stream.set_nodelay(true);
                tokio::spawn(Connection::new(stream, number, Arc::clone(&shared)).serve());
            }
            // Out of descriptors, or a connection gone before it was taken.
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}
