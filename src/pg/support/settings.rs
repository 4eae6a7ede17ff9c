//! The settings (GUCs). All of them belong to the worker, so they exist only where the library is preloaded.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::path::PathBuf;
use std::time::Duration;

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
use target_profile_client::Options;
use target_profile_core::drain::Limits;
use target_profile_core::secret::Secret;

/// Databases that may get a worker; empty: all that have the extension.
static DATABASES: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
/// Seconds. Only for what nobody announces: databases that appear otherwise than by a statement on this server. A look at the list
/// of databases each minute costs next to nothing.
static DISCOVERY_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(60);
/// On by default, since the library was preloaded on purpose.
static ENABLED: GucSetting<bool> = GucSetting::<bool>::new(true);
/// Requests. 256 at 50 ms are 5,000 a second, far above what the quota sustains (11.6 a second), and well below the 1,024 file
/// descriptors that a process often has.
static MAX_IN_FLIGHT: GucSetting<i32> = GucSetting::<i32>::new(256);
/// Seconds. Only for rows that nobody announces (replication, restore): nothing that a user waits for.
static POLL_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(30);
/// Minutes: 7 days, long enough for the question what happened last week, short enough to hold at a million rows a day.
static RESPONSE_RETENTION: GucSetting<i32> = GucSetting::<i32>::new(7 * 24 * 60);
/// Minutes: 90 days. A row a client and minute is small, and a quarter is what a trend is read from.
static ACTIVITY_RETENTION: GucSetting<i32> = GucSetting::<i32>::new(90 * 24 * 60);
/// Bytes. Target's answers are below 200; an HTML error page says what it has to say in its first 2 kB.
static RESPONSE_BODY_LIMIT: GucSetting<i32> = GucSetting::<i32>::new(2048);
static CA_FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static PROXY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// The most requests that may be in flight: sockets stay well below a `nofile` of 1,024.
pub const MAX_IN_FLIGHT_LIMIT: i32 = 800;

/// Defines them; called once, in the postmaster.
pub fn define() {
    GucRegistry::define_string_guc(
        c"target_profile.databases",
        c"Databases whose outbox is drained, separated by commas; empty: all that have the extension.",
        c"Each takes one of max_worker_processes.",
        &DATABASES,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"target_profile.discovery_interval",
        c"How often the launcher looks at the list of databases when no statement has announced another one.",
        c"A database without the extension is looked into as often at first, then ever more rarely.",
        &DISCOVERY_INTERVAL,
        1,
        24 * 3600,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_bool_guc(
        c"target_profile.enabled",
        c"Sends what is in the outbox.",
        c"When off, nothing is sent and everything waits.",
        &ENABLED,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"target_profile.max_in_flight",
        c"Requests in flight at a time, over all clients of a database.",
        c"Each takes a file descriptor of the worker.",
        &MAX_IN_FLIGHT,
        1,
        MAX_IN_FLIGHT_LIMIT,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"target_profile.poll_interval",
        c"How often the outbox is looked at when no commit has announced an entry.",
        c"For entries that arrive by logical replication or a restore.",
        &POLL_INTERVAL,
        1,
        24 * 3600,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"target_profile.response_retention",
        c"How long target_profile.response keeps its rows.",
        c"Whole days (UTC) are dropped.",
        &RESPONSE_RETENTION,
        60,
        3650 * 24 * 60,
        GucContext::Sighup,
        GucFlags::UNIT_MIN,
    );
    GucRegistry::define_int_guc(
        c"target_profile.activity_retention",
        c"How long target_profile.activity keeps its rows.",
        c"At least two days: the quota is counted from them.",
        &ACTIVITY_RETENTION,
        2 * 24 * 60,
        3650 * 24 * 60,
        GucContext::Sighup,
        GucFlags::UNIT_MIN,
    );
    GucRegistry::define_int_guc(
        c"target_profile.response_body_limit",
        c"How much of an answer's body target_profile.response keeps.",
        c"The rest is not stored.",
        &RESPONSE_BODY_LIMIT,
        0,
        65536,
        GucContext::Sighup,
        GucFlags::UNIT_BYTE,
    );
    GucRegistry::define_string_guc(
        c"target_profile.ca_file",
        c"A file of certificates (PEM) that are trusted beside the system's.",
        c"Read by the worker when the configuration is loaded.",
        &CA_FILE,
        GucContext::Sighup,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_string_guc(
        c"target_profile.proxy",
        c"The proxy for all requests, a URL.",
        c"Proxies named in the environment are not used.",
        &PROXY,
        GucContext::Sighup,
        GucFlags::SUPERUSER_ONLY,
    );
}

/// `target_profile.enabled`.
pub fn enabled() -> bool {
    ENABLED.get()
}

/// The names in `target_profile.databases`; none: all databases may have a worker.
pub fn databases() -> BTreeSet<String> {
    text(&DATABASES)
        .unwrap_or_default()
        .split(',')
        .map(|name| name.trim().trim_matches('"'))
        .filter(|name| !name.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

/// `target_profile.discovery_interval`.
pub fn discovery_interval() -> Duration {
    Duration::from_secs(positive(&DISCOVERY_INTERVAL))
}

/// What the worker goes by, read at one moment: the I/O thread must not read settings itself.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerSettings {
    /// `target_profile.enabled`.
    pub enabled: bool,
    /// `target_profile.max_in_flight` and `target_profile.response_body_limit`.
    pub limits: Limits,
    /// `target_profile.poll_interval`.
    pub poll_interval: Duration,
    /// `target_profile.response_retention`.
    pub retention: Duration,
    /// `target_profile.activity_retention`.
    pub activity_retention: Duration,
    /// `target_profile.ca_file` and `target_profile.proxy`.
    pub transport: Options,
}

impl WorkerSettings {
    /// The settings as they are now.
    pub fn take() -> Self {
        let max_in_flight = positive(&MAX_IN_FLIGHT) as usize;
        Self {
            enabled: ENABLED.get(),
            limits: Limits {
                max_in_flight,
                body_bytes: positive(&RESPONSE_BODY_LIMIT) as usize,
            },
            poll_interval: Duration::from_secs(positive(&POLL_INTERVAL)),
            retention: Duration::from_secs(positive(&RESPONSE_RETENTION) * 60),
            activity_retention: Duration::from_secs(positive(&ACTIVITY_RETENTION) * 60),
            transport: Options {
                ca_file: text(&CA_FILE).map(PathBuf::from),
                proxy: text(&PROXY).map(Secret::new),
                idle_connections: max_in_flight,
                user_agent: concat!("target_profile/", env!("CARGO_PKG_VERSION")).to_owned(),
            },
        }
    }
}

fn positive(setting: &'static GucSetting<i32>) -> u64 {
    u64::from(setting.get().unsigned_abs())
}

/// The text of a setting, `None` when it is empty.
fn text(setting: &'static GucSetting<Option<CString>>) -> Option<String> {
    setting
        .get()
        .map(|text| text.to_string_lossy().into_owned())
        .filter(|text| !text.is_empty())
}
