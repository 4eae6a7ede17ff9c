//! The queries by which a backfill reads a watched table, in the order of its ids.
//!
//! They run with the caller's rights. So do the condition and the id of the watch, which the owner of the table has written: the caller
//! trusts the owner by naming the table, as a session does that writes a row. Text of an earlier caller does not run. Names in the queries
//! are qualified or those of pg_catalog. Values are parameters.

use std::ffi::{CStr, CString};
use std::rc::Rc;

use pgrx::prelude::*;
use pgrx::spi::quote_identifier;
use serde_json::Value;
use target_profile_core::backfill;
use target_profile_core::watch::{TriggerNames, mapping};

use super::condition;
use super::cursor::{Cursor, FetchedRow};
use super::run::Run;
use super::table;
use super::table::{SourceTable, Watch};
use crate::pg::enqueue::outbox::Origin;
use crate::pg::support::backend;
use crate::pg::support::backfill_fault::BackfillFault;
use crate::pg::support::errors::{Fault, WatchFault};
use crate::pg::support::session::{TEXT, with_pinned_path, with_settings};
use crate::pg::support::statement::{Statement, statement};
use crate::pg::triggers::value;

thread_local! {
    static CONDITION: Statement = const {
        statement!("backfill/condition.sql", OIDOID, TEXTOID)
    };
    static OPERATOR: Statement = const {
        statement!("backfill/operators.sql", OIDOID)
    };
}

/// What the planner takes pages and rows for, as PostgreSQL has it. A cost that is beyond all bounds would come out as Infinity, which JSON
/// does not know.
const COSTS: [(&CStr, &CStr); 5] = [
    (c"seq_page_cost", c"1"),
    (c"random_page_cost", c"4"),
    (c"cpu_tuple_cost", c"0.01"),
    (c"cpu_index_tuple_cost", c"0.005"),
    (c"cpu_operator_cost", c"0.0025"),
];

/// Which rows a query reads.
pub enum Range<'a> {
    /// Those with an id above the first (or all) and up to the second (or the end).
    Between(Option<&'a str>, Option<&'a str>),
    /// Those with this id.
    Exactly(&'a str),
}

/// A column that is read.
struct ReadColumn {
    /// As it stands in a statement.
    text: String,
    is_virtual: bool,
}

/// What is needed to read the rows.
pub struct Reading {
    pub origin: Rc<Origin>,
    /// The attributes, in the order of the columns of a row.
    pub names: Vec<String>,
    /// In which order the rows are read: that of what, and of which type.
    pub order: String,
    from: String,
    key: String,
    key_type: pg_sys::Oid,
    columns: Vec<ReadColumn>,
    /// Of the watch and of the caller, each after an AND.
    condition: String,
    below: String,
    above: String,
    /// Whether an index gives the order.
    is_indexed: bool,
}

impl Reading {
    /// `condition`: the caller's, as Postgres writes it. Inside of a connection to SPI.
    ///
    /// # Errors
    /// The table is no longer as it was when it was watched, or its ids have no order.
    pub fn of(table: &SourceTable, watch: &Watch, condition: Option<&str>) -> Result<Self, Fault> {
        let known = table.columns()?;
        let find = |name: &str| known.iter().find(|known| known.name == name);
        let column = |name: &str| match find(name) {
            Some(&table::SourceColumn { is_virtual, .. }) => Ok(ReadColumn {
                text: format!("new.{}", quote_identifier(name)),
                is_virtual,
            }),
            None => Err(Fault::Watch(WatchFault::NoColumn {
                column: name.to_owned(),
                table: table.quoted(),
            })),
        };
        let key = match &watch.id_expression {
            Some(expression) => format!("({expression})"),
            None => column(&watch.id_column)?.text,
        };
        let mut names = Vec::new();
        let mut columns = Vec::new();
        for argument in &watch.attrs {
            let (name, source) = mapping(argument, |name| find(name).is_some());
            names.push(name.to_owned());
            columns.push(column(source)?);
        }
        let own = own_condition(table, watch)?;
        let both = own.as_deref().into_iter().chain(condition);
        let condition = both.map(|condition| format!(" AND ({condition})")).collect();
        // The triggers of a table are not those of the tables that inherit from it.
        let only = if table.is_partitioned { "" } else { "ONLY " };
        let mut reading = Self {
            origin: Rc::new(Origin {
                client: watch.client.clone(),
                kind: watch.kind,
                priority: backfill::priority(watch.priority),
                source: format!("backfill {}.{}", table.schema, table.name),
            }),
            names,
            order: String::new(),
            from: format!("FROM {only}{} AS new", table.quoted()),
            key,
            key_type: pg_sys::InvalidOid,
            columns,
            condition,
            below: String::new(),
            above: String::new(),
            is_indexed: false,
        };
        let types = reading.open(&format!("SELECT {} {} LIMIT 0", reading.key, reading.from), &[])?;
        reading.key_type = types.type_of_first();
        types.close();
        let type_name = type_name(reading.key_type);
        reading.order = format!("{} ({type_name})", watch.id_column);
        (reading.below, reading.above) = operators(reading.key_type, &type_name)?;
        Ok(reading)
    }

