//! Runs work with other settings than the session's.

use std::ffi::CStr;

use pgrx::pg_sys;

/// What the text of dates, floats, intervals, ranges, money, names of objects and whatever contains them depends on, fixed, so that every session sends
/// the same text for the same value.
pub const TEXT: [(&CStr, &CStr); 7] = [
    (c"datestyle", c"ISO, YMD"),
    (c"intervalstyle", c"iso_8601"),
    (c"timezone", c"UTC"),
    (c"bytea_output", c"hex"),
    (c"extra_float_digits", c"1"),
    (c"lc_monetary", c"C"),
    (c"quote_all_identifiers", c"off"),
];

/// Names are found in pg_catalog; pg_temp, which is searched first for types and tables where it is not named, comes last.
const PATH: &CStr = c"pg_catalog, pg_temp";

/// As one of the settings that some work needs.
pub const PINNED_PATH: [(&CStr, &CStr); 1] = [(c"search_path", PATH)];

/// Runs `work` with names resolved in pg_catalog, whatever the session's `search_path` is: what is parsed or planned there, and what
/// functions without a `search_path` of their own look up.
pub fn with_pinned_path<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: the setting's own string, set before the first transaction of a session.
    let path = unsafe {
        let path = pg_sys::namespace_search_path;
        (!path.is_null()).then(|| CStr::from_ptr(path))
    };
    if path == Some(PATH) {
        work()
    } else {
        with_settings(&PINNED_PATH, work)
    }
}

/// After how many milliseconds a transaction ends its session, if there is such a limit: from PostgreSQL 17 on.
pub fn transaction_timeout() -> Option<u32> {
    // SAFETY: a look-up by name; the answer is a C string, or null where the setting does not exist.
    let value = unsafe {
        let value = pg_sys::GetConfigOption(c"transaction_timeout".as_ptr(), true, false);
        (!value.is_null()).then(|| CStr::from_ptr(value).to_string_lossy().into_owned())
    };
    value?.parse().ok().filter(|limit| *limit > 0)
}

/// Runs `work` with other settings. Afterwards all settings are those of the session again, also those that code of others has set.
pub fn with_settings<T>(settings: &[(&CStr, &CStr)], work: impl FnOnce() -> T) -> T {
    // SAFETY: a nesting level for settings, as functions with SET clauses have one. An error in `work` ends it with the (sub)transaction.
    unsafe {
        let level = pg_sys::NewGUCNestLevel();
        for (name, value) in settings {
            pg_sys::set_config_option(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
        }
        let done = work();
        pg_sys::AtEOXact_GUC(false, level);
        done
    }
}
