//! `target_profile_trigger`: a row change becomes an outbox entry. And the triggers that `watch` creates: a row trigger that does
//! the same, but collects the entries, and a statement trigger that writes them.
//!
//! The write comes first: a row that cannot be a valid update, or a trigger that was wired wrongly, costs a WARNING and a dead
//! letter, never the write, unless `on_invalid` says so.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use pgrx::heap_tuple::PgHeapTuple;
use pgrx::prelude::*;
use pgrx::{AllocatedByPostgres, PgTrigger};
use serde_json::Value;
use target_profile_core::burial::Unsendable;
use target_profile_core::error::Error as CoreError;
use target_profile_core::watch::{OnInvalid, Selection};

use super::row_update::Values;
use super::value::Unread;
use super::wiring;
use super::wiring::{Arguments, Compared, IdSource, Mapped, StoredColumn, Wiring};
use super::{row_update, value};
use crate::pg::enqueue::outbox::{Origin, Otherwise};
use crate::pg::enqueue::row_version::Newest;
use crate::pg::enqueue::{collector, row_version};
use crate::pg::support::allocator::with_reserve;
use crate::pg::support::backend;
use crate::pg::support::errors::{Fault, TriggerFault, or_raise};
use crate::pg::support::trigger_call::{Answer, answer};
use crate::pg::support::{subtransaction, unguarded};

/// The trigger function. A row that was inserted, or of which a mapped column changed, is enqueued.
#[pg_extern(sql = r#"
CREATE FUNCTION @extschema@.target_profile_trigger() RETURNS trigger LANGUAGE c AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
pub fn target_profile_trigger(call: pg_sys::FunctionCallInfo) -> Answer {
    // SAFETY: Postgres calls it.
    unsafe {
        answer("target_profile_trigger", call, |trigger| {
            on_event(trigger, Way::Insert);
            unchanged(trigger)
        })
    }
}

/// The internal trigger functions.
#[pg_schema]
pub mod target_profile {
    use pgrx::prelude::*;

    use super::{Answer, Way, answer, collector, on_event, or_raise, unchanged, with_reserve};

    /// The row trigger of a watch: as target_profile_trigger, with options before the columns, and collecting.
    #[pg_extern(sql = r#"
CREATE FUNCTION target_profile._watch_row() RETURNS trigger LANGUAGE c AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
    fn _watch_row(call: pg_sys::FunctionCallInfo) -> Answer {
        // SAFETY: Postgres calls it.
        unsafe {
            answer("target_profile._watch_row", call, |trigger| {
                on_event(trigger, Way::Collect);
                unchanged(trigger)
            })
        }
    }

    /// The statement trigger of a watch: what the row triggers have collected is written.
    #[pg_extern(sql = r#"
CREATE FUNCTION target_profile._watch_flush() RETURNS trigger LANGUAGE c AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
    fn _watch_flush(call: pg_sys::FunctionCallInfo) -> Answer {
        // SAFETY: Postgres calls it.
        unsafe {
            answer("target_profile._watch_flush", call, |trigger| {
                with_reserve(|| or_raise(collector::flush()));
                unchanged(trigger)
            })
        }
    }
}

/// How an entry gets into the outbox.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Each by itself, at once: a trigger that somebody has written.
    Insert,
    /// Together with others: a trigger of `watch`, with its WHEN.
    Collect,
}

fn on_event<'a>(trigger: &'a PgTrigger<'a>, way: Way) {
    let event = trigger.event();
    if event.fired_by_insert() || event.fired_by_update() {
        with_reserve(|| or_raise(Change::of(trigger, way).enqueue()));
    }
}

/// Nobody looks at what an AFTER trigger returns; a BEFORE trigger that returned nothing would stop the write.
fn unchanged<'a>(trigger: &'a PgTrigger<'a>) -> Option<PgHeapTuple<'a, AllocatedByPostgres>> {
    let event = trigger.event();
    if event.fired_before() || event.fired_instead() {
        trigger.new().or_else(|| trigger.old())
    } else {
        None
    }
}

/// One row of one table, before and after.
struct Change<'a> {
    trigger: &'a PgTrigger<'a>,
    data: &'a pg_sys::TriggerData,
    /// The row as it is sent.
    after: pg_sys::HeapTuple,
    way: Way,
}

impl<'a> Change<'a> {
    fn of(trigger: &'a PgTrigger<'a>, way: Way) -> Self {
        let data = trigger.trigger_data();
        let after = if data.tg_newtuple.is_null() {
            data.tg_trigtuple
        } else {
            data.tg_newtuple
        };
        Self {
            trigger,
            data,
            after,
            way,
        }
    }

