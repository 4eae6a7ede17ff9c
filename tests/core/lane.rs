//! The cursors of a lane.

use target_profile_core::client_code::ClientCode;
use target_profile_core::drain::{Drain, Limits};
use target_profile_core::lane::{Lane, behind};

use crate::outbox::{at, registered, row_of};

/// Read up to there, with nothing left.
fn read(next: i64) -> Lane {
    Lane {
        next,
        exhausted: true,
        next_beyond: 1_000,
        exhausted_beyond: true,
        revisit: None,
        forgiven: false,
    }
}

#[test]
fn a_sequence_that_is_set_back_moves_the_cursor_back() {
    for (next, drawn, then) in [(10, 5, 6), (6, 5, 6), (5, 5, 5), (4, 5, 4)] {
        let mut lane = read(next);
        lane.set_back(drawn);
        assert_eq!(lane.next, then, "{next}, {drawn}");
        assert_eq!(lane.exhausted, next <= drawn, "{next}, {drawn}");
        assert_eq!((lane.next_beyond, lane.exhausted_beyond), (i64::MIN, false));
        assert!(lane.may_have_more());
    }
}

#[test]
fn a_lane_has_more_in_each_of_its_parts() {
    assert!(!read(1).may_have_more());
    assert!(
        Lane {
            exhausted: false,
            ..read(1)
        }
        .may_have_more()
    );
    assert!(
        Lane {
            exhausted_beyond: false,
            ..read(1)
        }
        .may_have_more()
    );
    assert!(
        Lane {
            revisit: Some((1, 2)),
            ..read(1)
        }
        .may_have_more()
    );
}

#[test]
fn behind_the_last_id_is_nothing() {
    assert_eq!((behind(1), behind(i64::MAX)), (2, i64::MAX));
}

#[test]
fn lanes_are_looked_for_between_and_around_those_that_are_known() {
    let gaps = |known: &[i16]| {
        let mut drain = Drain::new(Limits {
            max_in_flight: 1,
            body_bytes: 0,
        });
        drain.set_clients(vec![registered(row_of("acme"), false)], at(0));
        let code = ClientCode::parse("acme").unwrap();
        for &priority in known {
            drain.found_lane(&code, priority);
        }
        let unknown = drain.unknown_lanes().into_iter();
        unknown.map(|(_, above, below)| (above, below)).collect::<Vec<_>>()
    };
    let (lowest, highest) = (i32::from(i16::MIN), i32::from(i16::MAX));
    assert_eq!(gaps(&[]), [(lowest - 1, highest + 1)]);
    assert_eq!(gaps(&[0]), [(0, highest + 1), (lowest - 1, 0)]);
    assert_eq!(gaps(&[0, 1, 3]), [(3, highest + 1), (1, 3), (lowest - 1, 0)]);
    assert_eq!(gaps(&[i16::MIN, i16::MAX]), [(lowest, highest)]);
    assert_eq!(
        gaps(&[i16::MIN + 1, i16::MAX - 1]),
        [
            (highest - 1, highest + 1),
            (lowest + 1, highest - 1),
            (lowest - 1, lowest + 1)
        ]
    );
}
