//! The pages of the binary: what the stand-in holds, as JSON.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::answer::Answer;
use super::request::Request;
use super::shared::Shared;
use super::state::State;

pub(super) fn answer(shared: &Shared, request: &Request) -> Answer {
    let value = match (request.method.as_str(), request.target.as_str()) {
        ("GET", "/_profiles") => profiles(&shared.state()),
        ("GET", "/_requests") => Value::Array(shared.state().requests.iter().map(describe).collect()),
        ("POST", "/_quit") => {
            shared.state().quit = true;
            shared.tell();
            json!({ "quit": true })
        }
        _ => return Answer::refusal(404, "GET /_profiles, GET /_requests or POST /_quit"),
    };
    Answer {
        status: 200,
        content_type: "application/json",
        body: Cow::Owned(format!("{value:#}\n")),
    }
}

/// The profiles in the order of their keys.
pub(super) fn profiles(state: &State) -> Value {
    let mut sorted: Vec<_> = state.profiles.iter().collect();
    sorted.sort_by_key(|(key, _)| *key);
    let describe = |(key, profile): &(&super::ProfileKey, &super::Profile)| json!({ "client": key.client, "kind": key.kind.name(), "id": key.id, "attributes": profile.attrs });
    Value::Array(sorted.iter().map(describe).collect())
}

/// A request without its headers: the token is among them.
fn describe(request: &Request) -> Value {
    json!({
        "seq": request.seq,
        "at": timestamp(request.arrived_at),
        "method": request.method,
        "target": request.target,
        "client": request.client,
        "kind": request.kind.map(|kind| kind.name()),
        "id": request.id,
        "attributes": request.attrs,
        "body_bytes": request.body_bytes,
        "url_bytes": request.url_bytes,
        "applied": request.applied,
        "status": request.status,
        "ending": format!("{:?}", request.ending),
        "milliseconds": request.duration().map(|duration| duration.as_secs_f64() * 1e3),
    })
}

/// A moment as `2026-01-31T12:00:00.123Z`.
pub fn timestamp(moment: SystemTime) -> String {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days to civil date, after Howard Hinnant: eras of 400 years that begin on the 1st of March.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second, milli) = (seconds / 3_600, seconds / 60 % 60, seconds % 60, since.subsec_millis());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}
