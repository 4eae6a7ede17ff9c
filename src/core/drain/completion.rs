//! What the end of a request means for its entries, its client and its profile.

use std::time::Duration;

use super::client::Client;
use super::delivery::Delivery;
use super::fate::{Carried, Fate, GivenUp, RequestEnd, fate};
use super::merging::dispatch;
use super::messages::{Dispatch, Report};
use super::partial::REMEMBERED;
use super::state::Drain;
use crate::retry;
use crate::settings::ClientSettings;
use crate::settlement::{Accepted, Again, Arrived, Batch, Dead, Ended, ResponseRecord, Retry};
use crate::time::{Span, Timestamp};
use crate::verdict::{self, Outcome};

/// What a request came to.
struct Judged {
    status: Option<u16>,
    outcome: Outcome,
    message: Option<String>,
    body: Option<String>,
    /// What the server asks for before the next request.
    asked: Option<Duration>,
}

impl Judged {
    fn of(report: &Report, now: Timestamp, body_bytes: usize) -> Self {
        match &report.result {
            Ok(answer) => {
                let verdict = verdict::judge(answer.status, &answer.body);
                let header = answer.retry_after.as_deref();
                let limiter = (answer.status == 503).then_some(retry::LIMITER_REST);
                Self {
                    status: Some(answer.status),
                    outcome: verdict.outcome,
                    message: verdict.message,
                    body: Some(verdict::body_for_record(&answer.body, body_bytes)),
                    asked: header.and_then(|header| retry::retry_after(header, now)).or(limiter),
                }
            }
            Err(error) => Self {
                status: None,
                outcome: Outcome::Failed,
                message: Some(error.clone()),
                body: None,
                asked: None,
            },
        }
    }

    /// In one line, for a person.
    fn explain(&self) -> String {
        let outcome = self.outcome.as_str();
        match (self.status, self.message.as_deref()) {
            (Some(status), Some(message)) => format!("{outcome} with HTTP status {status}: {message}"),
            (Some(status), None) => format!("{outcome} with HTTP status {status}"),
            (None, Some(message)) => message.to_owned(),
            (None, None) => outcome.to_owned(),
        }
    }

    /// Whether the values may have arrived: without an answer, or with one that is not Target's, nobody knows.
    fn may_have_arrived(&self) -> bool {
        matches!(
            self.outcome,
            Outcome::Accepted | Outcome::Failed | Outcome::Unrecognised
        )
    }
}

impl Delivery {
    fn has_more_parts(&self) -> bool {
        self.part + 1 < self.plan.parts()
    }

    /// The row for `response` of the request under way.
    fn record(&self, report: &Report, judged: &Judged) -> ResponseRecord {
        let attempts = self.carried.iter().map(|entry| entry.attempts).max().unwrap_or(0);
        ResponseRecord {
            key: self.key.clone(),
            outbox_ids: self.ids.clone(),
            part: u16::try_from(self.part + 1).unwrap_or(u16::MAX),
            parts: u16::try_from(self.plan.parts()).unwrap_or(u16::MAX),
            method: self.method,
            request_bytes: self.request_bytes,
            attempt: attempts.saturating_add(1),
            sent_at: report.sent_at,
            duration: report.duration,
            http_status: judged.status,
            outcome: judged.outcome,
            message: judged.message.clone(),
            body: judged.body.clone(),
        }
    }
}

impl Drain {
    /// Notes how a request ended. What must be stored is added to `batch`. Returns the next request of
    /// the same delivery, if its update was split. `jitter` is drawn uniformly from `[0, 1)`.
    pub fn complete(&mut self, report: Report, now: Timestamp, jitter: f64, batch: &mut Batch) -> Option<Dispatch> {
        self.advance_ledgers(now);
        let delivery = self.deliveries.get_mut(&report.ticket)?;
        let judged = Judged::of(&report, now, self.limits.body_bytes);
        let outcome = judged.outcome;
        let response = batch.responses.len();
        batch.record(delivery.record(&report, &judged));
        let place = (delivery.key.client.clone(), delivery.minute);
        self.activity.entry(place).or_default().outcomes[outcome as usize] += 1;
        if judged.may_have_arrived() {
            self.note_arrival(report.ticket, outcome, batch);
        }
        let delivery = self.deliveries.get_mut(&report.ticket)?;
        if outcome == Outcome::Accepted && delivery.has_more_parts() {
            // The endpoint works, whether or not the next part follows at once: a probe has its answer.
            if let Some(client) = self.clients.get_mut(&delivery.key.client) {
                client.breaker_moved |= client.breaker.opening().is_some();
                client.breaker.note(outcome, delivery.turn.probe, None, "", now, jitter);
            }
            let next = self.next_part(report.ticket, now);
            if next.is_none() {
                // The rest must wait: for its client, or for a turn in which there is quota for it.
                self.end(report.ticket, Some(Again::AT_ONCE), batch);
            }
            return next;
        }
        // A client that was removed while its request was in flight: what it answered is recorded all the same.
        let Some(client) = self.clients.get_mut(&delivery.key.client) else {
            settle_orphan(delivery, outcome, batch);
            // The client may be back by then.
            let again = (outcome != Outcome::Accepted).then_some(Again::AT_ONCE);
            self.end(report.ticket, again, batch);
            return None;
        };
        let (why, asked) = (judged.explain(), judged.asked);
        match (outcome, delivery.turn.wait.retry) {
            (Outcome::Accepted, false) => client.budget.earn(),
            (Outcome::Accepted, true) if delivery.turn.paid => client.budget.give_back(),
            _ => {}
        }
        let opening_before = client.breaker.opening().cloned();
        client
            .breaker
            .note(outcome, delivery.turn.probe, asked, &why, now, jitter);
        client.breaker_moved |= client.breaker.opening() != opening_before.as_ref();
        if outcome == Outcome::Unauthorized && !client.paused {
            client.paused = true;
            client.refused = true;
            batch.pauses.push((delivery.key.client.clone(), why.clone()));
        }
        let ending = RequestEnd {
            outcome,
            counts: opening_before.is_none() && client.breaker.opening().is_none(),
            asked,
            at: now,
            not_before: client.breaker.opening().map(|opening| opening.next_try_at),
            jitter,
        };
        let mut again: Option<Again> = None;
        for entry in &delivery.carried {
            let entry = Carried {
                enqueued_at: self.leap.corrected(entry.enqueued_at),
                ..*entry
            };
            match fate(&entry, &ending, &client.settings) {
                Fate::Accepted => batch.accepted.push(Accepted {
                    id: entry.id,
                    client: delivery.key.client.clone(),
                    version: entry.version,
                }),
                Fate::Held => again = Some(Again::AT_ONCE),
                Fate::Retry { attempts, at } => {
                    batch.retries.push(Retry {
                        id: entry.id,
                        client: delivery.key.client.clone(),
                        version: entry.version,
                        attempts,
                        next_attempt_at: at,
                        outcome,
                    });
                    again = Some(Again {
                        at: again.map_or(at, |other| other.at.max(at)),
                        retry: true,
                    });
                }
                Fate::Dead {
                    attempts,
                    why: given_up,
                } => batch.dead.push(Dead {
                    id: entry.id,
                    client: delivery.key.client.clone(),
                    version: Some(entry.version),
                    attempts,
                    reason: given_up.reason(&why, attempts, &client.settings),
                    outcome: Some(outcome),
                    response: Some(response),
                    recorded: None,
                }),
            }
        }
        if again.is_none() {
            client.forget_arrived(&delivery.key);
        }
        self.end(report.ticket, again, batch);
        None
    }

