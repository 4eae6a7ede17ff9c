//! The worker's statements, each the text of one file in `sql/queries`.

use pgrx::pg_sys::BuiltinOid::{
    DATEOID, INT2ARRAYOID, INT4ARRAYOID, INT4OID, INT8ARRAYOID, INT8OID, INTERVALOID, OIDOID, TEXTARRAYOID, TEXTOID,
    TIMESTAMPTZARRAYOID, TIMESTAMPTZOID,
};

use crate::pg::statement::Statement;

macro_rules! statements {
    ($($(#[$when:meta])* $name:ident = $file:literal ($($oid:ident),*);)*) => {
        thread_local! {
            $($(#[$when])* pub static $name: Statement = const {
                Statement::new(include_str!(concat!("../../../sql/queries/", $file)), &[$($oid),*])
            };)*
        }
    };
}

statements! {
    FOREIGN_OWNER = "foreign_owner.sql" (OIDOID, OIDOID);
    IS_INSTALLED = "is_installed.sql" ();
    IS_ADOPTED = "is_adopted.sql" ();
    #[cfg(feature = "pg14")]
    PUBLISHED = "published_14.sql" ();
    #[cfg(not(feature = "pg14"))]
    PUBLISHED = "published.sql" ();
    SUBSCRIBED = "subscribed.sql" ();
    SNAPSHOT = "snapshot.sql" ();
    FIND_LANES = "find_lanes.sql" (TEXTARRAYOID, INT4ARRAYOID, INT4ARRAYOID);
    READ_LANES = "read_lanes.sql" (TEXTARRAYOID, INT2ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT4ARRAYOID);
    READ_ENTRIES = "read_entries.sql" (TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4OID);
    ORPHANED_CLIENTS = "orphaned_clients.sql" ();
    BURY_ORPHANS = "bury_orphans.sql" (TEXTOID);
    OVERTAKEN = "overtaken.sql" (INT8OID, TEXTOID, TEXTOID, TEXTOID);
    OVERTAKEN_0_1 = "overtaken_0_1.sql" (INT8OID);
    OVERDUE_PARTITIONS = "overdue_partitions.sql" (TIMESTAMPTZOID, TEXTARRAYOID, INT8OID);
    DROP_PARTITION = "drop_partition.sql" (TEXTOID);
    ENSURE_STRAY = "ensure_stray.sql" ();
    REWIND_RESPONSE_IDS = "rewind_response_ids.sql" ();
    MEND_RESPONSE_IDS = "mend_response_ids.sql" (TIMESTAMPTZOID);
    ENSURE_PARTITION = "ensure_partition.sql" (DATEOID);
    RESPONSE_IDS = "response_ids.sql" (INT4OID);
    SETTLE_RESPONSES = "settle_responses.sql" (
        INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT2ARRAYOID,
        INT2ARRAYOID, TEXTARRAYOID, INT4ARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID, INT4ARRAYOID,
        TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID);
    SETTLE_RESPONSES_0_1 = "settle_responses_0_1.sql" (
        INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT2ARRAYOID,
        INT2ARRAYOID, TEXTARRAYOID, INT4ARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID, INT4ARRAYOID,
        TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID);
    SETTLE_STRAY_RESPONSES = "settle_stray_responses.sql" (
        INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT2ARRAYOID,
        INT2ARRAYOID, TEXTARRAYOID, INT4ARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID, INT4ARRAYOID,
        TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID);
    LOCK_ENTRIES = "lock_entries.sql" (INT8ARRAYOID, INT8ARRAYOID);
    ENTRIES_LEFT = "entries_left.sql" (INT8ARRAYOID, INT8ARRAYOID);
    SETTLE_ACCEPTED = "settle_accepted.sql" (INT8ARRAYOID, INT8ARRAYOID);
    SETTLE_RETRIES = "settle_retries.sql" (
        INT8ARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, INT8ARRAYOID);
    SETTLE_DEAD = "settle_dead.sql" (
        INT8ARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID);
    SETTLE_DEAD_0_1 = "settle_dead_0_1.sql" (
        INT8ARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID);
    LOCK_CLIENT = "lock_client.sql" (TEXTOID);
    IS_UNPAUSED = "is_unpaused.sql" (TEXTOID);
    PAUSE_CLIENT = "pause_client.sql" (TEXTOID, TEXTOID);
    BREAKER_OPENED = "breaker_opened.sql" (TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID);
    BREAKER_CLOSED = "breaker_closed.sql" (TEXTOID);
    ANY_BREAKER = "any_breaker.sql" ();
    BREAKERS_FORGOTTEN = "breakers_forgotten.sql" ();
    READ_LEDGERS = "read_ledgers.sql" ();
    WRITE_ACTIVITY = "write_activity.sql" (
        TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID,
        INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT8OID);
    ACTIVITY_IS_OPEN = "activity_is_open.sql" ();
    CLOSE_ACTIVITY = "close_activity.sql" ();
    MOVE_ACTIVITY = "move_activity.sql" (TIMESTAMPTZOID, INTERVALOID);
    OLD_ACTIVITY = "old_activity.sql" (TIMESTAMPTZOID);
    DELETE_ACTIVITY = "delete_activity.sql" (TIMESTAMPTZOID, INT8OID);
    ANY_DEAD_LETTER = "any_dead_letter.sql" ();
    OLDER_DEAD_LETTERS = "older_dead_letters.sql" (TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID);
    OLDER_DEAD_LETTERS_0_1 = "older_dead_letters_0_1.sql" (TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID);
    SUPERSEDE = "supersede.sql" (TEXTOID, TEXTOID, TEXTOID, TEXTARRAYOID, INT8ARRAYOID, INT8OID);
    THIN_SUPERSEDED = "thin_superseded.sql" (TEXTOID, TEXTOID, TEXTOID, TEXTARRAYOID);
    ANY_TAKEN = "any_taken.sql" (INT8ARRAYOID);
    MOVE_OVERTAKEN = "move_overtaken.sql" (INT8ARRAYOID, INT8ARRAYOID);
    OVERTAKE_0_1 = "overtake_0_1.sql" (INT8ARRAYOID, TEXTARRAYOID, INT8ARRAYOID);
    ANY_SUPERSEDED = "any_superseded.sql" ();
    FORGET_SUPERSEDED = "forget_superseded.sql" (INT8OID);
    ANY_OVERTAKEN = "any_overtaken.sql" ();
    RENAMED = "renamed.sql" ();
    ANY_DROPPED_TABLE = "any_dropped_table.sql" ();
    FORGET_DROPPED_TABLES = "forget_dropped_tables.sql" ();
    FORGET_OVERTAKEN = "forget_overtaken.sql" (INT8OID);
}
