//! The model of the drain runs against the pure core; here the same kind of histories runs against a real cluster: sessions that
//! commit in any order, an endpoint that answers anything, somebody who intervenes, and a worker that is killed.
//!
//! A history follows from its seed, up to the timing of the worker. The seed is printed if the history fails, and
//! `HISTORY_SEED=…` runs that one first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use support::cluster::{Db, sqlstate};
use support::mock_target::Request;
use support::{Cluster, Match, MockTarget, Reply, wait};

use crate::site::{SOON, WORKER};

/// Sessions that hold transactions open.
const SESSIONS: usize = 4;
/// Whatever is sent for this profile is rejected, at all times.
const POISON: usize = 3;
const PROFILES: [&str; 4] = ["ada", "bob", "cy", "poison"];
const ATTRS: [&str; 3] = ["a", "b", "c"];
const PRIORITIES: [i16; 3] = [-10, 0, 7];
/// Of the third client, which may use 0.3 of it for low priorities.
const QUOTA: usize = 10;
const SHARE: usize = 3;

/// How long a step looks for the worker to do something, before the history goes on without it.
const MOMENT: Duration = Duration::from_millis(50);

/// One entry to be written: whose, how urgent, and which attributes it sets.
#[derive(Debug, Clone, Copy)]
struct Write {
    client: usize,
    profile: usize,
    priority: i16,
    attrs: u8,
}

/// How the endpoint treats a request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Treatment {
    Accept,
    Reject,
    NotFound,
    Gibberish,
    Unauthorized,
    Throttle,
    Fail,
    Reset,
    /// The values arrive, and the answer comes when hanging requests are released.
    Hang,
    /// The values arrive, the answer does not.
    AnswerLost,
    /// The same, at a release.
    AnswerLostLate,
}

#[derive(Debug, Clone)]
enum Step {
    Begin,
    Write(usize, Write),
    /// A savepoint that holds one entry, and is released or rolled back.
    Nested(usize, Write, bool),
    Commit(usize),
    Abort(usize),
    Prepare(usize),
    EndPrepared(usize, bool),
    /// A transaction of one entry.
    Autocommit(Write),
    /// Such transactions at the same time.
    Together(Vec<Write>),
    /// What the client's next requests meet; then they are accepted again.
    Endpoint(usize, Treatment, usize),
    Release,
    /// Until so many more requests have come, or for a moment.
    Await(u64),
    Pause(usize),
    Resume(usize),
    NewToken(usize),
    Enable(bool),
    Retry(usize),
    RetryAll(usize),
    Discard(usize),
    /// The worker ends as if told to, and another comes.
    Terminate,
    /// The worker is killed, which takes every session along.
    Kill,
}

fn any_write() -> impl Strategy<Value = Write> {
    let profile = prop_oneof![6 => Just(0), 4 => Just(1), 2 => Just(2), 1 => Just(POISON)];
    let priority = (0..PRIORITIES.len()).prop_map(|index| PRIORITIES[index]);
    (0..3usize, profile, priority, 1..8u8).prop_map(|(client, profile, priority, attrs)| Write {
        client,
        profile,
        priority,
        attrs,
    })
}

