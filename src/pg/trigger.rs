//! `target_profile_trigger`: a row change becomes an outbox entry. And the triggers that `watch` creates: a row trigger that does
//! the same, but collects the entries, and a statement trigger that writes them.
//!
//! The write comes first: a row that cannot be a valid update, or a trigger that was wired wrongly, costs a WARNING and a dead
//! letter, never the write, unless `on_invalid` says so. Columns are looked up by name for each row, so the trigger follows
//! ALTER TABLE.

use std::cell::RefCell;
use std::collections::HashSet;

use pgrx::heap_tuple::PgHeapTuple;
use pgrx::prelude::*;
use pgrx::{AllocatedByPostgres, PgTrigger, trigger_support};
use serde_json::Value;
use target_profile_core::attrs::FlatAttrs;
use target_profile_core::client_code::ClientCode;
use target_profile_core::error::Error as CoreError;
use target_profile_core::id::{IdKind, ProfileKey};
use target_profile_core::request;
use target_profile_core::watch::{self, OnInvalid, Options, Send};

use super::errors::{Fault, TriggerFault, or_raise};
use super::outbox::{self, Unsendable};
use super::{clients, collector, value};

/// A dead letter keeps attributes up to this size, bytes of JSON.
const BURIED_ATTRS_BYTES: usize = 1024 * 1024;

unsafe extern "C-unwind" {
    /// utils/datum.h: whether two values of one type are the same bytes, however they are stored.
    fn datum_image_eq(one: pg_sys::Datum, other: pg_sys::Datum, by_value: bool, length: i32) -> bool;
}

/// The trigger function. A row that was inserted, or of which a mapped column changed, is enqueued.
#[pg_trigger]
pub fn target_profile_trigger<'a>(
    trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, core::convert::Infallible> {
    on_event(trigger, Way::Insert);
    Ok(unchanged(trigger))
}

/// The internal trigger functions.
#[pg_schema]
pub mod target_profile {
    use pgrx::heap_tuple::PgHeapTuple;
    use pgrx::prelude::*;
    use pgrx::{AllocatedByPostgres, PgTrigger};

    use super::{Way, collector, on_event, or_raise, unchanged};

    /// The row trigger of a watch: as target_profile_trigger, with options before the columns, and collecting.
    #[pg_trigger]
    fn _watch_row<'a>(
        trigger: &'a PgTrigger<'a>,
    ) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, core::convert::Infallible> {
        on_event(trigger, Way::Collect);
        Ok(unchanged(trigger))
    }

    /// The statement trigger of a watch: what the row triggers have collected is written.
    #[pg_trigger]
    fn _watch_flush<'a>(
        trigger: &'a PgTrigger<'a>,
    ) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, core::convert::Infallible> {
        or_raise(collector::flush());
        Ok(unchanged(trigger))
    }
}

/// How an entry gets into the outbox.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Each by itself, at once.
    Insert,
    /// Together with others.
    Collect,
}

fn on_event<'a>(trigger: &'a PgTrigger<'a>, way: Way) {
    let event = trigger.event();
    if event.fired_by_insert() || event.fired_by_update() {
        let change = Change::of(trigger, way);
        if !event.fired_after() || !event.fired_for_row() {
            or_raise(change.bury(Fault::Trigger(TriggerFault::NotAfterRow), Value::Null));
        } else {
            or_raise(change.enqueue());
        }
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
    data: &'a pg_sys::TriggerData,
    trigger: &'a pg_sys::Trigger,
    way: Way,
    /// Client code, id kind, id column, columns.
    args: Vec<String>,
    /// `None`: they cannot be read.
    options: Option<Options>,
    /// The table, as `source` shows it.
    source: String,
}

/// A column with the attribute that it becomes.
struct Mapped<'a> {
    attribute: &'a str,
    column: Column,
}

#[derive(Clone, Copy)]
struct Column {
    number: i32,
    oid: pg_sys::Oid,
    by_value: bool,
    length: i32,
}

