//! The state of a client, as the view `status` shows it.

use std::time::Duration;

use crate::breaker::Opening;
use crate::quota::{Class, Count, Ledger, Minute, Quota};
use crate::time::Timestamp;

/// The minutes whose requests give the pace of a forecast.
const PACE_MINUTES: i64 = 10;

/// Whether this server and database send at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// They do.
    Sends,
    /// The library is not preloaded.
    NotPreloaded,
    /// `target_profile.enabled` is off.
    Disabled,
    /// It is a standby.
    Standby,
    /// The database has no worker at present.
    NoWorker,
}

/// Why a client is paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Since when.
    pub at: Timestamp,
    /// Target answered 401 or 403; otherwise an administrator called `pause`.
    pub unauthorized: bool,
    /// For a person.
    pub reason: Option<String>,
}

/// What is known of a client.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The database may send.
    pub adopted: bool,
    /// Whether it does.
    pub server: Server,
    /// `None`: not paused.
    pub pause: Option<Pause>,
    /// `None`: the breaker is closed.
    pub opening: Option<Opening>,
    /// Entries that wait.
    pub waiting: u64,
    /// Those of them that are no backfill.
    pub waiting_fresh: u64,
    /// Its quota.
    pub quota: Quota,
    /// Requests by minutes, the last 24 hours of them.
    pub sent: Vec<(Minute, Count)>,
}

/// `status.state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientState {
    /// The database is a copy: `adopt()` is needed.
    NotAdopted,
    /// The server sends nothing.
    Disabled,
    /// Nothing is sent for the client.
    Paused,
    /// The endpoint does not work; single probes go out.
    BackingOff,
    /// What waits must wait for the quota.
    Quota,
    /// Entries wait or are under way.
    Active,
    /// No entry waits.
    Idle,
}

impl ClientState {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::NotAdopted,
        Self::Disabled,
        Self::Paused,
        Self::BackingOff,
        Self::Quota,
        Self::Active,
        Self::Idle,
    ];

    /// As the view shows it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAdopted => "not adopted",
            Self::Disabled => "disabled",
            Self::Paused => "paused",
            Self::BackingOff => "backing off",
            Self::Quota => "quota",
            Self::Active => "active",
            Self::Idle => "idle",
        }
    }
}

/// One row of `status`, as far as it is not counted by SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientStatus {
    /// The first state that applies.
    pub state: ClientState,
    /// Why, for a person.
    pub reason: Option<String>,
    /// Since when, where that is known.
    pub since: Option<Timestamp>,
    /// When something will be tried next without anybody's doing.
    pub next_try_at: Option<Timestamp>,
    /// Requests that count against the quota.
    pub quota_used: u64,
    /// How many more there may be now.
    pub quota_left: u64,
    /// When there may be more again, if there may be none now.
    pub quota_resumes_at: Option<Timestamp>,
    /// How long it takes to send what waits; `None`: nothing is sent, or not yet long enough for a forecast.
    pub forecast: Option<Duration>,
}

