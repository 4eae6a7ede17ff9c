//! The load: writers that go on whatever happens to the server, and a journal that says what was committed.
//!
//! Each value that is ever sent is a number of its own. It goes into the journal in the transaction that enqueues it, so the
//! journal's rows are what was committed, also where a crash took the answer to a COMMIT.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};
use std::thread;
use std::time::Duration;

use support::{Cluster, Db, sqlstate};
use tokio_postgres::Error;

/// Of these a writer writes some more often than others.
const CLIENTS: [&str; 6] = ["acme", "acme", "acme", "flaky", "flaky", "small"];

/// So many profiles of each client has a writer for itself: in each, the order of numbers is the order of commits.
const PROFILES: u64 = 4;

/// The longest pause of a writer between two transactions, in microseconds.
const PAUSE: u64 = 30_000;

const WRITE: &str = "insert into journal select $1::bigint, $2::text, $3::text, $4::text,
     target_profile_update($2::text, 'mbox3rdPartyId', $3::text, jsonb_build_object($4::text, $1::bigint))";

/// SplitMix64: small, and the same everywhere for one seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (1..list.len()).rev() {
            list.swap(end, usize::try_from(self.below(end as u64 + 1)).unwrap());
        }
    }
}

/// What writers share.
pub struct Load {
    numbers: AtomicI64,
    over: AtomicBool,
    /// Held by each writer during a transaction.
    gate: RwLock<()>,
}

/// Ends the load when dropped, so that a test that fails does not wait for its writers for ever.
pub struct EndOfLoad<'a>(pub &'a Load);

impl Drop for EndOfLoad<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
    }
}

/// What one writer knows of its numbers; of all others it does not know whether they were committed.
#[derive(Default)]
pub struct Written {
    /// The server has said that they are committed and on disk.
    pub durable: Vec<i64>,
    /// They were rolled back.
    pub undone: Vec<i64>,
}

impl Load {
    pub fn new() -> Self {
        Self {
            numbers: AtomicI64::new(1),
            over: AtomicBool::new(false),
            gate: RwLock::new(()),
        }
    }

    /// So many new numbers; the first of them.
    pub fn draw(&self, count: i64) -> i64 {
        self.numbers.fetch_add(count, Ordering::SeqCst)
    }

    /// Keeps the writers, none of which has a transaction open, from beginning another.
    pub fn pause(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes until the load is over.
    pub fn write(&self, cluster: &Cluster, writer: usize, seed: u64) -> Written {
        let mut random = Random(seed);
        let mut written = Written::default();
        let mut session: Option<Db> = None;
        while !self.over.load(Ordering::SeqCst) {
            let open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            let db = session
                .take()
                .or_else(|| cluster.try_client("postgres", "postgres").ok());
            if let Some(db) = db {
                match self.transaction(&db, writer, &mut random, &mut written) {
                    Ok(()) => session = Some(db),
                    Err(error) => {
                        // Any other would be a writer's or the extension's fault, not the crash's.
                        let state = sqlstate(&error);
                        assert!(
                            state.is_empty() || state.starts_with("57P"),
                            "a writer failed: {error:?}"
                        );
                    }
                }
            }
            drop(open);
            thread::sleep(Duration::from_micros(random.below(PAUSE)));
        }
        written
    }

    fn transaction(&self, db: &Db, writer: usize, random: &mut Random, written: &mut Written) -> Result<(), Error> {
        db.try_batch("begin")?;
        let durable = !random.one_in(3);
        if !durable {
            db.try_batch("set local synchronous_commit = off")?;
        }
        let (mut kept, mut undone) = (Vec::new(), Vec::new());
        for _ in 0..=random.below(4) {
            let savepoint = random.one_in(4);
            if savepoint {
                db.try_batch("savepoint s")?;
            }
            let number = self.draw(1);
            let profile = format!("w{writer}-{}", random.below(PROFILES));
            db.try_execute(
                WRITE,
                &[&number, &random.pick(&CLIENTS), &profile, &random.pick(&["a", "b"])],
            )?;
            if savepoint && random.one_in(2) {
                db.try_batch("rollback to s")?;
                undone.push(number);
            } else {
                kept.push(number);
            }
        }
        if random.one_in(6) {
            db.try_batch("rollback")?;
            written.undone.append(&mut kept);
        } else {
            db.try_batch("commit")?;
            if durable {
                written.durable.append(&mut kept);
            }
        }
        written.undone.append(&mut undone);
        Ok(())
    }

    /// Writes one entry for each of so many profiles of `acme` in one transaction; the first one's outbox id.
    pub fn burst(&self, db: &Db, name: &str, profiles: i64) -> i64 {
        db.value(
            "with written as (
                 insert into journal
                 select $1::bigint + k, 'acme', $2::text || k, 'a', target_profile_update('acme', 'mbox3rdPartyId',
                     $2::text || k, jsonb_build_object('a', $1::bigint + k))
                 from generate_series(0, $3::bigint - 1) k
                 returning entry)
             select min(entry) from written",
            &[&self.draw(profiles), &name, &profiles],
        )
    }
}
