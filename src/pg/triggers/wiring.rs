//! What a trigger was wired to do: its arguments and the columns that they name, read once and kept while the catalog stays as it
//! is. So a trigger follows ALTER TABLE, and a row of a bulk statement costs no look-ups.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::PgTrigger;
use pgrx::prelude::*;
use target_profile_core::client_code::ClientCode;
use target_profile_core::error::Error as CoreError;
use target_profile_core::id::IdKind;
use target_profile_core::watch::{Options, mapping};

use super::row_id;
use super::row_id::IdExpression;
use crate::pg::enqueue::outbox::Origin;
use crate::pg::support::backend;
use crate::pg::support::catalog;
use crate::pg::support::errors::{Fault, TriggerFault};
use crate::pg::support::generated;

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::new(Known::default());
}

/// By the trigger; a partition has triggers of its own.
#[derive(Default)]
struct Known {
    generation: u64,
    wirings: HashMap<pg_sys::Oid, Rc<Wiring>>,
}

/// A trigger's arguments, as CREATE TRIGGER gave them.
pub struct Arguments {
    /// Client code, id kind, id column, columns.
    names: Vec<String>,
    /// `None`: they cannot be read.
    options: Option<Options>,
}

/// What they mean.
pub struct Wiring {
    /// Whose entries the rows become; not, if what the arguments say cannot be.
    pub origin: Result<Rc<Origin>, CoreError>,
    /// Where the id is.
    pub id: IdSource,
    /// Where the attributes are.
    pub mapped: Vec<Mapped>,
    /// What is sent, and what becomes of a row that cannot be.
    pub options: Options,
    /// Of all its columns, what is stored otherwise is also sent otherwise.
    pub is_exact: bool,
}

/// Where the id of a row is.
pub enum IdSource {
    /// In a column, of this name.
    Column(String, StoredColumn),
    /// What an expression gives.
    Expression(IdExpression),
}

/// A column, with the attribute that it becomes.
pub struct Mapped {
    /// The attribute's name.
    pub name: String,
    /// Where it is.
    pub column: StoredColumn,
}

/// Where a value is in a row, and of what type it is.
pub struct StoredColumn {
    /// Its attribute number.
    pub number: i32,
    /// Its type.
    pub oid: pg_sys::Oid,
    /// As in pg_type.
    pub by_value: bool,
    /// As in pg_type.
    pub length: i32,
    /// How two values that are stored otherwise are compared.
    pub compared: Compared,
    /// What it is made of, if it is not stored.
    pub generated: Option<IdExpression>,
}

/// Whether two values that are stored otherwise are also sent otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// They are.
    Image,
    /// Only what would be sent tells, which Postgres' own code makes of every value.
    Sent,
    /// The same, but what makes it can fail.
    Guarded,
}

/// The types below are Postgres' own.
const OWN_TYPES: u32 = 10_000;

impl Compared {
    fn of(oid: pg_sys::Oid) -> Self {
        let base = backend::base_type(oid);
        // SAFETY: a look-up in the system cache.
        let kind = unsafe { pg_sys::get_typtype(base) };
        match base {
            pg_sys::BOOLOID
            | pg_sys::BYTEAOID
            | pg_sys::CHAROID
            | pg_sys::INT8OID
            | pg_sys::INT2OID
            | pg_sys::INT4OID
            | pg_sys::OIDOID
            | pg_sys::TEXTOID
            | pg_sys::VARCHAROID
            | pg_sys::BPCHAROID
            | pg_sys::NUMERICOID
            | pg_sys::DATEOID
            | pg_sys::TIMEOID
            | pg_sys::TIMETZOID
            | pg_sys::TIMESTAMPOID
            | pg_sys::TIMESTAMPTZOID
            | pg_sys::UUIDOID => Self::Image,
            _ if kind.cast_unsigned() == pg_sys::TYPTYPE_ENUM => Self::Image,
            pg_sys::XMLOID | pg_sys::XMLARRAYOID | pg_sys::RECORDOID | pg_sys::RECORDARRAYOID => Self::Guarded,
            // A float that is not a number is one text and many images.
            _ if base.to_u32() < OWN_TYPES => Self::Sent,
            _ => Self::Guarded,
        }
    }
}

impl Arguments {
    /// Those of a trigger, with options before the columns or without.
    pub fn of(trigger: &PgTrigger<'_>, with_options: bool) -> Self {
        let mut names = trigger.extra_args().unwrap_or_default();
        let options = if !with_options {
            Some(Options::DEFAULT)
        } else if names.len() < 6 {
            None
        } else {
            match names.drain(3..6).as_slice() {
                [send, on_invalid, priority] => Options::parse(send, on_invalid, priority),
                _ => None,
            }
        };
        Self { names, options }
    }

    /// As it was given.
    pub fn client_code(&self) -> Option<&str> {
        self.names.first().map(String::as_str)
    }

