//! What is measured on: a cluster with a production server's settings, a client, and the stand-in that it sends to.

use std::time::{Duration, Instant};

use support::mock_target::Recording;
use support::{Cluster, Db, MockTarget};

use crate::process::Process;
use crate::table::Table;

/// Nothing here takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(280);

/// The attributes of every update.
pub const ATTRS: &str = r#"{"tier": "gold", "balance": 1024.50, "city": "Basel"}"#;

/// A cluster, the stand-in, and a superuser's session.
pub struct Site {
    pub mock: MockTarget,
    pub cluster: Cluster,
    pub db: Db,
    next: i64,
}

impl Site {
    /// `in_flight`: the limit of all clients together, and of the client `acme`.
    pub fn new(name: &str, in_flight: usize, of_client: usize) -> Self {
        let mock = MockTarget::builder().recording(Recording::Counters).start();
        // Beside what pgrx-config/postgresql.conf says (fsync, synchronous_commit and full_page_writes are on).
        let cluster = Cluster::builder(name)
            .conf("shared_buffers", "256MB")
            .conf("max_wal_size", "4GB")
            .conf("checkpoint_timeout", "30min")
            .conf("target_profile.max_in_flight", in_flight)
            .build();
        let db = cluster.db();
        db.batch("create extension target_profile");
        let site = Self {
            mock,
            cluster,
            db,
            next: 1,
        };
        site.add_client("acme", of_client);
        site
    }

    pub fn add_client(&self, code: &str, in_flight: usize) {
        let in_flight = i32::try_from(in_flight).unwrap_or(i32::MAX);
        self.db.query(
            "select target_profile.add_client($1, endpoint => $2, max_in_flight => $3, daily_quota => 1000000000)",
            &[&code, &self.mock.endpoint(), &in_flight],
        );
    }

    /// The settings that matter, as a note.
    pub fn say_settings(&self, table: &Table) {
        let settings = self.db.text(
            "select string_agg(name || ' ' || current_setting(name), ', ' order by name) from pg_settings
             where name in ('fsync', 'synchronous_commit', 'full_page_writes', 'shared_buffers', 'max_wal_size',
                            'target_profile.max_in_flight', 'server_version')",
        );
        table.note(&format!("{}: {settings}", self.cluster.name()));
    }

    pub fn worker(&self) -> Process {
        let pid = self.cluster.wait_backend("target_profile worker", PATIENCE);
        Process::of(u32::try_from(pid).unwrap_or(0))
    }

    /// Nothing is sent from now on.
    pub fn hold(&self) {
        self.cluster.set("target_profile.enabled", "off");
        let held = "select not exists (select from target_profile.worker where state <> 'disabled')";
        self.cluster.wait_sql(&self.db, held, PATIENCE);
        // What is in flight is settled too.
        let quiet = "select pg_sleep(0.02) is not null and not exists (select from target_profile.worker where state <> 'disabled')";
        self.cluster.wait_sql(&self.db, quiet, PATIENCE);
    }

    /// Things are sent again; the answer is when that was said.
    pub fn go(&self) -> Instant {
        self.db.batch("alter system reset target_profile.enabled");
        let said = Instant::now();
        self.db.batch("select pg_reload_conf()");
        said
    }

    /// Enqueues updates of `count` profiles that were not updated before, by the function, in one transaction.
    pub fn enqueue(&mut self, count: usize) {
        self.enqueue_for("acme", count);
    }

    pub fn enqueue_for(&mut self, code: &str, count: usize) {
        let last = self.next + i64::try_from(count).unwrap_or(0) - 1;
        self.db.query(
            "select count(target_profile_update($1, 'mbox3rdPartyId', 'customer-' || g, $2::text::jsonb))
             from generate_series($3::bigint, $4) g",
            &[&code, &ATTRS, &self.next, &last],
        );
        self.next = last + 1;
    }

    /// The URLs that the next `count` updates will be sent to.
    pub fn urls(&self, count: usize) -> Vec<String> {
        let last = self.next + i64::try_from(count).unwrap_or(0) - 1;
        let rows = self.db.query(
            "select p.url from generate_series($2::bigint, $3) g,
             target_profile_preview('acme', 'mbox3rdPartyId', 'customer-' || g, $1::text::jsonb) p",
            &[&ATTRS, &self.next, &last],
        );
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Waits until so many requests have arrived since `clear`. Polls: to be told of each would cost the stand-in a system call.
    pub fn wait_arrived(&self, count: usize) {
        wait_until(|| self.mock.request_count() >= count as u64);
    }

    /// Waits until the outbox is empty, after `count` requests.
    pub fn wait_drained(&self, count: usize) {
        self.wait_arrived(count);
        self.cluster.wait_sql(
            &self.db,
            "select not exists (select from target_profile.outbox)",
            PATIENCE,
        );
    }

    /// Enqueues, drains, and says how many updates a second that were.
    pub fn drain_rate(&mut self, count: usize) -> f64 {
        self.hold();
        self.enqueue(count);
        self.db.batch("vacuum target_profile.outbox");
        self.mock.clear();
        let started = self.go();
        self.wait_drained(count);
        count as f64 / started.elapsed().as_secs_f64()
    }
}

/// Waits, looking every millisecond.
pub fn wait_until(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}
