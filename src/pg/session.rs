//! Settings of the session, as some work needs them.

use std::ffi::CStr;

use pgrx::pg_sys;

/// What the text of dates, floats, intervals, ranges, money and whatever contains them depends on, fixed, so that every session sends
/// the same text for the same value.
pub const TEXT: [(&CStr, &CStr); 6] = [
    (c"datestyle", c"ISO, YMD"),
    (c"intervalstyle", c"iso_8601"),
    (c"timezone", c"UTC"),
    (c"bytea_output", c"hex"),
    (c"extra_float_digits", c"1"),
    (c"lc_monetary", c"C"),
];

/// Runs `work` with other settings, which are those of the session again afterwards.
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
        pg_sys::AtEOXact_GUC(true, level);
        done
    }
}
