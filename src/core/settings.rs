//! The settings of one client: the row of the table `client`, checked.

use std::time::Duration;

use thiserror::Error;

use crate::attrs::{Arrays, FlattenOptions};
use crate::client_code::ClientCode;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::request::MethodPolicy;
use crate::secret::Secret;
use crate::time::Span;

/// The longest token that is accepted, in bytes. Adobe's are far shorter; header lines of more than 8 KB are refused by
/// common servers.
pub const TOKEN_BYTES: usize = 4_096;

/// The row of the table `client` as it is stored or as the caller of `add_client` gives it; intervals in microseconds.
#[derive(Debug, Clone)]
pub struct ClientRow {
    /// `client_code`.
    pub client_code: String,
    /// `endpoint`, a template.
    pub endpoint: String,
    /// `auth_token`.
    pub auth_token: Option<Secret>,
    /// `method`.
    pub method: String,
    /// `daily_quota`, requests.
    pub daily_quota: i64,
    /// `backfill_share`, of the quota, from 0 to 1.
    pub backfill_share: f64,
    /// `delay`, microseconds.
    pub delay: i64,
    /// `arrays`.
    pub arrays: String,
    /// `null_value`.
    pub null_value: Option<String>,
    /// `max_attempts`.
    pub max_attempts: i32,
    /// `max_age`, microseconds.
    pub max_age: i64,
    /// `max_in_flight`, requests.
    pub max_in_flight: i32,
    /// `timeout` of one request, microseconds.
    pub timeout: i64,
}

/// A client's settings, checked once and trusted after.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Its code.
    pub code: ClientCode,
    /// Where its requests go.
    pub endpoint: Endpoint,
    /// What is sent as `Authorization: Bearer`.
    pub auth_token: Option<Secret>,
    /// GET, POST or whichever fits.
    pub method: MethodPolicy,
    /// How attributes are flattened.
    pub flatten: FlattenOptions,
    /// Requests in any rolling 24 hours.
    pub daily_quota: u64,
    /// The part of the quota that low priorities may use, from 0 to 1.
    pub backfill_share: f64,
    /// How long a profile is held back from its first waiting entry on.
    pub delay: Duration,
    /// Attempts after which an entry becomes a dead letter.
    pub max_attempts: u32,
    /// Age after which an entry that fails becomes a dead letter.
    pub max_age: Duration,
    /// Requests in flight at a time.
    pub max_in_flight: usize,
    /// How long one request may take in all.
    pub timeout: Duration,
}

/// A setting with an invalid value.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SettingError {
    /// The code, endpoint, method or array style, which have rules of their own.
    #[error(transparent)]
    Rule(#[from] Error),
    /// A number or an interval outside of its range.
    #[error("{setting} must be {rule}")]
    OutOfRange {
        /// The column and parameter.
        setting: &'static str,
        /// The valid values.
        rule: &'static str,
        /// The value.
        value: String,
    },
    /// The token cannot be sent in a header. Its text is not kept here.
    #[error("auth_token cannot be sent in an HTTP header")]
    Token,
}

impl ClientRow {
    /// Checks every column.
    ///
    /// # Errors
    /// The first column that is invalid; the message never holds the token.
    pub fn check(self) -> Result<ClientSettings, SettingError> {
        let code = ClientCode::parse(&self.client_code)?;
        let endpoint = Endpoint::parse(&self.endpoint)?;
        let method = MethodPolicy::parse(&self.method)?;
        let arrays = Arrays::parse(&self.arrays)?;
        if let Some(token) = &self.auth_token {
            let text = token.expose();
            if text.is_empty() || text.len() > TOKEN_BYTES || !text.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(SettingError::Token);
            }
        }
        let out_of_range = |setting, rule, value: String| SettingError::OutOfRange { setting, rule, value };
        let daily_quota = u64::try_from(self.daily_quota)
            .ok()
            .filter(|&n| n > 0)
            .ok_or_else(|| out_of_range("daily_quota", "at least 1", self.daily_quota.to_string()))?;
        if !(self.backfill_share > 0.0 && self.backfill_share <= 1.0) {
            return Err(out_of_range(
                "backfill_share",
                "above 0 and at most 1",
                self.backfill_share.to_string(),
            ));
        }
        let delay = interval(self.delay, "delay", "between 0 and 1 day", 0, DAY)?;
        let max_age = interval(
            self.max_age,
            "max_age",
            "between 1 minute and 365 days",
            MINUTE,
            365 * DAY,
        )?;
        let timeout = interval(
            self.timeout,
            "timeout",
            "between 100 ms and 5 minutes",
            SECOND / 10,
            5 * MINUTE,
        )?;
        let max_attempts = count(self.max_attempts, "max_attempts", "between 1 and 1000", 1_000)?;
        let max_in_flight = count(self.max_in_flight, "max_in_flight", "between 1 and 1000", 1_000)?;
        Ok(ClientSettings {
            code,
            endpoint,
            auth_token: self.auth_token,
            method,
            flatten: FlattenOptions {
                arrays,
                null_value: self.null_value,
            },
            daily_quota,
            backfill_share: self.backfill_share,
            delay,
            max_attempts,
            max_age,
            max_in_flight: max_in_flight as usize,
            timeout,
        })
    }
}

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const DAY: i64 = 24 * 60 * MINUTE;

fn interval(
    micros: i64,
    setting: &'static str,
    rule: &'static str,
    least: i64,
    most: i64,
) -> Result<Duration, SettingError> {
    if micros < least || micros > most {
        let value = Span::from_micros(micros).to_string();
        return Err(SettingError::OutOfRange { setting, rule, value });
    }
    Ok(Duration::from_micros(micros.unsigned_abs()))
}

fn count(value: i32, setting: &'static str, rule: &'static str, most: u32) -> Result<u32, SettingError> {
    u32::try_from(value)
        .ok()
        .filter(|n| (1..=most).contains(n))
        .ok_or_else(|| SettingError::OutOfRange {
            setting,
            rule,
            value: value.to_string(),
        })
}