    fn enqueue(mut self) -> Result<(), Fault> {
        let event = self.trigger.event();
        if !event.fired_after() || !event.fired_for_row() {
            return self.bury(Fault::Trigger(TriggerFault::NotAfterRow), &[]);
        }
        collector::register();
        // SAFETY: the trigger is being fired after a row was written, which is this one. The collector's callbacks are registered.
        match unsafe { row_version::newest(self.data, self.after) } {
            Newest::Given => {}
            Newest::Version(row) => self.after = row,
            Newest::Elsewhere => return Ok(()),
        }
        let wiring = match Wiring::of(self.trigger, self.way == Way::Collect) {
            Ok(wiring) => wiring,
            Err(fault) => return self.bury(fault, &[]),
        };
        let selection = if self.is_update() {
            wiring.options.send.select(
                // With a WHEN, as `watch` writes it.
                self.way == Way::Collect
                    && !self.trigger.trigger().tgqual.is_null()
                    && (wiring.is_exact || !wiring.options.by_image),
                || self.id_changed(&wiring.id),
                || wiring.mapped.iter().any(|mapped| self.changed(&mapped.column)),
            )
        } else {
            Selection::All
        };
        let values = self.values(&wiring, selection);
        if let Some(fault) = values.fault {
            return self.bury(fault, &values.read);
        }
        if values.read.is_empty() {
            return Ok(());
        }
        match self.update(&wiring, &values.read) {
            Ok(Some((origin, (key, attrs)))) => match self.way {
                Way::Insert => collector::enqueue(origin, key.id, attrs),
                Way::Collect => collector::collect(origin, key.id, attrs, Otherwise::Bury),
            },
            Ok(None) => Ok(()),
            Err(fault) => self.bury(fault, &values.read),
        }
    }

