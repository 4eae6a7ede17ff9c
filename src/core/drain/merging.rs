//! Merges the entries of a selected profile into one update.

use super::delivery::{Busy, Delivery, Turn};
use super::fate::Carried;
use super::holding::{Admission, Reading};
use super::holding::{Passed, Read, held};
use super::messages::{Dispatch, Entry};
use super::parked::Wait;
use super::state::Drain;
use crate::attrs::FlatAttrs;
use crate::client_code::ClientCode;
use crate::error::Error;
use crate::id::ProfileKey;
use crate::quota::Class;
use crate::request::{Method, Plan, Request};
use crate::settings::ClientSettings;
use crate::settlement::{Accepted, Again, Batch, Ended};
use crate::time::Timestamp;

/// Entries that are merged into one request at most; the rest of the profile is sent with the next. It bounds the
/// memory that one profile can take.
pub const MERGE_LIMIT: usize = 1_000;

/// Why an entry is given up that was retried after newer ones had been accepted.
pub const OVERTAKEN: &str = "overtaken: newer updates of the profile have set all of its attributes";

/// So many profiles may be set aside. Beyond it the client waits with all that it has.
const ASIDE_LIMIT: usize = 256;

impl Drain {
    /// Merges the entries of the selected profiles (in the order of profiles and ids) into requests.
    pub fn claim(&mut self, profiles: Vec<ProfileKey>, entries: Vec<Entry>, batch: &mut Batch) -> Vec<Dispatch> {
        let mut reading = Reading::new(profiles);
        for entry in entries {
            let stored = entry.attrs.as_ref().map_or(0, FlatAttrs::memory);
            if self.admit(&mut reading, entry.profile, stored) == Admission::Read {
                self.add(&mut reading, entry);
            }
        }
        self.claim_read(reading, batch)
    }

    /// Makes requests of what was read.
    pub fn claim_read(&mut self, reading: Reading, batch: &mut Batch) -> Vec<Dispatch> {
        let dispatches = reading
            .0
            .into_iter()
            .filter_map(|read| self.deliver(read, batch))
            .collect();
        if self.deliveries.is_empty() {
            self.recount_after_end();
        } else {
            self.recount();
        }
        dispatches
    }

    fn deliver(&mut self, read: Read, batch: &mut Batch) -> Option<Dispatch> {
        let Read {
            key,
            mut merged,
            memory,
            carried,
            invalid,
            large,
            passed,
        } = read;
        let full = passed == Passed::More || carried.len() + invalid.len() >= MERGE_LIMIT;
        for invalid in invalid {
            batch.bury(
                &key.client,
                invalid.id,
                invalid.version,
                invalid.attempts,
                invalid.reason,
            );
        }
        let client = self.clients.get_mut(&key.client);
        let planned = match client {
            Some(client) if !carried.is_empty() => {
                client.drop_arrived(&key, &mut merged);
                Plan::of(&client.settings.endpoint, &key, &merged, client.settings.method).map(Some)
            }
            // The entries were deleted, or their client was removed: there is nothing to send.
            _ => Ok(None),
        };
        let plan = planned.unwrap_or_else(|error: Error| {
            for entry in &carried {
                batch.bury(
                    &key.client,
                    entry.id,
                    Some(entry.version),
                    entry.attempts,
                    error.to_string(),
                );
            }
            None
        });
        let more = |turn: &Turn| {
            full.then_some(Wait {
                due: Again::AT_ONCE.at,
                priority: turn.wait.priority,
                id: carried.last().map_or(turn.wait.id, |entry| entry.id),
                retry: false,
            })
        };
        let plan = match plan {
            Some(plan) if plan.parts() == 0 => {
                if let Some(turn) = self.release(&key) {
                    let more = more(&turn);
                    self.end_unsent(key, turn, plan, &carried, more, batch);
                }
                return None;
            }
            other => other,
        };
        let (Some(Busy::Selected(turn)), Some(client), Some(plan)) =
            (self.busy.get(&key), self.clients.get_mut(&key.client), plan)
        else {
            match passed {
                Passed::Short => {
                    self.set_short(&key.client);
                    self.give_back(key);
                }
                Passed::Aside => self.set_aside(key),
                // There are more behind those that were looked at.
                _ if full => self.give_back(key),
                _ => {
                    self.release(&key);
                }
            }
            return None;
        };
        let turn = *turn;
        let class = Class::of(turn.wait.priority);
        let others = u64::try_from(plan.parts() - 1)
            .unwrap_or(u64::MAX)
            .min(client.ledger.left(class));
        client.ledger.plan(class.count(others));
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let minute = client.ledger.current();
        let ids: Vec<i64> = carried.iter().map(|entry| entry.id).collect();
        let more = more(&turn);
        let mut delivery = Delivery {
            key: key.clone(),
            turn,
            carried,
            ids,
            method: Method::Get,
            request_bytes: 0,
            plan,
            part: 0,
            sent: FlatAttrs::default(),
            left: merged,
            held: 0,
            large,
            parts_paid: u32::try_from(others + 1).unwrap_or(u32::MAX),
            parts_sent: 0,
            minute,
            more,
            ended: false,
            unsettled: false,
        };
        // There is one: the plan has parts.
        let first = delivery.next_request()?;
        delivery.held = held(memory, delivery.ids.len(), first.url.len() + first.bytes());
        self.busy.insert(key, Busy::UnderWay(ticket));
        self.deliveries.insert(ticket, delivery);
        Some(dispatch(ticket, first, &client.settings))
    }

