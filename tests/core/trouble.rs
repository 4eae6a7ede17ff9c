//! What stands of a worker's errors.

use target_profile_core::trouble::{Source, Troubles};

#[test]
fn nothing_stands_at_first() {
    assert_eq!(Troubles::default().worst(), None);
}

#[test]
fn an_error_stands_until_the_same_thing_has_gone_well() {
    let all = [
        Source::Turn,
        Source::Clients,
        Source::Connection,
        Source::Network,
        Source::Memory,
        Source::House,
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
