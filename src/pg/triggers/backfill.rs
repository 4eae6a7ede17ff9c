//! `target_profile.backfill`: the rows that are there already become entries, a chunk a transaction. The loop with its commits is in
//! `sql/backfill.sql`; a chunk is [`chunk`].
//!
//! **No older value after a newer one.** A chunk that read a row plainly could be overtaken: while it runs, somebody changes the row,
//! commits, and has the newer value sent; then the chunk commits its entry with the older one, which is sent last and stays. Or the
//! other's entry has the lower id, drawn before the chunk's, and commits after: then the merge takes the chunk's older value for the
//! newer one. No order of drawing ids helps against both. So a chunk reads each row while it holds a share lock on it, until its
//! commit:
//!
//! - Whoever changed the row before has committed, and the value that was read is theirs; an entry of theirs that follows says
//!   the same.
//! - Whoever changes it later waits for the chunk's commit. Their trigger fires after it: their entry has a higher id, and nobody
//!   sees it before the chunk's.
//!
//! (Where several rows have one id, they are one profile, and which of them comes last nobody has said.)
//!
//! **No writer is harmed.** A chunk waits for nobody's row: what is locked is skipped (`SKIP LOCKED`), so that there is no
//! deadlock, and its id is kept in the run's record to be tried again: the holder may roll back, or change nothing that is
//! watched, and then no trigger sends the row. When nothing but such rows is left, the procedure waits without any lock and tries
//! again. A writer waits for a chunk at most, which takes milliseconds; and before a chunk locks a row it has taken what it
//! may have to wait for: the run's record and the outbox.
//!
//! **No row is missed.** The cursor is an id, not a place in the table: a row that an UPDATE moves stays where it is in the order of
//! ids, and one whose id changes is sent by its trigger. The cursor is written in the chunk's transaction: a crash repeats nothing
//! and loses nothing. Whether somebody runs it is a lock of their session.

pub mod condition;
pub mod cursor;
pub mod reading;
pub mod run;
pub mod table;

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;

use pgrx::prelude::*;
use serde_json::Value;
use target_profile_core::backfill::{self, Begin, ChunkEnd, Extent, NextRead};
use target_profile_core::burial::Unsendable;
use target_profile_core::client_code::ClientCode;
use target_profile_core::id::IdKind;
use target_profile_core::watch::OnInvalid;

use self::cursor::FetchedRow;
use self::reading::Range;
use self::reading::Reading;
use self::run::Done;
use self::run::Run;
use self::table::SourceTable;
use self::table::Watch;
use super::row_update;
use super::row_update::Values;
use super::value::Unread;
use crate::pg::enqueue::outbox::Otherwise;
use crate::pg::enqueue::owner::Outbox;
use crate::pg::enqueue::{clients, collector};
use crate::pg::support::backend;
use crate::pg::support::backfill_fault::BackfillFault;
use crate::pg::support::errors::{Fault, or_raise};
use crate::pg::support::statement::{Statement, statement};
use crate::pg::support::text::Text;
use crate::pg::support::warning;
use crate::pg::support::warning::warn;
use crate::pg::support::{session, subtransaction};

thread_local! {
    static MAY_STOP: Statement = const {
        statement!("backfill/may_stop.sql", OIDOID)
    };
}

/// The functions that the procedure calls, and the one that stops it.
#[pg_schema]
pub mod target_profile {
    use pgrx::prelude::*;

    use super::{or_raise, run};
    use crate::pg::support::allocator::with_reserve;
    use crate::pg::support::text::Text;

    /// Checks what a run takes, and has this session run it; its number.
    #[pg_extern(volatile, parallel_unsafe)]
    fn _backfill_begin(
        table: Option<pg_sys::Oid>,
        condition: Option<Text<'_>>,
        client_code: Option<Text<'_>>,
        id_kind: Option<Text<'_>>,
        chunk: Option<i32>,
        restart: Option<bool>,
    ) -> i32 {
        or_raise(super::begin(
            table,
            condition.as_deref(),
            client_code.as_deref(),
            id_kind.as_deref(),
            chunk,
            restart,
        ))
    }

    /// One chunk: how it ended.
    #[pg_extern(volatile, parallel_unsafe, strict)]
    fn _backfill_chunk(run: i32, rows: i32) -> &'static str {
        with_reserve(|| or_raise(super::chunk(run, rows)).as_str())
    }

    /// Records why a chunk was undone.
    #[pg_extern(volatile, parallel_unsafe, strict)]
    fn _backfill_failed(run: i32, message: Text<'_>) {
        or_raise(run::must_be_mine(run).and_then(|()| run::failed(run, &message)));
    }

    /// The session does not run it any more.
    #[pg_extern(volatile, parallel_unsafe, strict)]
    fn _backfill_end(run: i32) {
        or_raise(super::end(run));
    }
}

