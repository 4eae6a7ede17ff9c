//! End to end: a real cluster, the real worker, and a stand-in for Target.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod answers;
mod backfill;
mod bank;
mod copies;
mod crash;
mod crash_rounds;
mod ddl;
mod dead_letters;
mod delivery;
mod endpoint_matrix;
mod full_queue;
mod histories;
mod launcher;
mod long_life;
mod merging;
mod never_in_the_way;
mod old_library;
mod own_entries;
mod pg_upgrade;
mod planted;
mod quiet;
mod quota;
mod replication;
mod server_life;
mod site;
mod upgrade;
mod versions;
mod wait_events;
mod watched;
mod watched_never_in_the_way;
mod ways_of_writing;