    /// Every part of it has arrived, since what was missing is gone. It ends as a delivery does: its profile has no turn until
    /// its entries are settled.
    fn end_unsent(
        &mut self,
        key: ProfileKey,
        turn: Turn,
        plan: Plan,
        carried: &[Carried],
        more: Option<Wait>,
        batch: &mut Batch,
    ) {
        let Some(client) = self.clients.get_mut(&key.client) else {
            return;
        };
        client.forget_arrived(&key);
        batch.accepted.extend(carried.iter().map(|entry| Accepted {
            id: entry.id,
            client: key.client.clone(),
            version: entry.version,
        }));
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let minute = client.ledger.current();
        batch.ended.push(Ended {
            client: key.client.clone(),
            ticket,
            again: None,
        });
        let mut delivery = Delivery {
            key: key.clone(),
            turn,
            carried: Vec::new(),
            ids: carried.iter().map(|entry| entry.id).collect(),
            plan,
            part: 0,
            method: Method::Get,
            request_bytes: 0,
            sent: FlatAttrs::default(),
            left: FlatAttrs::default(),
            held: 0,
            large: false,
            parts_paid: 0,
            parts_sent: 0,
            minute,
            more,
            ended: true,
            unsettled: false,
        };
        delivery.forget_attrs();
        self.settling += 1;
        self.busy.insert(key, Busy::UnderWay(ticket));
        self.deliveries.insert(ticket, delivery);
    }

    fn set_short(&mut self, client: &ClientCode) {
        if let Some(client) = self.clients.get_mut(client) {
            client.short = true;
        }
    }

    /// A selected profile with a large update waits until another one has ended.
    fn set_aside(&mut self, key: ProfileKey) {
        if self.aside.len() >= ASIDE_LIMIT {
            self.set_short(&key.client);
            self.give_back(key);
        } else if let Some(turn) = self.release(&key) {
            let due = Again::AT_ONCE.at;
            self.busy.insert(key.clone(), Busy::Aside);
            self.aside.push_back((key, Wait { due, ..turn.wait }));
        }
    }

    /// Those that were set aside have another turn. All of them: the first one's client may not send.
    pub(super) fn bring_back(&mut self) {
        for (key, wait) in std::mem::take(&mut self.aside) {
            self.busy.remove(&key);
            if let Some(client) = self.clients.get_mut(&key.client) {
                client.parked.park(key, wait);
            }
        }
    }

    /// A selected profile had nothing to send.
    fn release(&mut self, key: &ProfileKey) -> Option<Turn> {
        let busy = self.busy.remove(key);
        let client = self.clients.get_mut(&key.client);
        if let Some(client) = client {
            client.in_flight = client.in_flight.saturating_sub(1);
            if let Some(Busy::Selected(turn)) = &busy {
                client.ledger.unplan(Class::of(turn.wait.priority).count(1));
                if turn.probe {
                    client.breaker.probe_void();
                }
                if turn.paid {
                    client.budget.give_back();
                }
            }
        }
        match busy {
            Some(Busy::Selected(turn)) => Some(turn),
            _ => None,
        }
    }

    /// A selected profile has another turn, at once.
    pub(super) fn give_back(&mut self, key: ProfileKey) {
        if let Some(turn) = self.release(&key)
            && let Some(client) = self.clients.get_mut(&key.client)
        {
            let due = Again::AT_ONCE.at;
            client.parked.park(key, Wait { due, ..turn.wait });
        }
    }

    /// Gives back profiles that were selected but whose entries could not be read: their claim failed.
    pub fn unselect(&mut self) {
        // The search for lanes may be what failed.
        self.look_for_lanes = true;
        let selected: Vec<ProfileKey> = self
            .busy
            .iter()
            .filter(|(_, busy)| matches!(busy, Busy::Selected(_)))
            .map(|(key, _)| key.clone())
            .collect();
        for key in selected {
            self.give_back(key);
        }
        self.recount_after_end();
    }
}

/// A request that is not yet sent.
pub(super) fn dispatch(ticket: u64, request: Request, settings: &ClientSettings) -> Dispatch {
    Dispatch {
        ticket,
        sent_at: Timestamp::from_unix_micros(0),
        request,
        auth_token: settings.auth_token.clone(),
        timeout: settings.timeout,
    }
}