/// Asks the running backfills of a table to end after their chunk; whether there is one.
#[pg_extern(
    schema = "target_profile",
    sql = r#"
CREATE FUNCTION target_profile.stop_backfill("table" regclass, client_code text DEFAULT NULL, id_kind text DEFAULT NULL)
    RETURNS boolean LANGUAGE c VOLATILE PARALLEL UNSAFE AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#
)]
fn stop_backfill(table: Option<pg_sys::Oid>, client_code: Option<Text<'_>>, id_kind: Option<Text<'_>>) -> bool {
    let given = || {
        let table = table.ok_or(Fault::NullArgument("table"))?;
        let client = client_code.as_deref().map(ClientCode::parse).transpose()?;
        let kind = id_kind.as_deref().map(IdKind::parse).transpose()?;
        let may = Spi::connect(|spi| {
            MAY_STOP.with(|statement| {
                let found = statement.select(spi, &[table.into()])?;
                Ok::<_, Fault>(found.first().get_one::<bool>()?.unwrap_or_default())
            })
        })?;
        if !may {
            return Err(Fault::Backfill(BackfillFault::NotReadable(
                SourceTable::of(table)?.quoted(),
            )));
        }
        run::stop(table, client.as_ref(), kind)
    };
    or_raise(given())
}

fn begin(
    table: Option<pg_sys::Oid>,
    condition: Option<&str>,
    client_code: Option<&str>,
    id_kind: Option<&str>,
    chunk: Option<i32>,
    restart: Option<bool>,
) -> Result<i32, Fault> {
    if backend::is_in_transaction_block() {
        return Err(Fault::Backfill(BackfillFault::InTransaction));
    }
    let chunk = chunk.ok_or(Fault::NullArgument("chunk"))?;
    if !backfill::CHUNK_ROWS.contains(&chunk) {
        return Err(Fault::Backfill(BackfillFault::Chunk(chunk)));
    }
    let restart = restart.ok_or(Fault::NullArgument("restart"))?;
    let client = client_code.map(ClientCode::parse).transpose()?;
    let kind = id_kind.map(IdKind::parse).transpose()?;
    let table = SourceTable::of(table.ok_or(Fault::NullArgument("table"))?)?;
    let watch = run::watch(&table, client.as_ref(), kind)?;
    clients::registered(watch.client.as_str())?;
    let written = condition.map(|text| condition::given(table.oid, text)).transpose()?;
    let (order, (sorts, total)) = Spi::connect(|_| {
        let reading = Reading::of(&table, &watch, written.as_deref())?;
        reading.check()?;
        let plan = reading.plan()?;
        Ok::<_, Fault>((reading.order, plan))
    })?;

    let mut run = Run::of(run::take(&table, &watch, &order)?)?;
    let asked = Extent {
        order,
        condition: condition.map(str::to_owned),
        meaning: written.clone(),
    };
    let unfinished = (!run.is_finished).then(|| Extent {
        order: run.order.clone(),
        condition: run.given.clone(),
        meaning: run.meaning.clone(),
    });
    let me = backend::role_name(backend::current_role()).unwrap_or_default();
    let begin = backfill::begin(unfinished.as_ref(), &asked, restart).map_err(|refusal| BackfillFault::Unfinished {
        table: table.quoted(),
        refusal,
        last: match refusal {
            backfill::Refusal::OtherCondition => run.given.clone(),
            backfill::Refusal::OtherOrder => Some(run.order.clone()),
            backfill::Refusal::OtherMeaning => None,
        },
        other: (run.started_by != me).then(|| run.started_by.clone()),
    })?;
    run.sorts = sorts;
    match begin {
        Begin::New => {
            run.order = asked.order;
            run.given = asked.condition;
            run.meaning = asked.meaning;
            run.started_by = me;
            run.start(&table, total)?;
        }
        Begin::Resume => run.resume(&table)?,
    }
    // Of an earlier run the place is taken over, and not the words.
    run::is_mine(run.id, written);
    if let Some(limit) = session::transaction_timeout() {
        // The end of the session itself is beyond the reach of the procedure, and of backfill_run.
        warn(
            &format!("transaction_timeout is {limit} ms: a chunk that takes longer ends this session"),
            "What was done until then stays done, and the same call goes on. Set transaction_timeout = 0, or use a smaller chunk.",
        );
    }
    if sorts {
        notice!(
            "no index of table {} gives the order of its ids: each chunk reads and sorts the whole table",
            table.quoted()
        );
    }
    Ok(run.id)
}