fn any_treatment() -> impl Strategy<Value = Treatment> {
    prop_oneof![
        3 => Just(Treatment::Accept),
        3 => Just(Treatment::Reject),
        1 => Just(Treatment::NotFound),
        1 => Just(Treatment::Gibberish),
        1 => Just(Treatment::Unauthorized),
        1 => Just(Treatment::Throttle),
        2 => Just(Treatment::Fail),
        1 => Just(Treatment::Reset),
        4 => Just(Treatment::Hang),
        3 => Just(Treatment::AnswerLost),
        2 => Just(Treatment::AnswerLostLate),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let one = || 0..100usize;
    prop_oneof![
        8 => Just(Step::Begin),
        14 => (one(), any_write()).prop_map(|(tx, write)| Step::Write(tx, write)),
        4 => (one(), any_write(), any::<bool>()).prop_map(|(tx, write, keep)| Step::Nested(tx, write, keep)),
        8 => one().prop_map(Step::Commit),
        2 => one().prop_map(Step::Abort),
        2 => one().prop_map(Step::Prepare),
        3 => (one(), any::<bool>()).prop_map(|(tx, commit)| Step::EndPrepared(tx, commit)),
        20 => any_write().prop_map(Step::Autocommit),
        4 => prop::collection::vec(any_write(), 2..4).prop_map(Step::Together),
        16 => (0..3usize, any_treatment(), 1..4usize)
            .prop_map(|(client, treatment, times)| Step::Endpoint(client, treatment, times)),
        5 => Just(Step::Release),
        16 => (1..4u64).prop_map(Step::Await),
        1 => (0..3usize).prop_map(Step::Pause),
        3 => (0..3usize).prop_map(Step::Resume),
        2 => (0..3usize).prop_map(Step::NewToken),
        1 => any::<bool>().prop_map(Step::Enable),
        1 => Just(Step::Enable(true)),
        8 => one().prop_map(Step::Retry),
        2 => (0..3usize).prop_map(Step::RetryAll),
        1 => one().prop_map(Step::Discard),
        1 => Just(Step::Terminate),
    ]
}

/// A history, as its seed has it.
struct Plan {
    /// An update of two attributes takes two requests.
    padded: bool,
    steps: Vec<Step>,
    /// Once all is well, the dead letters are sent again.
    all_again: bool,
}

fn draw(seed: u64) -> Plan {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = (
        prop::bool::weighted(0.2),
        prop::collection::vec(any_step(), 70..100),
        // It takes a second or two, so not each history has one.
        prop::option::weighted(0.25, 20..70usize),
        prop::bool::weighted(0.6),
    );
    let (padded, mut steps, kill, all_again) = strategy.new_tree(&mut runner).unwrap().current();
    if let Some(at) = kill {
        steps.insert(at, Step::Kill);
    }
    Plan {
        padded,
        steps,
        all_again,
    }
}

/// Which profile: a client and an index of `PROFILES`.
type Key = (usize, usize);

/// An entry that was written. Its index in the list of them is what its attributes are set to.
#[derive(Debug, Clone)]
struct Entry {
    id: i64,
    write: Write,
    /// Just before it was written.
    drawn: Instant,
    committed: Option<Committed>,
    /// It was a dead letter and sent again.
    retried: bool,
}

/// From just before the statement was sent until it had returned.
#[derive(Debug, Clone, Copy)]
struct Committed {
    sent: Instant,
    returned: Instant,
}

impl Entry {
    fn key(&self) -> Key {
        (self.write.client, self.write.profile)
    }

    fn sets(&self, attr: usize) -> bool {
        self.write.attrs & (1 << attr) != 0
    }

    /// Whether it was committed before the other was written: then its values must not follow the other's.
    fn precedes(&self, other: &Self) -> bool {
        self.committed.is_some_and(|committed| committed.returned < other.drawn)
    }
}

/// The server that all histories run on, one after the other.
struct Stage {
    mock: MockTarget,
    cluster: Cluster,
    db: Db,
    sessions: Vec<Db>,
    treatments: Arc<Mutex<BTreeMap<String, VecDeque<Treatment>>>>,
    /// How often a worker was terminated, and when last.
    terminated: (u32, Option<Instant>),
}

/// So often a worker is terminated: then the launcher waits ever longer, unless one has run for so long.
const TERMINATED: u32 = 5;
const STEADY: Duration = Duration::from_secs(70);

impl Stage {
    fn may_terminate(&mut self) -> bool {
        let (count, last) = self.terminated;
        let count = if last.is_none_or(|last| last.elapsed() > STEADY) {
            0
        } else {
            count
        };
        if count < TERMINATED {
            self.terminated = (count + 1, Some(Instant::now()));
        }
        count < TERMINATED
    }

    fn new(name: &str) -> Self {
        let mock = MockTarget::builder().create_unknown(true).start();
        let treatments: Arc<Mutex<BTreeMap<String, VecDeque<Treatment>>>> = Arc::default();
        let told = Arc::clone(&treatments);
        mock.on(Match::any())
            .respond_with(move |request| reply(request, &mut told.lock().unwrap()));
        let cluster = Cluster::builder(name)
            .conf("target_profile.poll_interval", "1s")
            .build();
        let db = cluster.db();
        db.batch("create extension target_profile");
        let sessions = (0..SESSIONS).map(|_| cluster.db()).collect();
        Self {
            mock,
            cluster,
            db,
            sessions,
            treatments,
            terminated: (0, None),
        }
    }

    /// Waits for a worker other than this one. Each look is a session of its own, which wakes the postmaster: up to
    /// PostgreSQL 15 it may sleep for a minute when a worker has ended while it was busy with something else.
    fn wait_worker(&self, but: i32) -> i32 {
        wait::until("a worker", SOON, || {
            self.cluster.backend_pid(WORKER).filter(|worker| *worker != but)
        })
    }

    /// All sessions anew: a killed worker has taken them along.
    fn reconnect(&mut self) {
        // The server may let somebody in before it has noticed.
        for session in self.sessions.iter().chain([&self.db]) {
            wait::until("the end of a session", SOON, || session.is_closed().then_some(()));
        }
        let connect = || {
            wait::until("a connection", SOON, || {
                self.cluster.try_client("postgres", "postgres").ok()
            })
        };
        let sessions = (0..SESSIONS).map(|_| connect()).collect();
        self.db = connect();
        self.sessions = sessions;
    }
}

fn reply(request: &Request, treatments: &mut BTreeMap<String, VecDeque<Treatment>>) -> Reply {
    let queue = request.client.as_ref().and_then(|client| treatments.get_mut(client));
    let treatment = queue.and_then(VecDeque::pop_front).unwrap_or(Treatment::Accept);
    let poison = request.id.as_ref().is_some_and(|id| id == PROFILES[POISON]);
    match treatment {
        Treatment::Accept if poison => Reply::failure("Invalid profile"),
        Treatment::Accept => Reply::ordinary(),
        Treatment::Reject => Reply::failure("Invalid"),
        Treatment::NotFound => Reply::status(404),
        Treatment::Gibberish => Reply::status(200).body("<html>Welcome</html>").applied(false),
        Treatment::Unauthorized => Reply::status(401),
        Treatment::Throttle => Reply::status(429).retry_after("1"),
        Treatment::Fail => Reply::status(500).body("oops"),
        Treatment::Reset => Reply::reset(),
        Treatment::Hang => Reply::hang(),
        Treatment::AnswerLost => Reply::close().applied(true),
        Treatment::AnswerLostLate => Reply::reset().applied(true).after_release(),
    }
}

struct Tx {
    session: usize,
    /// Indexes of its entries.
    rows: Vec<usize>,
}

struct History<'a> {
    stage: &'a mut Stage,
    seed: u64,
    clients: [String; 3],
    padded: bool,
    enabled: bool,
    entries: Vec<Entry>,
    open: Vec<Tx>,
    prepared: Vec<(String, Vec<usize>)>,
    tokens: usize,
    gids: usize,
    story: Vec<String>,
}

