//! `target_profile.watch` and `unwatch`: creating and dropping the triggers of a table.
//!
//! The triggers are created with the caller's rights, and the names in the condition are the caller's. Only the record of it is
//! written as the extension's owner. Whatever goes into a statement is quoted; the condition, which cannot be, is parsed by itself
//! first.

use pgrx::prelude::*;
use pgrx::spi::{SpiClient, quote_identifier, quote_literal, quote_qualified_identifier};
use serde_json::Value;
use target_profile_core::attrs::FlatAttrs;
use target_profile_core::client_code::ClientCode;
use target_profile_core::condition::{Condition, Row};
use target_profile_core::id::IdKind;
use target_profile_core::watch::{OnInvalid, Options, Send, TriggerNames, mapping};

use super::clients;
use super::errors::{Fault, WatchFault, or_raise};
use super::expression;
use super::owner::as_owner;
use super::row_id;
use super::statement::Statement;

macro_rules! statement {
    ($file:literal, $($type:ident),*) => {
        Statement::new(include_str!(concat!("../../sql/queries/", $file)), &[$(pg_sys::BuiltinOid::$type),*])
    };
}

thread_local! {
    static TABLE: Statement = const { statement!("watch_table.sql", OIDOID) };
    static COLUMNS: Statement = const { statement!("watch_columns.sql", OIDOID) };
    static TRIGGERS: Statement = const { statement!("watch_triggers.sql", OIDOID, TEXTARRAYOID) };
    static IS_WIRED: Statement = const {
        statement!("watch_is_wired.sql", OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTARRAYOID, TEXTOID, TEXTOID, INT2OID, TEXTOID, BOOLOID)
    };
    static RECORD: Statement = const {
        statement!(
            "watch_record.sql",
            OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTARRAYOID, TEXTOID, TEXTOID, INT2OID, TEXTOID, BOOLOID, TEXTOID, TEXTOID, TEXTARRAYOID,
            TEXTOID, TEXTARRAYOID
        )
    };
    static FORGET: Statement = const { statement!("watch_forget.sql", OIDOID, TEXTOID, TEXTOID) };
}

/// Creates the triggers that send the changes of a table, or creates them anew with other arguments.
#[allow(clippy::too_many_arguments)]
#[pg_extern(
    schema = "target_profile",
    sql = r#"
CREATE FUNCTION target_profile.watch(
    "table" regclass, client_code text, id_kind text, id_column text, attrs text[], send text DEFAULT 'all',
    "when" text DEFAULT NULL, priority smallint DEFAULT 0, on_invalid text DEFAULT 'warn', always boolean DEFAULT false
) RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#
)]
fn watch(
    table: Option<pg_sys::Oid>,
    client_code: Option<&str>,
    id_kind: Option<&str>,
    id_column: Option<&str>,
    attrs: Option<Vec<Option<String>>>,
    send: Option<&str>,
    when: Option<&str>,
    priority: Option<i16>,
    on_invalid: Option<&str>,
    always: Option<bool>,
) {
    let given = || {
        let send = send.ok_or(Fault::NullArgument("send"))?;
        let on_invalid = on_invalid.ok_or(Fault::NullArgument("on_invalid"))?;
        let watch = Watch {
            client: ClientCode::parse(client_code.ok_or(Fault::NullArgument("client_code"))?)?,
            kind: IdKind::parse(id_kind.ok_or(Fault::NullArgument("id_kind"))?)?,
            id_column: id_column.ok_or(Fault::NullArgument("id_column"))?.to_owned(),
            attrs: attrs
                .ok_or(Fault::NullArgument("attrs"))?
                .into_iter()
                .collect::<Option<Vec<_>>>()
                .filter(|attrs| !attrs.is_empty())
                .ok_or(Fault::Watch(WatchFault::NoColumns))?,
            options: Options {
                send: Send::parse(send).ok_or_else(|| Fault::Watch(WatchFault::Send(send.to_owned())))?,
                on_invalid: OnInvalid::parse(on_invalid)
                    .ok_or_else(|| Fault::Watch(WatchFault::OnInvalid(on_invalid.to_owned())))?,
                priority: priority.ok_or(Fault::NullArgument("priority"))?,
            },
            when: when.map(expression::condition).transpose()?,
            always: always.ok_or(Fault::NullArgument("always"))?,
        };
        clients::registered(watch.client.as_str())?;
        let table = Table::of(
            table.ok_or(Fault::NullArgument("table"))?,
            pg_sys::ShareRowExclusiveLock,
        )?;
        watch.wire(&table)
    };
    or_raise(given());
}

/// Drops the triggers of a table's watches: all, those of a client, or one.
#[pg_extern(
    schema = "target_profile",
    sql = r#"
