//! Chooses the lanes that are read, and the profiles that are sent.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::client::{Client, LANES};
use super::delivery::{Busy, Turn};
use super::messages::{Head, LanePart, LaneRead};
use super::parked::Wait;
use super::places::Places;
use super::state::Drain;
use crate::breaker::Admission;
use crate::client_code::ClientCode;
use crate::id::{IdKind, ProfileId, ProfileKey};
use crate::lane::{REVISIT_LIMIT, behind};
use crate::quota::Class;
use crate::retry::RETRY_AFTER_CAP;
use crate::settlement::Batch;
use crate::time::Timestamp;

/// So many rows of a lane are read at a time, or more if there is room for more.
const PAGE: u32 = 32;

/// With so many waiting profiles, most of the rows that are read are theirs, and [`REVISIT_LIMIT`] rows are read at a time.
const PAGED: usize = 1_000;

impl Drain {
    /// What to read now.
    pub fn reads(&mut self, now: Timestamp) -> Vec<LaneRead> {
        self.advance_ledgers(now);
        for client in self.clients.values_mut() {
            client.advance(now);
        }
        let places = self.places();
        let drawn = self.horizon.drawn();
        let mut reads = Vec::new();
        let mut read_below = Vec::new();
        for (code, client) in self.in_turn() {
            let lanes: Vec<_> = client.lanes_in_turn().take(LANES + 1).collect();
            let is_cut = lanes.len() > LANES;
            let last = lanes.iter().take(LANES).next_back().filter(|_| is_cut);
            read_below.push((code.clone(), last.map(|(priority, _)| **priority)));
            for (priority, lane) in lanes.into_iter().take(LANES) {
                let room = client.room(Class::of(priority.0), places, now);
                if room == 0 {
                    continue;
                }
                let mut read = |part, from, up_to, limit| {
                    reads.push(LaneRead {
                        client: code.clone(),
                        priority: priority.0,
                        from,
                        up_to,
                        limit,
                        part,
                    });
                };
                if let Some((from, up_to)) = lane.revisit {
                    read(LanePart::Again, from, up_to, REVISIT_LIMIT);
                }
                // At least a page full: rows of profiles that are under way or wait are passed over.
                let page = if client.parked.len() < PAGED {
                    PAGE
                } else {
                    REVISIT_LIMIT
                };
                let limit = u32::try_from(room).unwrap_or(u32::MAX).max(page);
                if !lane.exhausted {
                    read(LanePart::Front, lane.next, drawn, limit);
                }
                if !lane.exhausted_beyond {
                    read(LanePart::Beyond, lane.next_beyond.max(behind(drawn)), i64::MAX, limit);
                }
            }
        }
        for (code, below) in read_below {
            if let Some(client) = self.clients.get_mut(&code) {
                client.read_below = below;
            }
        }
        reads
    }

    /// Picks the profiles whose turn it is, by priority and age, from those whose time has come and from the rows that
    /// `reads` found (in the order of reads and ids). All entries of the profiles must then be read and handed to
    /// [`Drain::claim`]; entries that can never be sent go into `batch`.
    pub fn select(&mut self, reads: &[LaneRead], heads: &[Head], now: Timestamp, batch: &mut Batch) -> Vec<ProfileKey> {
        let mut selection = Selection {
            places: self.places(),
            profiles: Vec::new(),
        };
        let mut rows_of: HashMap<usize, &[Head]> = HashMap::new();
        for rows in heads.chunk_by(|a, b| a.read == b.read) {
            if let Some(first) = rows.first() {
                rows_of.insert(first.read, rows);
            }
        }
        let mut reads_of: HashMap<(ClientCode, i16), Vec<usize>> = HashMap::new();
        for (index, read) in reads.iter().enumerate() {
            let lane = (read.client.clone(), read.priority);
            reads_of.entry(lane).or_default().push(index);
        }
        let codes: Vec<ClientCode> = self.in_turn().map(|(code, _)| code.clone()).collect();
        for code in codes {
            let Some(client) = self.clients.get_mut(&code) else {
                continue;
            };
            for priority in client.priorities() {
                self.select_due(&code, priority, now, &mut selection);
                let mut read_on = false;
                for index in reads_of.get(&(code.clone(), priority.0)).into_iter().flatten() {
                    let rows = rows_of.get(index).copied().unwrap_or(&[]);
                    read_on |= self.select_from(&reads[*index], rows, now, &mut selection, batch);
                }
                if read_on {
                    // All of the page was passed over, and behind it there may be more of this priority.
                    break;
                }
            }
        }
        self.turn = self.turn.wrapping_add(1);
        self.forget_lanes();
        selection.profiles
    }

