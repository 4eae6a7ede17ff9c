//! WARNINGs. One must not fail the statement: PostgreSQL raises an error when it cannot convert the text to the client's encoding.

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use target_profile_core::ascii;

/// Warns the session that something needs doing outside of this call.
pub fn warn(message: &str, hint: &str) {
    let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    raise(code, message, None, Some(hint));
}

/// The same with a DETAIL.
pub fn warn_in_detail(message: &str, detail: &str, hint: &str) {
    let code = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    raise(code, message, Some(detail), Some(hint));
}

/// Raises a WARNING, in ASCII if the client's encoding may lack a character of it.
pub fn raise(code: PgSqlErrorCode, message: &str, detail: Option<&str>, hint: Option<&str>) {
    // SAFETY: plain variables of the backend.
    let (client, server) = unsafe { (pg_sys::pg_get_client_encoding(), pg_sys::GetDatabaseEncoding()) };
    let is_converted = client != server && client != pg_sys::pg_enc::PG_SQL_ASCII as i32;
    let shown = |text: &str| {
        if is_converted {
            ascii::escaped(text)
        } else {
            text.to_owned()
        }
    };
    let mut report = ErrorReport::new(code, shown(message), "target_profile");
    if let Some(detail) = detail {
        report = report.set_detail(shown(detail));
    }
    if let Some(hint) = hint {
        report = report.set_hint(shown(hint));
    }
    report.report(PgLogLevel::WARNING);
}
