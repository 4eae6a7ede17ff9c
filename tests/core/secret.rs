//! Secrets in what others send back.

use proptest::prelude::*;
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
fn a_secret_is_masked_however_it_is_spelled() {
    let secret = "AbCd/efGh+IjKl==";
    for text in [
        "AbCd%2FefGh%2BIjKl%3D%3D",
        "abcd%2fefgh%2bijkl%3d%3d",
        "AbCd%252FefGh%252BIjKl%253D%253D",
        r"AbCd\/efGh+IjKl==",
        r"AbCd\u002fefGh\u002BIjKl\u003d\u003D",
        r"AbCd\x2fefGh\x2bIjKl==",
        r"\u0041bCd/efGh+IjKl==",
        "AbCd&#47;efGh&#x2B;IjKl&#61;&equals;",
        "AbCd&sol;efGh&plus;IjKl==",
        "AbCd&amp;sol;efGh+IjKl==",
        "AbCd/efG\nh+IjKl==",
        r"AbCd/efG\nh+IjKl==",
        "AbCd/\r\n\t efGh + IjKl==",
        "ABCD/EFGH+IJKL==",
        "AbCd/efGh+IjKl%3",
    ] {
        let shown = masked(&format!("<p>{text}"), secret);
        // What an escape was cut off in the middle of says nothing.
        assert!(
            ["<p>[masked]", "<p>[masked]%3"].contains(&shown.as_str()),
            "{text}: {shown}"
        );
        if !text.ends_with("%3") {
            assert_eq!(masked(&format!("<p>{text}</p>"), secret), "<p>[masked]</p>", "{text}");
        }
    }
    // Escapes that are none, or mean another character, stay.
    for text in [
        "100 % AbXd",
        r"\",
        "&",
        "&;",
        "&#;",
        "&#x;",
        "&#300;",
        "&none;",
        r"\u12",
        "%zz",
        "AbCd%2EefGh",
    ] {
        assert_eq!(masked(text, secret), text);
    }
    // A secret that looks like an escape itself.
    assert_eq!(masked("a 100%25x b 100%25x", "100%25x"), "a [masked] b [masked]");
    assert_eq!(masked(r"\\n\\secret", r"\n\secret"), r"\\n[masked]");
    assert_eq!(masked(r"\unicorn", "unicorn"), r"\[masked]");
    // One of which nothing is left when it is read so.
    assert_eq!(masked("x y", r"\n\n\n"), "x y");
}

proptest! {
    #[test]
    fn no_spelling_of_a_secret_is_shown(
        secret in "[!-~]{6,24}",
        ways in prop::collection::vec((0..9usize, any::<bool>()), 24),
    ) {
        // What reads as an escape is found as it is, and not in every other spelling.
        prop_assume!(!secret.contains(['\\', '%', '&']));
        let spelled: String = secret
            .chars()
            .zip(&ways)
            .map(|(letter, (way, broken))| {
                let code = u32::from(letter);
                let text = match way {
                    0 => format!("%{code:02x}"),
                    1 => format!("%{code:02X}"),
                    2 => format!("%25{code:02X}"),
                    3 => format!(r"\u{code:04x}"),
                    4 => format!("&#{code};"),
                    5 => format!("&#x{code:X};"),
                    6 => letter.to_ascii_uppercase().to_string(),
                    7 => letter.to_ascii_lowercase().to_string(),
                    _ => letter.to_string(),
                };
                if *broken { format!("{text}\n ") } else { text }
            })
            .collect();
        let shown = masked(&format!("\u{fc} {spelled}\u{e9}"), &secret);
        prop_assert_eq!(shown.split_whitespace().collect::<String>(), "\u{fc}[masked]\u{e9}", "{}", spelled);
    }

    #[test]
    fn whatever_is_masked_no_other_text_changes(text in "[a-z%&;#\\\\ ]{0,40}", secret in "[A-Z]{4}[0-9]{4}") {
        prop_assert_eq!(masked(&text, &secret), text);
    }
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
