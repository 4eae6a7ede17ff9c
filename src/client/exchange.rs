//! One request and its answer.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use http_body_util::BodyExt as _;
use hyper::header::RETRY_AFTER;
use target_profile_core::drain::{Answer, Dispatch, Report};
use target_profile_core::limits::VERDICT_BODY_BYTES;
use target_profile_core::secret::mask;
use target_profile_core::time::Timestamp;

use crate::answers::Held;
use crate::http::{Failure, Http};

/// The longest `Retry-After` that means anything is a date of 29 characters.
const RETRY_AFTER_CHARS: usize = 64;

/// Sends one request and reads the start of its answer; nothing of it can take longer than the request's timeout.
pub(crate) async fn exchange(http: Http, dispatch: Dispatch, held: &mut Held) -> Report {
    let ticket = dispatch.ticket;
    let sent_at = dispatch.sent_at;
    let token = dispatch.auth_token.clone();
    let started = Instant::now();
    let mut result = answer(&http, dispatch, held)
        .await
        .map_err(|failure| failure.describe());
    for secret in token.iter().chain(http.secrets()) {
        hide(&mut result, secret.expose());
    }
    Report {
        ticket,
        sent_at,
        duration: started.elapsed(),
        result,
    }
}

/// A server may send back what it was sent, and a library may say what it was given.
fn hide(result: &mut Result<Answer, String>, secret: &str) {
    match result {
        Ok(answer) => {
            mask(&mut answer.body, secret);
            if let Some(text) = &mut answer.retry_after {
                hide_in(text, secret);
            }
        }
        Err(text) => hide_in(text, secret),
    }
}

fn hide_in(text: &mut String, secret: &str) {
    let mut bytes = std::mem::take(text).into_bytes();
    mask(&mut bytes, secret);
    *text = String::from_utf8_lossy(&bytes).into_owned();
}

async fn answer(http: &Http, dispatch: Dispatch, held: &mut Held) -> Result<Answer, Failure> {
    let patience = dispatch.timeout;
    tokio::time::timeout(patience, read_answer(http, dispatch, held))
        .await
        .unwrap_or(Err(Failure::Timeout))
}

async fn read_answer(http: &Http, dispatch: Dispatch, held: &mut Held) -> Result<Answer, Failure> {
    let mut response = http.request(dispatch.request, dispatch.auth_token.as_ref()).await?;
    let status = response.status().as_u16();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .map(|text| text.chars().take(RETRY_AFTER_CHARS).collect());
    let mut body = Vec::new();
    while let Some(frame) = response.frame().await {
        let Ok(chunk) = frame.map_err(Failure::BrokeOff)?.into_data() else {
            // Trailers: nothing that counts.
            continue;
        };
        let taken = held.take(chunk.len());
        body.extend_from_slice(&chunk[..taken]);
        if taken < chunk.len() || body.len() >= VERDICT_BODY_BYTES {
            // The rest is not read: the connection is given up with the response.
            break;
        }
    }
    Ok(Answer {
        status,
        retry_after,
        body,
    })
}

/// The wall clock, as Postgres shows it.
pub(crate) fn now() -> Timestamp {
    let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
    };
    Timestamp::from_unix_micros(micros)
}