impl<'a> Change<'a> {
    fn of(trigger: &'a PgTrigger<'a>, way: Way) -> Self {
        let mut args = trigger.extra_args().unwrap_or_default();
        let options = match way {
            Way::Insert => Some(Options::DEFAULT),
            Way::Collect if args.len() < 6 => None,
            Way::Collect => match args.drain(3..6).as_slice() {
                [send, on_invalid, priority] => Options::parse(send, on_invalid, priority),
                _ => None,
            },
        };
        let schema = trigger.table_schema().unwrap_or_default();
        let table = trigger.table_name().unwrap_or_default();
        Self {
            data: trigger.trigger_data(),
            trigger: trigger.trigger(),
            way,
            args,
            options,
            source: format!("{schema}.{table}"),
        }
    }

    fn enqueue(&self) -> Result<(), Fault> {
        let Some(options) = self.options else {
            return self.bury(Fault::Trigger(TriggerFault::Options), Value::Null);
        };
        let [_, _, id_column, columns @ ..] = self.args.as_slice() else {
            return self.bury(Fault::Trigger(TriggerFault::Arguments), Value::Null);
        };
        if columns.is_empty() {
            return self.bury(Fault::Trigger(TriggerFault::Arguments), Value::Null);
        }
        let (id_column, mut mapped) = match self.columns(id_column, columns) {
            Ok(found) => found,
            Err(fault) => return self.bury(fault, Value::Null),
        };
        // Another id is another profile, which gets them all.
        if self.is_update() && !self.changed(id_column) {
            match options.send {
                Send::All if mapped.iter().any(|mapped| self.changed(mapped.column)) => {}
                Send::All => return Ok(()),
                Send::Changed => mapped.retain(|mapped| self.changed(mapped.column)),
            }
            if mapped.is_empty() {
                return Ok(());
            }
        }
        let row = self.row_after();
        let mut values = Vec::with_capacity(mapped.len());
        for mapped in &mapped {
            let json = self.get(row, mapped.column).map_or(Ok(Value::Null), |datum| {
                // SAFETY: a value of the row, of the column's type.
                unsafe { value::to_json(datum, mapped.column.oid) }
            });
            match json {
                Ok(json) => values.push((mapped.attribute.to_owned(), json)),
                Err(fault) => return self.bury(fault, Value::Null),
            }
        }
        match self.update(&values) {
            Ok(Some((key, attrs))) => match self.way {
                Way::Insert => outbox::enqueue(&key, &attrs, options.priority, &self.source).map(|_| ()),
                Way::Collect => collector::collect(key, &attrs, options.priority, &self.source),
            },
            Ok(None) => Ok(()),
            Err(fault) => self.bury(fault, Value::Object(values.into_iter().collect())),
        }
    }

    /// The id of the row as it is now, `None` if it is NULL, cannot be read or has no column.
    fn id(&self) -> Option<String> {
        let column = self.args.get(2).and_then(|name| self.column(name).ok())?;
        let datum = self.get(self.row_after(), column)?;
        // SAFETY: a value of the row, of the column's type.
        unsafe { value::to_text(datum, column.oid) }.ok()
    }

