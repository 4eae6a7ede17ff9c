//! The horizon: when ids below the cursor have to be read again, and from where.

use target_profile_core::horizon::{Horizon, Observed, Snapshot};

/// The id above which the horizon has rows read again at `snapshot`, with the next transaction id and the last outbox id drawn.
fn observe(horizon: &mut Horizon, snapshot: &str, next_xid: u64, drawn: i64) -> Option<i64> {
    match observed(horizon, snapshot, next_xid, drawn) {
        Observed::Nothing => None,
        Observed::RereadAbove(id) => Some(id),
        Observed::SetBack => panic!("the sequence was not set back"),
    }
}

fn observed(horizon: &mut Horizon, snapshot: &str, next_xid: u64, drawn: i64) -> Observed {
    horizon.observe(&Snapshot::parse(snapshot).unwrap().with_next_xid(next_xid), drawn)
}

#[test]
fn the_text_of_a_snapshot_is_read() {
    for text in [
        "1:1:",
        "10:20:10,14,15",
        "10:20:10",
        "18446744073709551615:18446744073709551615:",
    ] {
        assert!(Snapshot::parse(text).is_some(), "{text}");
    }
    for text in [
        "", "1", "1:2", "1:2:3:4", "a:2:", "1:b:", "1:2:c", "1:2:1,", "1:2:,1", "1:2:1 ", "-1:2:",
    ] {
        assert!(Snapshot::parse(text).is_none(), "{text:?}");
    }
}

#[test]
fn nothing_is_read_again_while_nobody_overlaps() {
    let mut horizon = Horizon::default();
    for n in 0..10 {
        let xid = 100 + n;
        assert_eq!(observe(&mut horizon, &format!("{xid}:{xid}:"), xid, n as i64), None);
    }
}

#[test]
fn one_that_was_running_at_the_first_snapshot_may_have_written_anywhere() {
    let mut horizon = Horizon::default();
    assert_eq!(observe(&mut horizon, "90:100:90", 100, 50), None);
    assert_eq!(observe(&mut horizon, "90:105:90", 105, 60), None);
    assert_eq!(observe(&mut horizon, "106:106:", 106, 60), Some(i64::MIN));
    assert_eq!(observe(&mut horizon, "106:106:", 106, 60), None, "once is enough");
}

#[test]
fn one_that_began_later_lies_above_what_was_drawn_before() {
    let mut horizon = Horizon::default();
    assert_eq!(observe(&mut horizon, "100:100:", 100, 50), None);
    assert_eq!(observe(&mut horizon, "101:101:", 101, 60), None);
    // 101 began after the snapshot before this one, in which 50 had been drawn already.
    assert_eq!(observe(&mut horizon, "101:103:101", 103, 70), None);
    assert_eq!(observe(&mut horizon, "104:104:", 104, 80), Some(50));
}

#[test]
fn the_lowest_of_those_that_ended_counts() {
    let mut horizon = Horizon::default();
    observe(&mut horizon, "100:100:", 100, 50);
    observe(&mut horizon, "101:101:", 101, 60);
    observe(&mut horizon, "101:103:101", 103, 70);
    observe(&mut horizon, "101:105:101,104", 105, 80);
    let mut both = horizon;
    assert_eq!(observe(&mut both, "106:106:", 106, 80), Some(50));

    let mut horizon = Horizon::default();
    observe(&mut horizon, "100:100:", 100, 50);
    observe(&mut horizon, "101:101:", 101, 60);
    observe(&mut horizon, "101:103:101", 103, 70);
    observe(&mut horizon, "101:105:101,104", 105, 80);
    assert_eq!(observe(&mut horizon, "101:106:101", 106, 80), Some(60));
    assert_eq!(observe(&mut horizon, "107:107:", 107, 80), Some(50));
}

/// `xmax` is one more than the highest id that has completed: 100 and 101 are running and not named.
#[test]
fn one_that_no_snapshot_named_is_not_missed() {
    let mut horizon = Horizon::default();
    observe(&mut horizon, "100:100:", 100, 50);
    observe(&mut horizon, "100:100:", 102, 60);
    assert_eq!(
        observe(&mut horizon, "101:101:", 102, 60),
        Some(i64::MIN),
        "100 has ended"
    );
    assert_eq!(
        observe(&mut horizon, "102:102:", 102, 60),
        Some(i64::MIN),
        "101 has ended"
    );
    assert_eq!(observe(&mut horizon, "103:103:", 103, 60), None, "102 began later");
}

#[test]
fn one_that_is_named_late_keeps_its_bound() {
    let mut horizon = Horizon::default();
    for drawn in [50, 60, 70] {
        observe(&mut horizon, "100:100:", 100, drawn);
    }
    // 100 and 101 begin, and are running unnamed.
    observe(&mut horizon, "100:100:", 102, 80);
    for drawn in [90, 100, 110] {
        observe(&mut horizon, "100:100:", 102, drawn);
    }
    // 101 ends; 100 is named from now on.
    assert_eq!(observe(&mut horizon, "100:102:100", 102, 120), Some(60));
    for drawn in [130, 140] {
        assert_eq!(observe(&mut horizon, "100:102:100", 102, drawn), None);
    }
    assert_eq!(observe(&mut horizon, "102:102:", 102, 150), Some(60));
}

#[test]
fn when_the_sequence_is_set_back_what_runs_may_have_written_anywhere() {
    let mut horizon = Horizon::default();
    for drawn in [50, 60, 70] {
        assert_eq!(observe(&mut horizon, "100:100:", 100, drawn), None);
    }
    observe(&mut horizon, "100:102:100", 103, 80);
    assert_eq!(observed(&mut horizon, "100:102:100", 103, 5), Observed::SetBack);
    assert_eq!(horizon.drawn(), 5);
    // One that began before the next snapshot may have drawn its ids before the sequence was set back, or after.
    assert_eq!(observe(&mut horizon, "100:102:100", 104, 6), None);
    assert_eq!(observe(&mut horizon, "103:103:", 104, 7), Some(i64::MIN));
    assert_eq!(observe(&mut horizon, "104:104:", 104, 8), Some(i64::MIN));
    // From now on it is as ever.
    observe(&mut horizon, "104:104:", 105, 9);
    assert_eq!(observe(&mut horizon, "105:105:", 105, 10), Some(7));
}
