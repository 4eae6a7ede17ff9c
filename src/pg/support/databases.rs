//! Names of databases.

use pgrx::pg_sys;

use super::backend;
use super::{process, settings};

/// Whether the database of this session may have a worker; `false`: `target_profile.databases` leaves it out.
pub fn may_serve_mine() -> bool {
    let names = settings::databases();
    names.is_empty() || names.contains(&database_name(process::my_database()))
}

/// The name of a database, or its number if it is gone. Inside a transaction.
pub fn database_name(database: u32) -> String {
    // SAFETY: a look-up; the answer is palloc'd or null.
    let name = unsafe { pg_sys::get_database_name(pg_sys::Oid::from(database)) };
    if name.is_null() {
        return database.to_string();
    }
    // SAFETY: a C string, see above.
    unsafe { backend::string(name) }
}
