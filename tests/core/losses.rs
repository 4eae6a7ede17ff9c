//! Updates that could be written nowhere.

use target_profile_core::losses::Losses;

#[test]
fn what_is_rolled_back_was_not_lost() {
    let mut losses = Losses::new();
    assert_eq!(losses.take(), None);
    losses.add(1, 2, "first");
    losses.add(2, 3, "inner");
    losses.add(3, 4, "innermost");
    losses.forget(3);
    losses.hand_over(2, 1);
    losses.hand_over(7, 1);
    assert_eq!(losses.take(), Some((5, "inner".to_owned())));
    assert_eq!(losses.take(), None, "they are told once");
    losses.add(1, 1, "a");
    losses.clear();
    assert_eq!(losses.take(), None);
}

#[test]
fn a_subtransaction_hands_over_to_a_parent_that_has_lost_nothing() {
    let mut losses = Losses::new();
    losses.add(3, 1, "a");
    losses.hand_over(3, 2);
    losses.add(2, u64::MAX, "b");
    losses.hand_over(2, 1);
    assert_eq!(losses.take(), Some((u64::MAX, "b".to_owned())));
}

#[test]
fn what_was_handed_over_is_no_longer_the_subtransactions_own() {
    let mut losses = Losses::new();
    losses.add(2, 1, "a");
    losses.add(2, 2, "b");
    losses.hand_over(2, 1);
    losses.forget(2);
    assert_eq!(losses.take(), Some((3, "b".to_owned())));
}
