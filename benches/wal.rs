//! What an update writes into the WAL on its way in and on its way out.

use crate::Size;
use crate::site::{ATTRS, Site};
use crate::table::{Line, Required, Table};

pub fn measure(table: &mut Table, size: Size) {
    let count = size.of(20_000, 5_000);
    let mut site = Site::new("wal", 256, 256);
    site.db.batch(
        "create table plain (like target_profile.outbox including all);
         create table plain_record (like target_profile.response including all, primary key (id));
         create index on plain_record ((outbox_ids[1]))",
    );
    // Not counted: the day of responses is made, and the tables have their first pages.
    site.drain_rate(1_000);
    site.hold();
    site.db.batch("checkpoint");
    let start = position(&site);
    site.enqueue(count);
    let enqueued = position(&site);
    site.mock.clear();
    site.go();
    site.wait_drained(count);
    let drained = position(&site);

    site.db.batch("checkpoint");
    let plain_start = position(&site);
    site.db.query(
        "insert into plain (client_code, id_kind, profile_id, attrs)
         select 'acme', 'mbox3rdPartyId', 'customer-' || g, $1::text::jsonb from generate_series(1, $2) g",
        &[&ATTRS, &i32::try_from(count).unwrap_or(i32::MAX)],
    );
    let inserted = position(&site);
    // As many rows of the records that the drain has written: no more can be asked of a plain INSERT.
    site.db.batch(&format!(
        "insert into plain_record select * from target_profile.response order by id desc limit {count}"
    ));
    let recorded = position(&site);
    site.db.batch("delete from plain");
    let deleted = position(&site);

    let each = |from: i64, to: i64| (to - from) as f64 / count as f64;
    let mut line = |what: &str, measured: f64, what_floor: &str, floor: f64| {
        table.line(Line {
            what,
            measured: format!("{measured:.0} B"),
            floor: format!("{what_floor} {floor:.0} B"),
            ratio: measured / floor,
            required: Required::Nothing,
        });
    };
    line(
        "WAL of one update, enqueue",
        each(start, enqueued),
        "plain INSERT",
        each(plain_start, inserted),
    );
    line(
        "WAL of one update, drain and response",
        each(enqueued, drained),
        "plain INSERT and DELETE",
        each(inserted, deleted),
    );
    line(
        "WAL of one update, in all",
        each(start, drained),
        "plain statements",
        each(plain_start, deleted),
    );
    table.note(&format!(
        "of the plain statements: DELETE {:.0} B, INSERT of the response {:.0} B",
        each(recorded, deleted),
        each(inserted, recorded)
    ));
}

fn position(site: &Site) -> i64 {
    site.db
        .value("select (pg_current_wal_insert_lsn() - '0/0')::bigint", &[])
}
