//! The rows that a condition looks at, replaced.

use target_profile_core::condition::{Condition, TriggerRow};

/// A condition whose references are where `OLD` and `NEW` stand in any case, each followed by a dot.
fn condition(text: &str) -> Condition {
    let lower = text.to_ascii_lowercase();
    let find = |word: &str, row| {
        lower
            .match_indices(word)
            .map(move |(at, _)| (at, row))
            .collect::<Vec<_>>()
    };
    let mut found = find("new.", TriggerRow::New);
    found.extend(find("old.", TriggerRow::Old));
    found.extend(find("\"new\".", TriggerRow::New));
    Condition::new(text, found).expect(text)
}

#[test]
fn one_row_takes_the_place_of_another() {
    for (text, row, other, expected) in [
        ("NEW.a", TriggerRow::New, "OLD", "OLD.a"),
        ("NEW.a", TriggerRow::Old, "x", "NEW.a"),
        ("true", TriggerRow::New, "OLD", "true"),
        (
            "new.a > New.b AND NEW.c",
            TriggerRow::New,
            "OLD",
            "OLD.a > OLD.b AND OLD.c",
        ),
        (
            "NEW.a IS DISTINCT FROM OLD.a",
            TriggerRow::Old,
            "(NULL::t)",
            "NEW.a IS DISTINCT FROM (NULL::t).a",
        ),
        (
            "OLD.b OR NEW.é OR OLD.é",
            TriggerRow::Old,
            "(NULL::\"é\")",
            "(NULL::\"é\").b OR NEW.é OR (NULL::\"é\").é",
        ),
        ("\"new\".a OR NEW.b", TriggerRow::New, "OLD", "OLD.a OR OLD.b"),
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
        ("U&\"old\".a", 0, TriggerRow::Old),
        ("\"old.a", 0, TriggerRow::Old),
        ("NEW.a", 0, TriggerRow::Old),
        ("ol", 0, TriggerRow::Old),
        ("é", 1, TriggerRow::New),
        ("NEW.a", 17, TriggerRow::New),
    ] {
        assert_eq!(Condition::new(text, [(at, row)]), None, "{text}");
    }
}
