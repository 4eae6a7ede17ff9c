//! From a selected profile to a delivery: all its entries are read, and become one update.

use super::{Busy, Carried, Delivery, Dispatch, Drain, Entry, Turn, Wait};
use crate::attrs::FlatAttrs;
use crate::error::Error;
use crate::id::ProfileKey;
use crate::quota::Class;
use crate::request::{self, Request};
use crate::settings::ClientSettings;
use crate::settlement::{Again, Batch};
use crate::time::Timestamp;

/// At most so many entries are merged into one request; the rest of the profile goes with the next. It bounds the
/// memory that one profile can take.
pub const MERGE_LIMIT: usize = 1_000;

/// Why an entry is given up that was retried after newer ones had been accepted.
pub const OVERTAKEN: &str = "overtaken: newer updates of the profile have set all of its attributes";

impl Drain {
    /// Merges the entries of the selected profiles (in the order of profiles and ids) into requests.
    pub fn claim(&mut self, profiles: Vec<ProfileKey>, entries: Vec<Entry>, batch: &mut Batch) -> Vec<Dispatch> {
        let mut of: Vec<Vec<Entry>> = profiles.iter().map(|_| Vec::new()).collect();
        for entry in entries {
            if let Some(list) = of.get_mut(entry.profile) {
                list.push(entry);
            }
        }
        profiles
            .into_iter()
            .zip(of)
            .filter_map(|(key, entries)| self.merge(key, entries, batch))
            .collect()
    }

    fn merge(&mut self, key: ProfileKey, entries: Vec<Entry>, batch: &mut Batch) -> Option<Dispatch> {
        let full = entries.len() >= MERGE_LIMIT;
        let mut merged = FlatAttrs::default();
        let mut carried = Vec::with_capacity(entries.len());
        for entry in entries {
            let attrs = if entry.retried && entry.attrs == "{}" {
                Err(OVERTAKEN.to_owned())
            } else {
                FlatAttrs::from_stored_json(&entry.attrs).map_err(|error| format!("invalid entry: {error}"))
            };
            match attrs {
                Ok(attrs) => {
                    merged.merge(attrs);
                    carried.push(Carried {
                        id: entry.id,
                        attempts: entry.attempts,
                        enqueued_at: entry.enqueued_at,
                        version: entry.version,
                    });
                }
                Err(reason) => batch.bury(&key.client, entry.id, Some(entry.version), entry.attempts, reason),
            }
        }
        let client = self.clients.get_mut(&key.client);
        let built = match client {
            Some(client) if !carried.is_empty() => {
                client.drop_arrived(&key, &mut merged);
                if merged.is_empty() {
                    // Every part of it has arrived, since what was missing is gone.
                    for entry in &carried {
                        batch.accept(&key.client, entry.id, entry.version);
                    }
                    client.forget_arrived(&key);
                }
                request::build(&client.settings.endpoint, &key, &merged, client.settings.method)
            }
            // The entries are gone (retried by hand, discarded), or their client is: nothing to send.
            _ => Ok(Vec::new()),
        };
        let requests = built.unwrap_or_else(|error: Error| {
            for entry in &carried {
                batch.bury(
                    &key.client,
                    entry.id,
                    Some(entry.version),
                    entry.attempts,
                    error.to_string(),
                );
            }
            Vec::new()
        });
        let (Some(Busy::Selected(turn)), Some(client), Some(first)) = (
            self.busy.get(&key),
            self.clients.get_mut(&key.client),
            requests.first().cloned(),
        ) else {
            if full {
                // There are more behind those that were looked at.
                self.give_back(key);
            } else {
                self.release(&key);
            }
            return None;
        };
        let turn = *turn;
        let class = Class::of(turn.wait.priority);
        let others = u64::try_from(requests.len() - 1)
            .unwrap_or(u64::MAX)
            .min(client.ledger.left(class));
        client.ledger.plan(class.count(others));
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let dispatch = dispatch(ticket, first, &client.settings);
        let minute = client.ledger.current();
        let ids: Vec<i64> = carried.iter().map(|entry| entry.id).collect();
        let more = full.then_some(Wait {
            due: Again::AT_ONCE.at,
            priority: turn.wait.priority,
            id: ids.last().copied().unwrap_or(turn.wait.id),
            retry: false,
        });
        self.busy.insert(key.clone(), Busy::UnderWay(ticket));
        self.deliveries.insert(
            ticket,
            Delivery {
                key,
                turn,
                carried,
                ids,
                attrs: merged,
                requests,
                part: 0,
                attrs_before: 0,
                parts_paid: u32::try_from(others + 1).unwrap_or(u32::MAX),
                parts_sent: 0,
                minute,
                more,
                ended: false,
                unsettled: false,
            },
        );
        Some(dispatch)
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