/// How a client stands at `now`.
pub fn standing(facts: &Facts, now: Timestamp) -> ClientStatus {
    let ledger = Ledger::load(facts.quota, &facts.sent, now);
    let state = state(facts, &ledger);
    // What waits is held by the share for backfills, if there is nothing else.
    let class = if facts.waiting > 0 && facts.waiting_fresh == 0 {
        Class::Backfill
    } else {
        Class::Fresh
    };
    let quota_resumes_at = ledger.resumes_at(class);
    let (reason, since, next_try_at) = match state {
        ClientState::NotAdopted => (
            Some(
                "this database is a copy, or was moved: call target_profile.adopt() if it is the one that shall send"
                    .to_owned(),
            ),
            None,
            None,
        ),
        ClientState::Disabled => (Some(facts.server.reason().to_owned()), None, None),
        ClientState::Paused => {
            let pause = facts.pause.as_ref();
            let reason = pause.and_then(|pause| {
                let reason = pause.reason.as_deref();
                if pause.unauthorized {
                    let last = reason.map_or_else(String::new, |reason| format!(": {reason}"));
                    Some(format!(
                        "Target does not let the client in; set another auth_token{last}"
                    ))
                } else {
                    reason.map(ToOwned::to_owned)
                }
            });
            (reason, pause.map(|pause| pause.at), None)
        }
        ClientState::BackingOff => {
            let opening = facts.opening.as_ref();
            // A probe is a request as well.
            let quota_at = quota_resumes_at.filter(|_| facts.waiting > 0);
            (
                opening.map(|opening| match quota_at {
                    Some(_) => format!("{}; and {}", opening.reason, used_up(&ledger)),
                    None => opening.reason.clone(),
                }),
                opening.map(|opening| opening.since),
                opening.map(|opening| opening.next_try_at).max(quota_at),
            )
        }
        ClientState::Quota => {
            let last = facts
                .sent
                .iter()
                .filter(|(_, sent)| sent.all > 0)
                .map(|(minute, _)| *minute)
                .max();
            (
                Some(used_up(&ledger).to_owned()),
                last.map(Minute::start),
                quota_resumes_at,
            )
        }
        ClientState::Active | ClientState::Idle => (None, None, None),
    };
    let forecast = match state {
        ClientState::Idle | ClientState::Active | ClientState::Quota => {
            ledger.forecast(facts.waiting, pace(&facts.sent, now), now)
        }
        _ => None,
    };
    ClientStatus {
        state,
        reason,
        since,
        next_try_at,
        quota_used: ledger.used().all,
        quota_left: ledger.left(Class::Fresh),
        quota_resumes_at,
        forecast,
    }
}

fn state(facts: &Facts, ledger: &Ledger) -> ClientState {
    let held = ledger.left(Class::Fresh) == 0 || (facts.waiting_fresh == 0 && ledger.left(Class::Backfill) == 0);
    if !facts.adopted {
        ClientState::NotAdopted
    } else if !matches!(facts.server, Server::Sends | Server::NoWorker) {
        ClientState::Disabled
    } else if facts.pause.is_some() {
        ClientState::Paused
    } else if facts.server == Server::NoWorker && facts.waiting > 0 {
        // A worker that is missing matters to those who wait for it.
        ClientState::Disabled
    } else if facts.opening.is_some() {
        ClientState::BackingOff
    } else if facts.waiting == 0 {
        ClientState::Idle
    } else if held {
        ClientState::Quota
    } else {
        ClientState::Active
    }
}

/// What holds the entries that wait for the quota.
fn used_up(ledger: &Ledger) -> &'static str {
    if ledger.left(Class::Fresh) > 0 {
        "backfill_share of daily_quota is used up, and only low priorities wait"
    } else {
        "daily_quota is used up"
    }
}

impl Server {
    const fn reason(self) -> &'static str {
        match self {
            Self::Sends => "",
            Self::NotPreloaded => "target_profile is not in shared_preload_libraries",
            Self::Disabled => "target_profile.enabled is off",
            Self::Standby => "a standby sends nothing; it goes on by itself when it is promoted",
            Self::NoWorker => "this database has no worker; see target_profile.worker",
        }
    }
}

/// Requests a second over the last minutes in which there were any.
fn pace(sent: &[(Minute, Count)], now: Timestamp) -> f64 {
    let since = Timestamp::from_unix_micros(now.unix_micros().saturating_sub(PACE_MINUTES * 60_000_000));
    let recent = sent
        .iter()
        .filter(|(minute, count)| minute.start() >= since && count.all > 0);
    let Some(first) = recent.clone().map(|(minute, _)| *minute).min() else {
        return 0.0;
    };
    let requests: u64 = recent.map(|(_, count)| count.all).sum();
    // The first seconds of a minute say little.
    requests as f64 / now.since(first.start()).as_secs_f64().max(1.0)
}
