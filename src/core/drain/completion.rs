//! What the end of a request means for its entries, its client and its profile.

use super::Dispatch;
use super::{Delivery, Drain, Ending, Fate, GivenUp, Report, dispatch, fate};
use crate::retry;
use crate::settings::ClientSettings;
use crate::settlement::{Again, Arrived, Batch, Dead, Ended, ResponseRecord, Retry};
use crate::time::Timestamp;
use crate::verdict::{self, Outcome};

impl Drain {
    /// Takes note of how a request ended. What must be stored goes into `batch`; the answer is the next request of
    /// the same delivery, if its update was split. `jitter` is drawn uniformly from `[0, 1)`.
    pub fn complete(&mut self, report: Report, now: Timestamp, jitter: f64, batch: &mut Batch) -> Option<Dispatch> {
        self.advance_ledgers(now);
        let delivery = self.deliveries.get_mut(&report.ticket)?;
        let request = delivery.requests.get(delivery.part)?;
        let (status, asked, body) = match &report.result {
            Ok(answer) => {
                let asked = answer
                    .retry_after
                    .as_deref()
                    .and_then(|header| retry::retry_after(header, now));
                (
                    Some(answer.status),
                    asked,
                    Some(verdict::body_for_record(&answer.body, self.limits.body_bytes)),
                )
            }
            Err(_) => (None, None, None),
        };
        let (outcome, message) = match &report.result {
            Ok(answer) => {
                let verdict = verdict::judge(answer.status, &answer.body);
                (verdict.outcome, verdict.message)
            }
            Err(error) => (Outcome::Failed, Some(error.clone())),
        };
        let asked = asked.or((status == Some(503)).then_some(retry::LIMITER_REST));
        let response = batch.responses.len();
        batch.responses.push(ResponseRecord {
            key: delivery.key.clone(),
            outbox_ids: delivery.ids.clone(),
            part: u16::try_from(delivery.part + 1).unwrap_or(u16::MAX),
            parts: u16::try_from(delivery.requests.len()).unwrap_or(u16::MAX),
            method: request.method,
            request_bytes: request.bytes(),
            attempt: delivery
                .carried
                .iter()
                .map(|entry| entry.attempts)
                .max()
                .unwrap_or(0)
                .saturating_add(1),
            sent_at: report.sent_at,
            duration: report.duration,
            http_status: status,
            outcome,
            message: message.clone(),
            body,
        });
        let why = explain(outcome, status, message.as_deref());
        let request_attrs = request.attrs;
        self.activity
            .entry((delivery.key.client.clone(), delivery.minute))
            .or_default()
            .outcomes[outcome as usize] += 1;
        // What has arrived, or may have: without an answer, or with one that is not Target's, nobody knows.
        if matches!(outcome, Outcome::Accepted | Outcome::Failed | Outcome::Unrecognised) {
            let attrs = delivery.part_attrs();
            if outcome == Outcome::Accepted
                && delivery.part + 1 < delivery.requests.len()
                && let Some(client) = self.clients.get_mut(&delivery.key.client)
            {
                client.note_arrived(&delivery.key, attrs.clone());
            }
            if let Some(&newest) = delivery.ids.last() {
                batch.arrived.push(Arrived {
                    key: delivery.key.clone(),
                    newest,
                    attrs,
                });
            }
        }
        // A client that was removed while its request was in flight: what it answered is recorded all the same.
        let client = self.clients.get_mut(&delivery.key.client);
        if outcome == Outcome::Accepted && delivery.part + 1 < delivery.requests.len() {
            delivery.part += 1;
            delivery.attrs_before += request_attrs;
            if let Some(client) = client
                && !client.paused
                && self.enabled
                && delivery.parts_sent < delivery.parts_paid
                && delivery.minute == client.ledger.current()
            {
                delivery.parts_sent += 1;
                let class = delivery.class();
                let mut next = dispatch(
                    report.ticket,
                    delivery.requests[delivery.part].clone(),
                    &client.settings,
                );
                next.sent_at = now;
                self.activity_of(report.ticket, |activity| activity.sent += class.count(1));
                return Some(next);
            }
            // The rest must wait: for its client, or for a turn in which there is quota for it.
            self.end(report.ticket, Some(Again::AT_ONCE), batch);
            return None;
        }
        let Some(client) = client else {
            settle_orphan(delivery, outcome, batch);
            // The client may be back by then.
            let again = (outcome != Outcome::Accepted).then_some(Again::AT_ONCE);
            self.end(report.ticket, again, batch);
            return None;
        };
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
            batch.pauses.push((delivery.key.client.clone(), why.clone()));
        }
        let ending = Ending {
            outcome,
            counts: opening_before.is_none() && client.breaker.opening().is_none(),
            asked,
            at: now,
            not_before: client.breaker.opening().map(|opening| opening.next_try_at),
            jitter,
        };
        let mut again: Option<Again> = None;
        for entry in &delivery.carried {
            match fate(entry, &ending, &client.settings) {
                Fate::Accepted => batch.accepted.push(entry.id),
                Fate::Held => again = Some(Again::AT_ONCE),
                Fate::Retry { attempts, at } => {
                    batch.retries.push(Retry {
                        id: entry.id,
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
                    attempts,
                    reason: given_up.reason(&why, attempts, &client.settings),
                    outcome: Some(outcome),
                    response: Some(response),
                }),
            }
        }
        if again.is_none() {
            client.forget_arrived(&delivery.key);
        }
        self.end(report.ticket, again, batch);
        None
    }

    /// The delivery ends with this batch. What was charged for parts that were not sent is given back.
    fn end(&mut self, ticket: u64, again: Option<Again>, batch: &mut Batch) {
        if let Some(delivery) = self.deliveries.get(&ticket)
            && let Some(client) = self.clients.get_mut(&delivery.key.client)
        {
            let unsent = u64::from(delivery.parts_paid.saturating_sub(delivery.parts_sent));
            let class = delivery.class();
            client.ledger.refund(delivery.minute, class.count(unsent));
        }
        batch.ended.push(Ended { ticket, again });
    }
}

/// The client is gone: an accepted entry goes, any other waits for the client to be registered again or for the
/// sweep that finds entries without a client.
fn settle_orphan(delivery: &Delivery, outcome: Outcome, batch: &mut Batch) {
    if outcome == Outcome::Accepted {
        batch.accepted.extend(delivery.carried.iter().map(|entry| entry.id));
    }
}

fn explain(outcome: Outcome, status: Option<u16>, message: Option<&str>) -> String {
    match (status, message) {
        (Some(status), Some(message)) => format!("{} with HTTP status {status}: {message}", outcome.as_str()),
        (Some(status), None) => format!("{} with HTTP status {status}", outcome.as_str()),
        (None, Some(message)) => message.to_owned(),
        (None, None) => outcome.as_str().to_owned(),
    }
}

impl GivenUp {
    fn reason(self, last: &str, attempts: u32, settings: &ClientSettings) -> String {
        match self {
            Self::Rejected => last.to_owned(),
            Self::Unrecognised => format!("gave up after {attempts} answers that are not Target's; last: {last}"),
            Self::Attempts => format!("gave up after {attempts} attempts; last: {last}"),
            Self::Age => format!("gave up: older than max_age ({:?}); last: {last}", settings.max_age),
        }
    }
}
