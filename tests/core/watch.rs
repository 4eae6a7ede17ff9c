//! The options of a watch, its columns, and the names of its triggers.

use std::collections::HashSet;

use target_profile_core::client_code::ClientCode;
use target_profile_core::id::IdKind;
use target_profile_core::watch::{OnInvalid, Options, Selection, Send, TriggerNames, mapping, names_column};

#[test]
fn options_are_read_as_they_are_written() {
    assert_eq!(Options::parse("all", "warn", "0"), Some(Options::DEFAULT));
    assert_eq!(
        Options::parse("changed", "error", "-10"),
        Some(Options {
            send: Send::Changed,
            on_invalid: OnInvalid::Error,
            priority: -10,
            by_image: false,
        })
    );
    for (send, on_invalid, priority) in [
        ("All", "warn", "0"),
        ("", "warn", "0"),
        ("all by image", "warn", "0"),
        (", by image", "warn", "0"),
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

#[test]
fn what_is_written_is_read() {
    for send in [Send::All, Send::Changed] {
        assert_eq!(Send::parse(send.as_str()), Some(send));
    }
    for on_invalid in [OnInvalid::Warn, OnInvalid::Error] {
        assert_eq!(OnInvalid::parse(on_invalid.as_str()), Some(on_invalid));
    }
}

#[test]
fn the_arguments_of_a_trigger_are_read_as_they_are_written() {
    for send in [Send::All, Send::Changed] {
        for on_invalid in [OnInvalid::Warn, OnInvalid::Error] {
            for by_image in [false, true] {
                let options = Options {
                    send,
                    on_invalid,
                    priority: -7,
                    by_image,
                };
                let [send, on_invalid, priority] = options.arguments();
                assert_eq!(Options::parse(&send, &on_invalid, &priority), Some(options));
            }
        }
    }
    // They are in databases: they must be read as long as there are any.
    assert!(Options::parse("all, by image", "warn", "0").is_some_and(|options| options.by_image));
}

#[test]
fn an_id_is_not_computed_where_a_column_has_changed() {
    let selection = Send::All.select(false, || panic!("computed"), || true);
    assert_eq!(selection, Selection::All);
}

#[test]
fn a_column_may_have_another_name_as_an_attribute() {
    assert_eq!(mapping("tier", |_| true), ("tier", "tier"));
    assert_eq!(mapping("home=city", |_| false), ("home", "city"));
    assert_eq!(mapping("home=city", |_| true), ("home=city", "home=city"));
    assert_eq!(mapping("a=b=c", |_| false), ("a", "b=c"));
    assert_eq!(mapping("=city", |_| false), ("", "city"));
}

#[test]
fn an_argument_names_a_column_as_the_id_an_attribute_or_in_an_expression() {
    for (argument, column, expected) in [
        ("tier", "tier", true),
        ("home=city", "city", true),
        ("home=city", "home", false),
        ("=lower(email)", "email", true),
        ("=lower(email_2)", "email", false),
        ("=lower(an_email)", "email", false),
        ("=(\"E Mail\" || nr)", "E Mail", true),
        ("=(region || nr)", "nr", true),
        ("all", "al", false),
        ("a=b=c", "b=c", true),
        ("", "x", false),
    ] {
        assert_eq!(names_column(argument, column), expected, "{argument} {column}");
    }
}

#[test]
fn triggers_have_names_of_their_own() {
    let short = TriggerNames::of(&ClientCode::parse("acme").unwrap(), IdKind::Mbox3rdPartyId);
    assert_eq!(short.insert, "target_profile_acme_mbox3rdPartyId_insert");
    assert_eq!(short.update, "target_profile_acme_mbox3rdPartyId_update");
    assert_eq!(short.flush, "target_profile_acme_mbox3rdPartyId_flush");

    let mut seen = HashSet::new();
    for last in 'a'..='z' {
        for length in [1, 10, 26, 27, 28, 34, 35, 36, 62, 63] {
            let client = ClientCode::parse(&format!("{}{last}", "x".repeat(length - 1))).unwrap();
            for kind in [IdKind::MboxPc, IdKind::Mbox3rdPartyId] {
                let names = TriggerNames::of(&client, kind);
                assert_eq!(names, TriggerNames::of(&client, kind));
                for name in [names.insert, names.update, names.flush] {
                    assert!(
                        name.len() <= 63 && name.starts_with("target_profile_x") || length == 1,
                        "{name}"
                    );
                    assert!(seen.insert(name.clone()), "{name}");
                }
            }
        }
    }
    // They are in databases: they must stay as they are.
    let long = TriggerNames::of(&ClientCode::parse(&"x".repeat(63)).unwrap(), IdKind::MboxPc);
    assert_eq!(
        long.flush,
        "target_profile_xxxxxxxxxxxxxxxxxxxxxxxxx_3511893f_mboxPC_flush"
    );
}

#[test]
fn an_update_sends_what_has_changed_or_everything() {
    use Selection::{All, Changed, Nothing};
    for (send, chosen, id_changed, any_changed, expected) in [
        (Send::All, false, false, false, Nothing),
        (Send::All, false, false, true, All),
        (Send::All, false, true, false, All),
        (Send::All, false, true, true, All),
        (Send::All, true, false, false, All),
        (Send::All, true, true, true, All),
        (Send::Changed, false, false, false, Nothing),
        (Send::Changed, false, false, true, Changed),
        (Send::Changed, false, true, false, All),
        (Send::Changed, false, true, true, All),
        // The row has come to meet the condition of the trigger.
        (Send::Changed, true, false, false, All),
        (Send::Changed, true, false, true, Changed),
        (Send::Changed, true, true, true, All),
    ] {
        assert_eq!(
            send.select(chosen, || id_changed, || any_changed),
            expected,
            "{send:?} chosen: {chosen} id: {id_changed} any: {any_changed}"
        );
    }
}

#[test]
fn the_rows_of_a_bulk_statement_are_not_compared_again() {
    let selection = Send::All.select(true, || panic!("compared"), || panic!("compared"));
    assert_eq!(selection, Selection::All);
}
