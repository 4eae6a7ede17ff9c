//! Rounds of load, each of which ends in a crash: of the worker, of a backend, or an immediate stop; at random moments
//! and at each step of the worker. One cluster and one stand-in live through all of them, and at the end nothing may be
//! lost, no order broken, no quota exceeded.
//!
//! Nothing in the product knows of the steps: locks, a trigger of the test and the stand-in hold the worker where it is to
//! die. `CRASH_SEED` repeats a run, as far as the scheduling of processes can be repeated.

mod load;
mod verdict;

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::RwLockWriteGuard;
use std::thread;
use std::time::{Duration, Instant};

use support::cluster::process;
use support::mock_target::RuleId;
use support::{Cluster, Db, Match, MockTarget, Mode, Reply, wait};
use tokio_postgres::types::ToSql;

use crate::site::{SOON, Site, WORKER};
use load::{EndOfLoad, Load, Random, Written};
use verdict::{Evidence, Received};

/// Its quota is used up on the way.
const QUOTA_CLIENT: &str = "small";
const QUOTA_IN_FLIGHT: i64 = 8;

const WRITERS: usize = 3;

/// More than is ever reserved in advance at the pace of this load: it cannot be sent without another reservation.
const BURST: i64 = 128;

/// Where the worker is when it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Anywhere.
    Any,
    /// It has claimed entries, and not yet reserved quota for them.
    Claimed,
    /// It has reserved and sent, and nothing has arrived.
    Reserved,
    /// Requests have arrived and are not answered.
    Sent,
    /// The same, and whoever enqueued has not waited for the disk.
    SentUnflushed,
    /// The answers are there, and nothing of them is written.
    Answered,
    /// They are written, and not committed.
    Settling,
    /// A settlement with activity in it has failed; the next one, which has more in it, is committed.
    SettledLate,
}

const MOMENTS: [Moment; 8] = [
    Moment::Any,
    Moment::Claimed,
    Moment::Reserved,
    Moment::Sent,
    Moment::SentUnflushed,
    Moment::Answered,
    Moment::Settling,
    Moment::SettledLate,
];

/// What kills.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Worker,
    Backend,
    Immediate,
}

const BLOWS: [Blow; 3] = [Blow::Worker, Blow::Backend, Blow::Immediate];

/// When a crash began, and when the worker of before it was gone.
struct Crash {
    began: Instant,
    over: Instant,
    /// The stand-in's first connection from after it. What lay unread in older ones when their worker died may arrive later.
    connection: u64,
}

#[test]
fn rounds_of_load_and_crashes_lose_nothing() {
    crash_rounds(MOMENTS.len() * 2, 300);
}

#[test]
#[ignore = "takes minutes: make soak"]
fn two_hundred_rounds_of_load_and_crashes_lose_nothing() {
    crash_rounds(200, 2_000);
}

fn crash_rounds(rounds: usize, quota: i64) {
    let seed = std::env::var("CRASH_SEED").map_or_else(
        |_| std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos().into(),
        |seed| seed.parse().expect("CRASH_SEED is a number"),
    );
    println!("CRASH_SEED={seed}");
    let mut random = Random(seed);
    // With a WAL writer that seldom looks, what did not wait for the disk stays in memory until somebody else does.
    let builder = Cluster::builder("crash-rounds")
        .conf("wal_writer_delay", "10s")
        .conf("recovery_init_sync_method", "syncfs");
    let Site { mock, cluster, db } = Site::with(builder);
    let mut arena = Arena::new(&mock, &cluster, db, quota);
    make_flaky(&mock, random.next());
    let load = Load::new();
    let written: Vec<Written> = thread::scope(|scope| {
        let end = EndOfLoad(&load);
        let (load, cluster) = (&load, &cluster);
        let seeds: Vec<u64> = (0..WRITERS).map(|_| random.next()).collect();
        let seeds = seeds.into_iter().enumerate();
        let writers: Vec<_> = seeds
            .map(|(writer, seed)| scope.spawn(move || load.write(cluster, writer, seed)))
            .collect();
        arena.play(load, rounds, &mut random);
        drop(end);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    arena.wait_settled();
    arena.check_quota();
    Evidence {
        db: &arena.db,
        mock: &mock,
        crashes: &arena.crashes,
        written: &written,
    }
    .check();
}

/// An endpoint that fails now and then, in each way that leaves in doubt whether the update has arrived.
fn make_flaky(mock: &MockTarget, seed: u64) {
    let flaky = [
        (0.04, Reply::status(500)),
        (0.01, Reply::hang()),
        (0.03, Reply::reset()),
        (0.03, Reply::reset_mid_body()),
        (0.02, Reply::status(500).applied(true)),
    ];
    for ((probability, reply), seed) in flaky.into_iter().zip(seed..) {
        mock.on(Match::client("flaky").and_probability(probability, seed))
            .respond(reply);
    }
}

struct Arena<'a> {
    mock: &'a MockTarget,
    cluster: &'a Cluster,
    db: Db,
    quota: i64,
    received: Received,
    crashes: Vec<Crash>,
    /// How many crashes there were until the quota was used up, and what its client had received after the last of them.
    used_up: Option<(usize, i64)>,
}

/// What holds the worker where it is, as long as it lives.
#[derive(Default)]
struct Hold<'a> {
    session: Option<Db>,
    rules: Vec<RuleId>,
    deaf: Option<TcpListener>,
    /// Keeps the writers from writing.
    pause: Option<RwLockWriteGuard<'a, ()>>,
}

