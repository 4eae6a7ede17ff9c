//! Texts for clients of any encoding.

use proptest::prelude::*;
use target_profile_core::ascii::escaped;

#[test]
fn what_is_not_ascii_is_escaped() {
    for (text, ascii) in [
        ("", ""),
        ("a \"b\" \\ \n", "a \"b\" \\ \n"),
        ("WHEN (NEW.… IS NOT NULL)", "WHEN (NEW.... IS NOT NULL)"),
        ("Łódź", "\\u{141}\\u{f3}d\\u{17a}"),
        ("😀\u{fffd}", "\\u{1f600}\\u{fffd}"),
    ] {
        assert_eq!(escaped(text), ascii);
    }
}

proptest! {
    #[test]
    fn any_text_becomes_ascii_and_ascii_stays(text in any::<String>()) {
        prop_assert!(escaped(&text).is_ascii());
        prop_assert!(!text.is_ascii() || escaped(&text) == text);
    }
}