    /// The update that the row makes; `None`: there is nothing to send, all mapped columns are NULL.
    fn update(&self, values: &[(String, Value)]) -> Result<Option<(ProfileKey, FlatAttrs)>, Fault> {
        let [client_code, id_kind, id_column, ..] = self.args.as_slice() else {
            return Err(Fault::Trigger(TriggerFault::Arguments));
        };
        let code = ClientCode::parse(client_code)?;
        let kind = IdKind::parse(id_kind)?;
        let id = self
            .id()
            .ok_or_else(|| Fault::Trigger(TriggerFault::NullId(id_column.clone())))?;
        let key = ProfileKey::new(code, kind, &id)?;
        let settings = clients::registered(key.client.as_str())?;
        let attrs = match FlatAttrs::from_pairs(values.iter().cloned(), &settings.flatten) {
            Ok(attrs) => attrs,
            Err(CoreError::NothingToSend) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        request::check_fits(&settings.endpoint, &key, &attrs, settings.method)?;
        Ok(Some((key, attrs)))
    }

    /// The row goes to the dead letters, and whoever wrote it is told: once a statement for each trigger and kind of fault. Or
    /// the write fails, if that is what the trigger was created for.
    fn bury(&self, fault: Fault, attrs: Value) -> Result<(), Fault> {
        if self
            .options
            .is_some_and(|options| options.on_invalid == OnInvalid::Error)
        {
            return Err(fault);
        }
        // What is far too large to be sent is not worth keeping twice, and jsonb would refuse its largest strings.
        let attrs = Some(attrs.to_string()).filter(|text| !attrs.is_null() && text.len() <= BURIED_ATTRS_BYTES);
        let for_row = trigger_support::trigger_fired_for_row(self.data.tg_event);
        let update = Unsendable {
            client_code: self.args.first().cloned(),
            id_kind: self.args.get(1).cloned(),
            profile_id: if for_row { self.id() } else { None },
            attrs,
        };
        outbox::bury(update, &self.source, &fault.reason())?;
        if first_in_statement(self.trigger.tgoid, &fault.to_string()) {
            fault.warn("The row was written; its update went to target_profile.dead_letter.");
        }
        Ok(())
    }

    fn columns<'c>(&self, id: &str, columns: &'c [String]) -> Result<(Column, Vec<Mapped<'c>>), Fault> {
        let id = self.column(id)?;
        let mapped = columns
            .iter()
            .map(|argument| {
                let (attribute, name) = watch::mapping(argument, |name| self.column(name).is_ok());
                Ok(Mapped {
                    attribute,
                    column: self.column(name)?,
                })
            })
            .collect::<Result<_, Fault>>()?;
        Ok((id, mapped))
    }

    fn column(&self, name: &str) -> Result<Column, Fault> {
        // SAFETY: the relation is open while its trigger runs.
        let descriptor = unsafe { pgrx::PgTupleDesc::from_pg_unchecked((*self.data.tg_relation).rd_att) };
        descriptor
            .iter()
            .find(|attribute| !attribute.attisdropped && attribute.name() == name)
            .map(|attribute| Column {
                number: i32::from(attribute.attnum),
                oid: attribute.atttypid,
                by_value: attribute.attbyval,
                length: i32::from(attribute.attlen),
            })
            .ok_or_else(|| Fault::Trigger(TriggerFault::NoColumn(name.to_owned())))
    }

    fn is_update(&self) -> bool {
        !self.data.tg_newtuple.is_null()
    }

    fn row_before(&self) -> pg_sys::HeapTuple {
        self.data.tg_trigtuple
    }

    fn row_after(&self) -> pg_sys::HeapTuple {
        if self.is_update() {
            self.data.tg_newtuple
        } else {
            self.data.tg_trigtuple
        }
    }

    /// Byte for byte, not by the type's equality: `1.0` and `1.00` are equal numbers and different attributes.
    fn changed(&self, column: Column) -> bool {
        match (self.get(self.row_before(), column), self.get(self.row_after(), column)) {
            (None, None) => false,
            (Some(before), Some(after)) => {
                // SAFETY: two values of the column's type; an error of Postgres (a value that cannot be read) is turned into
                // a panic at the boundary, as for the functions that pgrx binds.
                !unsafe {
                    pg_sys::ffi::pg_guard_ffi_boundary(|| datum_image_eq(before, after, column.by_value, column.length))
                }
            }
            _ => true,
        }
    }

    fn get(&self, row: pg_sys::HeapTuple, column: Column) -> Option<pg_sys::Datum> {
        let mut is_null = true;
        // SAFETY: a row of the relation, and a column of it.
        let datum = unsafe { pg_sys::SPI_getbinval(row, (*self.data.tg_relation).rd_att, column.number, &mut is_null) };
        (!is_null).then_some(datum)
    }
}

thread_local! {
    static WARNED: RefCell<(i64, HashSet<(pg_sys::Oid, String)>)> = RefCell::new((0, HashSet::new()));
}

/// Whether nobody has been told this in the current statement of the client.
fn first_in_statement(trigger: pg_sys::Oid, reason: &str) -> bool {
    // SAFETY: a plain reader.
    let statement = unsafe { pg_sys::GetCurrentStatementStartTimestamp() };
    WARNED.with_borrow_mut(|(current, warned)| {
        if *current != statement {
            *current = statement;
            warned.clear();
        }
        warned.insert((trigger, reason.to_owned()))
    })
}