fn chunk(id: i32, rows: i32) -> Result<ChunkEnd, Fault> {
    run::must_be_mine(id)?;
    let mut run = Run::of(id)?;
    if run.stop_requested {
        run.stopped()?;
        return Ok(ChunkEnd::Stopped);
    }
    let table = SourceTable::of(run.table)?;
    let watch = run::watch(&table, Some(&run.client), Some(run.kind))?;
    clients::registered(watch.client.as_str())?;
    let outbox = Outbox::find().ok_or_else(Fault::no_outbox)?;
    // As the entries will lock it, but before any row is locked.
    backend::lock(outbox.table, pg_sys::RowExclusiveLock);
    Spi::connect(|_| {
        let reading = Reading::again(&table, &watch, run::my_condition(id)?.as_deref(), &run)?;
        if reading.order != run.order {
            return Err(Fault::Backfill(BackfillFault::Unfinished {
                table: table.quoted(),
                refusal: backfill::Refusal::OtherOrder,
                last: Some(run.order),
                other: None,
            }));
        }
        let mut chunk = Chunk {
            table: &table,
            watch: &watch,
            reading: &reading,
            done: Done::default(),
            locked: Vec::new(),
            warned: HashSet::new(),
        };
        let mut tried = 0;
        match backfill::next(run.at_end, run.locked.len()) {
            NextRead::Read => {
                let end = reading.end_of_chunk(run.last_id.as_deref(), rows)?;
                chunk.send(&Range::Between(run.last_id.as_deref(), end.as_deref()))?;
                if end.is_none() {
                    run.at_end = true;
                    chunk.count_without_id()?;
                } else {
                    run.last_id = end;
                }
            }
            NextRead::Again => {
                let mut waiting = std::mem::take(&mut run.locked).into_iter();
                let most = usize::try_from(rows).unwrap_or(1);
                for id in waiting.by_ref().take(most) {
                    tried += 1;
                    chunk.send(&Range::Exactly(&id))?;
                    if tried == backfill::TRIED_IN_VAIN && chunk.locked.len() >= tried {
                        break;
                    }
                }
                // Those that were tried in vain stand behind them.
                run.locked = waiting.collect();
            }
            NextRead::Finish => {}
        }
        let Chunk { done, locked, .. } = chunk;
        let mut known: HashSet<String> = run.locked.iter().cloned().collect();
        let before = known.len();
        run.locked
            .extend(locked.into_iter().filter(|id| known.insert(id.clone())));
        let still_locked = known.len() - before;
        let outcome = ChunkEnd::after(run.at_end, run.locked.len(), tried, still_locked);
        collector::flush_now()?;
        run.advance(&done, outcome == ChunkEnd::Finished)?;
        Ok(outcome)
    })
}

fn end(id: i32) -> Result<(), Fault> {
    run::must_be_mine(id)?;
    let run = Run::of(id)?;
    let state = if run.is_finished { "has finished" } else { "was stopped" };
    notice!(
        "backfill of table {} {state}: {} rows, {} entries, {} invalid",
        SourceTable::of(run.table)?.quoted(),
        run.rows,
        run.entries,
        run.invalid
    );
    run::give_back(id)
}

/// A chunk under way.
struct Chunk<'a> {
    table: &'a SourceTable,
    watch: &'a Watch,
    reading: &'a Reading,
    done: Done,
    /// The ids of rows that others have locked.
    locked: Vec<String>,
    warned: HashSet<String>,
}

