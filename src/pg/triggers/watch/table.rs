//! A table that is to be watched: its owner, and the comparison of its columns in a trigger's WHEN.

use pgrx::prelude::*;
use pgrx::spi::{SpiClient, quote_identifier, quote_qualified_identifier};
use target_profile_core::watch::TriggerNames;

use crate::pg::support::backend;
use crate::pg::support::errors::{Fault, WatchFault};
use crate::pg::support::generated;
use crate::pg::support::statement::{Statement, statement};

thread_local! {
    static TABLE: Statement = const {
        statement!("watch/table.sql", OIDOID)
    };
    static COLUMNS: Statement = const {
        statement!("watch/columns.sql", OIDOID)
    };
    static TRIGGERS: Statement = const {
        statement!("watch/triggers.sql", OIDOID, TEXTARRAYOID)
    };
}

/// A table that its owner, or a superuser, may have watched.
pub struct Table {
    /// Its OID.
    pub oid: pg_sys::Oid,
    /// The schema that it is in.
    pub schema: String,
    /// Its own name.
    pub name: String,
    /// Both, as they go into a statement.
    pub quoted: String,
}

impl Table {
    /// Locks it against other changes of its triggers. The first lock is the strongest one that is needed: a second, stronger one could
    /// deadlock with a session that reads the table and then writes to it.
    pub fn of(oid: pg_sys::Oid, lock: u32) -> Result<Self, Fault> {
        Self::look_up(oid)?;
        // Only the owner gets here: nobody else's table is locked.
        backend::lock(oid, lock);
        // Again: before it was locked it may have been renamed or given away.
        Self::look_up(oid)
    }

    fn look_up(oid: pg_sys::Oid) -> Result<Self, Fault> {
        Spi::connect(|spi| {
            TABLE.with(|statement| {
                let rows = statement.select(spi, &[oid.into()])?;
                let Some(row) = rows.into_iter().next() else {
                    return Err(Fault::Watch(WatchFault::NoTable(oid.to_u32())));
                };
                let missing = || Fault::Internal("a column of pg_class is null");
                let schema: String = row.get(1)?.ok_or_else(missing)?;
                let name: String = row.get(2)?.ok_or_else(missing)?;
                let kind: String = row.get(3)?.ok_or_else(missing)?;
                let owned: bool = row.get(4)?.ok_or_else(missing)?;
                let quoted = quote_qualified_identifier(&schema, &name);
                let persistence: String = row.get(5)?.ok_or_else(missing)?;
                let what = match kind.as_str() {
                    "r" | "p" => None,
                    "v" => Some("a view"),
                    "m" => Some("a materialized view"),
                    "f" => Some("a foreign table"),
                    _ => Some("none"),
                };
                if let Some(what) = what {
                    return Err(Fault::Watch(WatchFault::NotTable { name: quoted, what }));
                }
                if schema == "target_profile" {
                    return Err(Fault::Watch(WatchFault::OwnTable(quoted)));
                }
                if !owned {
                    return Err(Fault::Watch(WatchFault::NotOwner(quoted)));
                }
                if persistence == "t" {
                    return Err(Fault::Watch(WatchFault::Temporary(quoted)));
                }
                Ok(Self {
                    oid,
                    schema,
                    name,
                    quoted,
                })
            })
        })
    }

    /// Those that have not been dropped.
    pub fn columns(&self) -> Result<Vec<Column>, Fault> {
        let mut columns = Spi::connect(|spi| {
            COLUMNS.with(|statement| {
                let missing = || Fault::Internal("a column of pg_attribute is null");
                let mut columns = Vec::new();
                for row in statement.select(spi, &[self.oid.into()])? {
                    let type_oid: pg_sys::Oid = row.get(2)?.ok_or_else(missing)?;
                    // A domain is compared as its base type.
                    let base = backend::base_type(type_oid);
                    columns.push(Column {
                        name: row.get(1)?.ok_or_else(missing)?,
                        type_oid: base,
                        // Not a domain of one, which the operators of enums do not take.
                        is_enum: row.get::<String>(3)?.ok_or_else(missing)? == "e",
                        is_deterministic: row.get(4)?.ok_or_else(missing)?,
                        has_fixed_length: row.get(5)?.ok_or_else(missing)?,
                        number: row.get(6)?.ok_or_else(missing)?,
                        made_of: None,
                    });
                }
                Ok::<_, Fault>(columns)
            })
        })?;
        for column in &mut columns {
            // SAFETY: the table is locked.
            column.made_of = unsafe { generated::made_of(self.oid, column.number) };
        }
        Ok(columns)
    }

