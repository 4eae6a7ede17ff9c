//! Which settings, and which values of them.

use support::{Db, describe};

/// Whose settings they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Of the role that makes the extension and writes.
    Caller,
    /// Of the database; those that write have the usual ones.
    Database,
    /// Of the bootstrap superuser, as whom the worker connects; the same.
    Superuser,
}

#[derive(Clone, Debug)]
pub struct Assignment {
    pub name: String,
    /// As SQL has it.
    pub value: String,
}

/// The two hostile values of settings for which type and range do not say what is hostile, as SQL has them.
const HOSTILE: &[(&str, [&str; 2])] = &[
    ("application_name", ["'x%s%n'", "'target_profile worker'"]),
    ("backtrace_functions", ["'errfinish'", "'exec_simple_query'"]),
    ("client_encoding", ["'LATIN1'", "'WIN1252'"]),
    // With debug_print_plan and its like a session of debug5 reads more than it does.
    ("client_min_messages", ["error", "notice"]),
    ("createrole_self_grant", ["'set'", "'set, inherit'"]),
    ("DateStyle", ["'SQL, DMY'", "'German'"]),
    ("debug_discard_caches", ["0", "0"]),
    ("default_table_access_method", ["'other'", "'other'"]),
    ("default_tablespace", ["'elsewhere'", "'elsewhere'"]),
    (
        "default_text_search_config",
        ["'pg_catalog.german'", "'pg_catalog.simple'"],
    ),
    ("dynamic_library_path", ["'/nowhere:$libdir'", "'$libdir'"]),
    ("extension_control_path", ["'$system'", "'/nowhere:$system'"]),
    // Debian's.
    ("extension_destdir", ["'/nowhere'", "'/nowhere'"]),
    ("gin_fuzzy_search_limit", ["1", "1"]),
    ("jit_above_cost", ["0", "0"]),
    ("jit_inline_above_cost", ["0", "0"]),
    ("jit_optimize_above_cost", ["0", "0"]),
    ("lc_messages", ["'C'", "'C.UTF-8'"]),
    ("lc_monetary", ["'C.UTF-8'", "'POSIX'"]),
    ("lc_numeric", ["'C.UTF-8'", "'POSIX'"]),
    ("lc_time", ["'C.UTF-8'", "'POSIX'"]),
    ("local_preload_libraries", ["'nowhere'", "'nowhere'"]),
    // All of it, from every process, is much.
    ("log_min_messages", ["debug1", "panic"]),
    ("oauth_validator_libraries", ["''", "''"]),
    ("output_plugin_libraries", ["'nowhere'", "''"]),
    ("plpgsql.extra_errors", ["'all'", "'all'"]),
    ("plpgsql.extra_warnings", ["'all'", "'all'"]),
    ("restrict_nonsystem_relation_kind", ["'view, foreign-table'", "'view'"]),
    ("search_path", ["evil, public", "''"]),
    ("session_preload_libraries", ["'nowhere'", "'nowhere'"]),
    ("temp_file_limit", ["0", "0"]),
    ("temp_tablespaces", ["elsewhere", "elsewhere"]),
    ("TimeZone", ["'Asia/Jakarta'", "'<odd>+13:37'"]),
    ("timezone_abbreviations", ["'Australia'", "'India'"]),
    ("wal_consistency_checking", ["'all'", "'heap, gin'"]),
];

/// What by its meaning ends or refuses the caller's own statements, whatever they do.
const ENDS_THE_CALLER: &[&str] = &[
    "default_transaction_read_only",
    "exit_on_error",
    // Where the scripts of extensions are.
    "extension_destdir",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "local_preload_libraries",
    "lock_timeout",
    "restrict_nonsystem_relation_kind",
    "session_preload_libraries",
    "session_replication_role",
    "statement_timeout",
    "temp_file_limit",
    "transaction_timeout",
];

/// What a database or a role can have (not what is fixed when a session begins), with the value that is asked for.
pub fn assignments(db: &Db, scope: Scope, which: usize) -> Vec<Assignment> {
    db.batch("load 'plpgsql'; drop role if exists tried; create role tried superuser");
    let rows = db.query(
        "select name, vartype, min_val, max_val, enumvals, boot_val
         from pg_settings
         where context in ('user', 'superuser')
         order by name",
        &[],
    );
    let (mut assignments, mut unknown) = (Vec::new(), Vec::new());
    for row in rows {
        let (name, kind): (String, String) = (row.get(0), row.get(1));
        if scope == Scope::Caller && ENDS_THE_CALLER.contains(&name.as_str()) {
            continue;
        }
        let text = |at: usize| row.get::<_, Option<String>>(at).unwrap_or_default();
        let value = match (HOSTILE.iter().find(|(hostile, _)| *hostile == name), kind.as_str()) {
            (Some((_, values)), _) => values[which].to_owned(),
            (None, "bool") => (if text(5) == "on" { "off" } else { "on" }).to_owned(),
            (None, "enum") => {
                let all: Vec<String> = row.get::<_, Option<Vec<String>>>(4).unwrap_or_default();
                let mut others = all.into_iter().filter(|value| *value != text(5));
                let other = if which == 0 { others.next() } else { others.next_back() };
                let Some(other) = other else { continue };
                format!("'{other}'")
            }
            (None, "integer" | "real") => format!("'{}'", text(2 + which)),
            _ => {
                unknown.push(name);
                continue;
            }
        };
        let assignment = Assignment { name, value };
        // Some values a server cannot have, whatever the range says.
        if let Err(error) = db.try_batch(&assignment.alter("role tried")) {
            println!(
                "left out: {} = {}: {}",
                assignment.name,
                assignment.value,
                describe(&error)
            );
            continue;
        }
        assignments.push(assignment);
    }
    assert!(
        unknown.is_empty(),
        "say in HOSTILE what would be nasty values of {unknown:?}"
    );
    assignments
}

impl Assignment {
    pub fn alter(&self, whose: &str) -> String {
        format!("alter {whose} set {} = {}", self.name, self.value)
    }
}
