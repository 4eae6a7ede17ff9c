//! Secrets in what others send back.

use target_profile_core::secret::{Secret, mask};
use target_profile_core::time::patience;

fn masked(text: &str, secret: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    mask(&mut bytes, secret);
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_secret_is_masked_wherever_it_stands() {
    for (text, expected) in [
        ("", ""),
        ("nothing", "nothing"),
        ("s3cret", "[masked]"),
        ("as3cret, s3crets3cret!", "a[masked], [masked][masked]!"),
        // cut off
        ("the s3cre", "the [masked]"),
        ("the s3cr", "the [masked]"),
        ("the s3c", "the s3c"),
        ("s3s3cret s3", "s3[masked] s3"),
    ] {
        assert_eq!(masked(text, "s3cret"), expected, "{text}");
    }
    assert_eq!(masked("aaaa", "aaaaaaaa"), "[masked]");
    assert_eq!(masked("a cat", "cat"), "a cat", "too short to be a secret");
    assert_eq!(masked("anything", ""), "anything");
    assert_eq!(format!("{:?}", Secret::new("s3cret")), "[masked]");
}

#[test]
fn no_time_is_too_long_to_be_waited() {
    use std::time::Duration;
    assert_eq!(patience(1_500_000), Duration::from_millis(1_500));
    assert_eq!(patience(0), Duration::ZERO);
    assert_eq!(patience(-1), Duration::ZERO);
    assert_eq!(patience(i128::MIN), Duration::ZERO);
    let days = 365 * 24 * 3_600 * 1_000_000_i128;
    assert!(patience(170_000_000 * days) >= Duration::from_micros(u64::MAX));
    assert_eq!(patience(i128::MAX), Duration::from_micros(u64::MAX));
}
