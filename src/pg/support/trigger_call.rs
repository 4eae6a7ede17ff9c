//! Functions that a trigger calls. pgrx has an attribute for them, but its error for a call by hand is about pgrx.

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::heap_tuple::PgHeapTuple;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::prelude::*;
use pgrx::{PgTrigger, WhoAllocated};

use super::errors::{Fault, or_raise};

/// What such a function returns: a row, or nothing, which is not NULL.
pub struct Answer(pg_sys::Datum);

/// Calls `on_event` with the trigger.
///
/// # Safety
/// What Postgres has called the function with.
pub unsafe fn answer<A: WhoAllocated>(
    function: &'static str,
    call: pg_sys::FunctionCallInfo,
    on_event: impl for<'a> FnOnce(&'a PgTrigger<'a>) -> Option<PgHeapTuple<'a, A>>,
) -> Answer {
    // SAFETY: the caller's promise.
    let trigger = or_raise(unsafe { PgTrigger::from_fcinfo(&*call) }.map_err(|_| Fault::NoTrigger(function)));
    let row = on_event(&trigger).and_then(PgHeapTuple::into_trigger_datum);
    Answer(row.unwrap_or(pg_sys::Datum::null()))
}

// SAFETY: the datum is what Postgres expects of a trigger function.
unsafe impl BoxRet for Answer {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> pgrx::datum::Datum<'fcx> {
        // SAFETY: see above.
        unsafe { fcinfo.return_raw_datum(self.0) }
    }
}

// SAFETY: the type that Postgres has for it.
unsafe impl SqlTranslatable for Answer {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Answer);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Err(ArgumentError::NotValidAsArgument("trigger"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> = Ok(ReturnsRef::One(SqlMappingRef::literal("trigger")));
}
