//! `target_profile.watch` and `unwatch`: creating and dropping the triggers of a table.
//!
//! The triggers are created with the caller's rights, and the names in the condition are the caller's. Only the record of it is
//! written as the extension's owner. Whatever goes into a statement is quoted; the condition, which cannot be, is parsed by itself
//! first.

mod table;

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::spi::{quote_identifier, quote_literal};
use serde_json::Value;
use target_profile_core::attrs::FlatAttrs;
use target_profile_core::client_code::ClientCode;
use target_profile_core::condition::{Condition, TriggerRow};
use target_profile_core::id::IdKind;
use target_profile_core::watch::{OnInvalid, Options, Send, TriggerNames, mapping};

use super::expression;
use super::references;
use super::references::Place;
use super::row_id;
use crate::pg::enqueue::clients;
use crate::pg::enqueue::owner::as_owner_of;
use crate::pg::enqueue::writer;
use crate::pg::support::errors::{Fault, WatchFault, or_raise};
use crate::pg::support::statement::{Statement, statement};
use crate::pg::support::text;
use crate::pg::support::text::Text;
use table::{Column, Table, run};

thread_local! {
    static IS_WIRED: Statement = const {
        statement!(
            "watch/is_wired.sql",
            OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTARRAYOID, TEXTOID, TEXTOID, INT2OID, TEXTOID, BOOLOID, TEXTARRAYOID
        )
    };
    static RECORD: Statement = const {
        statement!(
            "watch/record.sql",
            OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTARRAYOID, TEXTOID, TEXTOID, INT2OID, TEXTOID, BOOLOID, TEXTOID, TEXTOID, TEXTARRAYOID,
            TEXTOID, TEXTARRAYOID
        )
    };
    static RECORD_WHEN_COLUMNS: Statement = const {
        statement!("watch/when_columns.sql", OIDOID, TEXTOID, TEXTOID, TEXTARRAYOID)
    };
    static FORGET: Statement = const { statement!("watch/forget.sql", OIDOID, TEXTOID, TEXTOID) };
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
    client_code: Option<Text<'_>>,
    id_kind: Option<Text<'_>>,
    id_column: Option<Text<'_>>,
    attrs: Option<Vec<Option<String>>>,
    send: Option<Text<'_>>,
    when: Option<Text<'_>>,
    priority: Option<i16>,
    on_invalid: Option<Text<'_>>,
    always: Option<bool>,
) {
    let given = || {
        let send = send.as_deref().ok_or(Fault::NullArgument("send"))?;
        let on_invalid = on_invalid.as_deref().ok_or(Fault::NullArgument("on_invalid"))?;
        let watch = NewWatch {
            client: ClientCode::parse(client_code.as_deref().ok_or(Fault::NullArgument("client_code"))?)?,
            kind: IdKind::parse(id_kind.as_deref().ok_or(Fault::NullArgument("id_kind"))?)?,
            id_column: id_column.as_deref().ok_or(Fault::NullArgument("id_column"))?.to_owned(),
            attrs: attrs
                .ok_or(Fault::NullArgument("attrs"))?
                .into_iter()
                .map(|attr| attr.map(text::checked))
                .collect::<Option<Vec<_>>>()
                .filter(|attrs| !attrs.is_empty())
                .ok_or(Fault::Watch(WatchFault::NoColumns))?,
            options: Options {
                send: Send::parse(send).ok_or_else(|| Fault::Watch(WatchFault::Send(send.to_owned())))?,
                on_invalid: OnInvalid::parse(on_invalid)
                    .ok_or_else(|| Fault::Watch(WatchFault::OnInvalid(on_invalid.to_owned())))?,
                priority: priority.ok_or(Fault::NullArgument("priority"))?,
                by_image: false,
            },
            when: when.as_deref().map(expression::condition).transpose()?,
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
fn unwatch(table: Option<pg_sys::Oid>, client_code: Option<Text<'_>>, id_kind: Option<Text<'_>>) {
    let given = || {
        let oid = table.ok_or(Fault::NullArgument("table"))?;
        let client = client_code.as_deref().map(ClientCode::parse).transpose()?;
        let kind = id_kind.as_deref().map(IdKind::parse).transpose()?;
        // The record of a dropped table.
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
    as_owner_of(c"watched_table", || {
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

/// How a table is to be watched.
struct NewWatch {
    client: ClientCode,
    kind: IdKind,
    id_column: String,
    attrs: Vec<String>,
    options: Options,
    when: Option<Condition>,
    always: bool,
}

impl NewWatch {
    fn wire(&self, table: &Table) -> Result<(), Fault> {
        let columns = table.columns()?;
        let is_column = columns.iter().any(|column| column.name == self.id_column);
        let id = if is_column {
            None
        } else {
            self.check_names(&self.id_column, Place::Id, table, &columns)?;
            Some(expression::id(table.oid, &self.id_column)?)
        };
        let when_columns = match &self.when {
            Some(when) => self.check_names(when.as_str(), Place::When, table, &columns)?,
            None => Vec::new(),
        };
        let present = table.triggers(&TriggerNames::of(&self.client, self.kind))?;
        let statements = self.statements(table, &columns, id.as_ref(), &present)?;
        if self.is_wired(table, &statements)? {
            return Ok(());
        }
        Spi::connect_mut(|spi| statements.iter().try_for_each(|statement| run(spi, statement)))?;
        self.record(table, id.as_ref(), statements)?;
        self.record_when_columns(table, when_columns)
    }

    /// As both statements about `watched_table` begin.
    fn arguments(&self, table: &Table) -> Vec<DatumWithOid<'_>> {
        vec![
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
        ]
    }

    fn check_names(&self, text: &str, place: Place, table: &Table, columns: &[Column]) -> Result<Vec<String>, Fault> {
        let has_column = |name: &str| columns.iter().any(|column| column.name == name) || is_system_column(name);
        references::check(text, place, has_column, &table.quoted)
    }

    fn is_wired(&self, table: &Table, statements: &[String]) -> Result<bool, Fault> {
        as_owner_of(c"watched_table", || {
            Spi::connect(|spi| {
                IS_WIRED.with(|statement| {
                    let mut args = self.arguments(table);
                    args.push(statements.to_vec().into());
                    Ok(!statement.select(spi, &args)?.is_empty())
                })
            })
        })
    }

    fn record(&self, table: &Table, id: Option<&expression::ParsedId>, statements: Vec<String>) -> Result<(), Fault> {
        as_owner_of(c"watched_table", || {
            Spi::connect_mut(|spi| {
                RECORD.with(|statement| {
                    let mut args = self.arguments(table);
                    args.extend([
                        table.schema.as_str().into(),
                        table.name.as_str().into(),
                        statements.into(),
                        id.map(|id| id.text.as_str()).into(),
                        id.map_or_else(|| vec![self.id_column.clone()], |id| id.columns.clone())
                            .into(),
                    ]);
                    statement.update(spi, &args)?;
                    Ok(())
                })
            })
        })
    }

    /// The tables of 0.1.0 have no place for them.
    fn record_when_columns(&self, table: &Table, columns: Vec<String>) -> Result<(), Fault> {
        if !writer::is_recorded() {
            return Ok(());
        }
        as_owner_of(c"watched_table", || {
            Spi::connect_mut(|spi| {
                RECORD_WHEN_COLUMNS.with(|statement| {
                    let args = [
                        table.oid.into(),
                        self.client.as_str().into(),
                        self.kind.as_str().into(),
                        columns.into(),
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
        id: Option<&expression::ParsedId>,
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
        // A virtual column is compared by the columns that it is made of.
        let mut watched: Vec<&Column> = Vec::new();
        let mut compare = |column: &'_ str| {
            let column = find(column)?;
            let stored = match &column.made_of {
                Some(names) => names.iter().map(|name| find(name)).collect::<Result<Vec<_>, _>>()?,
                None => vec![column],
            };
            for column in stored {
                if !watched.iter().any(|known| known.name == column.name) {
                    watched.push(column);
                }
            }
            Ok::<_, Fault>(())
        };
        match id {
            None => compare(&self.id_column)?,
            Some(id) => id.columns.iter().try_for_each(|name| compare(name))?,
        }
        let mut attributes = Vec::new();
        for argument in &self.attrs {
            let (attribute, column) = mapping(argument, |name| find(name).is_ok());
            compare(column)?;
            attributes.push((attribute.to_owned(), Value::String(String::new())));
        }
        // Names that are blank, or of which two are one attribute.
        FlatAttrs::from_pairs(attributes, &clients::registered(self.client.as_str())?.flatten)?;

        let mut changed = watched
            .into_iter()
            .map(Column::changed)
            .collect::<Vec<_>>()
            .join(" OR ");
        if changed.is_empty() {
            // Nothing but virtual columns that are made of no column.
            changed = "false".to_owned();
        }
        let (on_insert, on_update) = self.conditions(&changed, &table.quoted);
        let id = id.map_or_else(|| self.id_column.clone(), |id| format!("{}{}", row_id::MARK, id.text));
        let options = Options {
            by_image: !self.may_come_to_meet(),
            ..self.options
        };
        let [send, on_invalid, priority] = options.arguments();
        let args = [
            self.client.as_str(),
            self.kind.as_str(),
            &id,
            &send,
            &on_invalid,
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

impl NewWatch {
    /// Whether a row of which no watched column has changed may be sent, because it has come to meet the condition.
    fn may_come_to_meet(&self) -> bool {
        self.when.as_ref().is_some_and(|when| !when.mentions_old())
    }

    /// The WHEN of the triggers for INSERT and for UPDATE, where `changed` says that a watched column has. A condition may end in a
    /// comment.
    fn conditions(&self, changed: &str, table: &str) -> (String, String) {
        let Some(when) = &self.when else {
            return (String::new(), format!(" WHEN ({changed})"));
        };
        // Of a new row there was nothing before.
        let on_insert = when.with(TriggerRow::Old, &format!("(NULL::{table})"));
        let now = when.as_str();
        let on_update = if !self.may_come_to_meet() {
            format!("({changed}) AND ({now}\n)")
        } else {
            // Also when the row has come to meet the condition.
            let before = when.with(TriggerRow::New, "OLD");
            format!("({now}\n) AND ({changed} OR ({before}\n) IS NOT TRUE)")
        };
        (format!(" WHEN ({on_insert}\n)"), format!(" WHEN ({on_update})"))
    }
}

/// Postgres says what it does with those.
fn is_system_column(name: &str) -> bool {
    matches!(name, "tableoid" | "ctid" | "xmin" | "xmax" | "cmin" | "cmax")
}
