//! Ids as anybody may write them: from one end of bigint to the other, and drawn from a sequence that is set back and forth.

use std::collections::BTreeMap;

use proptest::prelude::*;
use target_profile_core::attrs::FlatAttrs;
use target_profile_core::drain::{Drain, Entry, Head, Limits};
use target_profile_core::horizon::Snapshot;
use target_profile_core::settlement::Batch;

use crate::outbox::{accepted, at, registered, row_of};

#[derive(Debug, Clone)]
enum Step {
    /// So many entries whose ids are drawn, in one transaction that has committed.
    Enqueue(u8),
    /// An entry by hand, with this id; nobody is told of it.
    ByHand(i64),
    /// A transaction draws ids and is still open.
    Open(u8),
    /// The oldest open one commits.
    Commit,
    /// The sequence goes on behind this id.
    Set(i64),
    /// The worker's turn, which answers what it sends.
    Turn,
    /// What the worker does now and then.
    Sweep,
}

struct Row {
    priority: i16,
    /// Its id was drawn, so it must not wait for a sweep.
    drawn: bool,
}

struct World {
    drain: Drain,
    batch: Batch,
    rows: BTreeMap<i64, Row>,
    last: i64,
    next_xid: u64,
    /// Each with its transaction id, its ids, and whether they were drawn in order.
    open: Vec<(u64, Vec<i64>, bool)>,
    /// The sequence was set since the last turn, so what was drawn meanwhile may have to wait for the sweep.
    set: bool,
    /// The last id drawn, as the last turn has seen it.
    observed: i64,
}

impl World {
    fn new() -> Self {
        let mut drain = Drain::new(Limits {
            max_in_flight: 50,
            body_bytes: 0,
        });
        drain.set_clients(vec![registered(row_of("acme"), false)], at(0));
        Self {
            drain,
            batch: Batch::default(),
            rows: BTreeMap::new(),
            last: 0,
            next_xid: 100,
            open: Vec::new(),
            set: false,
            observed: i64::MIN,
        }
    }

    /// Draws ids that no row has: one that is taken fails its transaction.
    fn draw(&mut self, count: u8) -> Vec<i64> {
        let mut ids = Vec::new();
        for _ in 0..count {
            let Some(id) = self.last.checked_add(1) else {
                break;
            };
            self.last = id;
            let taken = self.rows.contains_key(&id) || self.open.iter().any(|(_, ids, _)| ids.contains(&id));
            if !taken {
                ids.push(id);
            }
        }
        ids
    }