    fn select_due(&mut self, code: &ClientCode, priority: Reverse<i16>, now: Timestamp, selection: &mut Selection) {
        let Some(client) = self.clients.get_mut(code) else {
            return;
        };
        while client.room(Class::of(priority.0), selection.places, now) > 0 {
            let Some((key, wait)) = client.parked.pop_due(priority, client.retries_admitted()) else {
                return;
            };
            selection.add(key, wait, client, &mut self.busy, now);
        }
    }

    /// Whether there is room left and the lane may go on behind what was read.
    fn select_from(
        &mut self,
        read: &LaneRead,
        rows: &[Head],
        now: Timestamp,
        selection: &mut Selection,
        batch: &mut Batch,
    ) -> bool {
        let Some(client) = self.clients.get_mut(&read.client) else {
            return false;
        };
        let class = Class::of(read.priority);
        let is_forgiven = read.part == LanePart::Again
            && client
                .lanes
                .get(&Reverse(read.priority))
                .is_some_and(|lane| lane.forgiven);
        let mut passed = None;
        let mut all = true;
        for row in rows {
            let key = match profile_key(&read.client, row) {
                Ok(key) => key,
                Err(reason) => {
                    batch.bury(&read.client, row.id, None, 0, reason);
                    passed = Some(row.id);
                    continue;
                }
            };
            // A time that is too far in the future was written before the clock was set back.
            let written = row.enqueued_at.min(now);
            let wait = Wait {
                due: row
                    .next_attempt_at
                    .filter(|_| !is_forgiven)
                    .map_or(written, |at| at.min(now.plus(RETRY_AFTER_CAP)))
                    .max(written.plus(client.settings.delay)),
                priority: read.priority,
                id: row.id,
                retry: row.next_attempt_at.is_some(),
            };
            if let Some(busy) = self.busy.get(&key) {
                if let Busy::UnderWay(ticket) = busy
                    && let Some(delivery) = self.deliveries.get_mut(ticket)
                    && delivery.ids.binary_search(&row.id).is_err()
                {
                    delivery.note_more(wait);
                }
            } else if client.parked.contains(&key) {
                client.parked.raise(&key, wait);
            } else {
                let admitted = !wait.retry || client.retries_admitted();
                if wait.due > now || !admitted {
                    client.parked.park(key, wait);
                } else if client.room(class, selection.places, now) > 0 {
                    selection.add(key, wait, client, &mut self.busy, now);
                } else {
                    all = false;
                    break;
                }
            }
            passed = Some(row.id);
        }
        let read_all = all && (rows.len() as u64) < u64::from(read.limit);
        let Some(lane) = client.lanes.get_mut(&Reverse(read.priority)) else {
            return false;
        };
        match read.part {
            LanePart::Again => {
                lane.revisit = match (read_all, passed) {
                    (true, _) => None,
                    (false, Some(id)) => Some((behind(id), read.up_to)),
                    (false, None) => lane.revisit,
                };
                lane.forgiven &= lane.revisit.is_some();
                false
            }
            LanePart::Front => {
                lane.next = passed.map_or(lane.next, |id| lane.next.max(behind(id)));
                lane.exhausted = read_all;
                all && !read_all
            }
            LanePart::Beyond => {
                lane.next_beyond = passed.map_or(lane.next_beyond, |id| lane.next_beyond.max(behind(id)));
                lane.exhausted_beyond = read_all;
                all && !read_all
            }
        }
    }
}

struct Selection {
    places: Places,
    profiles: Vec<ProfileKey>,
}

impl Selection {
    fn add(
        &mut self,
        key: ProfileKey,
        wait: Wait,
        client: &mut Client,
        busy: &mut HashMap<ProfileKey, Busy>,
        now: Timestamp,
    ) {
        let probe = client.breaker.admits(now) == Admission::Probe;
        if probe {
            client.breaker.probe_sent();
        }
        let paid = wait.retry && !probe;
        if paid {
            client.budget.spend();
        }
        client.ledger.plan(Class::of(wait.priority).count(1));
        self.places.take(client.in_flight);
        client.in_flight += 1;
        busy.insert(key.clone(), Busy::Selected(Turn { wait, probe, paid }));
        self.profiles.push(key);
    }
}

fn profile_key(client: &ClientCode, row: &Head) -> Result<ProfileKey, String> {
    let kind = IdKind::parse(&row.id_kind).map_err(|error| format!("invalid entry: {error}"))?;
    let id = ProfileId::parse(kind, &row.profile_id).map_err(|error| format!("invalid entry: {error}"))?;
    // All entries of a profile are read by these names.
    if row.id_kind != kind.as_str() || row.profile_id != id.as_str() {
        return Err(format!(
            "invalid entry: the outbox names this profile {} {}",
            kind.as_str(),
            id.as_str()
        ));
    }
    Ok(ProfileKey {
        client: client.clone(),
        kind,
        id,
    })
}
