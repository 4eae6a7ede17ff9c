//! What is collected before it is written: by subtransaction, in order, and bounded.

use target_profile_core::collected::{BURY_BYTES, Collected, FLUSH_BYTES, FLUSH_ROWS, SUBTRANSACTIONS};

#[test]
fn what_is_collected_comes_out_in_order_and_once() {
    let mut collected = Collected::new();
    for entry in 0..10 {
        assert!(!collected.push(1, 1, entry));
    }
    assert_eq!(collected.take(1), (0..10).collect::<Vec<_>>());
    assert!(collected.take(1).is_empty());
}

#[test]
fn it_is_full_by_rows_and_by_bytes() {
    let mut collected = Collected::new();
    for row in 1..=FLUSH_ROWS {
        assert_eq!(collected.push(1, 1, row), row == FLUSH_ROWS, "{row}");
    }
    assert_eq!(collected.take(1).len(), FLUSH_ROWS);
    assert!(!collected.push(1, FLUSH_BYTES - 1, 0), "the count starts anew");
    assert!(collected.push(1, 1, 0));
    assert!(collected.push(1, usize::MAX, 0), "the sum does not overflow");
}

#[test]
fn a_subtransaction_takes_only_its_own() {
    let mut collected = Collected::new();
    assert!(!collected.push(1, 1, "outer"));
    assert!(!collected.push(2, 1, "inner"));
    assert!(collected.take(1).is_empty(), "not while an inner one has some");
    assert_eq!(collected.take(2), ["inner"]);
    assert!(collected.take(3).is_empty());
    assert_eq!(collected.take(1), ["outer"]);
}

#[test]
fn what_a_parent_has_collected_does_not_fill_its_child() {
    let mut collected = Collected::new();
    assert!(!collected.push(1, FLUSH_BYTES - 1, 0));
    assert!(!collected.push(2, 1, 0));
    assert!(collected.push(2, FLUSH_BYTES, 0));
}

#[test]
fn an_aborted_subtransaction_takes_only_its_own_along() {
    let mut collected = Collected::new();
    assert!(!collected.push(1, 1, "outer"));
    assert!(!collected.push(2, 1, "aborted"));
    collected.forget(2);
    assert!(collected.take(2).is_empty());
    assert!(!collected.push(3, 1, "another"));
    collected.forget(2);
    assert_eq!(collected.take(3), ["another"]);
    assert_eq!(collected.take(1), ["outer"]);
}

#[test]
fn an_aborted_transaction_leaves_nothing() {
    let mut collected = Collected::new();
    assert!(!collected.push(1, 1, 0));
    assert!(!collected.push(2, 1, 0));
    collected.clear();
    assert!(collected.take(2).is_empty() && collected.take(1).is_empty());
}

#[test]
fn a_subtransaction_that_ends_hands_over_to_its_parent() {
    let mut collected = Collected::with_bounds(5, 100);
    assert!(!collected.push(1, 10, "a"));
    assert!(!collected.push(2, 20, "b"));
    assert!(!collected.push(3, 30, "c"));
    collected.hand_over(3, 2);
    collected.hand_over(9, 2);
    collected.hand_over(2, 1);
    assert!(!collected.is_empty());
    // With what it got, the parent is full: by bytes here.
    assert!(collected.push(1, 40, "d"));
    assert_eq!(collected.take(1), ["a", "b", "c", "d"]);
    assert!(collected.is_empty());
    // A parent that has collected nothing.
    assert!(!collected.push(5, 1, "e"));
    collected.hand_over(5, 4);
    assert!(collected.take(5).is_empty());
    assert_eq!(collected.take(4), ["e"]);
}

/// What the memory of a session and the subtransactions of a transaction come to.
#[test]
fn its_bounds_are_small() {
    assert_eq!((FLUSH_ROWS, FLUSH_BYTES), (1_000, 1 << 20));
    assert_eq!((BURY_BYTES, SUBTRANSACTIONS), (1 << 22, 16));
}

/// A parent that has collected nothing yet is not the outermost one.
#[test]
fn what_is_handed_over_to_a_parent_with_nothing_goes_with_it() {
    let mut collected = Collected::new();
    assert!(!collected.push(1, 1, "outer"));
    assert!(!collected.push(3, 1, "inner"));
    collected.hand_over(3, 2);
    collected.forget(2);
    assert_eq!(collected.take(1), ["outer"]);
    assert!(collected.is_empty());
}

#[test]
fn what_all_levels_hold_together_is_bounded() {
    let mut collected = Collected::with_bounds(usize::MAX, 100);
    assert!(!collected.is_over());
    for child in 2..6 {
        assert!(!collected.is_over(), "{child}");
        assert!(!collected.push(child, 25, child));
        collected.hand_over(child, 1);
    }
    assert!(collected.is_over(), "four times 25");
    assert!(!collected.push(6, 1, 6), "the child itself has hardly anything");
    assert!(collected.is_over());
    collected.forget(6);
    assert!(collected.is_over());
    assert_eq!(collected.take(1), [2, 3, 4, 5]);
    assert!(!collected.is_over());
    let mut endless = Collected::with_bounds(usize::MAX, usize::MAX);
    let _ = endless.push(1, usize::MAX, ());
    let _ = endless.push(2, usize::MAX, ());
    assert!(endless.is_over(), "the sum does not overflow");
}