    /// For a run: whether an index gives the order is known.
    ///
    /// # Errors
    /// As [`Reading::of`].
    pub fn again(table: &SourceTable, watch: &Watch, condition: Option<&str>, run: &Run) -> Result<Self, Fault> {
        Ok(Self {
            is_indexed: !run.sorts,
            ..Self::of(table, watch, condition)?
        })
    }

    /// Checks what reading takes: rights, and that the conditions can be computed as far as Postgres says so beforehand.
    ///
    /// # Errors
    /// Raised by Postgres.
    pub fn check(&self) -> Result<(), Fault> {
        self.locked(&Range::Between(None, None), |_| false)?.close();
        Ok(())
    }

    /// Whether the table has to be sorted for each chunk, and how many rows there are, as the planner sees it.
    ///
    /// # Errors
    /// Whatever fails is raised by Postgres.
    pub fn plan(&self) -> Result<(bool, i64), Fault> {
        let Self {
            key, from, condition, ..
        } = self;
        let ordered = explain(
            &format!("SELECT {key} {from} ORDER BY {key} LIMIT 1"),
            &[(c"enable_seqscan", c"off"), (c"enable_indexscan", c"on")],
        )?;
        let all = explain(&format!("SELECT {from} WHERE {key} IS NOT NULL{condition}"), &[])?;
        let total = all.pointer("/0/Plan/Plan Rows").and_then(Value::as_f64);
        Ok((sorts(&ordered), total.map_or(0, |rows| rows as i64)))
    }

    /// The id of the row by which a chunk of so many rows ends; `None`: fewer follow.
    ///
    /// # Errors
    /// Whatever fails is raised by Postgres.
    pub fn end_of_chunk(&self, after: Option<&str>, rows: i32) -> Result<Option<String>, Fault> {
        let Self {
            key, from, condition, ..
        } = self;
        let (within, arguments) = self.within(&Range::Between(after, None));
        let query = format!(
            "SELECT {key} {from} WHERE {within}{condition} ORDER BY {key} OFFSET {} LIMIT 1",
            rows - 1
        );
        let mut end = None;
        let cursor = self.open(&query, &arguments)?;
        cursor.each(|row| {
            end = self.id(row, 1);
            Ok(())
        })?;
        cursor.close();
        Ok(end)
    }

