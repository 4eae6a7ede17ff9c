//! Sockets beside Postgres' files.

use target_profile_core::descriptors::{RESERVED, in_flight, is_tight};

#[test]
fn postgres_keeps_its_part_of_the_file_descriptors() {
    for (wanted, limit, may) in [
        (256, 1_024, 256),
        (800, 1_024, 800),
        (800, 512, 384),
        (256, RESERVED + 2, 2),
        (256, RESERVED, 1),
        (256, 0, 1),
        (256, u64::MAX, 256),
    ] {
        assert_eq!(in_flight(wanted, limit), may, "{wanted} of {limit}");
    }
}

#[test]
fn idle_connections_make_room_before_there_is_none() {
    for (lowest_free, limit, tight) in [
        (100, 1_024, false),
        (959, 1_024, false),
        (960, 1_024, true),
        (5, 20, true),
    ] {
        assert_eq!(is_tight(lowest_free, limit), tight, "{lowest_free} of {limit}");
    }
}