impl Chunk<'_> {
    fn send(&mut self, range: &Range<'_>) -> Result<(), Fault> {
        if self.reading.virtual_columns().next().is_none() {
            return self.send_at_once(range, &HashMap::new());
        }
        match (self.attempt(range), range) {
            (Ok(sent), _) => sent,
            (Err(_), &Range::Between(after, up_to)) => {
                let ids = self.reading.ids(range)?;
                self.send_in_parts(after, up_to, &ids)
            }
            (Err(_), Range::Exactly(_)) => self.send_without(range),
        }
    }

    /// Finds the rows of which a virtual column cannot be computed, by halving, and sends the others. `ids` are those of the range.
    fn send_in_parts(&mut self, after: Option<&str>, up_to: Option<&str>, ids: &[String]) -> Result<(), Fault> {
        let (first, second) = ids.split_at(ids.len() / 2);
        let Some(middle) = first.last().map(String::as_str) else {
            return self.send_without(&Range::Between(after, up_to));
        };
        for (after, up_to, ids) in [(after, Some(middle), first), (Some(middle), up_to, second)] {
            match self.attempt(&Range::Between(after, up_to)) {
                Ok(sent) => sent?,
                Err(_) => self.send_in_parts(after, up_to, ids)?,
            }
        }
        Ok(())
    }

    /// The rows of one id, without the virtual columns that cannot be computed.
    fn send_without(&mut self, range: &Range<'_>) -> Result<(), Fault> {
        let mut not_computed = HashMap::new();
        for number in self.reading.virtual_columns() {
            let computed = subtransaction::attempt(AssertUnwindSafe(|| {
                let cursor = self.reading.locked(range, |other| other != number)?;
                cursor.each(|_| Ok(()))?;
                cursor.close();
                Ok::<_, Fault>(())
            }));
            match computed {
                Ok(read) => read?,
                Err(message) => {
                    not_computed.insert(number, message);
                }
            }
        }
        self.send_at_once(range, &not_computed)
    }

    /// Sends a range; where Postgres fails to read it, nothing of it is sent.
    ///
    /// # Errors
    /// What Postgres says.
    fn attempt(&mut self, range: &Range<'_>) -> Result<Result<(), Fault>, String> {
        let (done, locked) = (self.done, self.locked.len());
        let sent = subtransaction::attempt(AssertUnwindSafe(|| self.send_at_once(range, &HashMap::new())));
        if sent.is_err() {
            self.done = done;
            self.locked.truncate(locked);
        }
        sent
    }

    /// `not_computed` are the columns that are left out, each with the reason.
    fn send_at_once(&mut self, range: &Range<'_>, not_computed: &HashMap<usize, String>) -> Result<(), Fault> {
        let cursor = self
            .reading
            .locked(range, |number| not_computed.contains_key(&number))?;
        cursor.each(|row| self.row(row, not_computed))?;
        cursor.close();
        Ok(())
    }

    fn row(&mut self, row: &FetchedRow, not_computed: &HashMap<usize, String>) -> Result<(), Fault> {
        if row.value(1).unwrap_or_default() {
            self.locked.extend(self.reading.id(row, 2));
            return Ok(());
        }
        self.done.rows += 1;
        let id = row.text(2).transpose();
        let mut values = Values::default();
        for (number, name) in self.reading.names.iter().enumerate() {
            let column = number + 3;
            let json = match not_computed.get(&number) {
                Some(message) => Err(Unread::other(message.clone())),
                None => row.json(column),
            };
            values.push(name.as_str(), json);
        }
        let Values { read, fault } = values;
        let sent = id.and_then(|id| {
            let id = id.ok_or(Fault::Internal("a row without an id was read"))?;
            fault.map_or(Ok(()), Err)?;
            row_update::update(&self.reading.origin, &id, &read)
        });
        match sent {
            Ok(Some((key, attrs))) => {
                self.done.entries += 1;
                collector::collect(&self.reading.origin, key.id, attrs, Otherwise::Raise)
            }
            Ok(None) => Ok(()),
            // Nothing is wrong with the row: it is sent when the chunk is tried again.
            Err(fault @ Fault::Refused(_)) => Err(fault),
            Err(fault) if self.watch.on_invalid == OnInvalid::Error => Err(fault),
            Err(fault) => self.bury(&fault, row, &read),
        }
    }

    /// Buries a row as a trigger does, but warns once a chunk for each kind of fault.
    fn bury(&mut self, fault: &Fault, row: &FetchedRow, values: &[(&str, Value)]) -> Result<(), Fault> {
        self.done.invalid += 1;
        let origin = &self.reading.origin;
        let profile_id = row.text(2).and_then(Result::ok);
        let update = Unsendable {
            client_code: Some(origin.client.as_str()),
            id_kind: Some(origin.kind.as_str()),
            profile_id: profile_id.as_deref(),
            attrs: values,
            priority: origin.priority,
            source: &origin.source,
        };
        let is_kept = collector::bury(update, &fault.reason(), false)?;
        if is_kept && self.warned.insert(fault.to_string()) {
            fault.warn("The backfill goes on; the row's update went to target_profile.dead_letter.");
        }
        Ok(())
    }

    fn count_without_id(&mut self) -> Result<(), Fault> {
        self.done.without_id = self.reading.without_id()?;
        if self.done.without_id > 0 {
            let message = format!(
                "{} rows of table {} have no id and were left out",
                self.done.without_id,
                self.table.quoted()
            );
            warning::raise(PgSqlErrorCode::ERRCODE_WARNING, &message, None, None);
        }
        Ok(())
    }
}
