//! Reserves quota for what was claimed, and releases the requests to the network.

use std::collections::BTreeMap;

use super::delivery::{Busy, Delivery};
use super::messages::Dispatch;
use super::state::Drain;
use crate::client_code::ClientCode;
use crate::quota::{Class, Count};
use crate::settlement::Reservation;
use crate::time::Timestamp;

impl Drain {
    /// What must be reserved before `dispatches` may be sent at `now`: make it durable, say so with
    /// [`Drain::reserved`], and ask again, because the minute may be over by then. Empty: [`Drain::send`] may follow.
    pub fn reservations(&mut self, dispatches: &[Dispatch], now: Timestamp) -> Vec<Reservation> {
        self.advance_ledgers(now);
        let mut wanted: BTreeMap<&ClientCode, Count> = BTreeMap::new();
        for dispatch in dispatches {
            if let Some(delivery) = self.deliveries.get(&dispatch.ticket) {
                *wanted.entry(&delivery.key.client).or_default() += delivery.planned();
            }
        }
        wanted
            .into_iter()
            .filter_map(|(code, count)| {
                let client = self.clients.get(code)?;
                Some(Reservation {
                    client: code.clone(),
                    minute: client.ledger.current(),
                    count: client.ledger.lacks(count, client.recent)?,
                })
            })
            .collect()
    }

    /// These reservations are durable.
    pub fn reserved(&mut self, reservations: Vec<Reservation>) {
        for Reservation { client, minute, count } in reservations {
            self.note_reserved(client, minute, count);
        }
    }

    /// The requests go out at `now`, and count from now on.
    pub fn send(&mut self, mut dispatches: Vec<Dispatch>, now: Timestamp) -> Vec<Dispatch> {
        for dispatch in &mut dispatches {
            dispatch.sent_at = now;
            let Some(delivery) = self.deliveries.get_mut(&dispatch.ticket) else {
                continue;
            };
            let Some(client) = self.clients.get_mut(&delivery.key.client) else {
                continue;
            };
            let planned = delivery.planned();
            client.ledger.charge(planned);
            client.recent = client.recent.saturating_add(planned.all);
            delivery.minute = client.ledger.current();
            delivery.parts_sent = 1;
            let class = delivery.class();
            self.activity_of(dispatch.ticket, |activity| activity.sent += class.count(1));
        }
        dispatches
    }

    /// Those of one client cannot be sent, because what they need could not be reserved. The answer is the others.
    pub fn withdraw_of(&mut self, code: &ClientCode, dispatches: Vec<Dispatch>) -> Vec<Dispatch> {
        let (withdrawn, others): (Vec<_>, Vec<_>) = dispatches.into_iter().partition(|dispatch| {
            self.deliveries
                .get(&dispatch.ticket)
                .is_some_and(|delivery| delivery.key.client == *code)
        });
        self.withdraw(&withdrawn);
        others
    }

    /// They cannot be sent, because what they need could not be reserved. Their profiles have another turn.
    pub fn withdraw(&mut self, dispatches: &[Dispatch]) {
        for dispatch in dispatches {
            let Some(delivery) = self.deliveries.remove(&dispatch.ticket) else {
                continue;
            };
            let Delivery {
                key, turn, parts_paid, ..
            } = delivery;
            if let Some(client) = self.clients.get_mut(&key.client) {
                // One of them is the turn's own, which `give_back` returns.
                let others = u64::from(parts_paid).saturating_sub(1);
                client.ledger.unplan(Class::of(turn.wait.priority).count(others));
            }
            self.busy.insert(key.clone(), Busy::Selected(turn));
            self.give_back(key);
        }
        self.recount_after_end();
    }
}
