//! The cursors of a lane.

use target_profile_core::lane::{Lane, behind};

/// Read up to there, with nothing left.
fn read(next: i64) -> Lane {
    Lane {
        next,
        exhausted: true,
        next_beyond: 1_000,
        exhausted_beyond: true,
        revisit: None,
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