    /// The rows of a range, locked against writers: whether the row could *not* be locked, its id, and, if it could, its columns, with NULL
    /// in place of those that are left out. Columns are numbered as the attributes.
    ///
    /// Which are not locked is known by the difference of two readings with the same snapshot; ids may be there more than once. A row
    /// that has been changed since so that it is not to be sent any more is counted as not locked, which does no harm.
    ///
    /// # Errors
    /// Whatever fails is raised by Postgres.
    pub fn locked(&self, range: &Range<'_>, is_left_out: impl Fn(usize) -> bool) -> Result<Cursor, Fault> {
        let Self {
            key, from, condition, ..
        } = self;
        let (within, arguments) = self.within(range);
        let named: String = (0..self.columns.len())
            .zip(&self.columns)
            .map(|(number, column)| {
                let read = if is_left_out(number) { "NULL" } else { &column.text };
                format!(", {read} AS c{number}")
            })
            .collect();
        let columns: String = (0..self.columns.len()).map(|number| format!(", l.c{number}")).collect();
        let nulls = ", NULL".repeat(self.columns.len());
        let query = format!(
            "WITH present AS MATERIALIZED (SELECT {key} AS id {from} WHERE {within}{condition}), \
             locked AS MATERIALIZED (SELECT {key} AS id{named} {from} WHERE {within}{condition} ORDER BY {key} \
             FOR SHARE OF new SKIP LOCKED) \
             SELECT false, l.id{columns} FROM locked l \
             UNION ALL \
             SELECT true, s.id{nulls} FROM (SELECT p.id FROM present p EXCEPT ALL SELECT l.id FROM locked l) s"
        );
        self.open(&query, &arguments)
    }

    /// The ids of a range, in their order, each once.
    ///
    /// # Errors
    /// Whatever fails is raised by Postgres.
    pub fn ids(&self, range: &Range<'_>) -> Result<Vec<String>, Fault> {
        let Self {
            key, from, condition, ..
        } = self;
        let (within, arguments) = self.within(range);
        let query = format!("SELECT DISTINCT {key} {from} WHERE {within}{condition} ORDER BY {key}");
        let mut ids = Vec::new();
        let cursor = self.open(&query, &arguments)?;
        cursor.each(|row| {
            ids.extend(self.id(row, 1));
            Ok(())
        })?;
        cursor.close();
        Ok(ids)
    }

    /// The numbers of the columns that are virtual.
    pub fn virtual_columns(&self) -> impl Iterator<Item = usize> {
        let columns = self.columns.iter().enumerate();
        columns.filter_map(|(number, column)| column.is_virtual.then_some(number))
    }

    /// How many rows have no id.
    ///
    /// # Errors
    /// Whatever fails is raised by Postgres.
    pub fn without_id(&self) -> Result<i64, Fault> {
        let Self {
            key, from, condition, ..
        } = self;
        let mut count = 0;
        let cursor = self.open(&format!("SELECT count(*) {from} WHERE {key} IS NULL{condition}"), &[])?;
        cursor.each(|row| {
            count = row.value(1).unwrap_or_default();
            Ok(())
        })?;
        cursor.close();
        Ok(count)
    }

    /// The id of a row, as text that gives the same value again.
    pub fn id(&self, row: &FetchedRow, column: usize) -> Option<String> {
        let datum = row.get(column)?;
        // SAFETY: a value of the row, of that type.
        Some(with_settings(&TEXT, || unsafe { value::output(datum, self.key_type) }))
    }

    fn value(&self, id: &str) -> pg_sys::Datum {
        let (mut function, mut parameter) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
        // An id that was text has no zero byte.
        let text = CString::new(id).unwrap_or_default();
        // SAFETY: the type's own function on a text that its output function has made; the text lives until then.
        with_settings(&TEXT, || unsafe {
            pg_sys::getTypeInputInfo(self.key_type, &mut function, &mut parameter);
            pg_sys::OidInputFunctionCall(function, text.as_ptr().cast_mut(), parameter, -1)
        })
    }

    /// What a row must meet to be in the range; a row without an id meets nothing.
    fn within(&self, range: &Range<'_>) -> (String, Vec<(pg_sys::Oid, pg_sys::Datum)>) {
        let Self { key, below, above, .. } = self;
        let mut parts = Vec::new();
        let mut arguments = Vec::new();
        let mut argument = |id: &str| {
            arguments.push((self.key_type, self.value(id)));
            format!("${}", arguments.len())
        };
        match *range {
            Range::Between(after, up_to) => {
                parts.extend(after.map(|id| format!("{key} {above} {}", argument(id))));
                parts.extend(up_to.map(|id| format!("NOT ({key} {above} {})", argument(id))));
                if parts.is_empty() {
                    parts.push(format!("{key} IS NOT NULL"));
                }
            }
            Range::Exactly(id) => {
                let id = argument(id);
                parts.push(format!("NOT ({key} {above} {id}) AND NOT ({key} {below} {id})"));
            }
        }
        (parts.join(" AND "), arguments)
    }

