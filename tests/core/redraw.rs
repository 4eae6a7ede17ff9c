//! Ids that are drawn anew.

use target_profile_core::redraw::passed_over;

#[test]
fn the_first_attempt_takes_the_next_id_and_each_later_one_goes_twice_as_far() {
    let first: Vec<_> = (0..6).map(passed_over).collect();
    assert_eq!(first, [0, 1, 3, 7, 15, 31].map(Some));
}

#[test]
fn the_attempts_end_after_a_million_values() {
    let all: Vec<u64> = (0..).map_while(passed_over).collect();
    let drawn: u64 = all.iter().map(|passed| passed + 1).sum();
    assert!((1_000_000..1_100_000).contains(&drawn), "{drawn}");
    assert_eq!(passed_over(all.len() as u32), None);
    assert_eq!(passed_over(u32::MAX), None);
}