    /// The values of the request under way are at Target, or may be.
    fn note_arrival(&mut self, ticket: u64, outcome: Outcome, batch: &mut Batch) {
        let Some(delivery) = self.deliveries.get_mut(&ticket) else {
            return;
        };
        let attrs = std::mem::take(&mut delivery.sent);
        if outcome == Outcome::Accepted
            && delivery.has_more_parts()
            && let Some(client) = self.clients.get_mut(&delivery.key.client)
        {
            client.note_arrived(&delivery.key, &attrs);
            let (key, remembered) = (
                &delivery.key,
                self.clients.values().map(Client::remembered).sum::<usize>(),
            );
            if remembered > REMEMBERED {
                // The delivery that continues needs it.
                self.clients
                    .values_mut()
                    .for_each(|client| client.forget_arrived_but(key));
            }
        }
        batch.arrived.push(Arrived {
            key: delivery.key.clone(),
            ids: delivery.ids.clone(),
            attrs,
        });
    }

    /// The next part of a split update, if its client may send and there is quota for it in this minute.
    fn next_part(&mut self, ticket: u64, now: Timestamp) -> Option<Dispatch> {
        let delivery = self.deliveries.get_mut(&ticket)?;
        delivery.part += 1;
        let client = self.clients.get(&delivery.key.client)?;
        let paid = delivery.parts_sent < delivery.parts_paid && delivery.minute == client.ledger.current();
        if client.paused || !self.enabled || !paid {
            return None;
        }
        delivery.parts_sent += 1;
        let class = delivery.class();
        let request = delivery.next_request()?;
        let mut next = dispatch(ticket, request, &client.settings);
        next.sent_at = now;
        self.activity_of(ticket, |activity| activity.sent += class.count(1));
        Some(next)
    }

    /// The delivery ends with this batch, and its place in flight is free: what an answer costs to be written down is no
    /// reason to let the network idle. Its profile stays busy until the batch is settled. What was charged for parts that
    /// were not sent is given back.
    fn end(&mut self, ticket: u64, again: Option<Again>, batch: &mut Batch) {
        if let Some(delivery) = self.deliveries.get_mut(&ticket) {
            delivery.ended = true;
            self.settling += 1;
        }
        if let Some(delivery) = self.deliveries.get(&ticket)
            && let Some(client) = self.clients.get_mut(&delivery.key.client)
        {
            client.in_flight = client.in_flight.saturating_sub(1);
            let unsent = u64::from(delivery.parts_paid.saturating_sub(delivery.parts_sent));
            let class = delivery.class();
            client.ledger.refund(delivery.minute, class.count(unsent));
        }
        if let Some(delivery) = self.deliveries.get(&ticket) {
            let client = delivery.key.client.clone();
            batch.ended.push(Ended { client, ticket, again });
        }
    }
}

/// The client is gone: an accepted entry goes, any other waits for the client to be registered again or for the
/// sweep that finds entries without a client.
fn settle_orphan(delivery: &Delivery, outcome: Outcome, batch: &mut Batch) {
    if outcome == Outcome::Accepted {
        batch.accepted.extend(delivery.carried.iter().map(|entry| Accepted {
            id: entry.id,
            client: delivery.key.client.clone(),
            version: entry.version,
        }));
    }
}

impl GivenUp {
    fn reason(self, last: &str, attempts: u32, settings: &ClientSettings) -> String {
        match self {
            Self::Rejected => last.to_owned(),
            Self::Unrecognised => format!("gave up after {attempts} answers that are not Target's; last: {last}"),
            Self::Attempts => format!("gave up after {attempts} attempts; last: {last}"),
            Self::Age => format!(
                "gave up: older than max_age ({}); last: {last}",
                Span::from(settings.max_age)
            ),
        }
    }
}