    fn values<'w>(&self, wiring: &'w Wiring, selection: Selection) -> Values<'w> {
        let row = self.after;
        let mut values = Values::default();
        values.read.reserve(wiring.mapped.len());
        for Mapped { name, column } in &wiring.mapped {
            let is_sent = match selection {
                Selection::All => true,
                Selection::Changed => self.changed(column),
                Selection::Nothing => false,
            };
            if is_sent {
                values.push(name.as_str(), self.json(row, column));
            }
        }
        values
    }

    /// The id of a row; `None`: it is NULL.
    fn id(&self, id: &IdSource, row: pg_sys::HeapTuple) -> Result<Option<String>, Fault> {
        match id {
            IdSource::Column(_, column) => Ok(
                match self
                    .json(row, column)
                    .map_err(|unread| unread.fault(|| "the id".to_owned()))?
                {
                    Value::Null => None,
                    Value::String(id) => Some(id),
                    id => Some(id.to_string()),
                },
            ),
            // SAFETY: a row of the relation, which is open while its trigger runs.
            IdSource::Expression(expression) => unsafe { expression.of_row(self.data.tg_relation, row) },
        }
    }

    /// An id that cannot be computed is taken for another one: what is wrong with it is found when it is needed.
    fn id_changed(&self, id: &IdSource) -> bool {
        match id {
            IdSource::Column(_, column) => self.changed(column),
            IdSource::Expression(_) => match (self.id(id, self.row_before()), self.id(id, self.after)) {
                (Ok(before), Ok(after)) => before != after,
                _ => true,
            },
        }
    }

    /// The update that the row makes; `None`: there is nothing to send, all mapped columns are NULL.
    fn update<'w>(
        &self,
        wiring: &'w Wiring,
        values: &[(&str, Value)],
    ) -> Result<Option<(&'w Rc<Origin>, row_update::Update)>, Fault> {
        let origin = wiring.origin.as_ref().map_err(CoreError::clone)?;
        let id = self.id(&wiring.id, self.after)?.ok_or_else(|| {
            Fault::Trigger(match &wiring.id {
                IdSource::Column(name, _) => TriggerFault::NullId(name.clone()),
                IdSource::Expression(expression) => TriggerFault::NullIdExpression(expression.as_str().to_owned()),
            })
        })?;
        Ok(row_update::update(origin, &id, values)?.map(|update| (origin, update)))
    }

    /// Buries the row and warns the session: once a statement for each trigger and kind of fault. Or
    /// the write fails, if that is what the trigger was created for.
    fn bury(&self, fault: Fault, values: &[(&str, Value)]) -> Result<(), Fault> {
        let arguments = Arguments::of(self.trigger, self.way == Way::Collect);
        if arguments
            .options()
            .is_some_and(|options| options.on_invalid == OnInvalid::Error)
        {
            return Err(fault);
        }
        let id_column = arguments.id_column().filter(|_| self.trigger.event().fired_for_row());
        let profile_id = id_column
            .and_then(|name| wiring::id(self.trigger, name).ok())
            .and_then(|id| self.id(&id, self.after).ok().flatten());
        let update = Unsendable {
            client_code: arguments.client_code(),
            id_kind: arguments.id_kind(),
            profile_id: profile_id.as_deref(),
            attrs: values,
            priority: arguments.options().map_or(0, |options| options.priority),
            source: &wiring::source(self.trigger),
        };
        let is_kept = collector::bury(update, &fault.reason(), self.way == Way::Insert)?;
        if is_kept && first_in_statement(self.trigger.trigger().tgoid, &fault.to_string()) {
            fault.warn("The row was written; its update went to target_profile.dead_letter.");
        }
        Ok(())
    }

    fn is_update(&self) -> bool {
        !self.data.tg_newtuple.is_null()
    }

    fn row_before(&self) -> pg_sys::HeapTuple {
        self.data.tg_trigtuple
    }

    /// Whether what is sent of a column has changed. Byte for byte, not by the type's equality: `1.0` and `1.00` are equal numbers and
    /// different attributes. Where the same may be stored in different ways, by what would be sent; what cannot be read is found when
    /// it is sent.
    fn changed(&self, column: &StoredColumn) -> bool {
        if column.generated.is_none() {
            if !self.image_changed(column) {
                return false;
            }
            if column.compared == Compared::Image {
                return true;
            }
        }
        let differs = || match (self.json(self.row_before(), column), self.json(self.after, column)) {
            (Ok(before), Ok(after)) => before != after,
            _ => true,
        };
        if column.compared == Compared::Guarded {
            subtransaction::attempt(std::panic::AssertUnwindSafe(differs)).unwrap_or(true)
        } else {
            differs()
        }
    }

    fn image_changed(&self, column: &StoredColumn) -> bool {
        match (self.get(self.row_before(), column), self.get(self.after, column)) {
            (None, None) => false,
            (Some(before), Some(after)) => {
                // SAFETY: two values of the column's type.
                let are_equal = || unsafe {
                    unguarded::guarded(|| unguarded::datum_image_eq(before, after, column.by_value, column.length))
                };
                // SAFETY: the same, of variable length.
                let may_fail =
                    column.length == -1 && unsafe { !value::is_stored_here(before) || !value::is_stored_here(after) };
                !if may_fail {
                    // What cannot be read is found when it is sent.
                    subtransaction::attempt(std::panic::AssertUnwindSafe(are_equal)).unwrap_or(false)
                } else {
                    are_equal()
                }
            }
            _ => true,
        }
    }

    /// The value of a column, as it is sent.
    fn json(&self, row: pg_sys::HeapTuple, column: &StoredColumn) -> Result<Value, Unread> {
        if let Some(expression) = &column.generated {
            // SAFETY: a row of the relation, which is open while its trigger runs.
            return unsafe { expression.json_of_row(self.data.tg_relation, row) };
        }
        self.get(row, column).map_or(Ok(Value::Null), |datum| {
            // SAFETY: a value of the row, of the column's type.
            unsafe { value::to_json(datum, column.oid) }
        })
    }

    fn get(&self, row: pg_sys::HeapTuple, column: &StoredColumn) -> Option<pg_sys::Datum> {
        let mut is_null = true;
        // SAFETY: a row of the relation, and a column of it: so it cannot fail.
        let datum =
            unsafe { unguarded::SPI_getbinval(row, (*self.data.tg_relation).rd_att, column.number, &mut is_null) };
        (!is_null).then_some(datum)
    }
}

thread_local! {
    static WARNED: RefCell<(i64, HashSet<(pg_sys::Oid, String)>)> = RefCell::new((0, HashSet::new()));
}

/// Whether the session has not been warned of this in the current statement.
fn first_in_statement(trigger: pg_sys::Oid, reason: &str) -> bool {
    let statement = backend::statement_start();
    WARNED.with_borrow_mut(|(current, warned)| {
        if *current != statement {
            *current = statement;
            warned.clear();
        }
        warned.insert((trigger, reason.to_owned()))
    })
}
