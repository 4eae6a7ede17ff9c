//! The databases of the cluster, for a process that is connected to none of them.

use std::ffi::CStr;

use pgrx::pg_sys;

/// A row of pg_database, as far as the launcher cares.
pub struct Listed {
    /// What a worker is started by: names change.
    pub oid: u32,
    /// What people call it.
    pub name: String,
}

/// The databases that may be connected to and are meant for use: no templates, none that allows no connections, none whose
/// `DROP DATABASE` was interrupted.
pub fn databases() -> Vec<Listed> {
    let mut listed = Vec::new();
    // SAFETY: a transaction of its own, as the autovacuum launcher reads the same catalog; an error ends the process. No transaction id
    // is assigned, nothing is written.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        let relation = pg_sys::table_open(pg_sys::DatabaseRelationId, pg_sys::AccessShareLock as i32);
        let scan = pg_sys::systable_beginscan(
            relation,
            pg_sys::InvalidOid,
            false,
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
        );
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let row = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_database>();
            // Postgres marks a database whose drop was interrupted by this limit.
            let broken = (*row).datconnlimit == -2;
            if (*row).datallowconn && !(*row).datistemplate && !broken {
                listed.push(Listed {
                    oid: (*row).oid.to_u32(),
                    name: CStr::from_ptr((*row).datname.data.as_ptr())
                        .to_string_lossy()
                        .into_owned(),
                });
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
        pg_sys::CommitTransactionCommand();
    }
    listed
}