    /// As it was given.
    pub fn id_kind(&self) -> Option<&str> {
        self.names.get(1).map(String::as_str)
    }

    /// The id column's name, or the id as an expression.
    pub fn id_column(&self) -> Option<&str> {
        self.names.get(2).map(String::as_str)
    }

    /// `None`: they cannot be read.
    pub fn options(&self) -> Option<Options> {
        self.options
    }
}

impl Wiring {
    /// That of a trigger that has been fired.
    ///
    /// # Errors
    /// It was wired wrongly, or its columns are no longer there.
    pub fn of(trigger: &PgTrigger<'_>, with_options: bool) -> Result<Rc<Self>, Fault> {
        let oid = trigger.trigger().tgoid;
        let generation = catalog::generation();
        let known = KNOWN.with_borrow_mut(|known| {
            if known.generation != generation {
                known.generation = generation;
                known.wirings.clear();
            }
            known.wirings.get(&oid).cloned()
        });
        if let Some(wiring) = known {
            return Ok(wiring);
        }
        let wiring = Rc::new(Self::read(trigger, &Arguments::of(trigger, with_options))?);
        KNOWN.with_borrow_mut(|known| {
            // Not if the look-ups have brought news.
            if known.generation == catalog::generation() {
                known.wirings.insert(oid, Rc::clone(&wiring));
            }
        });
        Ok(wiring)
    }

    fn read(trigger: &PgTrigger<'_>, arguments: &Arguments) -> Result<Self, Fault> {
        let options = arguments.options.ok_or(Fault::Trigger(TriggerFault::Options))?;
        let [client_code, id_kind, id_column, columns @ ..] = arguments.names.as_slice() else {
            return Err(Fault::Trigger(TriggerFault::Arguments));
        };
        if columns.is_empty() {
            return Err(Fault::Trigger(TriggerFault::Arguments));
        }
        let find = |name: &str| column(trigger, name);
        let id = id(trigger, id_column)?;
        let mapped: Vec<Mapped> = columns
            .iter()
            .map(|argument| {
                let (attribute, name) = mapping(argument, |name| find(name).is_ok());
                Ok(Mapped {
                    name: attribute.to_owned(),
                    column: find(name)?,
                })
            })
            .collect::<Result<_, Fault>>()?;
        let origin = ClientCode::parse(client_code).and_then(|client| {
            Ok(Rc::new(Origin {
                client,
                kind: IdKind::parse(id_kind)?,
                priority: options.priority,
                source: source(trigger),
            }))
        });
        let is_exact = |column: &StoredColumn| column.generated.is_none() && column.compared == Compared::Image;
        Ok(Self {
            is_exact: matches!(&id, IdSource::Column(_, column) if is_exact(column))
                && mapped.iter().all(|mapped| is_exact(&mapped.column)),
            origin,
            id,
            mapped,
            options,
        })
    }
}

/// The table of a trigger, as `source` shows it.
pub fn source(trigger: &PgTrigger<'_>) -> String {
    let schema = trigger.table_schema().unwrap_or_default();
    let table = trigger.table_name().unwrap_or_default();
    format!("{schema}.{table}")
}

/// Where the id is that an argument says.
///
/// # Errors
/// It is neither a column nor an expression.
pub fn id(trigger: &PgTrigger<'_>, argument: &str) -> Result<IdSource, Fault> {
    match column(trigger, argument) {
        Ok(column) => Ok(IdSource::Column(argument.to_owned(), column)),
        Err(missing) => argument
            .strip_prefix(row_id::MARK)
            .map(|expression| IdSource::Expression(IdExpression::new(expression)))
            .ok_or(missing),
    }
}

/// A column of the table of a trigger.
///
/// # Errors
/// It has none of that name.
pub fn column(trigger: &PgTrigger<'_>, name: &str) -> Result<StoredColumn, Fault> {
    // SAFETY: the relation is open while its trigger runs.
    let descriptor = unsafe { pgrx::PgTupleDesc::from_pg_unchecked((*trigger.trigger_data().tg_relation).rd_att) };
    descriptor
        .iter()
        .find(|attribute| !attribute.attisdropped && attribute.name() == name)
        .map(|attribute| StoredColumn {
            number: i32::from(attribute.attnum),
            oid: attribute.atttypid,
            by_value: attribute.attbyval,
            length: i32::from(attribute.attlen),
            compared: Compared::of(attribute.atttypid),
            // SAFETY: the relation is open while its trigger runs.
            generated: unsafe { generated::of(trigger.trigger_data().tg_relation, attribute.attnum) }
                .map(|generated| IdExpression::new(&generated.expression)),
        })
        .ok_or_else(|| {
            Fault::Trigger(TriggerFault::NoColumn {
                column: name.to_owned(),
                table: source(trigger),
            })
        })
}
