//! Writes dead letters of rows, many at once. If that fails, too, counts the updates that are lost.

use std::cell::Cell;

use pgrx::prelude::*;
use target_profile_core::burial::{DeadLetter, Unsendable, spare_id};

use super::deferred;
use super::ids::must_be_writable;
use super::outbox::{NewEntry, Writable};
use super::owner::as_owner_of;
use crate::pg::shmem::{reports, slots};
use crate::pg::support::backend;
use crate::pg::support::clock::{from_postgres, postgres_now};
use crate::pg::support::errors::Fault;
use crate::pg::support::extension;
use crate::pg::support::process;
use crate::pg::support::rows::{Rows, rows};
use crate::pg::support::snapshot::with_transaction_snapshot;
use crate::pg::support::statement::{Statement, statement};
use crate::pg::support::warning::warn_in_detail;

thread_local! {
    /// The statements that were warned last: of losses, and of ids that the sequence does not give.
    static WARNED: Cell<i64> = const { Cell::new(0) };
    static WARNED_OF_IDS: Cell<i64> = const { Cell::new(0) };
    static BURY: Statement = const { statement!("enqueue/bury.sql", rows: BuriedRow<'static>) };
}

/// A dead letter that is not yet written.
#[derive(Debug)]
pub struct Buried {
    /// From the outbox's sequence; `None`: it gave none.
    pub id: Option<i64>,
    /// What is written.
    pub letter: DeadLetter,
}

struct BuriedRow<'a> {
    buried: &'a Buried,
    spare_id: i64,
}

rows! {
    BuriedRow<'_> as row {
        id: Option<i64> = row.buried.id;
        client_code: Option<&str> = row.buried.letter.client_code.as_deref();
        id_kind: Option<&str> = row.buried.letter.id_kind.as_deref();
        profile_id: Option<&str> = row.buried.letter.profile_id.as_deref();
        attrs: Option<&str> = row.buried.letter.attrs.as_deref();
        priority: i16 = row.buried.letter.priority;
        source: &str = row.buried.letter.source.as_ref();
        reason: &str = row.buried.letter.reason.as_ref();
        raw: bool = row.buried.letter.raw;
        spare_id: i64 = row.spare_id;
    }
}

/// Of an entry that the outbox does not take.
pub fn of_entry(entry: &NewEntry, reason: &str) -> DeadLetter {
    let letter = DeadLetter::of_row(
        Unsendable {
            client_code: Some(entry.origin.client.as_str()),
            id_kind: Some(entry.origin.kind.as_str()),
            profile_id: Some(entry.profile_id.as_str()),
            attrs: &[],
            priority: entry.origin.priority,
            source: &entry.origin.source,
        },
        reason,
    );
    DeadLetter {
        attrs: Some(entry.attrs.to_json_text()),
        raw: false,
        ..letter
    }
}

/// Writes dead letters with one statement, also at the end of a transaction.
///
/// # Errors
/// The transaction may not write. Whatever else fails is raised by Postgres.
pub fn insert(letters: &[Buried]) -> Result<(), Fault> {
    let rows: Vec<BuriedRow<'_>> = letters
        .iter()
        .zip(spare_ids(letters.len()))
        .map(|(buried, spare_id)| BuriedRow { buried, spare_id })
        .collect();
    let _writable = Writable::again();
    must_be_writable()?;
    with_transaction_snapshot(|| {
        as_owner_of(c"dead_letter", || {
            Spi::connect_mut(|client| {
                BURY.with(|statement| {
                    let written = statement.update(client, &BuriedRow::arrays(&rows)?)?;
                    if written.len() < letters.len() {
                        return Err(Fault::Suppressed {
                            statement: "INSERT into",
                            table: "dead_letter",
                        });
                    }
                    Ok(())
                })?;
                extension::table(c"dead_letter").map_or(Ok(()), |table| deferred::check_now(client, table))
            })
        })
    })
}

/// So many ids, for dead letters whose own are taken.
pub fn spare_ids(count: usize) -> Vec<i64> {
    let now = from_postgres(postgres_now()).unix_micros();
    (0..count)
        .map(|number| spare_id(now, number, fastrand::f64()))
        .collect()
}

/// Warns the session that the outbox has refused entries.
pub fn warn_refused(count: usize, message: &str) {
    warn_in_detail(
        "profile updates could not be enqueued",
        &format!("The rows were written; {count} updates of them went to target_profile.dead_letter: {message}"),
        "See what was done to target_profile.outbox, undo it, and send them with target_profile.retry_all.",
    );
}

/// Warns the session, once a statement, that the sequence gives no id.
pub fn warn_without_id(message: &str) {
    let statement = backend::statement_start();
    if WARNED_OF_IDS.replace(statement) == statement {
        return;
    }
    warn_in_detail(
        "profile updates could not be enqueued",
        &format!("The rows were written; their updates went to target_profile.dead_letter: {message}"),
        "See what was done to the sequence target_profile.outbox_id_seq, undo it, and send them with target_profile.retry_all.",
    );
}

/// Warns the session, once a statement, that updates are lost. The server's log has the warning, too.
pub fn warn_lost(count: u64, message: &str) {
    let statement = backend::statement_start();
    if WARNED.replace(statement) == statement {
        return;
    }
    warn_in_detail(
        "profile updates are lost",
        &format!(
            "The rows were written; {count} updates of them could be written neither to target_profile.outbox nor to \
             target_profile.dead_letter: {message}"
        ),
        "See what was done to these tables and undo it; then send the rows again with target_profile.backfill.",
    );
}

/// Has the view `worker` show that a transaction, which is about to commit, has lost updates.
pub fn count_lost(count: u64, message: &str) {
    if slots::is_ready() {
        reports::add_lost(process::my_database(), count, message, postgres_now());
    }
}
