//! Lengths of time in messages.

use std::time::Duration;

use target_profile_core::time::Span;

#[test]
fn a_length_of_time_reads_as_people_write_it() {
    for (micros, text) in [
        (0, "0 s"),
        (1, "0.001 ms"),
        (500, "0.5 ms"),
        (100_000, "100 ms"),
        (999_999, "999.999 ms"),
        (1_000_000, "1 s"),
        (1_500_000, "1.5 s"),
        (59_000_000, "59 s"),
        (60_000_000, "1 minute"),
        (90_000_000, "90 s"),
        (300_000_000, "5 minutes"),
        (3_600_000_000, "1 hour"),
        (7_200_000_000, "2 hours"),
        (86_400_000_000, "1 day"),
        (604_800_000_000, "7 days"),
        (86_400_000_001, "86400.000001 s"),
        (-1, "-0.001 ms"),
        (-86_400_000_000, "-1 day"),
        (i64::MIN, "-9223372036854.775808 s"),
    ] {
        assert_eq!(Span::from_micros(micros).to_string(), text);
    }
    assert_eq!(Span::from(Duration::from_secs(604_800)).to_string(), "7 days");
    assert_eq!(Span::from(Duration::MAX), Span::from_micros(i64::MAX));
}
