//! What nearly every test begins with: a cluster with the extension, a client, and the stand-in that it sends to.

use std::io::Write;
use std::time::Duration;

use support::{Cluster, Db, MockTarget, cluster};

/// How long anything may take that must happen at all.
pub const SOON: Duration = Duration::from_secs(60);

/// The worker in `pg_stat_activity`.
pub const WORKER: &str = "target_profile worker";

/// Says that a test has tried nothing, past the test runner, which shows only what failed.
pub fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
}

pub struct Site {
    pub mock: MockTarget,
    pub cluster: Cluster,
    pub db: Db,
}

impl Site {
    pub fn new(name: &str) -> Self {
        Self::with(Cluster::builder(name))
    }

    pub fn with(builder: cluster::Builder) -> Self {
        Self::made_by(builder, "create extension target_profile")
    }

    /// The extension made by another statement than the usual one.
    pub fn made_by(builder: cluster::Builder, create: &str) -> Self {
        let mock = MockTarget::builder().create_unknown(true).start();
        let cluster = builder.build();
        let db = cluster.db();
        db.batch(create);
        let site = Self { mock, cluster, db };
        site.add_client("acme");
        site
    }

    pub fn add_client(&self, code: &str) {
        self.add_client_in(&self.db, code);
    }

    fn add_client_in(&self, db: &Db, code: &str) {
        db.query(
            "select target_profile.add_client($1, endpoint => $2, timeout => '5 s')",
            &[&code, &self.mock.endpoint()],
        );
    }

    /// Another database with the extension and the client.
    pub fn add_database(&self, name: &str) -> Db {
        let db = self.cluster.create_db(name);
        db.batch("create extension target_profile");
        self.add_client_in(&db, "acme");
        db
    }

    /// Enqueues an update by hand; the outbox id.
    pub fn update(&self, id: &str, attrs: &str) -> i64 {
        self.db.value(
            "select target_profile_update('acme', 'mbox3rdPartyId', $1, $2::text::jsonb)",
            &[&id, &attrs],
        )
    }

    /// The CRM table with its trigger.
    pub fn create_customers(&self) {
        self.db.batch(
            "create table customers (id text primary key, tier text, balance numeric);
             create trigger to_target after insert or update on customers for each row
             execute function target_profile_trigger('acme', 'mbox3rdPartyId', 'id', 'tier', 'balance')",
        );
    }

    pub fn wait_drained(&self) {
        self.wait_drained_in(&self.db);
    }

    pub fn wait_drained_in(&self, db: &Db) {
        self.cluster
            .wait_sql(db, "select not exists (select from target_profile.outbox)", SOON);
    }

    pub fn wait_until(&self, sql: &str) {
        self.cluster.wait_sql(&self.db, sql, SOON);
    }

    pub fn count(&self, sql: &str) -> i64 {
        self.db.value(sql, &[])
    }

    pub fn sent_value(&self, id: &str, name: &str) -> Option<String> {
        self.mock.value("acme", "mbox3rdPartyId", id, name)
    }
}