    fn commit(&mut self, ids: Vec<i64>, in_order: bool) {
        for id in ids {
            let row = Row {
                priority: i16::try_from(id.rem_euclid(3)).unwrap(),
                drawn: in_order && !self.set,
            };
            self.rows.entry(id).or_insert(row);
        }
        self.drain.new_work();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Enqueue(count) => {
                self.next_xid += 1;
                let ids = self.draw(count);
                self.commit(ids, true);
            }
            Step::ByHand(id) => {
                let taken = self.open.iter().any(|(_, ids, _)| ids.contains(&id));
                if !taken {
                    self.rows.entry(id).or_insert(Row {
                        priority: 0,
                        drawn: false,
                    });
                }
            }
            Step::Open(count) => {
                let xid = self.next_xid;
                self.next_xid += 1;
                let ids = self.draw(count);
                self.open.push((xid, ids, !self.set));
            }
            Step::Commit if !self.open.is_empty() => {
                let (_, ids, in_order) = self.open.remove(0);
                self.commit(ids, in_order);
            }
            Step::Commit => {}
            Step::Set(last) => {
                self.last = last;
                self.set = true;
            }
            Step::Turn => self.turns(),
            Step::Sweep => {
                self.drain.sweep();
                self.turns();
                assert!(self.rows.is_empty(), "a sweep leaves {:?}", self.rows.keys());
            }
        }
    }

    /// Turns until there is nothing to do: what was drawn in order has gone.
    fn turns(&mut self) {
        if self.set && self.last >= self.observed {
            // It has come past where it was, so that it was set cannot be seen.
            self.rows.values_mut().for_each(|row| row.drawn = false);
            self.open.iter_mut().for_each(|(_, _, in_order)| *in_order = false);
        }
        let mut turns = 0;
        while self.drain.wants_to_claim(at(0)) {
            self.turn();
            turns += 1;
            assert!(turns < 100 + self.rows.len(), "turns go on and on");
        }
        let left: Vec<i64> = self
            .rows
            .iter()
            .filter(|(_, row)| row.drawn)
            .map(|(id, _)| *id)
            .collect();
        assert!(left.is_empty(), "{left:?} wait for the poll");
        self.set &= turns == 0;
    }

    fn turn(&mut self) {
        let running: Vec<String> = self.open.iter().map(|(xid, ..)| xid.to_string()).collect();
        let first = running.first().cloned().unwrap_or(self.next_xid.to_string());
        let snapshot = format!("{first}:{}:{}", self.next_xid, running.join(","));
        self.drain.observe(&Snapshot::parse(&snapshot).unwrap(), self.last);
        self.observed = self.last;
        loop {
            let gaps = self.drain.unknown_lanes();
            if gaps.is_empty() {
                break;
            }
            for (client, above, below) in gaps {
                let inside = |p: &i16| i32::from(*p) > above && i32::from(*p) < below;
                if let Some(priority) = self.rows.values().map(|row| row.priority).filter(inside).max() {
                    self.drain.found_lane(&client, priority);
                }
            }
        }
        let reads = self.drain.reads(at(0));
        let mut heads = Vec::new();
        for (read, lane) in reads.iter().enumerate() {
            if lane.from > lane.up_to {
                continue;
            }
            let rows = self.rows.range(lane.from..=lane.up_to);
            let rows = rows
                .filter(|(_, row)| row.priority == lane.priority)
                .take(lane.limit as usize);
            heads.extend(rows.map(|(id, _)| Head {
                read,
                id: *id,
                id_kind: "mboxPC".to_owned(),
                profile_id: format!("p{}", id.unsigned_abs() % 7),
                enqueued_at: at(0),
                next_attempt_at: None,
            }));
        }
        let profiles = self.drain.select(&reads, &heads, at(0), &mut self.batch);
        let mut entries = Vec::new();
        for (profile, key) in profiles.iter().enumerate() {
            let rows = self.rows.keys();
            let mine = rows.filter(|id| format!("p{}", id.unsigned_abs() % 7) == key.id.as_str());
            entries.extend(mine.map(|id| Entry {
                profile,
                id: *id,
                attrs: FlatAttrs::from_stored_json("{\"a\": \"1\"}"),
                attempts: 0,
                enqueued_at: at(0),
                retried: false,
                version: 0,
            }));
        }
        let dispatches = self.drain.claim(profiles, entries, &mut self.batch);
        let reservations = self.drain.reservations(&dispatches, at(0));
        self.drain.reserved(reservations);
        for dispatch in self.drain.send(dispatches, at(0)) {
            self.drain
                .complete(accepted(dispatch.ticket, at(0)), at(0), 0.5, &mut self.batch);
        }
        self.drain.report(at(0), &mut self.batch);
        let batch = std::mem::take(&mut self.batch);
        assert!(batch.dead.is_empty());
        for entry in &batch.accepted {
            assert!(self.rows.remove(&entry.id).is_some(), "{} is settled twice", entry.id);
        }
        self.drain.settled(batch);
    }
}

fn any_id() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => -20..200i64,
        2 => any::<i64>(),
        1 => Just(i64::MIN),
        1 => Just(i64::MIN + 1),
        1 => Just(i64::MAX),
        1 => Just(i64::MAX - 1),
        1 => i64::MAX - 40..i64::MAX,
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..60u8).prop_map(Step::Enqueue),
        5 => any_id().prop_map(Step::ByHand),
        3 => (1..10u8).prop_map(Step::Open),
        3 => Just(Step::Commit),
        1 => any_id().prop_map(Step::Set),
        8 => Just(Step::Turn),
        1 => Just(Step::Sweep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever ids there are, what is drawn in order is sent at once, and a sweep leaves nothing.
    #[test]
    fn no_id_makes_another_wait(steps in prop::collection::vec(any_step(), 1..60)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        while !world.open.is_empty() {
            world.step(Step::Commit);
        }
        world.step(Step::Sweep);
    }
}