    fn open(&self, query: &str, arguments: &[(pg_sys::Oid, pg_sys::Datum)]) -> Result<Cursor, Fault> {
        // The planner takes a range of which it knows only one end for half a percent of the table.
        let seqscan: &[(&CStr, &CStr)] = if self.is_indexed {
            &[(c"enable_seqscan", c"off")]
        } else {
            &[]
        };
        with_settings(&TEXT, || {
            with_pinned_path(|| {
                with_settings(seqscan, || {
                    // SAFETY: the caller is connected to SPI; an argument is of the type that its text was read as.
                    unsafe { Cursor::open(query, arguments) }
                })
            })
        })
    }
}

/// The condition of the watch, as the triggers have it for an INSERT.
fn own_condition(table: &SourceTable, watch: &Watch) -> Result<Option<String>, Fault> {
    let name = TriggerNames::of(&watch.client, watch.kind).insert;
    let qual: Option<String> = Spi::connect(|spi| {
        CONDITION.with(|statement| {
            let rows = statement.select(spi, &[table.oid.into(), name.as_str().into()])?;
            let row = rows
                .into_iter()
                .next()
                .ok_or_else(|| Fault::Backfill(BackfillFault::NoTrigger(table.quoted())))?;
            Ok::<_, Fault>(row.get(1)?)
        })
    })?;
    qual.map(|qual| {
        // SAFETY: of a trigger of the table.
        unsafe { condition::of_trigger(table.oid, &qual) }
    })
    .transpose()
}

fn type_name(of: pg_sys::Oid) -> String {
    // SAFETY: a look-up; the answer is a C string.
    unsafe { backend::string(pg_sys::format_type_be(of)) }
}

/// The operators "below" and "above" of the order that an index of a type has, as they go into a statement.
fn operators(of: pg_sys::Oid, type_name: &str) -> Result<(String, String), Fault> {
    // SAFETY: a look-up; the entry stays.
    let (below, above) = unsafe {
        let entry = pg_sys::lookup_type_cache(of, (pg_sys::TYPECACHE_LT_OPR | pg_sys::TYPECACHE_GT_OPR) as i32);
        ((*entry).lt_opr, (*entry).gt_opr)
    };
    let written = |operator: pg_sys::Oid| {
        Spi::connect(|spi| {
            OPERATOR.with(|statement| {
                let rows = statement.select(spi, &[operator.into()])?;
                let Some(row) = rows.into_iter().next() else {
                    return Err(Fault::Backfill(BackfillFault::NoOrder(type_name.to_owned())));
                };
                let missing = || Fault::Internal("a column of pg_operator is null");
                let schema: String = row.get(1)?.ok_or_else(missing)?;
                let name: String = row.get(2)?.ok_or_else(missing)?;
                Ok(format!("OPERATOR({}.{name})", quote_identifier(schema)))
            })
        })
    };
    Ok((written(below)?, written(above)?))
}

fn explain(query: &str, settings: &[(&CStr, &CStr)]) -> Result<Value, Fault> {
    let plan = || {
        Spi::connect_mut(|spi| {
            let plan = spi
                .update(format!("EXPLAIN (FORMAT JSON) {query}").as_str(), None, &[])?
                .first()
                .get_one::<pgrx::Json>()?;
            Ok(plan.ok_or(Fault::Internal("EXPLAIN"))?.0)
        })
    };
    with_settings(&TEXT, || {
        with_pinned_path(|| with_settings(&COSTS, || with_settings(settings, plan)))
    })
}

/// Whether anything in the plan is sorted.
fn sorts(plan: &Value) -> bool {
    match plan {
        Value::Array(parts) => parts.iter().any(sorts),
        Value::Object(node) => {
            let is_sort = node
                .get("Node Type")
                .and_then(Value::as_str)
                .is_some_and(|kind| kind.ends_with("Sort"));
            is_sort || node.values().any(sorts)
        }
        _ => false,
    }
}
