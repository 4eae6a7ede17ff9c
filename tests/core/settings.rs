//! The bounds of a client's settings.

use std::time::Duration;

use target_profile_core::secret::Secret;
use target_profile_core::settings::{ClientRow, SettingError, TOKEN_BYTES};

use crate::outbox::row_of;

#[track_caller]
fn good(change: impl FnOnce(&mut ClientRow)) {
    let mut row = row_of("acme");
    change(&mut row);
    if let Err(error) = row.check() {
        panic!("refused: {error}");
    }
}

#[track_caller]
fn bad(change: impl FnOnce(&mut ClientRow), setting: &str, shown: &str) {
    let mut row = row_of("acme");
    change(&mut row);
    match row.check() {
        Err(SettingError::OutOfRange {
            setting: name,
            rule,
            value,
        }) => {
            assert_eq!((name, value.as_str()), (setting, shown));
            assert!(!rule.is_empty());
        }
        other => panic!("{setting}: {other:?}"),
    }
}

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

#[test]
fn each_number_has_its_bounds() {
    for quota in [1, i64::MAX] {
        good(|row| row.daily_quota = quota);
    }
    for quota in [0, -1, i64::MIN] {
        bad(|row| row.daily_quota = quota, "daily_quota", &quota.to_string());
    }
    for share in [1.0, f64::MIN_POSITIVE, 0.3] {
        good(|row| row.backfill_share = share);
    }
    for share in [0.0, -0.0, -0.1, 1.000_001, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        bad(|row| row.backfill_share = share, "backfill_share", &share.to_string());
    }
    for count in [1, 1_000] {
        good(|row| row.max_attempts = count);
        good(|row| row.max_in_flight = count);
    }
    for count in [0, -1, 1_001, i32::MIN, i32::MAX] {
        bad(|row| row.max_attempts = count, "max_attempts", &count.to_string());
        bad(|row| row.max_in_flight = count, "max_in_flight", &count.to_string());
    }
}

#[test]
fn each_interval_has_its_bounds() {
    for delay in [0, 1, DAY] {
        good(|row| row.delay = delay);
    }
    bad(|row| row.delay = -DAY, "delay", "-1 day");
    bad(|row| row.delay = -1, "delay", "-0.001 ms");
    bad(|row| row.delay = DAY + 1, "delay", "86400.000001 s");
    bad(|row| row.delay = i64::MIN, "delay", "-9223372036854.775808 s");
    for age in [60 * SECOND, 365 * DAY] {
        good(|row| row.max_age = age);
    }
    bad(|row| row.max_age = 60 * SECOND - 1, "max_age", "59.999999 s");
    bad(|row| row.max_age = 365 * DAY + 1, "max_age", "31536000.000001 s");
    for timeout in [SECOND / 10, 300 * SECOND] {
        good(|row| row.timeout = timeout);
    }
    bad(|row| row.timeout = 0, "timeout", "0 s");
    bad(|row| row.timeout = SECOND / 10 - 1, "timeout", "99.999 ms");
    bad(|row| row.timeout = 300 * SECOND + 1, "timeout", "300.000001 s");
}

#[test]
fn names_follow_their_own_rules() {
    let refused = |change: fn(&mut ClientRow)| {
        let mut row = row_of("acme");
        change(&mut row);
        assert!(matches!(row.check(), Err(SettingError::Rule(_))));
    };
    refused(|row| row.client_code = "Acme".to_owned());
    refused(|row| row.endpoint = "ftp://example.com/".to_owned());
    refused(|row| row.method = "PUT".to_owned());
    refused(|row| row.arrays = "csv".to_owned());
    for method in ["auto", "get", "post"] {
        good(|row| row.method = method.to_owned());
    }
    for arrays in ["json", "indexed"] {
        good(|row| row.arrays = arrays.to_owned());
    }
}

#[test]
fn a_token_is_what_a_header_can_hold_and_is_never_shown() {
    for token in ["t".to_owned(), "!~".to_owned(), "t".repeat(TOKEN_BYTES)] {
        good(|row| row.auth_token = Some(Secret::new(token)));
    }
    for token in [
        "",
        "a b",
        "hush\n",
        "hush\0",
        "hüsh",
        &"hush".repeat(TOKEN_BYTES / 4 + 1),
    ] {
        let row = ClientRow {
            auth_token: Some(Secret::new(token)),
            ..row_of("acme")
        };
        let shown = format!("{row:?}");
        assert!(!shown.contains("hush") && shown.contains("[masked]"), "{shown}");
        let error = row.check().unwrap_err();
        assert_eq!(error, SettingError::Token);
        assert!(!format!("{error} {error:?}").contains("hush"));
    }
    let row = ClientRow {
        auth_token: Some(Secret::new("hush")),
        ..row_of("acme")
    };
    let settings = row.check().unwrap();
    assert!(!format!("{settings:?}").contains("hush"));
    assert_eq!(settings.auth_token.unwrap().expose(), "hush");
}

#[test]
fn what_is_checked_is_what_was_given() {
    let settings = row_of("acme").check().unwrap();
    assert_eq!(settings.code.as_str(), "acme");
    assert_eq!(
        (settings.daily_quota, settings.max_attempts, settings.max_in_flight),
        (1_000_000, 20, 8)
    );
    assert_eq!(
        (settings.delay, settings.timeout),
        (Duration::ZERO, Duration::from_secs(10))
    );
    assert_eq!(settings.max_age, Duration::from_secs(7 * 86_400));
}
