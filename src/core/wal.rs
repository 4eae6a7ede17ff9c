//! Up to which position the write-ahead log has to be flushed.

/// The header of a page, as every version writes it on 64-bit machines.
const PAGE_HEADER: u64 = 24;
/// The header of a segment's first page.
const SEGMENT_HEADER: u64 = 40;

/// How far the log can be flushed when the next record begins at `position` (`GetXLogInsertRecPtr`), with pages of `page`
/// bytes in segments of `segment` bytes.
///
/// When all pages before are full, the next record begins behind the header of a page that holds nothing yet. Nobody may ask
/// for that to be flushed: what there is ends where the page begins. Any other position is the end of a record, also one
/// that ends a few bytes behind a header, because it began on the page before.
pub fn end_of_records(position: u64, page: u64, segment: u64) -> u64 {
    let (Some(on_page), Some(in_segment)) = (position.checked_rem(page), position.checked_rem(segment)) else {
        return position;
    };
    let header = if in_segment < page { SEGMENT_HEADER } else { PAGE_HEADER };
    if on_page == header {
        position - on_page
    } else {
        position
    }
}