impl Drop for History<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("history with HISTORY_SEED={} of {:?}:", self.seed, self.clients);
            for line in &self.story {
                println!("    {line}");
            }
            for (index, entry) in self.entries.iter().enumerate() {
                println!("    entry {index}: {entry:?}");
            }
            for request in self.stage.mock.requests() {
                let values: Vec<_> = request
                    .attrs
                    .iter()
                    .map(|(name, value)| format!("{name}={}", value.trim_end_matches('x')))
                    .collect();
                println!(
                    "    request {} at {:?}: {:?} {:?} {values:?} applied: {}, {:?} {:?}",
                    request.seq,
                    request.arrived,
                    request.client,
                    request.id,
                    request.applied,
                    request.status,
                    request.ending
                );
            }
        }
    }
}

impl<'a> History<'a> {
    /// The clients differ in what matters here; each history has its own, with all of their quota.
    fn new(stage: &'a mut Stage, seed: u64, number: usize, padded: bool) -> Self {
        let clients = ["one", "two", "three"].map(|name| format!("{name}-{number}"));
        for (code, settings) in clients.iter().zip([
            "max_in_flight => 1",
            "max_in_flight => 3, delay => '50 ms', method => 'post'",
            &format!("max_in_flight => 4, max_attempts => 4, daily_quota => {QUOTA}, backfill_share => 0.3"),
        ]) {
            stage.db.query(
                &format!("select target_profile.add_client($1, endpoint => $2, timeout => '60 s', {settings})"),
                &[code, &stage.mock.endpoint()],
            );
        }
        stage.mock.clear();
        Self {
            stage,
            seed,
            clients,
            padded,
            enabled: true,
            entries: Vec::new(),
            open: Vec::new(),
            prepared: Vec::new(),
            tokens: 0,
            gids: 0,
            story: Vec::new(),
        }
    }

