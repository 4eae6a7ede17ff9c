//! The worker's statements, each the text of one file in `sql/queries`.

use target_profile_core::settlement::Retry;

use super::rows::{ActivityRow, DeadRow, ResponseRow};
use crate::pg::support::statement::{Statement, statement};

macro_rules! statements {
    ($($(#[$when:meta])* $name:ident = $file:literal ($($oid:ident),*);)*) => {
        thread_local! {
            $($(#[$when])* pub static $name: Statement = const {
                statement!($file $(, $oid)*)
            };)*
        }
    };
}

macro_rules! statements_of_rows {
    ($($name:ident = $file:literal of $of:ty $(, $parameter:ident: $oid:ident)*;)*) => {
        thread_local! {
            $(pub static $name: Statement = const {
                statement!($file, rows: $of $(, $parameter: $oid)*)
            };)*
        }
    };
}

statements_of_rows! {
    SETTLE_RESPONSES = "settle/settle_responses.sql" of ResponseRow<'static>, outbox_ids: INT8ARRAYOID;
    SETTLE_RESPONSES_0_1 = "settle/settle_responses_0_1.sql" of ResponseRow<'static>, outbox_ids: INT8ARRAYOID;
    SETTLE_STRAY_RESPONSES = "settle/settle_stray_responses.sql" of ResponseRow<'static>, outbox_ids: INT8ARRAYOID;
    SETTLE_RETRIES = "settle/settle_retries.sql" of &'static Retry;
    SETTLE_DEAD = "settle/settle_dead.sql" of DeadRow<'static>;
    SETTLE_DEAD_0_1 = "settle/settle_dead_0_1.sql" of DeadRow<'static>;
    WRITE_ACTIVITY = "activity/write_activity.sql" of ActivityRow<'static>, counted_to: INT8OID;
}

statements! {
    FOREIGN_OWNER = "installation/foreign_owner.sql" (OIDOID, OIDOID);
    IS_INSTALLED = "installation/is_installed.sql" ();
    IS_ADOPTED = "installation/is_adopted.sql" ();
    #[cfg(feature = "pg14")]
    PUBLISHED = "installation/published_14.sql" ();
    #[cfg(not(feature = "pg14"))]
    PUBLISHED = "installation/published.sql" ();
    SUBSCRIBED = "installation/subscribed.sql" ();
    SNAPSHOT = "claim/snapshot.sql" ();
    FIND_LANES = "claim/find_lanes.sql" (TEXTARRAYOID, INT4ARRAYOID, INT4ARRAYOID);
    READ_LANES = "claim/read_lanes.sql" (TEXTARRAYOID, INT2ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT4ARRAYOID);
    READ_ENTRIES = "claim/read_entries.sql" (TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4OID);
    ORPHANED_CLIENTS = "installation/orphaned_clients.sql" ();
    BURY_ORPHANS = "installation/bury_orphans.sql" (TEXTOID);
    OVERTAKEN = "claim/overtaken.sql" (INT8OID, TEXTOID, TEXTOID, TEXTOID);
    OVERTAKEN_0_1 = "claim/overtaken_0_1.sql" (INT8OID);
    OVERDUE_PARTITIONS = "response_days/overdue_partitions.sql" (TIMESTAMPTZOID, TEXTARRAYOID, INT8OID);
    DROP_PARTITION = "response_days/drop_partition.sql" (TEXTOID);
    ENSURE_STRAY = "response_days/ensure_stray.sql" ();
    REWIND_RESPONSE_IDS = "response_days/rewind_response_ids.sql" ();
    MEND_RESPONSE_IDS = "response_days/mend_response_ids.sql" (TIMESTAMPTZOID);
    ENSURE_PARTITION = "response_days/ensure_partition.sql" (DATEOID);
    RESPONSE_IDS = "settle/response_ids.sql" (INT4OID);
    LOCK_ENTRIES = "settle/lock_entries.sql" (INT8ARRAYOID, INT8ARRAYOID);
    ENTRIES_LEFT = "settle/entries_left.sql" (INT8ARRAYOID, INT8ARRAYOID);
    SETTLE_ACCEPTED = "settle/settle_accepted.sql" (INT8ARRAYOID, INT8ARRAYOID);
    SETTLE_ACCEPTED_BURIED = "settle/settle_accepted_buried.sql" (INT8ARRAYOID, INT8ARRAYOID);
    LOCK_CLIENT = "settle/lock_client.sql" (TEXTOID);
    IS_UNPAUSED = "settle/is_unpaused.sql" (TEXTOID);
    PAUSE_CLIENT = "settle/pause_client.sql" (TEXTOID, TEXTOID);
    BREAKER_OPENED = "settle/breaker_opened.sql" (TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID);
    BREAKER_CLOSED = "settle/breaker_closed.sql" (TEXTOID);
    ANY_BREAKER = "settle/any_breaker.sql" ();
    BREAKERS_FORGOTTEN = "settle/breakers_forgotten.sql" ();
    READ_LEDGERS = "activity/read_ledgers.sql" ();
    ACTIVITY_IS_OPEN = "activity/activity_is_open.sql" ();
    CLOSE_ACTIVITY = "activity/close_activity.sql" ();
    MOVE_ACTIVITY = "activity/move_activity.sql" (TIMESTAMPTZOID, INTERVALOID);
    OLD_ACTIVITY = "activity/old_activity.sql" (TIMESTAMPTZOID);
    DELETE_ACTIVITY = "activity/delete_activity.sql" (TIMESTAMPTZOID, INT8OID);
    ANY_DEAD_LETTER = "settle/any_dead_letter.sql" ();
    OLDER_DEAD_LETTERS = "settle/older_dead_letters.sql" (TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID);
    OLDER_DEAD_LETTERS_0_1 = "settle/older_dead_letters_0_1.sql" (TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID);
    SUPERSEDE = "settle/supersede.sql" (TEXTOID, TEXTOID, TEXTOID, TEXTARRAYOID, INT8ARRAYOID, INT8OID);
    THIN_SUPERSEDED = "settle/thin_superseded.sql" (TEXTOID, TEXTOID, TEXTOID, TEXTARRAYOID);
    ANY_TAKEN = "settle/any_taken.sql" (INT8ARRAYOID);
    MOVE_OVERTAKEN = "settle/move_overtaken.sql" (INT8ARRAYOID, INT8ARRAYOID);
    OVERTAKE_0_1 = "settle/overtake_0_1.sql" (INT8ARRAYOID, TEXTARRAYOID, INT8ARRAYOID);
    ANY_SUPERSEDED = "activity/any_superseded.sql" ();
    FORGET_SUPERSEDED = "activity/forget_superseded.sql" (INT8OID);
    ANY_OVERTAKEN = "activity/any_overtaken.sql" ();
    RENAMED = "installation/renamed.sql" ();
    ANY_DROPPED_TABLE = "installation/any_dropped_table.sql" ();
    FORGET_DROPPED_TABLES = "installation/forget_dropped_tables.sql" ();
    FORGET_OVERTAKEN = "activity/forget_overtaken.sql" (INT8OID);
}
