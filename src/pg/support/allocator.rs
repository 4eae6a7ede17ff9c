//! An allocation that fails ends its process as a FATAL error does, and not the server.
//!
//! Rust cannot go on without the memory that it asked for. It would abort, and the postmaster would then restart the whole server. Here the
//! session or the worker ends with SQLSTATE 53200 instead, as if an administrator had terminated it. It is the last resort: Postgres' own
//! allocations raise errors, and the worker looks whether there is room before it takes on something large.
//!
//! A reserve makes sure that there is memory for the error itself. pgrx copies an error of Postgres into the memory context of whoever called.
//! If this fails, it has another error of the same kind in the same place, and after a few of them Postgres gives up with a PANIC.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use pgrx::pg_sys;

unsafe extern "C-unwind" {
    // utils/elog.h. Without pgrx's guard: FATAL returns to nobody.
    fn errstart(level: c_int, domain: *const c_char) -> bool;
    fn errcode(code: c_int) -> c_int;
    fn errmsg(format: *const c_char, ...) -> c_int;
    fn errdetail(format: *const c_char, ...) -> c_int;
    fn errhint(format: *const c_char, ...) -> c_int;
    fn geterrcode() -> c_int;
    fn errfinish(file: *const c_char, line: c_int, function: *const c_char);
}

const OUT_OF_MEMORY: c_int = pg_sys::errcodes::PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY as c_int;

/// The system's allocator, which either has memory or ends the process.
struct OrEnd;

#[global_allocator]
static ALLOCATOR: OrEnd = OrEnd;

/// What is left when there is no memory. Nobody writes to it, so it takes address space only.
static RESERVE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// A memory context that has grown asks for blocks of a mebibyte at least.
const RESERVE_BYTES: usize = 5 << 18;

/// An allocation of this process has failed.
static FAILED: AtomicBool = AtomicBool::new(false);

// SAFETY: the system's allocator, but for what it does not have.
unsafe impl GlobalAlloc for OrEnd {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, here and below.
        or_end(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: see above.
        or_end(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: see above.
        or_end(unsafe { System.realloc(old, layout, size) }, size)
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: see above.
        unsafe { System.dealloc(old, layout) }
    }
}

/// Runs what may need much memory. If Postgres has none, there is some for the error.
pub fn with_reserve<T>(run: impl FnOnce() -> T) -> T {
    struct Pop(*mut pg_sys::ErrorContextCallback);
    impl Drop for Pop {
        fn drop(&mut self) {
            // SAFETY: the thread of Postgres, which has returned to where it was.
            unsafe { pg_sys::error_context_stack = self.0 }
        }
    }
    has_reserve();
    // SAFETY: the thread of Postgres. The entry lives until it is popped, whether this returns or panics.
    unsafe {
        let mut entry = pg_sys::ErrorContextCallback {
            previous: pg_sys::error_context_stack,
            callback: Some(on_error),
            arg: ptr::null_mut(),
        };
        let _pop = Pop(entry.previous);
        pg_sys::error_context_stack = &raw mut entry;
        run()
    }
}

/// Whether there is a reserve for the next error, after it was made if need be.
pub fn has_reserve() -> bool {
    if RESERVE.load(Ordering::Relaxed).is_null() {
        // SAFETY: a plain allocation, which no one else knows of.
        RESERVE.store(unsafe { libc::malloc(RESERVE_BYTES) }, Ordering::Relaxed);
    }
    !RESERVE.load(Ordering::Relaxed).is_null()
}

/// Called for each error and each message, before anything is copied.
unsafe extern "C-unwind" fn on_error(_arg: *mut c_void) {
    // SAFETY: an error is being made.
    if unsafe { geterrcode() } == OUT_OF_MEMORY {
        give_reserve();
    }
}

fn give_reserve() {
    // SAFETY: nobody else has the pointer that is swapped out, and none is fine.
    unsafe { libc::free(RESERVE.swap(ptr::null_mut(), Ordering::Relaxed)) }
}

/// Whether this process ends because an allocation has failed.
pub fn has_failed() -> bool {
    FAILED.load(Ordering::Relaxed)
}

#[inline]
fn or_end(memory: *mut u8, bytes: usize) -> *mut u8 {
    if memory.is_null() {
        end(bytes);
    }
    memory
}

/// Returns only if this process has begun to end already. The allocation then fails as ever.
#[cold]
#[inline(never)]
fn end(bytes: usize) {
    let failed_before = FAILED.swap(true, Ordering::Relaxed);
    // SAFETY: plain system calls.
    if unsafe { libc::gettid() != libc::getpid() } {
        // The functions of Postgres are for its own thread, which ends at this signal. Nobody waits for this one.
        loop {
            // SAFETY: plain system calls. The signal is for this process, and blocked in this thread.
            unsafe {
                libc::kill(libc::getpid(), libc::SIGTERM);
                libc::sleep(1);
            }
        }
    }
    if failed_before {
        return;
    }
    give_reserve();
    // SAFETY: the thread of Postgres. An error of this level runs the callbacks for the end of the process and does not return, so nothing
    // of what is on the stack is used again.
    unsafe {
        if errstart(pg_sys::FATAL as c_int, ptr::null()) {
            errcode(OUT_OF_MEMORY);
            errmsg(c"out of memory".as_ptr());
            errdetail(c"target_profile could not allocate %zu bytes.".as_ptr(), bytes);
            errhint(c"Give the server more memory, or send smaller updates.".as_ptr());
            errfinish(c"allocator.rs".as_ptr(), line!() as c_int, c"end".as_ptr());
        }
    }
}
