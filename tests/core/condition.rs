//! The rows that a condition looks at, replaced.

use target_profile_core::condition::{Condition, Row};

/// A condition whose references are where `OLD` and `NEW` stand in any case, each followed by a dot.
fn condition(text: &str) -> Condition {
    let lower = text.to_ascii_lowercase();
    let find = |word: &str, row| {
        lower
            .match_indices(word)
            .map(move |(at, _)| (at, row))
            .collect::<Vec<_>>()
    };
    let mut found = find("new.", Row::New);
    found.extend(find("old.", Row::Old));
    found.extend(find("\"new\".", Row::New));
    Condition::new(text, found).expect(text)
}

#[test]
fn one_row_takes_the_place_of_another() {
    for (text, row, other, expected) in [
        ("NEW.a", Row::New, "OLD", "OLD.a"),
        ("NEW.a", Row::Old, "x", "NEW.a"),
        ("true", Row::New, "OLD", "true"),
        ("new.a > New.b AND NEW.c", Row::New, "OLD", "OLD.a > OLD.b AND OLD.c"),
        (
            "NEW.a IS DISTINCT FROM OLD.a",
            Row::Old,
            "(NULL::t)",
            "NEW.a IS DISTINCT FROM (NULL::t).a",
        ),
        (
            "OLD.b OR NEW.é OR OLD.é",
            Row::Old,
            "(NULL::\"é\")",
            "(NULL::\"é\").b OR NEW.é OR (NULL::\"é\").é",
        ),
        ("\"new\".a OR NEW.b", Row::New, "OLD", "OLD.a OR OLD.b"),
    ] {
        assert_eq!(condition(text).with(row, other), expected, "{text}");
        assert_eq!(condition(text).as_str(), text);
    }
}

#[test]
fn it_says_whether_it_looks_at_what_was_before() {
    assert!(condition("NEW.a AND OLD.b").mentions_old());
    assert!(!condition("NEW.a").mentions_old());
    assert!(!condition("true").mentions_old());
}

#[test]
fn a_reference_that_is_written_in_another_way_is_not_replaced_by_guess() {
    for (text, at, row) in [
        ("U&\"old\".a", 0, Row::Old),
        ("\"old.a", 0, Row::Old),
        ("NEW.a", 0, Row::Old),
        ("ol", 0, Row::Old),
        ("é", 1, Row::New),
        ("NEW.a", 17, Row::New),
    ] {
        assert_eq!(Condition::new(text, [(at, row)]), None, "{text}");
    }
}
