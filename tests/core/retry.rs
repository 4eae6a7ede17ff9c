//! Backoff and `Retry-After`.

use std::time::Duration;

use proptest::prelude::*;
use target_profile_core::retry::{BACKOFF_BASE, BACKOFF_CAP, RETRY_AFTER_CAP, backoff, retry_after};
use target_profile_core::time::Timestamp;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn backoff_doubles_up_to_its_cap() {
    for (failures, cap) in [
        (0, 1),
        (1, 1),
        (2, 2),
        (3, 4),
        (4, 8),
        (9, 256),
        (10, 300),
        (33, 300),
        (u32::MAX, 300),
    ] {
        assert_eq!(backoff(failures, 1.0), seconds(cap), "{failures}");
        assert_eq!(backoff(failures, 0.5), seconds(cap) / 2, "{failures}");
        assert_eq!(backoff(failures, 0.0), Duration::ZERO, "{failures}");
    }
}

#[test]
fn a_jitter_that_is_none_is_brought_into_its_bounds() {
    for (jitter, expected) in [
        (-1.0, 0),
        (7.0, 1),
        (f64::NAN, 1),
        (f64::INFINITY, 1),
        (f64::NEG_INFINITY, 1),
    ] {
        assert_eq!(backoff(1, jitter), seconds(expected), "{jitter}");
    }
}

/// Sun, 06 Nov 1994 08:49:37 GMT.
const RFC_EXAMPLE: i64 = 784_111_777;

#[test]
fn retry_after_reads_seconds_and_dates() {
    let now = Timestamp::from_unix_micros((RFC_EXAMPLE - 10) * 1_000_000);
    for (header, expected) in [
        ("0", None),
        ("120", Some(120)),
        ("  7 ", Some(7)),
        ("86401", Some(86_400)),
        ("99999999999999999999999999", Some(86_400)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(10)),
        // Now, or in the past: one of the two clocks is wrong, and it asks for nothing.
        ("Sun, 06 Nov 1994 08:49:27 GMT", None),
        ("Sat, 05 Nov 1994 08:49:37 GMT", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", None),
        ("Fri, 01 Jan 2100 00:00:00 GMT", Some(86_400)),
        ("Wed, 29 Feb 2096 23:59:59 GMT", Some(86_400)),
        ("Sunday, 06-Nov-94 08:49:37 GMT", Some(10)),
        ("Sun Nov  6 08:49:37 1994", Some(10)),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("1.5", None),
        ("soon", None),
        ("Mon, 06 Nov 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994 08:49:37 CET", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT x", None),
        ("Sun, 06 Nov 1994 08:49 GMT", None),
        ("Sun, 6 Nov 1994 08:49:37 GMT", None),
        ("Sun, 00 Nov 1994 08:49:37 GMT", None),
        ("Sun, 32 Nov 1994 08:49:37 GMT", None),
        ("Sun, 06 nov 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994 24:00:00 GMT", None),
        ("Sun, 06 Nov 1994 08:60:00 GMT", None),
        ("Sun, 06 Nov 1994 08:49:61 GMT", None),
        ("Sun, 06 Nov 1994 08:49:3\u{662} GMT", None),
    ] {
        assert_eq!(retry_after(header, now), expected.map(seconds), "{header:?}");
    }
}

proptest! {
    #[test]
    fn backoff_stays_within_its_bounds(failures in any::<u32>(), jitter in any::<f64>()) {
        let wait = backoff(failures, jitter);
        prop_assert!(wait <= BACKOFF_CAP);
        prop_assert!(failures > 1 || wait <= BACKOFF_BASE);
    }

    #[test]
    fn any_header_is_read_and_none_asks_for_more_than_a_day(header in "\\PC{0,40}", now in any::<i64>()) {
        let asked = retry_after(&header, Timestamp::from_unix_micros(now));
        prop_assert!(asked.is_none_or(|asked| asked <= RETRY_AFTER_CAP));
    }

    #[test]
    fn likely_dates_are_read_without_a_panic(
        day in 0..40u32, month in "Jan|Feb|Dec|Foo", year in 0..10_000u32, time in "[0-9]{2}:[0-9]{2}:[0-9]{2}",
        now in any::<i64>(),
    ) {
        let header = format!("Mon, {day:02} {month} {year:04} {time} GMT");
        let asked = retry_after(&header, Timestamp::from_unix_micros(now));
        prop_assert!(asked.is_none_or(|asked| asked <= RETRY_AFTER_CAP));
    }
}
