//! What `pg_stat_activity` shows that a process of this extension waits for.
//!
//! From PostgreSQL 17 on each wait has a name of its own there, before that all are called `Extension`.

/// The wait event of that name.
#[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
pub fn named(name: &'static std::ffi::CStr) -> u32 {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::ffi::CStr;

    use pgrx::PgTryBuilder;
    use pgrx::pg_sys;

    thread_local! {
        static KNOWN: RefCell<BTreeMap<&'static CStr, u32>> = const { RefCell::new(BTreeMap::new()) };
    }
    if let Some(known) = KNOWN.with_borrow(|known| known.get(name).copied()) {
        return known;
    }
    // SAFETY: a look-up in shared memory, by name: whoever asks first makes it. The cluster has room for 128 names of all extensions;
    // the error that says that it is full is raised with a lock of Postgres held, and is no reason not to wait.
    let event = PgTryBuilder::new(|| unsafe { pg_sys::WaitEventExtensionNew(name.as_ptr()) })
        .catch_others(|_| {
            unsafe { pg_sys::LWLockReleaseAll() };
            pg_sys::PG_WAIT_EXTENSION
        })
        .execute();
    KNOWN.with_borrow_mut(|known| known.insert(name, event));
    event
}

/// The wait event of all extensions.
#[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
pub fn named(_name: &'static std::ffi::CStr) -> u32 {
    pgrx::pg_sys::PG_WAIT_EXTENSION
}
