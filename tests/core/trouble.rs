//! What stands of a worker's errors.

use target_profile_core::trouble::{Over, Source, Troubles};

#[test]
fn nothing_stands_at_first() {
    assert_eq!(Troubles::default().worst(), None);
}

#[test]
fn an_error_stands_until_the_same_thing_has_gone_well() {
    let all = [
        Source::Turn,
        Source::Subscription,
        Source::Clients,
        Source::Locked,
        Source::Records,
        Source::Connection,
        Source::Orphans,
        Source::Network,
        Source::Memory,
        Source::House,
        Source::Publication,
    ];
    for of in all {
        let mut troubles = Troubles::default();
        troubles.note(of, "first".to_owned());
        troubles.note(of, "second".to_owned());
        for other in all.into_iter().filter(|other| *other != of) {
            troubles.is_over(other);
        }
        assert_eq!(troubles.worst(), Some("second"), "{of:?}");
        troubles.is_over(of);
        assert_eq!(troubles.worst(), None, "{of:?}");
    }
}

#[test]
fn the_worst_is_shown_whenever_it_came() {
    let mut troubles = Troubles::default();
    for (source, text) in [
        (Source::Clients, "a client"),
        (Source::Turn, "the turn"),
        (Source::House, "the house"),
        (Source::Connection, "the connection"),
    ] {
        troubles.note(source, text.to_owned());
    }
    for (source, text) in [
        (Source::Turn, "the turn"),
        (Source::Clients, "a client"),
        (Source::Connection, "the connection"),
        (Source::House, "the house"),
    ] {
        assert_eq!(troubles.worst(), Some(text));
        troubles.is_over(source);
    }
    assert_eq!(troubles.worst(), None);
}

#[test]
fn the_log_is_told_when_a_trouble_begins_and_changes_and_ends() {
    let mut troubles = Troubles::default();
    let mut note = |text: &str| troubles.note(Source::Turn, text.to_owned());
    assert!(note("locked"));
    assert!(!note("locked"));
    assert!(note("gone"));
    // Two that take turns are one change each.
    assert!(!note("locked"));
    assert!(!note("gone"));
    let over = Over {
        text: "gone".to_owned(),
        times: 5,
    };
    assert_eq!(troubles.is_over(Source::Turn), Some(over));
    assert_eq!(troubles.is_over(Source::Turn), None);
    assert!(troubles.note(Source::Turn, "locked".to_owned()), "it begins anew");
}

#[test]
fn one_trouble_does_not_hide_another_from_the_log() {
    let mut troubles = Troubles::default();
    assert!(troubles.note(Source::Turn, "locked".to_owned()));
    assert!(troubles.note(Source::House, "locked".to_owned()));
    troubles.is_over(Source::Turn);
    assert!(!troubles.note(Source::House, "locked".to_owned()));
}

#[test]
fn a_trouble_that_is_always_another_does_not_fill_the_log() {
    let mut troubles = Troubles::default();
    let told = (0..1000)
        .filter(|n| troubles.note(Source::Turn, format!("failed at {n}")))
        .count();
    assert_eq!(told, 8);
    assert_eq!(troubles.worst(), Some("failed at 999"));
    assert_eq!(troubles.is_over(Source::Turn).map(|over| over.times), Some(1000));
}