impl<'a> Arena<'a> {
    fn new(mock: &'a MockTarget, cluster: &'a Cluster, db: Db, quota: i64) -> Self {
        for sql in [
            "select target_profile.set_client('acme', max_in_flight => 128)",
            "select target_profile.add_client('flaky', endpoint => $1, timeout => '2 s')",
            "select target_profile.add_client('small', endpoint => $1, daily_quota => $2, max_in_flight => $3)",
        ] {
            let params: [&(dyn ToSql + Sync); 3] = [&mock.endpoint(), &quota, &i32::try_from(QUOTA_IN_FLIGHT).unwrap()];
            let count = sql.matches('$').count();
            db.query(sql, &params[..count]);
        }
        // A settlement deletes what was accepted after it has written the responses, and now and then writes
        // what was sent; what is reserved has a transaction of its own.
        db.batch(
            "create table journal (number bigint primary key, client text not null, profile text not null,
                 attr text not null, entry bigint not null);
             create function hold() returns trigger language plpgsql as $$
             begin
                 perform pg_advisory_xact_lock_shared(1);
                 return null;
             end $$;
             create function fail() returns trigger language plpgsql as $$
             begin
                 if not pg_try_advisory_xact_lock_shared(2) then
                     raise exception 'the test wants this to fail';
                 end if;
                 return new;
             end $$;
             create trigger hold after delete on target_profile.outbox for each statement execute function hold();
             create trigger fail before insert on target_profile.activity for each row
                 when (new.sent > 0) execute function fail();
             alter table target_profile.outbox enable always trigger hold;
             alter table target_profile.activity enable always trigger fail",
        );
        Self {
            mock,
            cluster,
            db,
            quota,
            received: Received::default(),
            crashes: Vec::new(),
            used_up: None,
        }
    }

    fn play(&mut self, load: &Load, rounds: usize, random: &mut Random) {
        // The day's table of responses is there from then on.
        self.wait_until(&format!("select ({RESPONSES}) > 0"));
        // Every moment comes with every blow, if there are rounds enough, and in each half there is every moment.
        let mut order: Vec<Moment> = Vec::new();
        for round in 0..rounds {
            if order.is_empty() {
                order = MOMENTS.to_vec();
                random.shuffle(&mut order);
            }
            let Some(moment) = order.pop() else { break };
            let place = MOMENTS.iter().position(|one| *one == moment).unwrap_or_default();
            let blow = BLOWS[(round / MOMENTS.len() + place) % BLOWS.len()];
            if round == rounds / 2 {
                self.wait_until(&format!(
                    "select sum(sent) = {} from target_profile.activity where client_code = '{QUOTA_CLIENT}'",
                    self.quota
                ));
            }
            let began = Instant::now();
            self.round(load, moment, blow, random);
            println!(
                "round {round}: {moment:?}, {blow:?}, {:.1} s, received {:?}",
                began.elapsed().as_secs_f64(),
                self.received.of
            );
            if round == rounds / 2 {
                self.used_up = Some((self.crashes.len(), self.received_by_quota_client()));
            }
        }
    }

    fn round(&mut self, load: &Load, moment: Moment, blow: Blow, random: &mut Random) {
        // Somewhere in the work of a worker that has found its way after the last crash.
        let some = self.mock.request_count() + 1 + random.below(100);
        self.mock
            .wait_for("requests after a crash", SOON, |state| state.counters().arrived >= some);
        let worker = self.worker();
        let mut hold = self.bring_to(moment, load);
        let crash = self.strike(blow, worker, random);
        // Nobody knocks at the door of a server that is down.
        let pause = hold.pause.take().unwrap_or_else(|| load.pause());
        for rule in std::mem::take(&mut hold.rules) {
            self.mock.remove_rule(rule);
        }
        self.mock.release_hung();
        let moved = hold.deaf.is_some();
        drop(hold);
        self.db = self.recovered(worker);
        drop(pause);
        self.crashes.push(crash);
        self.received.check_ledger(self.mock, &self.db);
        if moved {
            self.set_endpoint(&self.mock.endpoint());
        }
    }

    fn bring_to<'l>(&self, moment: Moment, load: &'l Load) -> Hold<'l> {
        let mut hold = Hold::default();
        match moment {
            Moment::Any => {}
            Moment::Claimed => hold.session = Some(self.bring_to_reservation(load)),
            Moment::Reserved => {
                let deaf = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                let port = deaf.local_addr().unwrap().port();
                self.set_endpoint(&format!("http://127.0.0.1:{port}/m2/{{client}}/profile/update"));
                load.burst(&self.db, "deaf", BURST);
                // What is in flight has its reservation; a block in reserve may have spared a new one.
                self.wait_until(
                    "select coalesce(bool_or(target_profile._in_flight(client_code, id_kind, profile_id, id)), false)
                     from target_profile.outbox where client_code = 'acme' and profile_id like 'deaf%'",
                );
                hold.deaf = Some(deaf);
            }
            Moment::Sent => {
                let rule = self.mock.on(Match::client("acme")).respond(Reply::hang());
                load.burst(&self.db, "hung", BURST);
                self.wait_hits(rule, 2);
                hold.rules.push(rule);
            }
            Moment::SentUnflushed => {
                hold.pause = Some(load.pause());
                self.wait_until("select not exists (select from target_profile.outbox where client_code = 'acme')");
                let rule = self.mock.on(Match::id("unflushed0")).respond(Reply::hang());
                self.db.batch("set synchronous_commit = off");
                load.burst(&self.db, "unflushed", 1);
                self.wait_hits(rule, 1);
                hold.rules.push(rule);
            }
            Moment::Answered => {
                let session = self.cluster.db();
                session.batch("begin; lock table target_profile.response in share mode");
                assert!(self.waits("settling", "relation", SOON), "no settlement waits");
                hold.session = Some(session);
            }
            Moment::Settling => {
                let session = self.cluster.db();
                session.batch("select pg_advisory_lock(1)");
                assert!(self.waits("settling", "advisory", SOON), "no settlement waits");
                hold.session = Some(session);
            }
            Moment::SettledLate => {
                // While anything is under way, the worker does not write all that it knows with each settlement; and some
                // answers must come after the one that fails.
                let hung = self.mock.on(Match::id("late0")).respond(Reply::hang());
                let slow = Reply::delay(Duration::from_millis(100));
                hold.rules = vec![hung, self.mock.on(Match::client("acme")).respond(slow)];
                load.burst(&self.db, "late", 1);
                self.wait_hits(hung, 1);
                let session = self.cluster.db();
                session.batch("select pg_advisory_lock(2)");
                self.wait_until("select state = 'failing' and last_error like 'settling:%' from target_profile.worker");
                let responses: i64 = self.db.value(RESPONSES, &[]);
                session.batch("select pg_advisory_unlock(2)");
                self.wait_until(&format!("select ({RESPONSES}) > {responses}"));
                hold.session = Some(session);
            }
        }
        hold
    }

    /// Holds the worker where it reserves quota for what it has claimed. A settlement may have come first and waits for the
    /// same lock; then once more.
    fn bring_to_reservation(&self, load: &Load) -> Db {
        const PATIENCE: Duration = Duration::from_secs(1);
        let session = self.cluster.db();
        wait::until("a reservation that waits", SOON, || {
            session.batch("begin; lock table target_profile.activity in share mode");
            load.burst(&self.db, "claimed", BURST);
            let there = self.waits("reserving quota", "relation", PATIENCE);
            if !there {
                session.batch("rollback");
                self.wait_until("select not exists (select from target_profile.outbox where profile_id ~ '^claimed')");
            }
            there.then_some(())
        });
        session
    }

    /// Whether the worker comes to wait for such a lock in such a transaction.
    fn waits(&self, transaction: &str, lock: &str, patience: Duration) -> bool {
        let sql = "select exists (select from pg_stat_activity
             where backend_type = $1 and query = $2 and wait_event_type = 'Lock' and wait_event = $3)";
        let waits = || self.db.value::<bool>(sql, &[&WORKER, &transaction, &lock]);
        wait::poll(patience, || waits().then_some(())).is_some()
    }

    fn strike(&self, blow: Blow, worker: i32, random: &mut Random) -> Crash {
        let dying = process(u32::try_from(worker).unwrap());
        let began = Instant::now();
        match blow {
            Blow::Worker => self.cluster.kill9(worker),
            Blow::Backend => {
                // Writers may still be on their way back from the last crash.
                let pids = wait::until("a backend to kill", SOON, || {
                    let backends = self.db.query(
                        "select pid from pg_stat_activity
                         where backend_type = 'client backend' and pid <> pg_backend_pid()",
                        &[],
                    );
                    let pids: Vec<i32> = backends.iter().map(|row| row.get(0)).collect();
                    (!pids.is_empty()).then_some(pids)
                });
                self.cluster.kill9(random.pick(&pids));
            }
            Blow::Immediate => self.cluster.stop(Mode::Immediate),
        }
        let gone = dying.is_none_or(|worker| worker.ends_within(SOON));
        assert!(gone, "the worker outlived a crash of its server");
        let over = Instant::now();
        let connection = self.knock();
        if matches!(blow, Blow::Immediate) {
            self.cluster.start();
        }
        Crash {
            began,
            over,
            connection,
        }
    }

    /// A request of the test's own; the number of its connection.
    fn knock(&self) -> u64 {
        let target = format!("/crash/{}", self.crashes.len());
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.mock.port())).unwrap();
        stream
            .write_all(format!("GET {target} HTTP/1.1\r\nhost: target\r\nconnection: close\r\n\r\n").as_bytes())
            .unwrap();
        let mut connection = 0;
        self.mock.wait_for("the knock after a crash", SOON, |state| {
            let mut latest = state.requests().iter().rev();
            connection = latest
                .find(|request| request.target == target)
                .map_or(0, |request| request.connection);
            connection > 0
        });
        connection
    }

    /// A session after the crash, when there is another worker.
    fn recovered(&self, worker: i32) -> Db {
        let sql = "select exists (select from pg_stat_activity where backend_type = $1 and pid <> $2)";
        wait::until("another worker after a crash", SOON, || {
            // Until the server has noticed its crash it may still let somebody in.
            let db = self.cluster.try_client("postgres", "postgres").ok()?;
            let rows = db.try_query(sql, &[&WORKER, &worker]).ok()?;
            rows[0].get::<_, bool>(0).then_some(db)
        })
    }

    fn worker(&self) -> i32 {
        let sql = "select pid from pg_stat_activity where backend_type = $1";
        let pid = || self.db.query(sql, &[&WORKER]).first().map(|row| row.get(0));
        wait::until("a worker", SOON, pid)
    }

    fn set_endpoint(&self, endpoint: &str) {
        self.db
            .query("select target_profile.set_client('acme', endpoint => $1)", &[&endpoint]);
    }

    fn wait_hits(&self, rule: RuleId, hits: u64) {
        wait::until("requests that hang", SOON, || {
            (self.mock.rule_hits(rule) >= hits).then_some(())
        });
    }

    fn wait_until(&self, sql: &str) {
        self.cluster.wait_sql(&self.db, sql, SOON);
    }

    /// Everything works again, and all is sent but what the quota holds back.
    fn wait_settled(&self) {
        self.mock.clear_rules();
        self.mock.release_hung();
        self.wait_until(&format!(
            "select not exists (select from target_profile.outbox where client_code <> '{QUOTA_CLIENT}')"
        ));
        self.mock
            .wait_for("the last answers", SOON, |state| state.counters().in_flight == 0);
    }

    fn received_by_quota_client(&self) -> i64 {
        self.received.of.get(QUOTA_CLIENT).copied().unwrap_or(0)
    }

    fn check_quota(&mut self) {
        self.received.check_ledger(self.mock, &self.db);
        let (received, quota) = (self.received_by_quota_client(), self.quota);
        assert!(received <= quota, "{received} requests for a quota of {quota}");
        let row = self.db.query_one(
            "select sum(reserved), sum(sent), (select count(*) from target_profile.outbox where client_code = $1)
             from target_profile.activity where client_code = $1",
            &[&QUOTA_CLIENT],
        );
        let (reserved, sent, waiting): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
        println!("quota {quota}: received {received}, reserved {reserved}, sent {sent}, {waiting} entries wait");
        assert!(reserved <= quota, "{reserved} reserved of a quota of {quota}");
        assert_eq!(sent, quota, "all of the quota counts as used");
        assert!(waiting > 0, "the quota holds nothing back");
        let (crashes, by_then) = self.used_up.expect("the quota was used up on the way");
        assert_eq!(received, by_then, "more was sent when the quota had been used up");
        // What a crash counts as sent and was not: of this minute and the last what was reserved in advance, at most two blocks
        // each, and what was reserved for requests that the crash has stopped on their way.
        let block = quota / 100;
        let bound = i64::try_from(crashes).unwrap() * (4 * block + QUOTA_IN_FLIGHT);
        let over = sent - received;
        assert!(
            over <= bound,
            "{over} requests count that were not sent; {crashes} crashes account for {bound}"
        );
    }
}

const RESPONSES: &str = "select count(*) from target_profile.response";
