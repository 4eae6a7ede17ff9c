//! The lanes, one for each priority of a client: finding them, reading them again, and forgetting them.

use std::cmp::Reverse;
use std::collections::HashSet;

use super::client::{Client, LANES};
use super::delivery::Busy;
use super::state::Drain;
use crate::client_code::ClientCode;
use crate::horizon::{Observed, Snapshot};

impl Drain {
    /// Something was committed: the lanes may have more.
    pub fn new_work(&mut self) {
        self.look_for_lanes = true;
        for lane in self.clients.values_mut().flat_map(|c| c.lanes.values_mut()) {
            lane.exhausted = false;
        }
    }

    /// Reads every lane once more from its front, for rows that did not come in the order of [`Horizon`](crate::horizon::Horizon).
    pub fn sweep(&mut self) {
        self.new_work();
        for lane in self.clients.values_mut().flat_map(|c| c.lanes.values_mut()) {
            lane.reread();
        }
    }

    /// Takes note of the snapshot in which the lanes are read, and of the last outbox id drawn.
    pub fn observe(&mut self, snapshot: &Snapshot, last_id: i64) {
        let observed = self.horizon.observe(snapshot, last_id);
        for lane in self.clients.values_mut().flat_map(|c| c.lanes.values_mut()) {
            match observed {
                Observed::Nothing => {}
                // It may have drawn its ids before the sequence was set back.
                Observed::RereadAbove(i64::MIN) => lane.reread(),
                Observed::RereadAbove(id) => lane.reread_above(id),
                Observed::SetBack => lane.set_back(last_id),
            }
        }
    }

    /// The ranges of priorities (client, above, below; both excluded) in which lanes must be looked for. Each lane
    /// found is told with [`Drain::found_lane`].
    pub fn unknown_lanes(&mut self) -> Vec<(ClientCode, i32, i32)> {
        if !self.enabled || !std::mem::take(&mut self.look_for_lanes) {
            return Vec::new();
        }
        for client in self.clients.values_mut() {
            client.cut = client.has_enough_lanes();
        }
        self.clients
            .iter()
            .filter(|(_, client)| !client.paused)
            .flat_map(|(code, client)| {
                client
                    .unknown_priorities()
                    .into_iter()
                    .map(|(above, below)| (code.clone(), above, below))
            })
            .collect()
    }

    /// Lanes that have been read to their end and of which nothing waits or is under way are forgotten, if a client has many. With a
    /// few, it costs less to know where each of them ends: rows that were deleted may still have to be passed over.
    pub(super) fn forget_lanes(&mut self) {
        if self.clients.values().any(|client| client.lanes.len() > LANES) {
            let busy = self.busy_lanes();
            for (code, client) in &mut self.clients {
                let Client { lanes, parked, .. } = client;
                if lanes.len() > LANES {
                    let waiting = parked.all_priorities();
                    lanes.retain(|priority, lane| {
                        lane.may_have_more()
                            || waiting.contains(&priority.0)
                            || busy.contains(&(code.clone(), priority.0))
                    });
                }
            }
        }
        for client in self.clients.values_mut() {
            if client.cut && !client.has_enough_lanes() {
                client.cut = false;
                self.look_for_lanes = true;
            }
        }
    }

    fn busy_lanes(&self) -> HashSet<(ClientCode, i16)> {
        self.busy
            .iter()
            .filter_map(|(key, busy)| {
                let wait = match busy {
                    Busy::Selected(turn) => turn.wait,
                    Busy::UnderWay(ticket) => self.deliveries.get(ticket)?.turn.wait,
                    Busy::Aside => self.aside.iter().find(|(aside, _)| aside == key)?.1,
                };
                Some((key.client.clone(), wait.priority))
            })
            .collect()
    }

    /// Entries of this priority were found: a lane that was not known. Ask [`Drain::unknown_lanes`] again: there may
    /// be more of them.
    pub fn found_lane(&mut self, code: &ClientCode, priority: i16) {
        if let Some(client) = self.clients.get_mut(code) {
            client.lanes.entry(Reverse(priority)).or_default();
            self.look_for_lanes = true;
        }
    }
}
