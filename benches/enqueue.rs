//! What it costs to write entries: by the function, and by triggers. The floor is what one would write by hand: plain INSERTs, and
//! PL/pgSQL triggers, into a table with the same columns and indexes.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use support::{Db, Match, Reply};

use crate::Size;
use crate::process::Process;
use crate::site::{ATTRS, Site};
use crate::table::{Line, Required, Table, median, spread};

/// Tables of customers that are alike, each wired in another way. Each has as many UPDATEs as the one that it is compared with: with more of
/// them its rows would lie in another order, and what is inserted in another order takes another time.
const TABLES: [&str; 7] = [
    "bare",
    "watched",
    "by_statement",
    "by_hand",
    "by_row",
    "watched_beside",
    "bare_beside",
];

/// A site that sends nothing, with `plain`, a table like the outbox.
fn site(name: &str, of_client: usize) -> Site {
    let site = Site::new(name, 256, of_client);
    site.hold();
    site.db.batch(
        "create table plain (like target_profile.outbox including all);
         alter table plain set (fillfactor = 90, autovacuum_enabled = off);
         alter table target_profile.outbox set (autovacuum_enabled = off)",
    );
    site
}

/// The process that serves the site's session.
fn session(site: &Site) -> Process {
    Process::of(site.db.text("select pg_backend_pid()").parse().unwrap_or(0))
}

fn reset(site: &Site) {
    site.db.batch("truncate target_profile.outbox, plain");
}

pub fn triggers(table: &mut Table, size: Size) {
    let rows = 100_000;
    let rounds = size.of(9, 3);
    let site = site("triggers", 256);
    for name in TABLES {
        site.db.batch(&format!(
            "create table {name} (customer_id text primary key, tier text, note text, balance numeric(12, 2), updated_at timestamptz)
                 with (autovacuum_enabled = off);
             insert into {name} select 'customer-' || g, 'gold', 'n', g / 3.0, now() from generate_series(1, {rows}) g"
        ));
    }
    site.db.batch(
        "select target_profile.watch(name::regclass, 'acme', 'mbox3rdPartyId', 'customer_id', '{tier,balance}')
             from unnest('{watched,watched_beside}'::text[]) name;

         -- Without looking at what was before: a join with the old rows would only make it dearer.
         create function by_statement() returns trigger language plpgsql as $$
         begin
             insert into plain (client_code, id_kind, profile_id, attrs, source)
             select 'acme', 'mbox3rdPartyId', customer_id, jsonb_build_object('tier', tier, 'balance', balance), 'by_statement' from changed;
             return null;
         end $$;
         create trigger by_statement after update on by_statement referencing new table as changed
             for each statement execute function by_statement();

         create trigger by_hand after update on by_hand for each row
             execute function target_profile_trigger('acme', 'mbox3rdPartyId', 'customer_id', 'tier', 'balance');

         create function by_row() returns trigger language plpgsql as $$
         begin
             if new.tier is distinct from old.tier or new.balance is distinct from old.balance then
                 insert into plain (client_code, id_kind, profile_id, attrs, source)
                 values ('acme', 'mbox3rdPartyId', new.customer_id, jsonb_build_object('tier', new.tier, 'balance', new.balance), 'by_row');
             end if;
             return null;
         end $$;
         create trigger by_row after update on by_row for each row execute function by_row()",
    );
    let session = session(&site);
    let update = |name: &str, set: &str| {
        reset(&site);
        site.db.batch(&format!("vacuum {name}"));
        site.db.batch("checkpoint");
        let (started, before) = (Instant::now(), session.cpu().postgres);
        site.db.batch(&format!("update {name} set {set}"));
        Took {
            wall: started.elapsed().as_secs_f64(),
            cpu: session.cpu().postgres - before,
        }
    };
    let mut took: [Vec<Took>; 5] = Default::default();
    let (mut unwatched, mut bare_note) = (Vec::new(), Vec::new());
    // Each table once before it counts.
    for round in 0..=rounds {
        let tier = format!("tier = 'tier-{round}'");
        let round_took = [
            update("bare", &tier),
            update("watched", &tier),
            update("by_statement", &tier),
            update("by_hand", &tier),
            update("by_row", &tier),
        ];
        if round > 0 {
            for (list, took) in took.iter_mut().zip(round_took) {
                list.push(took);
            }
        }
        // A tenth of a short time is looked for, which takes more rounds to be seen.
        for part in 0..4 {
            let note = format!("note = 'note-{round}-{part}'");
            let (ours, floor) = (update("watched_beside", &note), update("bare_beside", &note));
            if round > 0 {
                unwatched.push(ours);
                bare_note.push(floor);
            }
        }
    }
    let [bare, watched, by_statement, by_hand, by_row] = took;
    compare(
        table,
        "UPDATE of 100,000 rows, watched",
        &watched,
        "statement trigger",
        &by_statement,
        1.0,
    );
    compare(
        table,
        "UPDATE of 100,000 rows, trigger by hand",
        &by_hand,
        "row trigger",
        &by_row,
        1.0,
    );
    compare(
        table,
        "UPDATE of no watched column",
        &unwatched,
        "bare UPDATE",
        &bare_note,
        1.15,
    );
    table.note(&format!(
        "the bare UPDATE of the watched column: {:.0} ms",
        1000.0 * median(bare.iter().map(|took| took.wall).collect())
    ));
}