    /// Those of these triggers that it has.
    pub fn triggers(&self, names: &TriggerNames) -> Result<Vec<String>, Fault> {
        let names = vec![names.insert.as_str(), names.update.as_str(), names.flush.as_str()];
        Spi::connect(|spi| {
            TRIGGERS.with(|statement| {
                let mut found = Vec::new();
                for row in statement.select(spi, &[self.oid.into(), names.into()])? {
                    let missing = || Fault::Internal("a column of pg_trigger is null");
                    let name: String = row.get(1)?.ok_or_else(missing)?;
                    if row.get(2)?.ok_or_else(missing)? {
                        return Err(Fault::Watch(WatchFault::Partition(self.quoted.clone())));
                    }
                    found.push(name);
                }
                Ok(found)
            })
        })
    }

    /// Drops those that are there; the answer is whether there were any.
    pub fn drop_triggers(&self, names: &TriggerNames) -> Result<bool, Fault> {
        let found = self.triggers(names)?;
        Spi::connect_mut(|spi| {
            found.iter().try_for_each(|name| {
                run(
                    spi,
                    &format!("DROP TRIGGER {} ON {}", quote_identifier(name), self.quoted),
                )
            })
        })?;
        Ok(!found.is_empty())
    }
}

/// A column of a table that is to be watched.
pub struct Column {
    /// Its name.
    pub name: String,
    /// Of a virtual column, the columns that its value is made of.
    pub made_of: Option<Vec<String>>,
    number: i16,
    /// Of a domain, the type that it is of.
    type_oid: pg_sys::Oid,
    is_enum: bool,
    is_deterministic: bool,
    /// Of a numeric, that all values have the same number of decimals; of a char, that all are padded to the same length.
    has_fixed_length: bool,
}

impl Column {
    /// Whether it is stored otherwise than before, for a trigger's WHEN: by functions of pg_catalog that cannot fail and know every type.
    /// Where equal values are the same bytes, by the type's own equality, which is faster.
    pub fn changed(&self) -> String {
        let name = quote_identifier(&self.name);
        if self.equal_is_same() {
            // IS DISTINCT FROM takes its operator from the search_path.
            format!(
                "((OLD.{name} OPERATOR(pg_catalog.=) NEW.{name}) IS NOT TRUE \
                 AND NOT (OLD.{name} IS NULL AND NEW.{name} IS NULL))"
            )
        } else {
            format!("pg_catalog.record_image_ne(ROW(OLD.{name}), ROW(NEW.{name}))")
        }
    }

    /// Whether what is equal is also the same bytes. Not so for `1.0` and `1.00`, for `0` and `-0`, for what ignores case, and for whatever
    /// holds such values; json, xml and others cannot be compared at all.
    fn equal_is_same(&self) -> bool {
        self.is_enum
            || (self.is_deterministic
                && match self.type_oid {
                    pg_sys::NUMERICOID | pg_sys::BPCHAROID => self.has_fixed_length,
                    pg_sys::BOOLOID
                    | pg_sys::BYTEAOID
                    | pg_sys::CHAROID
                    | pg_sys::NAMEOID
                    | pg_sys::INT8OID
                    | pg_sys::INT2OID
                    | pg_sys::INT4OID
                    | pg_sys::TEXTOID
                    | pg_sys::OIDOID
                    | pg_sys::VARCHAROID
                    | pg_sys::DATEOID
                    | pg_sys::TIMEOID
                    | pg_sys::TIMESTAMPOID
                    | pg_sys::TIMESTAMPTZOID
                    | pg_sys::TIMETZOID
                    | pg_sys::UUIDOID
                    | pg_sys::INETOID
                    | pg_sys::CIDROID
                    | pg_sys::MACADDROID
                    | pg_sys::MACADDR8OID
                    | pg_sys::BITOID
                    | pg_sys::VARBITOID
                    | pg_sys::MONEYOID
                    | pg_sys::PG_LSNOID => true,
                    _ => false,
                })
    }
}

/// Runs a statement that creates or drops something.
pub fn run(spi: &mut SpiClient<'_>, statement: &str) -> Result<(), Fault> {
    spi.update(statement, None, &[])?;
    Ok(())
}
