//! The newest version of a row that is to be sent, whichever version is asked for first, and without following all of them each time.

use proptest::prelude::*;
use target_profile_core::newest::{Known, Place, Way};

fn place(version: usize) -> Place {
    (
        u32::try_from(version / 100).unwrap(),
        u16::try_from(version % 100 + 1).unwrap(),
    )
}

/// Asks for the newest version from one of them on; `sent` says which ones are to be sent. Counts the versions that are looked at.
fn ask(start: usize, sent: &[bool], known: &mut Option<Known>, looks: &mut usize) -> usize {
    let mut way = Way::new(place(start), known.take());
    let mut at = start;
    let version = |place: Place| place.0 as usize * 100 + usize::from(place.1) - 1;
    loop {
        if let Some(place) = way.shortcut() {
            *looks += 1;
            at = version(place);
        }
        if at + 1 == sent.len() {
            break;
        }
        at += 1;
        *looks += 1;
        way.go_on(place(at), sent[at]);
    }
    let best = way.best().map_or(start, version);
    *known = way.end();
    best
}

fn newest(start: usize, sent: &[bool]) -> usize {
    (start + 1..sent.len())
        .rev()
        .find(|version| sent[*version])
        .unwrap_or(start)
}

#[test]
fn all_versions_of_a_row_are_followed_once() {
    for backwards in [false, true] {
        for every in [1, 7, 2_000] {
            let sent: Vec<bool> = (0..2_000).map(|version| version % every == 0).collect();
            // Only what is to be sent has a trigger that asks.
            let mut asked: Vec<usize> = (0..sent.len()).filter(|version| sent[*version]).collect();
            if backwards {
                asked.reverse();
            }
            let (mut known, mut looks) = (None, 0);
            for start in asked {
                assert_eq!(ask(start, &sent, &mut known, &mut looks), newest(start, &sent));
            }
            assert!(looks <= 5 * sent.len(), "{looks} looks, every {every}, {backwards}");
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_known_the_newest_is_found(
        all in prop::collection::vec(any::<bool>(), 1..40),
        asked in prop::collection::vec((0..40usize, 1..4usize), 1..40),
    ) {
        let (mut known, mut looks, mut length) = (None, 0, 1);
        for (start, more) in asked {
            // Versions come while others are asked for.
            length = (length + more).min(all.len());
            let sent = &all[..length];
            let start = start % length;
            prop_assert_eq!(ask(start, sent, &mut known, &mut looks), newest(start, sent));
        }
    }
}