    fn call(&self, function: &str, client: usize) {
        self.stage.db.query(
            &format!("select target_profile.{function}($1)"),
            &[&self.clients[client]],
        );
    }

    /// Notes an entry that is about to be written; its index.
    fn draw(&mut self, write: Write) -> usize {
        self.entries.push(Entry {
            id: 0,
            write,
            drawn: Instant::now(),
            committed: None,
            retried: false,
        });
        self.entries.len() - 1
    }

    fn write(&mut self, tx: usize, write: Write) -> usize {
        let index = self.draw(write);
        let session = &self.stage.sessions[self.open[tx].session];
        self.entries[index].id = insert(session, &self.clients, self.padded, index, write);
        index
    }

    /// Runs what commits these entries.
    fn commit(&mut self, rows: &[usize], statement: impl FnOnce(&Self)) {
        let sent = Instant::now();
        statement(self);
        let returned = Instant::now();
        for &index in rows {
            self.entries[index].committed = Some(Committed { sent, returned });
        }
    }

    fn together(&mut self, writes: &[Write]) {
        let free: Vec<usize> = self.free_sessions();
        let indexes: Vec<usize> = writes.iter().zip(&free).map(|(write, _)| self.draw(*write)).collect();
        let (sessions, clients, padded) = (&self.stage.sessions, &self.clients, self.padded);
        let written: Vec<(i64, Committed)> = thread::scope(|scope| {
            let threads: Vec<_> = indexes
                .iter()
                .zip(writes)
                .zip(&free)
                .map(|((&index, &write), &session)| {
                    scope.spawn(move || {
                        let sent = Instant::now();
                        let id = insert(&sessions[session], clients, padded, index, write);
                        let returned = Instant::now();
                        (id, Committed { sent, returned })
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for (index, (id, committed)) in indexes.into_iter().zip(written) {
            let entry = &mut self.entries[index];
            entry.id = id;
            entry.drawn = committed.sent;
            entry.committed = Some(committed);
        }
    }

    fn free_sessions(&self) -> Vec<usize> {
        let taken: BTreeSet<usize> = self.open.iter().map(|tx| tx.session).collect();
        (0..SESSIONS).filter(|session| !taken.contains(session)).collect()
    }

    /// The dead letters of this history's clients that are not discarded, or of one of them.
    fn dead(&self, client: Option<usize>) -> Vec<i64> {
        let codes = client.map_or(self.clients.to_vec(), |client| vec![self.clients[client].clone()]);
        let sql = "select id from target_profile.dead_letter
                   where client_code = any ($1) and discarded_at is null order by id";
        self.stage
            .db
            .query(sql, &[&codes])
            .iter()
            .map(|row| row.get(0))
            .collect()
    }

    fn note_retried(&mut self, id: i64) {
        let entry = self.entries.iter_mut().find(|entry| entry.id == id);
        entry.expect("a dead letter of this history").retried = true;
    }

    fn step(&mut self, step: Step) {
        let index_of = |place: usize, count: usize| (count > 0).then(|| place % count);
        match step {
            Step::Begin => {
                if let Some(&session) = self.free_sessions().first() {
                    self.stage.sessions[session].batch("begin");
                    self.open.push(Tx {
                        session,
                        rows: Vec::new(),
                    });
                }
            }
            Step::Write(tx, write) => {
                if let Some(tx) = index_of(tx, self.open.len()) {
                    let index = self.write(tx, write);
                    self.open[tx].rows.push(index);
                }
            }
            Step::Nested(tx, write, keep) => {
                if let Some(tx) = index_of(tx, self.open.len()) {
                    let session = self.open[tx].session;
                    self.stage.sessions[session].batch("savepoint s");
                    let index = self.write(tx, write);
                    if keep {
                        self.stage.sessions[session].batch("release s");
                        self.open[tx].rows.push(index);
                    } else {
                        self.stage.sessions[session].batch("rollback to s; release s");
                    }
                }
            }
            Step::Commit(tx) => {
                if let Some(tx) = index_of(tx, self.open.len()) {
                    let Tx { session, rows } = self.open.remove(tx);
                    self.commit(&rows, |this| this.stage.sessions[session].batch("commit"));
                }
            }
            Step::Abort(tx) => {
                if let Some(tx) = index_of(tx, self.open.len()) {
                    let tx = self.open.remove(tx);
                    self.stage.sessions[tx.session].batch("rollback");
                }
            }
            Step::Prepare(tx) => {
                if let Some(tx) = index_of(tx, self.open.len()) {
                    let tx = self.open.remove(tx);
                    let gid = format!("{}-{}", self.clients[0], self.gids);
                    self.gids += 1;
                    self.stage.sessions[tx.session].batch(&format!("prepare transaction '{gid}'"));
                    self.prepared.push((gid, tx.rows));
                }
            }
            Step::EndPrepared(tx, commit) => {
                if let Some(tx) = index_of(tx, self.prepared.len()) {
                    let (gid, rows) = self.prepared.remove(tx);
                    if commit {
                        self.commit(&rows, |this| this.stage.db.batch(&format!("commit prepared '{gid}'")));
                    } else {
                        self.stage.db.batch(&format!("rollback prepared '{gid}'"));
                    }
                }
            }
            Step::Autocommit(write) => {
                let index = self.draw(write);
                let mut id = 0;
                self.commit(&[index], |this| {
                    id = insert(&this.stage.db, &this.clients, this.padded, index, write);
                });
                self.entries[index].id = id;
            }
            Step::Together(writes) => self.together(&writes),
            Step::Endpoint(client, treatment, times) => {
                let mut treatments = self.stage.treatments.lock().unwrap();
                let queue = treatments.entry(self.clients[client].clone()).or_default();
                queue.extend(std::iter::repeat_n(treatment, times));
            }
            Step::Release => self.stage.mock.release_hung(),
            Step::Await(more) => {
                let wanted = self.stage.mock.request_count() + more;
                wait::poll(MOMENT, || (self.stage.mock.request_count() >= wanted).then_some(()));
            }
            Step::Pause(client) => self.call("pause", client),
            Step::Resume(client) => self.call("resume", client),
            Step::NewToken(client) => {
                self.tokens += 1;
                let token = format!("token-{}", self.tokens);
                self.stage.db.query(
                    "select target_profile.set_client($1, auth_token => $2)",
                    &[&self.clients[client], &token],
                );
            }
            Step::Enable(enabled) => self.enable(enabled),
            Step::Retry(place) => self.retry(place),
            Step::RetryAll(client) => {
                let before = self.dead(Some(client));
                self.call("retry_all", client);
                for id in before {
                    self.note_retried(id);
                }
            }
            Step::Discard(place) => {
                let dead = self.dead(None);
                if let Some(place) = index_of(place, dead.len()) {
                    self.stage
                        .db
                        .query("select target_profile.discard($1)", &[&dead[place]]);
                }
            }
            Step::Terminate if !self.stage.may_terminate() => {}
            Step::Terminate => {
                let worker = self.stage.wait_worker(0);
                self.stage.db.query("select pg_terminate_backend($1)", &[&worker]);
                self.stage.wait_worker(worker);
            }
            Step::Kill => {
                let worker = self.stage.wait_worker(0);
                self.stage.cluster.kill9(worker);
                self.stage.reconnect();
                self.open.clear();
                self.stage.wait_worker(worker);
            }
        }
    }

    fn enable(&mut self, enabled: bool) {
        if self.enabled != enabled {
            self.enabled = enabled;
            self.stage
                .cluster
                .set("target_profile.enabled", if enabled { "on" } else { "off" });
        }
    }

    fn retry(&mut self, place: usize) {
        let dead = self.dead(None);
        if dead.is_empty() {
            return;
        }
        let id = dead[place % dead.len()];
        match self.stage.db.try_query("select target_profile.retry($1)", &[&id]) {
            Ok(_) => self.note_retried(id),
            // Newer updates have set all of its attributes.
            Err(error) => assert_eq!(sqlstate(&error), "55000", "retry of {id}: {error:?}"),
        }
    }

    /// Everybody commits, the endpoint works again, everybody is let in: what the quota does not withhold must go.
    fn heal(&mut self) {
        while !self.open.is_empty() {
            self.step(Step::Commit(0));
        }
        while !self.prepared.is_empty() {
            self.step(Step::EndPrepared(0, true));
        }
        self.stage.treatments.lock().unwrap().clear();
        self.enable(true);
        (0..3).for_each(|client| self.call("resume", client));
        let drained = wait::poll(SOON, || {
            self.stage.mock.release_hung();
            // A refusal that was settled only after the client had been let in.
            let refused = self.stage.db.query(
                "select client_code from target_profile.client where client_code = any ($1) and paused_at is not null",
                &[&self.clients.as_slice()],
            );
            for row in refused {
                let code: String = row.get(0);
                self.stage.db.query("select target_profile.resume($1)", &[&code]);
            }
            let sql = "select not exists (select from target_profile.outbox o where client_code = any ($1)
                           and (client_code <> $2 or target_profile._in_flight(client_code, id_kind, profile_id, id)))
                       and (select backlog = 0 or (state in ('quota', 'backing off') and quota_resumes_at is not null) from target_profile.status where client_code = $2)";
            let done: bool = self.stage.db.value(sql, &[&self.clients.as_slice(), &self.clients[2]]);
            done.then_some(())
        });
        if drained.is_none() {
            let left = self.stage.db.rows("select o from target_profile.outbox o");
            let status = self
                .stage
                .db
                .rows("select s from target_profile.status s where backlog > 0");
            panic!("the outbox does not become empty: {left:?}\n{status:?}");
        }
    }

    /// What the history must have come to; the states of its committed entries.
    fn check(&self) -> BTreeMap<usize, String> {
        assert_eq!(self.stage.mock.overlaps(), [], "two requests of a profile at once");
        for (client, most) in [1, 3, 4].into_iter().enumerate() {
            let seen = self.stage.mock.max_in_flight_of(&self.clients[client]);
            assert!(seen <= most, "{seen} requests of {} at once", self.clients[client]);
        }
        let states = self.check_states();
        self.check_quota();
        for request in self.stage.mock.requests() {
            for value in request.attrs.values() {
                let index = index_in(value);
                let entry = &self.entries[index];
                assert!(
                    entry
                        .committed
                        .is_some_and(|committed| committed.sent < request.arrived),
                    "{index} was sent without having been committed"
                );
                assert_eq!(request.client.as_ref(), Some(&self.clients[entry.write.client]));
                assert_eq!(request.id.as_deref(), Some(PROFILES[entry.write.profile]));
            }
        }
        for client in 0..3 {
            for profile in 0..PROFILES.len() {
                for attr in 0..ATTRS.len() {
                    self.check_order((client, profile), attr, &states);
                }
            }
        }
        states
    }

    /// What became of each committed entry: none may have vanished.
    fn check_states(&self) -> BTreeMap<usize, String> {
        let committed: BTreeMap<i64, usize> = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.committed.is_some())
            .map(|(index, entry)| (entry.id, index))
            .collect();
        let ids: Vec<i64> = committed.keys().copied().collect();
        let rows = self.stage.db.query(
            "select e.id, r.state from unnest($1::bigint[]) e (id) left join lateral target_profile.result(e.id) r on true",
            &[&ids],
        );
        assert_eq!(rows.len(), ids.len());
        let mut states = BTreeMap::new();
        for row in rows {
            let index = committed[&row.get(0)];
            let client = self.entries[index].write.client;
            let state: Option<String> = row.get(1);
            match state.as_deref() {
                Some("accepted" | "dead" | "discarded") => {}
                Some("waiting") if client == 2 => {}
                other => panic!("entry {index} is {other:?}"),
            }
            states.insert(index, state.unwrap());
        }
        states
    }

    fn check_quota(&self) {
        let sent = self.stage.mock.requests_of(&self.clients[2]).len();
        assert!(sent <= QUOTA, "{sent} requests, of which {QUOTA} are allowed");
        let low: BTreeSet<i64> = self
            .entries
            .iter()
            .filter(|entry| entry.write.priority < 0)
            .map(|entry| entry.id)
            .collect();
        let rows = self.stage.db.query(
            "select outbox_ids from target_profile.response where client_code = $1",
            &[&self.clients[2]],
        );
        let backfill = rows
            .iter()
            .map(|row| row.get::<_, Vec<i64>>(0))
            .filter(|ids| ids.iter().all(|id| low.contains(id)))
            .count();
        assert!(
            backfill <= SHARE,
            "{backfill} requests of low priority, of which {SHARE} are allowed"
        );
    }

    fn check_order(&self, key: Key, attr: usize, states: &BTreeMap<usize, String>) {
        let arrived: Vec<usize> = self
            .stage
            .mock
            .value_history(&self.clients[key.0], "mbox3rdPartyId", PROFILES[key.1], ATTRS[attr])
            .iter()
            .map(|value| index_in(value))
            .collect();
        let what = || {
            format!(
                "{} {} {}: {arrived:?}",
                self.clients[key.0], PROFILES[key.1], ATTRS[attr]
            )
        };
        for (place, &later) in arrived.iter().enumerate() {
            for (before, &earlier) in arrived[..place].iter().enumerate() {
                // What Target refused in the end was given up, though it may have come through before a crash. Sent again,
                // it counts from when it was accepted.
                let last = !arrived[before + 1..].contains(&earlier);
                let given_up = states[&earlier] != "accepted" || (self.entries[earlier].retried && !last);
                assert!(
                    given_up || !self.entries[later].precedes(&self.entries[earlier]),
                    "{later} was committed before {earlier} was written, and has arrived after it: {}",
                    what()
                );
            }
        }
        let held = arrived.last();
        let accepted = states
            .iter()
            .filter(|(index, state)| *state == "accepted" && self.entries[**index].key() == key)
            .map(|(index, _)| &self.entries[*index])
            .filter(|entry| entry.sets(attr));
        for entry in accepted {
            let Some(&held) = held else {
                panic!("{entry:?} was accepted, and nothing has arrived: {}", what());
            };
            assert!(
                !self.entries[held].precedes(entry),
                "{held} is the last one, and was committed before {entry:?} was written: {}",
                what()
            );
        }
        assert_eq!(
            self.stage
                .mock
                .value(&self.clients[key.0], "mbox3rdPartyId", PROFILES[key.1], ATTRS[attr])
                .as_deref()
                .map(index_in),
            held.copied()
        );
    }

    /// The clients go, and with them what their quota has withheld.
    fn clean_up(&self) {
        for code in &self.clients {
            self.stage.db.query(
                "select target_profile.remove_client($1, dead_letter_waiting => true)",
                &[code],
            );
        }
        assert_eq!(self.stage.db.text("select count(*) from target_profile.outbox"), "0");
    }
}

/// Writes one entry, whose attributes are set to its index; the outbox id.
fn insert(session: &Db, clients: &[String; 3], padded: bool, index: usize, write: Write) -> i64 {
    let padding = if padded { "x".repeat(35_000) } else { String::new() };
    let attrs: Vec<String> = (0..ATTRS.len())
        .filter(|attr| write.attrs & (1 << attr) != 0)
        .map(|attr| format!(r#""{}": "{index}{padding}""#, ATTRS[attr]))
        .collect();
    session.value(
        "select target_profile_update($1, 'mbox3rdPartyId', $2, $3::text::jsonb, $4)",
        &[
            &clients[write.client],
            &PROFILES[write.profile],
            &format!("{{{}}}", attrs.join(", ")),
            &write.priority,
        ],
    )
}

/// The index that a value names.
fn index_in(value: &str) -> usize {
    value.trim_end_matches('x').parse().unwrap()
}

fn run(name: &str, count: u64) {
    let first = std::env::var("HISTORY_SEED").map_or_else(
        // Printed as it is to be given.
        |_| RandomState::new().hash_one(0) >> 16,
        |seed| seed.parse().expect("HISTORY_SEED is a number"),
    );
    println!("{name}: HISTORY_SEED={first}");
    let mut stage = Stage::new(name);
    let mut sums: BTreeMap<String, usize> = BTreeMap::new();
    let began = Instant::now();
    let mut healing = Duration::ZERO;
    for number in 0..count {
        let seed = first + number;
        let plan = draw(seed);
        let mut history = History::new(&mut stage, seed, usize::try_from(number).unwrap(), plan.padded);
        for step in plan.steps {
            let began = Instant::now();
            history.story.push(format!("{began:?} {step:?}"));
            history.step(step);
            // Nobody who writes or intervenes waits for the worker or the endpoint.
            let took = began.elapsed();
            assert!(took < SOON / 2, "the last step took {took:?}");
        }
        history.story.push("heal".to_owned());
        let sick = Instant::now();
        history.heal();
        if plan.all_again {
            history.story.push("all again".to_owned());
            for client in 0..3 {
                history.step(Step::RetryAll(client));
            }
            history.heal();
        }
        healing += sick.elapsed();
        let states = history.check();
        history.clean_up();
        let retried = history.entries.iter().filter(|entry| entry.retried).count();
        let requests = history.stage.mock.requests();
        let unsure = requests
            .iter()
            .filter(|request| request.applied && request.status.is_none())
            .count();
        for (what, count) in [
            ("requests", requests.len()),
            ("retried", retried),
            ("arrived without an answer", unsure),
        ] {
            *sums.entry(what.to_owned()).or_default() += count;
        }
        for state in states.into_values() {
            *sums.entry(state).or_default() += 1;
        }
    }
    // What the histories were made of: one that never rejects anything would prove little.
    println!(
        "{name}: {count} histories in {:?}, of which {healing:?} to heal: {sums:?}",
        began.elapsed()
    );
}

#[test]
fn whatever_happens_nothing_is_lost_and_nothing_old_follows_what_is_newer() {
    run("histories", 10);
}

#[test]
#[ignore = "takes minutes: make soak"]
fn over_two_hundred_histories_nothing_is_lost_and_nothing_old_follows_what_is_newer() {
    run("long_histories", 200);
}
