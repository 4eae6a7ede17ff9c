//! What the end of a request means for its entries, its client and its profile.

use super::Dispatch;
use super::{Delivery, Drain, Ending, Fate, GivenUp, Report, dispatch, fate};
use crate::retry;
use crate::settings::ClientSettings;
use crate::settlement::{Batch, Dead, Ended, ResponseRecord, Retry};
use crate::time::Timestamp;
use crate::verdict::{self, Outcome};

impl Drain {
    /// Takes note of how a request ended. What must be stored goes into `batch`; the answer is the next request of
    /// the same delivery, if its update was split. `jitter` is drawn uniformly from `[0, 1)`.
    pub fn complete(&mut self, report: Report, now: Timestamp, jitter: f64, batch: &mut Batch) -> Option<Dispatch> {
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
        // A client that was removed while its request was in flight: what it answered is recorded all the same.
        let client = self.clients.get_mut(&delivery.key.client);
        if outcome == Outcome::Accepted && delivery.part + 1 < delivery.requests.len() {
            if let Some(client) = &client
                && !client.paused
                && self.enabled
            {
                delivery.part += 1;
                return Some(dispatch(
                    report.ticket,
                    delivery.requests[delivery.part].clone(),
                    &client.settings,
                ));
            }
            // The rest must wait: all of it is sent again then, which does no harm.
            self.settling += 1;
            delivery.ended = true;
            if let Some(client) = client {
                client.in_flight = client.in_flight.saturating_sub(1);
            }
            batch.ended.push(Ended {
                ticket: report.ticket,
                again_at: Some(now),
            });
            return None;
        }
        let Some(client) = client else {
            settle_orphan(delivery, outcome, batch);
            self.settling += 1;
            delivery.ended = true;
            // The client may be back by then.
            let again_at = (outcome != Outcome::Accepted).then_some(now);
            batch.ended.push(Ended {
                ticket: report.ticket,
                again_at,
            });
            return None;
        };
        self.settling += 1;
        delivery.ended = true;
        client.in_flight = client.in_flight.saturating_sub(1);
        let opening_before = client.breaker.opening().cloned();
        client.breaker.note(outcome, delivery.probe, asked, &why, now, jitter);
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
        let mut again_at = None;
        for entry in &delivery.carried {
            match fate(entry, &ending, &client.settings) {
                Fate::Accepted => batch.accepted.push(entry.id),
                Fate::Held => again_at = Some(now),
                Fate::Retry { attempts, at } => {
                    batch.retries.push(Retry {
                        id: entry.id,
                        attempts,
                        next_attempt_at: at,
                        outcome,
                    });
                    again_at = Some(again_at.map_or(at, |other: Timestamp| other.max(at)));
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
        batch.ended.push(Ended {
            ticket: report.ticket,
            again_at,
        });
        None
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
