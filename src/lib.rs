//! target_profile: profile updates to Adobe Target, issued from SQL.
//!
//! A call of `target_profile_update`, or a row change in a table with the trigger, writes an entry into the outbox in the
//! caller's transaction (`src/pg/api/update.rs`, `src/pg/triggers/row_trigger.rs`, `src/pg/enqueue/outbox.rs`). A background worker (`src/pg/worker`)
//! reads the outbox, asks `target_profile_core` what to send, has it sent by `target_profile_client` and settles the
//! answers. This file is the table of contents.

mod pg;

#[cfg(not(panic = "unwind"))]
compile_error!("a panic must unwind into an SQL error: an abort would restart the whole server");

pgrx::pg_module_magic!();

pgrx::extension_sql_file!("../sql/bootstrap.sql", name = "bootstrap", bootstrap);
pgrx::extension_sql_file!(
    "../sql/tables.sql",
    name = "tables",
    requires = [
        pg::enqueue::clients::target_profile::_check_client,
        pg::enqueue::clients::target_profile::_clients_changed
    ]
);
pgrx::extension_sql_file!("../sql/partitions.sql", name = "partitions", requires = ["tables"]);
pgrx::extension_sql_file!(
    "../sql/clients.sql",
    name = "clients",
    requires = ["tables", pg::enqueue::wake::_wake, pg::api::status::_system_identifier]
);
pgrx::extension_sql_file!("../sql/activity.sql", name = "activity", requires = ["partitions"]);
pgrx::extension_sql_file!(
    "../sql/dead_letters.sql",
    name = "dead_letters",
    requires = [
        "clients",
        pg::api::dead_letters::_check_update,
        pg::enqueue::wake::_wake_for_all
    ]
);
pgrx::extension_sql_file!(
    "../sql/entries.sql",
    name = "entries",
    requires = ["partitions", pg::api::result::_in_flight, pg::api::result::wait]
);
pgrx::extension_sql_file!(
    "../sql/views.sql",
    name = "views",
    requires = [
        "clients",
        "entries",
        pg::api::status::_workers,
        pg::api::status::_standing
    ]
);
pgrx::extension_sql_file!("../sql/watch.sql", name = "watch", requires = ["tables"]);
pgrx::extension_sql_file!(
    "../sql/backfill.sql",
    name = "backfill",
    requires = [
        "watch",
        pg::triggers::backfill::target_profile::_backfill_begin,
        pg::triggers::backfill::target_profile::_backfill_chunk,
        pg::triggers::backfill::target_profile::_backfill_failed,
        pg::triggers::backfill::target_profile::_backfill_end,
        pg::triggers::backfill::stop_backfill,
    ]
);
pgrx::extension_sql_file!(
    "../sql/grants.sql",
    name = "grants",
    requires = ["views", "dead_letters", "activity", "watch", "backfill"]
);
pgrx::extension_sql_file!(
    "../sql/comments.sql",
    name = "comments",
    requires = [
        "grants",
        "partitions",
        pg::api::update::target_profile_update,
        pg::api::update::target_profile_preview,
        pg::triggers::row_trigger::target_profile_trigger,
        pg::triggers::row_trigger::target_profile::_watch_row,
        pg::triggers::row_trigger::target_profile::_watch_flush,
        pg::triggers::watch::watch,
        pg::triggers::watch::unwatch,
        pg::api::result::wait,
    ]
);
pgrx::extension_sql_file!("../sql/final.sql", name = "final", finalize);

/// Runs when the library is loaded: in the postmaster if it is preloaded, else in each session that uses it.
#[pgrx::pg_guard]
pub extern "C-unwind" fn _PG_init() {
    // pg_upgrade starts servers in which nothing may run beside it.
    if pg::support::process::is_binary_upgrade() {
        return;
    }
    pg::support::process::keep_backtraces_from_clients();
    if pg::support::process::is_being_preloaded() {
        pg::support::settings::define();
        pg::shmem::slots::request();
        pg::support::errors::take_version_hints_from(pg::shmem::slots::version_hint);
        pg::launcher::main::register();
        pg::launcher::statements::install();
    }
}
