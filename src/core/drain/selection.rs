//! Whose turn it is: which lanes are read, and which profiles are picked from them.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::client::Client;
use super::{Drain, Head, LaneRead};
use crate::breaker::Admission;
use crate::client_code::ClientCode;
use crate::id::{IdKind, ProfileId, ProfileKey};
use crate::lane::REVISIT_LIMIT;
use crate::settlement::{Batch, Dead};
use crate::time::Timestamp;

impl Drain {
    /// What to read now.
    pub fn reads(&self, now: Timestamp) -> Vec<LaneRead> {
        let free = self.free();
        if free == 0 {
            return Vec::new();
        }
        let mut reads = Vec::new();
        for (code, client) in self.in_turn() {
            let room = client.room(now).min(free);
            if room == 0 || !client.lanes_readable() {
                continue;
            }
            // At least a page full: rows of profiles that are under way or wait are passed over.
            let limit = u32::try_from(room.max(32)).unwrap_or(u32::MAX);
            for (priority, lane) in &client.lanes {
                if let Some((above, up_to)) = lane.revisit {
                    let (client, priority) = (code.clone(), priority.0);
                    reads.push(LaneRead {
                        client,
                        priority,
                        above,
                        up_to,
                        limit: REVISIT_LIMIT,
                        revisit: true,
                    });
                }
                if !lane.exhausted {
                    let (client, priority, above) = (code.clone(), priority.0, lane.cursor);
                    reads.push(LaneRead {
                        client,
                        priority,
                        above,
                        up_to: i64::MAX,
                        limit,
                        revisit: false,
                    });
                }
            }
        }
        reads
    }

    /// Picks the profiles whose turn it is from those whose time has come and from the rows that `reads` found (in the order of
    /// reads and ids). All entries of the profiles must then be read and handed to [`Drain::claim`]; entries
    /// that can never be sent go into `batch`.
    pub fn select(&mut self, reads: &[LaneRead], heads: &[Head], now: Timestamp, batch: &mut Batch) -> Vec<ProfileKey> {
        let mut selection = Selection {
            free: self.free(),
            profiles: Vec::new(),
        };
        let mut rows_of: HashMap<usize, &[Head]> = HashMap::new();
        for rows in heads.chunk_by(|a, b| a.read == b.read) {
            if let Some(first) = rows.first() {
                rows_of.insert(first.read, rows);
            }
        }
        let mut reads_of: HashMap<&ClientCode, Vec<usize>> = HashMap::new();
        for (index, read) in reads.iter().enumerate() {
            reads_of.entry(&read.client).or_default().push(index);
        }
        let codes: Vec<ClientCode> = self.in_turn().map(|(code, _)| code.clone()).collect();
        for code in codes {
            self.select_due(&code, now, &mut selection);
            for index in reads_of.remove(&code).unwrap_or_default() {
                let rows = rows_of.get(&index).copied().unwrap_or(&[]);
                self.select_from(&reads[index], rows, now, &mut selection, batch);
            }
        }
        self.turn = self.turn.wrapping_add(1);
        selection.profiles
    }

    fn select_due(&mut self, code: &ClientCode, now: Timestamp, selection: &mut Selection) {
        let Some(client) = self.clients.get_mut(code) else {
            return;
        };
        while selection.free > 0 && client.room(now) > 0 {
            let Some(key) = client.parked.pop_due(now) else { return };
            selection.add(key, client, &mut self.busy, now);
        }
    }

    fn select_from(
        &mut self,
        read: &LaneRead,
        rows: &[Head],
        now: Timestamp,
        selection: &mut Selection,
        batch: &mut Batch,
    ) {
        let Some(client) = self.clients.get_mut(&read.client) else {
            return;
        };
        let mut passed = None;
        let mut all = true;
        for row in rows {
            let key = match profile_key(&read.client, row) {
                Ok(key) => key,
                Err(reason) => {
                    batch.dead.push(Dead {
                        id: row.id,
                        attempts: 0,
                        reason,
                        outcome: None,
                        response: None,
                    });
                    passed = Some(row.id);
                    continue;
                }
            };
            let due = row
                .next_attempt_at
                .unwrap_or(row.enqueued_at)
                .max(row.enqueued_at.plus(client.settings.delay));
            if let Some(ticket) = self.busy.get(&key) {
                if let Some(delivery) = ticket.and_then(|t| self.deliveries.get_mut(&t))
                    && delivery.ids.binary_search(&row.id).is_err()
                {
                    delivery.more = Some(delivery.more.map_or(due, |other| other.min(due)));
                }
            } else if !client.parked.contains(&key) {
                if due > now {
                    if !client.lanes_readable() {
                        all = false;
                        break;
                    }
                    client.parked.park(key, due);
                } else if selection.free > 0 && client.room(now) > 0 {
                    selection.add(key, client, &mut self.busy, now);
                } else {
                    all = false;
                    break;
                }
            }
            passed = Some(row.id);
        }
        let read_all = all && (rows.len() as u64) < u64::from(read.limit);
        let Some(lane) = client.lanes.get_mut(&Reverse(read.priority)) else {
            return;
        };
        if read.revisit {
            lane.revisit = match (read_all, passed) {
                (true, _) => None,
                (false, Some(id)) => Some((id, read.up_to)),
                (false, None) => lane.revisit,
            };
        } else {
            lane.cursor = passed.map_or(lane.cursor, |id| lane.cursor.max(id));
            lane.exhausted = read_all;
        }
    }
}

struct Selection {
    free: usize,
    profiles: Vec<ProfileKey>,
}

impl Selection {
    fn add(
        &mut self,
        key: ProfileKey,
        client: &mut Client,
        busy: &mut HashMap<ProfileKey, Option<u64>>,
        now: Timestamp,
    ) {
        if client.breaker.admits(now) == Admission::Probe {
            client.breaker.probe_sent();
        }
        client.in_flight += 1;
        self.free -= 1;
        busy.insert(key.clone(), None);
        self.profiles.push(key);
    }
}

fn profile_key(client: &ClientCode, row: &Head) -> Result<ProfileKey, String> {
    let kind = IdKind::parse(&row.id_kind).map_err(|error| format!("invalid entry: {error}"))?;
    let id = ProfileId::parse(kind, &row.profile_id).map_err(|error| format!("invalid entry: {error}"))?;
    Ok(ProfileKey {
        client: client.clone(),
        kind,
        id,
    })
}
