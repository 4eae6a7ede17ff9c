//! The worker's statements, each the text of one file in `sql/queries`.

use pgrx::pg_sys::BuiltinOid::{
    DATEOID, INT2ARRAYOID, INT4ARRAYOID, INT4OID, INT8ARRAYOID, INT8OID, INTERVALOID, TEXTARRAYOID, TEXTOID,
    TIMESTAMPTZARRAYOID, TIMESTAMPTZOID,
};

use crate::pg::statement::Statement;

macro_rules! statements {
    ($($name:ident = $file:literal ($($oid:ident),*);)*) => {
        thread_local! {
            $(pub static $name: Statement = const {
                Statement::new(include_str!(concat!("../../../sql/queries/", $file)), &[$($oid),*])
            };)*
        }
    };
}

statements! {
    IS_INSTALLED = "is_installed.sql" ();
    IS_ADOPTED = "is_adopted.sql" ();
    SNAPSHOT = "snapshot.sql" ();
    FIND_LANES = "find_lanes.sql" (TEXTARRAYOID, INT4ARRAYOID, INT4ARRAYOID);
    READ_LANES = "read_lanes.sql" (TEXTARRAYOID, INT2ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT4ARRAYOID);
    READ_ENTRIES = "read_entries.sql" (TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4OID);
    ORPHANED_CLIENTS = "orphaned_clients.sql" ();
    BURY_ORPHANS = "bury_orphans.sql" (TEXTOID);
    OVERDUE_PARTITIONS = "overdue_partitions.sql" (TIMESTAMPTZOID);
    DROP_PARTITIONS = "drop_partitions.sql" (TIMESTAMPTZOID);
    ENSURE_PARTITION = "ensure_partition.sql" (DATEOID);
    RESPONSE_IDS = "response_ids.sql" (INT4OID);
    SETTLE_RESPONSES = "settle_responses.sql" (
        INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT2ARRAYOID,
        INT2ARRAYOID, TEXTARRAYOID, INT4ARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID, INT4ARRAYOID,
        TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID);
    SETTLE_ACCEPTED = "settle_accepted.sql" (INT8ARRAYOID);
    SETTLE_RETRIES = "settle_retries.sql" (INT8ARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID);
    SETTLE_DEAD = "settle_dead.sql" (INT8ARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID);
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
    DELETE_ACTIVITY = "delete_activity.sql" (TIMESTAMPTZOID);
    ANY_DEAD_LETTER = "any_dead_letter.sql" ();
    OLDER_DEAD_LETTERS = "older_dead_letters.sql" (TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID);
    OVERTAKE = "overtake.sql" (INT8ARRAYOID, TEXTARRAYOID);
    ANY_OVERTAKEN = "any_overtaken.sql" ();
    FORGET_OVERTAKEN = "forget_overtaken.sql" ();
}