CREATE FUNCTION target_profile.unwatch("table" regclass, client_code text DEFAULT NULL, id_kind text DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#
)]
fn unwatch(table: Option<pg_sys::Oid>, client_code: Option<&str>, id_kind: Option<&str>) {
    let given = || {
        let oid = table.ok_or(Fault::NullArgument("table"))?;
        let client = client_code.map(ClientCode::parse).transpose()?;
        let kind = id_kind.map(IdKind::parse).transpose()?;
        // What a dropped table has left is nobody's any more.
        let table = match Table::of(oid, pg_sys::AccessExclusiveLock) {
            Err(Fault::Watch(WatchFault::NoTable(_))) => None,
            found => Some(found?),
        };
        let mut found = forget(oid, client.as_ref(), kind)?;
        let mut ended = !found.is_empty();
        // Triggers without a record: it was deleted by hand, or not restored.
        found.extend(client.zip(kind));
        if let Some(table) = &table {
            for (client, kind) in &found {
                ended |= table.drop_triggers(&TriggerNames::of(client, *kind))?;
            }
        }
        if ended {
            Ok(())
        } else {
            let name = table.map_or_else(|| oid.to_string(), |table| table.quoted);
            Err(Fault::Watch(WatchFault::NotWatched(name)))
        }
    };
    or_raise(given());
}

fn forget(
    table: pg_sys::Oid,
    client: Option<&ClientCode>,
    kind: Option<IdKind>,
) -> Result<Vec<(ClientCode, IdKind)>, Fault> {
    let missing = Fault::Internal("a column of target_profile.watched_table is null");
    as_owner(|| {
        Spi::connect_mut(|spi| {
            FORGET.with(|statement| {
                let mut found = Vec::new();
                let args = [
                    table.into(),
                    client.map(ClientCode::as_str).into(),
                    kind.map(IdKind::as_str).into(),
                ];
                for row in statement.update(spi, &args)? {
                    let (Some(client), Some(kind)) = (row.get::<String>(1)?, row.get::<String>(2)?) else {
                        return Err(missing);
                    };
                    found.push((ClientCode::parse(&client)?, IdKind::parse(&kind)?));
                }
                Ok(found)
            })
        })
    })
}

/// A table that its owner, or a superuser, may have watched.
struct Table {
    oid: pg_sys::Oid,
    schema: String,
    name: String,
    /// Both, as they go into a statement.
    quoted: String,
}