/// Seconds that a statement took: by the clock, and of its session's processor time, which a busy machine changes less.
#[derive(Clone, Copy)]
struct Took {
    wall: f64,
    cpu: f64,
}

/// Judged by the session's processor time: by the clock the same statements differ by a fifth on a machine that does other things too.
fn compare(table: &mut Table, what: &str, measured: &[Took], what_floor: &str, floor: &[Took], most: f64) {
    let ratio = |of: fn(&Took) -> f64| median(measured.iter().zip(floor).map(|(a, b)| of(a) / of(b)).collect());
    let ms = |list: &[Took], of: fn(&Took) -> f64| 1000.0 * median(list.iter().map(of).collect());
    table.line(Line {
        what,
        measured: format!("{:.0} ms", ms(measured, |took| took.cpu)),
        floor: format!("{what_floor} {:.0} ms", ms(floor, |took| took.cpu)),
        ratio: ratio(|took| took.cpu),
        required: Required::AtMost(most),
    });
    table.note(&format!(
        "by the clock {:.0} ms, {what_floor} {:.0} ms: {:.2}",
        ms(measured, |took| took.wall),
        ms(floor, |took| took.wall),
        ratio(|took| took.wall)
    ));
}

pub fn selected(table: &mut Table, size: Size) {
    let rounds = size.of(9, 3);
    let site = site("selected", 256);
    site.db.batch(
        "create table customers as select 'customer-' || g as customer_id, 'gold' as tier, (g / 3.0)::numeric(12, 2) as balance
             from generate_series(1, 100000) g",
    );
    site.db.batch("vacuum analyze customers");
    let session = session(&site);
    let timed = |sql: &str| {
        reset(&site);
        site.db.batch("checkpoint");
        let (started, before) = (Instant::now(), session.cpu().postgres);
        site.db.batch(sql);
        Took {
            wall: started.elapsed().as_secs_f64(),
            cpu: session.cpu().postgres - before,
        }
    };
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let measured = timed(
            "select count(target_profile_update('acme', 'mbox3rdPartyId', customer_id, jsonb_build_object('tier', tier, 'balance', balance)))
             from customers",
        );
        let plain = timed(
            "insert into plain (client_code, id_kind, profile_id, attrs)
             select 'acme', 'mbox3rdPartyId', customer_id, jsonb_build_object('tier', tier, 'balance', balance) from customers",
        );
        if round > 0 {
            ours.push(measured);
            floor.push(plain);
        }
    }
    compare(
        table,
        "SELECT of the function over 100,000 rows",
        &ours,
        "INSERT … SELECT",
        &floor,
        1.5,
    );
}

/// What the worker does while the function is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    /// Nothing: sending is switched off.
    Off,
    /// The only client is paused.
    Paused,
    /// It sends to an endpoint that takes 50 ms.
    Sending,
}

impl Beside {
    const ALL: [Self; 3] = [Self::Off, Self::Paused, Self::Sending];

    fn begin(self, site: &Site) {
        match self {
            Self::Off => site.hold(),
            Self::Paused => {
                site.db.batch("select target_profile.pause('acme', 'measured')");
                site.go();
            }
            Self::Sending => site.db.batch("select target_profile.resume('acme')"),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Paused => "paused",
            Self::Sending => "sending",
        }
    }

    /// Of the rate of plain INSERTs.
    const fn least(self) -> f64 {
        match self {
            Self::Off | Self::Paused => 0.9,
            Self::Sending => 0.75,
        }
    }
}

/// What was measured beside one state of the worker.
#[derive(Default)]
struct Rates {
    commits: Vec<f64>,
    ratios: Vec<f64>,
    /// Of a processor, by the worker.
    worker: Vec<f64>,
    /// Processor time for each request, µs: of the worker's thread for Postgres, and of its other one.
    postgres: Vec<f64>,
    io: Vec<f64>,
    sent: Vec<f64>,
    /// Processor time of sessions and worker for a commit, against that of a plain INSERT.
    cpu: Vec<f64>,
}

