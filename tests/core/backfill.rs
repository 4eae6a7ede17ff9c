//! With which priority a backfill sends, where a call begins, and what its next chunk is.

use target_profile_core::backfill::{
    Begin, CHUNK_ROWS, ChunkEnd, Extent, LOCKED_AT_MOST, NextRead, PRIORITY, Refusal, begin, next, priority,
};

#[test]
fn a_backfill_never_has_the_priority_of_what_is_fresh() {
    for (watch, expected) in [
        (i16::MAX, -10),
        (0, -10),
        (-1, -10),
        (-10, -10),
        (-11, -11),
        (i16::MIN, i16::MIN),
    ] {
        assert_eq!(priority(watch), expected, "{watch}");
    }
    const { assert!(PRIORITY < 0) };
}

fn extent(order: &str, condition: Option<&str>) -> Extent {
    Extent {
        order: order.to_owned(),
        condition: condition.map(str::to_owned),
        meaning: condition.map(|condition| format!("new.{condition}")),
    }
}

#[test]
fn a_call_goes_on_with_the_run_that_it_could_have_begun() {
    let asked = extent("id", Some("active"));
    for (unfinished, restart, expected) in [
        (None, false, Ok(Begin::New)),
        (None, true, Ok(Begin::New)),
        (Some(extent("id", Some("active"))), false, Ok(Begin::Resume)),
        (Some(extent("id", Some("active"))), true, Ok(Begin::New)),
        (Some(extent("id", None)), false, Err(Refusal::OtherCondition)),
        (Some(extent("id", Some("Active"))), false, Err(Refusal::OtherCondition)),
        (Some(extent("nr", Some("active"))), false, Err(Refusal::OtherOrder)),
        (Some(extent("nr", None)), false, Err(Refusal::OtherCondition)),
        (Some(extent("nr", None)), true, Ok(Begin::New)),
    ] {
        assert_eq!(
            begin(unfinished.as_ref(), &asked, restart),
            expected,
            "{unfinished:?} {restart}"
        );
    }
}

#[test]
fn a_call_does_not_go_on_with_what_its_words_do_not_mean() {
    let asked = extent("id", Some("tier <> 'none'"));
    let last = Extent {
        meaning: Some("new.tier OPERATOR(eve.<>) 'none'::text".to_owned()),
        ..asked.clone()
    };
    assert_eq!(begin(Some(&last), &asked, false), Err(Refusal::OtherMeaning));
    assert_eq!(begin(Some(&last), &asked, true), Ok(Begin::New));
    // The words come first: of those one can be told.
    let other = extent("id", Some("tier <> ''"));
    assert_eq!(begin(Some(&last), &other, false), Err(Refusal::OtherCondition));
}

#[test]
fn rows_are_read_until_the_end_unless_too_many_were_locked() {
    for (at_end, locked, expected) in [
        (false, 0, NextRead::Read),
        (false, LOCKED_AT_MOST - 1, NextRead::Read),
        (false, LOCKED_AT_MOST, NextRead::Again),
        (false, usize::MAX, NextRead::Again),
        (true, 1, NextRead::Again),
        (true, 0, NextRead::Finish),
    ] {
        assert_eq!(next(at_end, locked), expected, "{at_end} {locked}");
    }
}

#[test]
fn only_a_chunk_that_could_read_nothing_makes_the_next_one_wait() {
    for (at_end, locked, tried, still_locked, expected) in [
        // Rows were read.
        (false, 0, 0, 0, ChunkEnd::More),
        (false, 5, 0, 0, ChunkEnd::More),
        (true, 0, 0, 0, ChunkEnd::Finished),
        (true, 5, 0, 0, ChunkEnd::More),
        // Rows were tried again.
        (true, 0, 5, 0, ChunkEnd::Finished),
        (true, 4, 5, 4, ChunkEnd::More),
        (true, 5, 5, 5, ChunkEnd::Wait),
        // Not all of them at once.
        (true, 20, 5, 4, ChunkEnd::More),
        (true, 20, 5, 5, ChunkEnd::Wait),
        // Too many to read on; few enough again.
        (false, LOCKED_AT_MOST, 5, 5, ChunkEnd::Wait),
        (false, LOCKED_AT_MOST - 1, 5, 4, ChunkEnd::More),
    ] {
        let outcome = ChunkEnd::after(at_end, locked, tried, still_locked);
        assert_eq!(outcome, expected, "{at_end} {locked} {tried} {still_locked}");
    }
}

#[test]
fn each_outcome_has_a_word_of_its_own() {
    let words = [ChunkEnd::More, ChunkEnd::Wait, ChunkEnd::Stopped, ChunkEnd::Finished].map(ChunkEnd::as_str);
    assert_eq!(words, ["more", "wait", "stopped", "finished"]);
    assert!(CHUNK_ROWS.contains(&1_000));
}
