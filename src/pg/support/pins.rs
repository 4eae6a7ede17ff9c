//! Settings of the background processes that the server, the database and the role cannot change.
//!
//! They are set before the process connects, as autovacuum does it: from then on nothing of less weight changes them, neither what
//! ALTER DATABASE and ALTER ROLE have set nor a reload, and the transaction in which a process connects is under them too.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::session::TEXT;

type Pin = (&'static CStr, &'static CStr);

/// No time limit that is meant for users ends a process, and no error but a fatal one.
const LIFE: [Pin; 5] = [
    (c"statement_timeout", c"0"),
    // From PostgreSQL 17 on. It ends the process, not the transaction.
    (c"transaction_timeout", c"0"),
    (c"idle_in_transaction_session_timeout", c"0"),
    (c"exit_on_error", c"off"),
    (c"default_transaction_isolation", c"read committed"),
];

/// What the queries of the worker count on.
const WORK: [Pin; 17] = [
    // Names are resolved in pg_catalog only.
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"application_name", c"target_profile"),
    // A user's foreign key, trigger or rule on our tables, or an event trigger, must not stop the sending: what is enabled ALWAYS
    // fires, all else does not.
    (c"session_replication_role", c"replica"),
    // A lock that somebody holds for DDL is not waited for, but tried again.
    (c"lock_timeout", c"1s"),
    // Where two wait for each other, this process finds out first and gives way: the DDL would fail.
    (c"deadlock_timeout", c"100ms"),
    // A commit is durable here; waiting for a standby as well would only make repeats rarer.
    (c"synchronous_commit", c"local"),
    (c"default_transaction_read_only", c"off"),
    // A policy that hides rows is an error and not an empty outbox.
    (c"row_security", c"off"),
    // A day of response is stored as what it is a part of.
    (c"default_table_access_method", c"heap"),
    // A damaged page is an error, as it is to autovacuum, and not an empty one.
    (c"zero_damaged_pages", c"off"),
    // By the statistics autovacuum knows that there is something to do.
    (c"track_counts", c"on"),
    (c"restrict_nonsystem_relation_kind", c""),
    (c"standard_conforming_strings", c"on"),
    (c"transform_null_equals", c"off"),
    (c"gin_fuzzy_search_limit", c"0"),
    // What is read at a time is bounded: so is what it takes.
    (c"work_mem", c"4MB"),
    (c"temp_file_limit", c"-1"),
];

/// No plan depends on statistics, which are wrong for a queue most of the time: no table is scanned as a whole. What the planner is told
/// about the machine is fixed, since there is nothing for it to choose.
const PLANS: [Pin; 17] = [
    (c"enable_seqscan", c"off"),
    (c"enable_bitmapscan", c"off"),
    (c"enable_hashjoin", c"off"),
    (c"enable_mergejoin", c"off"),
    (c"enable_indexscan", c"on"),
    (c"enable_indexonlyscan", c"on"),
    (c"enable_nestloop", c"on"),
    (c"enable_partition_pruning", c"on"),
    // The index that leads to the fewest rows is the best one, wherever these lie.
    (c"seq_page_cost", c"0"),
    (c"random_page_cost", c"0"),
    (c"cpu_tuple_cost", c"0.01"),
    (c"cpu_index_tuple_cost", c"0.005"),
    (c"cpu_operator_cost", c"0.0025"),
    (c"effective_cache_size", c"4GB"),
    (c"max_parallel_workers_per_gather", c"0"),
    (c"jit", c"off"),
    (c"plan_cache_mode", c"force_generic_plan"),
];

/// Of the launcher, before it connects.
pub fn launcher() {
    pin(&LIFE);
    // It locks nothing but the list of databases, in the weakest way.
    pin(&[(c"lock_timeout", c"0")]);
}

/// Of a worker, before it connects.
pub fn worker() {
    pin(&LIFE);
    pin(&WORK);
    pin(&PLANS);
    pin(&TEXT);
}

fn pin(settings: &[Pin]) {
    for (name, value) in settings {
        // SAFETY: a look-up by name; what is not there (yet, or any more) in this version is null.
        let is_there = unsafe { !pg_sys::GetConfigOption(name.as_ptr(), true, false).is_null() };
        if is_there {
            set(name, value);
        }
    }
}

/// For this process from now on. Outside of a query.
pub fn set(name: &CStr, value: &CStr) {
    // SAFETY: names and values that are valid settings.
    unsafe {
        pg_sys::SetConfigOption(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_OVERRIDE,
        );
    }
}
