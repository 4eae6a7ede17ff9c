//! A cache of look-ups by name, which is valid while the catalog does not change.

use std::cell::Cell;

use pgrx::prelude::*;

thread_local! {
    static GENERATION: Cell<u64> = const { Cell::new(1) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// A number that changes whenever a relation, a trigger or a schema may have changed, as far as this backend has been told: what was
/// looked up under a number is good under that number. The lock on a table that is being written brings the news of it first.
pub fn generation() -> u64 {
    if !REGISTERED.replace(true) {
        // SAFETY: plain functions of this library, which is never unloaded; once per backend, because they are never taken away.
        unsafe {
            pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), pg_sys::Datum::from(0));
            pg_sys::CacheRegisterSyscacheCallback(
                pg_sys::SysCacheIdentifier::NAMESPACEOID as i32,
                Some(schema_changed),
                pg_sys::Datum::from(0),
            );
        }
    }
    GENERATION.get()
}

#[pg_guard]
unsafe extern "C-unwind" fn relation_changed(_arg: pg_sys::Datum, _relation: pg_sys::Oid) {
    GENERATION.set(GENERATION.get() + 1);
}

#[pg_guard]
unsafe extern "C-unwind" fn schema_changed(_arg: pg_sys::Datum, _cache: i32, _hash: u32) {
    GENERATION.set(GENERATION.get() + 1);
}

/// A value with the generation that it was looked up under.
pub struct Known<T> {
    value: Cell<(u64, Option<T>)>,
}

impl<T: Copy> Known<T> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self {
            value: Cell::new((0, None)),
        }
    }

    /// The value, looked up anew when the catalog has changed.
    pub fn get(&self, look_up: impl FnOnce() -> Option<T>) -> Option<T> {
        let now = generation();
        if let (then, Some(value)) = self.value.get()
            && then == now
        {
            return Some(value);
        }
        let value = look_up();
        // The look-up itself may have brought news: then it is looked up again the next time.
        self.value.set((now, value));
        value
    }
}
