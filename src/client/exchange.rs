//! One request and its answer.

use std::error::Error as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use target_profile_core::drain::{Answer, Dispatch, Report};
use target_profile_core::limits::VERDICT_BODY_BYTES;
use target_profile_core::request::{Method, POST_CONTENT_TYPE};
use target_profile_core::secret::mask;
use target_profile_core::time::Timestamp;

use crate::answers::Held;
use crate::http::Http;

/// The longest `Retry-After` that means anything is a date of 29 characters.
const RETRY_AFTER_CHARS: usize = 64;

/// Sends one request and reads the start of its answer; nothing of it can take longer than the request's timeout.
pub(crate) async fn exchange(http: Http, dispatch: Dispatch, held: &mut Held) -> Report {
    let ticket = dispatch.ticket;
    let sent_at = dispatch.sent_at;
    let token = dispatch.auth_token.clone();
    let started = Instant::now();
    let mut result = match http.to(&dispatch.request.url) {
        Some(client) => answer(client, dispatch, held).await.map_err(|error| describe(&error)),
        None => Err("cannot be sent: http is for loopback only".to_owned()),
    };
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

async fn answer(http: &reqwest::Client, dispatch: Dispatch, held: &mut Held) -> Result<Answer, reqwest::Error> {
    let request = dispatch.request;
    let mut builder = match request.method {
        Method::Get => http.get(request.url),
        Method::Post => http.post(request.url),
    }
    .timeout(dispatch.timeout);
    if let Some(token) = &dispatch.auth_token {
        // The settings admit printable ASCII only, so this cannot fail; if it did, Target would answer 401.
        if let Ok(mut value) = HeaderValue::try_from(["Bearer ", token.expose()].concat()) {
            value.set_sensitive(true);
            builder = builder.header(AUTHORIZATION, value);
        }
    }
    if let Some(body) = request.body {
        builder = builder.header(CONTENT_TYPE, POST_CONTENT_TYPE).body(body);
    }
    let mut response = builder.send().await?;
    let status = response.status().as_u16();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .map(|text| text.chars().take(RETRY_AFTER_CHARS).collect());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
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

/// The causes of an error, outermost first, without the URL: it would repeat the profile's attributes.
fn describe(error: &reqwest::Error) -> String {
    let kind = if error.is_timeout() {
        "timeout"
    } else if error.is_connect() {
        "cannot connect"
    } else if error.is_body() || error.is_decode() {
        "answer broke off"
    } else if error.is_builder() {
        "cannot be sent"
    } else {
        "connection failed"
    };
    let mut text = kind.to_owned();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

/// The wall clock, as Postgres shows it.
pub(crate) fn now() -> Timestamp {
    let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
    };
    Timestamp::from_unix_micros(micros)
}

/// How long a connection may take to be made, whatever the request's own timeout is.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
