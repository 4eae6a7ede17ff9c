//! How far the log can be flushed.

use target_profile_core::wal::end_of_records;

const PAGE: u64 = 8_192;
const SEGMENT: u64 = 16 * 1_024 * 1_024;

#[test]
fn only_a_page_that_holds_nothing_is_not_flushed() {
    for first in [3 * SEGMENT, 3 * SEGMENT + PAGE, 4 * SEGMENT - PAGE] {
        let header = if first % SEGMENT == 0 { 40 } else { 24 };
        assert_eq!(
            end_of_records(first + header, PAGE, SEGMENT),
            first,
            "nothing is on the page"
        );
        // A record's end is a multiple of eight.
        for on_page in (header + 8..PAGE).step_by(8) {
            let end = first + on_page;
            assert_eq!(end_of_records(end, PAGE, SEGMENT), end, "{on_page} bytes into the page");
        }
    }
}

#[test]
fn the_header_of_a_segment_is_longer_than_that_of_its_pages() {
    assert_eq!(end_of_records(SEGMENT + PAGE + 40, PAGE, SEGMENT), SEGMENT + PAGE + 40);
    assert_eq!(end_of_records(SEGMENT + 40, PAGE, SEGMENT), SEGMENT);
    assert_eq!(end_of_records(0, PAGE, SEGMENT), 0);
    assert_eq!(end_of_records(24, 0, 0), 24, "sizes that cannot be");
}
