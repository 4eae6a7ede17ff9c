//! A table that is to be watched: whose it is, and how a change of its columns is told in a trigger's WHEN.

use pgrx::prelude::*;
use pgrx::spi::{quote_identifier, quote_qualified_identifier};
use target_profile_core::watch::TriggerNames;

use super::super::errors::{Fault, WatchFault};
use super::super::statement::Statement;
use super::run;

thread_local! {
    static TABLE: Statement = const {
        Statement::new(include_str!("../../../sql/queries/watch_table.sql"), &[pg_sys::BuiltinOid::OIDOID])
    };
    static COLUMNS: Statement = const {
        Statement::new(include_str!("../../../sql/queries/watch_columns.sql"), &[pg_sys::BuiltinOid::OIDOID])
    };
    static TRIGGERS: Statement = const {
        Statement::new(
            include_str!("../../../sql/queries/watch_triggers.sql"),
            &[pg_sys::BuiltinOid::OIDOID, pg_sys::BuiltinOid::TEXTARRAYOID],
        )
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
    /// Locks it against whoever else changes its triggers. At once with the strongest lock that is needed: whoever has read the
    /// table and then writes to it would get a deadlock from a second, stronger one.
    pub fn of(oid: pg_sys::Oid, lock: u32) -> Result<Self, Fault> {
        Self::look_up(oid)?;
        // SAFETY: inside a transaction. Only the owner gets here: nobody else's table is locked.
        unsafe { pg_sys::LockRelationOid(oid, lock as pg_sys::LOCKMODE) }
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
        Spi::connect(|spi| {
            COLUMNS.with(|statement| {
                let missing = || Fault::Internal("a column of pg_attribute is null");
                let mut columns = Vec::new();
                for row in statement.select(spi, &[self.oid.into()])? {
                    columns.push(Column {
                        name: row.get(1)?.ok_or_else(missing)?,
                        type_oid: row.get(2)?.ok_or_else(missing)?,
                        is_enum: row.get::<String>(3)?.ok_or_else(missing)? == "e",
                        is_deterministic: row.get(4)?.ok_or_else(missing)?,
                        has_fixed_length: row.get(5)?.ok_or_else(missing)?,
                    });
                }
                Ok(columns)
            })
        })
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
    type_oid: pg_sys::Oid,
    is_enum: bool,
    is_deterministic: bool,
    /// Of a numeric, that all values have the same number of decimals; of a char, that all are padded to the same length.
    has_fixed_length: bool,
}

impl Column {
    /// Whether it has changed, for a trigger's WHEN.
    pub fn changed(&self) -> String {
        let name = quote_identifier(&self.name);
        if self.equal_is_same() {
            format!("OLD.{name} IS DISTINCT FROM NEW.{name}")
        } else if self.type_oid == pg_sys::NUMERICOID {
            let scale = |row: &str| format!("pg_catalog.scale({row}.{name})");
            format!(
                "OLD.{name} IS DISTINCT FROM NEW.{name} OR {} IS DISTINCT FROM {}",
                scale("OLD"),
                scale("NEW")
            )
        } else {
            let text = |row: &str| format!("({row}.{name})::pg_catalog.text COLLATE pg_catalog.\"C\"");
            format!("{} IS DISTINCT FROM {}", text("OLD"), text("NEW"))
        }
    }

    /// Whether what is equal is also written the same. Not so for `1.0` and `1.00`, for what ignores case, and for whatever holds
    /// such values; json, xml and others cannot be compared at all.
    fn equal_is_same(&self) -> bool {
        self.is_enum
            || (self.has_fixed_length
                && self.is_deterministic
                && matches!(self.type_oid, pg_sys::NUMERICOID | pg_sys::BPCHAROID))
            || (self.is_deterministic
                && matches!(
                    self.type_oid,
                    pg_sys::BOOLOID
                        | pg_sys::BYTEAOID
                        | pg_sys::CHAROID
                        | pg_sys::NAMEOID
                        | pg_sys::INT8OID
                        | pg_sys::INT2OID
                        | pg_sys::INT4OID
                        | pg_sys::TEXTOID
                        | pg_sys::OIDOID
                        | pg_sys::FLOAT4OID
                        | pg_sys::FLOAT8OID
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
                        | pg_sys::PG_LSNOID
                ))
    }
}