impl Table {
    /// Locks it against whoever else changes its triggers. At once with the strongest lock that is needed: whoever has read the
    /// table and then writes to it would get a deadlock from a second, stronger one.
    fn of(oid: pg_sys::Oid, lock: u32) -> Result<Self, Fault> {
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

    fn columns(&self) -> Result<Vec<Column>, Fault> {
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
    fn triggers(&self, names: &TriggerNames) -> Result<Vec<String>, Fault> {
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
    fn drop_triggers(&self, names: &TriggerNames) -> Result<bool, Fault> {
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
struct Column {
    name: String,
    type_oid: pg_sys::Oid,
    is_enum: bool,
    is_deterministic: bool,
    /// Of a numeric, that all values have the same number of decimals; of a char, that all are padded to the same length.
    has_fixed_length: bool,
}

impl Column {
    /// Whether it has changed, for a trigger's WHEN.
    fn changed(&self) -> String {
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

/// How a table is to be watched.
struct Watch {
    client: ClientCode,
    kind: IdKind,
    id_column: String,
    attrs: Vec<String>,
    options: Options,
    when: Option<Condition>,
    always: bool,
}

impl Watch {
    fn wire(&self, table: &Table) -> Result<(), Fault> {
        let columns = table.columns()?;
        let is_column = columns.iter().any(|column| column.name == self.id_column);
        let id = if is_column {
            None
        } else {
            Some(expression::id(table.oid, &self.id_column)?)
        };
        let present = table.triggers(&TriggerNames::of(&self.client, self.kind))?;
        let statements = self.statements(table, &columns, id.as_ref(), &present)?;
        if self.is_wired(table)? {
            return Ok(());
        }
        Spi::connect_mut(|spi| statements.iter().try_for_each(|statement| run(spi, statement)))?;
        self.record(table, id.as_ref(), statements)
    }

    fn is_wired(&self, table: &Table) -> Result<bool, Fault> {
        as_owner(|| {
            Spi::connect(|spi| {
                IS_WIRED.with(|statement| {
                    let args = [
                        table.oid.into(),
                        self.client.as_str().into(),
                        self.kind.as_str().into(),
                        self.id_column.as_str().into(),
                        self.attrs.clone().into(),
                        self.options.send.as_str().into(),
                        self.when.as_ref().map(Condition::as_str).into(),
                        self.options.priority.into(),
                        self.options.on_invalid.as_str().into(),
                        self.always.into(),
                    ];
                    Ok(!statement.select(spi, &args)?.is_empty())
                })
            })
        })
    }

    fn record(&self, table: &Table, id: Option<&expression::Id>, statements: Vec<String>) -> Result<(), Fault> {
        as_owner(|| {
            Spi::connect_mut(|spi| {
                RECORD.with(|statement| {
                    let args = [
                        table.oid.into(),
                        self.client.as_str().into(),
                        self.kind.as_str().into(),
                        self.id_column.as_str().into(),
                        self.attrs.clone().into(),
                        self.options.send.as_str().into(),
                        self.when.as_ref().map(Condition::as_str).into(),
                        self.options.priority.into(),
                        self.options.on_invalid.as_str().into(),
                        self.always.into(),
                        table.schema.as_str().into(),
                        table.name.as_str().into(),
                        statements.into(),
                        id.map(|id| id.text.as_str()).into(),
                        id.map_or_else(|| vec![self.id_column.clone()], |id| id.columns.clone())
                            .into(),
                    ];
                    statement.update(spi, &args)?;
                    Ok(())
                })
            })
        })
    }

    /// What creates the triggers. Those that are present are replaced and not dropped first, which would lock readers out; of
    /// another one of that name Postgres says that it exists.
    fn statements(
        &self,
        table: &Table,
        columns: &[Column],
        id: Option<&expression::Id>,
        present: &[String],
    ) -> Result<Vec<String>, Fault> {
        let find = |name: &str| {
            columns.iter().find(|column| column.name == name).ok_or_else(|| {
                Fault::Watch(WatchFault::NoColumn {
                    column: name.to_owned(),
                    table: table.quoted.clone(),
                })
            })
        };
        let mut watched = match id {
            None => vec![find(&self.id_column)?],
            Some(id) => id.columns.iter().map(|name| find(name)).collect::<Result<_, _>>()?,
        };
        let mut attributes = Vec::new();
        for argument in &self.attrs {
            let (attribute, column) = mapping(argument, |name| find(name).is_ok());
            let column = find(column)?;
            if !watched.iter().any(|known| known.name == column.name) {
                watched.push(column);
            }
            attributes.push((attribute.to_owned(), Value::String(String::new())));
        }
        // Names that are blank, or of which two are one attribute.
        FlatAttrs::from_pairs(attributes, &clients::registered(self.client.as_str())?.flatten)?;

        let changed = watched
            .into_iter()
            .map(Column::changed)
            .collect::<Vec<_>>()
            .join(" OR ");
        let (on_insert, on_update) = self.conditions(&changed, &table.quoted);
        let id = id.map_or_else(|| self.id_column.clone(), |id| format!("{}{}", row_id::MARK, id.text));
        let options = self.options;
        let priority = options.priority.to_string();
        let args = [
            self.client.as_str(),
            self.kind.as_str(),
            &id,
            options.send.as_str(),
            options.on_invalid.as_str(),
            &priority,
        ]
        .into_iter()
        .chain(self.attrs.iter().map(String::as_str))
        .map(quote_literal)
        .collect::<Vec<_>>()
        .join(", ");
        let names = TriggerNames::of(&self.client, self.kind);
        let create = |name: &String| {
            let or_replace = if present.contains(name) { " OR REPLACE" } else { "" };
            format!("CREATE{or_replace} TRIGGER {}", quote_identifier(name))
        };
        let [insert, update, flush] = [&names.insert, &names.update, &names.flush].map(create);
        let table = &table.quoted;
        let mut statements = vec![
            format!(
                "{insert} AFTER INSERT ON {table} FOR EACH ROW{on_insert} \
                 EXECUTE FUNCTION target_profile._watch_row({args})"
            ),
            format!(
                "{update} AFTER UPDATE ON {table} FOR EACH ROW{on_update} \
                 EXECUTE FUNCTION target_profile._watch_row({args})"
            ),
            format!(
                "{flush} AFTER INSERT OR UPDATE ON {table} FOR EACH STATEMENT \
                 EXECUTE FUNCTION target_profile._watch_flush()"
            ),
        ];
        if self.always {
            statements.extend(
                [&names.insert, &names.update, &names.flush]
                    .map(|name| format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {}", quote_identifier(name))),
            );
        }
        Ok(statements)
    }
}

impl Watch {
    /// The WHEN of the triggers for INSERT and for UPDATE, where `changed` says that a watched column has. A condition may end in a
    /// comment.
    fn conditions(&self, changed: &str, table: &str) -> (String, String) {
        let Some(when) = &self.when else {
            return (String::new(), format!(" WHEN ({changed})"));
        };
        // Of a new row there was nothing before.
        let on_insert = when.with(Row::Old, &format!("(NULL::{table})"));
        let now = when.as_str();
        let on_update = if when.mentions_old() {
            format!("({changed}) AND ({now}\n)")
        } else {
            // Also when the row has come to meet the condition.
            let before = when.with(Row::New, "OLD");
            format!("({now}\n) AND ({changed} OR ({before}\n) IS NOT TRUE)")
        };
        (format!(" WHEN ({on_insert}\n)"), format!(" WHEN ({on_update})"))
    }
}

fn run(spi: &mut SpiClient<'_>, statement: &str) -> Result<(), Fault> {
    spi.update(statement, None, &[])?;
    Ok(())
}
