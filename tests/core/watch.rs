//! The options of a watch.

use target_profile_core::watch::{OnInvalid, Options, Send};

#[test]
fn options_are_read_as_they_are_written() {
    assert_eq!(Options::parse("all", "warn", "0"), Some(Options::DEFAULT));
    assert_eq!(
        Options::parse("changed", "error", "-10"),
        Some(Options {
            send: Send::Changed,
            on_invalid: OnInvalid::Error,
            priority: -10,
        })
    );
    for (send, on_invalid, priority) in [
        ("All", "warn", "0"),
        ("", "warn", "0"),
        ("all", "ignore", "0"),
        ("all", "warn", ""),
        ("all", "warn", "32768"),
    ] {
        assert_eq!(
            Options::parse(send, on_invalid, priority),
            None,
            "{send} {on_invalid} {priority}"
        );
    }
}