pub fn function(table: &mut Table, size: Size) {
    const LATENCY: Duration = Duration::from_millis(50);
    // The client as add_client makes it.
    let site = self::site("function", 64);
    site.mock.on(Match::any()).respond(Reply::delay(LATENCY));
    let worker = site.worker();
    let seconds = size.of(3.0, 1.0);
    let rounds = size.of(5, 3);
    let ours = "select target_profile_update('acme', 'mbox3rdPartyId', $1, $2::text::jsonb)";
    let plain = "insert into plain (client_code, id_kind, profile_id, attrs) values ('acme', 'mbox3rdPartyId', $1, $2::text::jsonb) returning id";
    for clients in [1, 8, 32] {
        let mut rates: [Rates; 3] = Default::default();
        let mut floors = Vec::new();
        for _ in 0..rounds {
            Beside::Off.begin(&site);
            reset(&site);
            site.db.batch("checkpoint");
            // Before and after: a machine that does other things meanwhile is slower at times.
            let before = push(&site, plain, clients, seconds / 2.0);
            let mut round = Vec::new();
            for beside in Beside::ALL {
                beside.begin(&site);
                site.db.batch("truncate target_profile.outbox");
                site.mock.clear();
                let (cpu, started) = (worker.cpu(), Instant::now());
                let pushed = push(&site, ours, clients, seconds);
                let (after, took) = (worker.cpu(), started.elapsed().as_secs_f64());
                let (postgres, io) = (after.postgres - cpu.postgres, after.io - cpu.io);
                let sent = site.mock.request_count() as f64;
                let rates = &mut rates[beside as usize];
                rates.worker.push((postgres + io) / took);
                rates.postgres.push(postgres * 1e6 / sent.max(1.0));
                rates.io.push(io * 1e6 / sent.max(1.0));
                rates.sent.push(sent / took);
                round.push((pushed.rate, pushed.cpu + (postgres + io) * 1e6 / pushed.commits));
            }
            Beside::Off.begin(&site);
            let after = push(&site, plain, clients, seconds / 2.0);
            let floor = (before.rate + after.rate) / 2.0;
            let floor_cpu = (before.cpu + after.cpu) / 2.0;
            floors.push(floor);
            for (rates, (commits, cpu)) in rates.iter_mut().zip(round) {
                rates.commits.push(commits);
                rates.ratios.push(commits / floor);
                rates.cpu.push(floor_cpu / cpu);
            }
        }
        for (beside, rates) in Beside::ALL.into_iter().zip(rates) {
            table.line(Line {
                what: &format!("the function, {clients} clients, {}", beside.name()),
                measured: format!("{:.0} /s", median(rates.commits.clone())),
                floor: format!("plain INSERT {:.0} /s", median(floors.clone())),
                ratio: median(rates.ratios),
                required: Required::AtLeast(beside.least()),
            });
            table.note(&format!(
                "rounds: {} /s; by processor time of sessions and worker {:.2}; {:.0} sent/s, worker {:.0} µs each and its I/O thread {:.0} µs",
                spread(&rates.commits),
                median(rates.cpu),
                median(rates.sent),
                median(rates.postgres),
                median(rates.io),
            ));
            if beside == Beside::Paused {
                table.line(Line {
                    what: &format!("the worker beside {clients} clients, paused"),
                    measured: format!("{:.2} %", 100.0 * median(rates.worker.clone())),
                    floor: "of a processor".to_owned(),
                    ratio: 100.0 * median(rates.worker),
                    required: Required::AtMost(1.0),
                });
            }
        }
    }
}

/// What sessions have done.
#[derive(Clone, Copy)]
struct Pushed {
    /// Commits a second.
    rate: f64,
    /// Processor time of the sessions' processes for each commit, µs.
    cpu: f64,
    /// Of them all.
    commits: f64,
}

/// So many sessions that each repeat a prepared statement, a transaction each time.
fn push(site: &Site, sql: &str, clients: usize, seconds: f64) -> Pushed {
    let start = Barrier::new(clients);
    let done: Vec<(f64, f64)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|client| {
                let (db, start): (Db, &Barrier) = (site.cluster.db(), &start);
                scope.spawn(move || {
                    let statement = db.prepare(sql);
                    let process = Process::of(u32::try_from(db.pid()).unwrap_or(0));
                    start.wait();
                    let before = process.cpu().postgres;
                    let end = Instant::now() + Duration::from_secs_f64(seconds);
                    let mut done = 0;
                    while Instant::now() < end {
                        db.query_prepared(&statement, &[&format!("customer-{client}-{done}"), &ATTRS]);
                        done += 1;
                    }
                    (f64::from(done), process.cpu().postgres - before)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or((f64::NAN, f64::NAN)))
            .collect()
    });
    let commits: f64 = done.iter().map(|(commits, _)| commits).sum();
    let cpu: f64 = done.iter().map(|(_, cpu)| cpu).sum();
    Pushed {
        rate: commits / seconds,
        cpu: cpu * 1e6 / commits,
        commits,
    }
}
