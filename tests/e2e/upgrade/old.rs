//! A site of an earlier version, with something in every table.

use support::cluster;

use crate::site::Site;

/// The version that upgrades are tested from.
pub const OLD: &str = "0.1.0";

/// Roles that have been granted the levels of their names.
const ROLES: [(&str, &[&str]); 5] = [
    ("writes", &["writer"]),
    ("reads", &["reader"]),
    ("rules", &["admin"]),
    ("does_both", &["writer", "reader"]),
    ("monitors", &[]),
];

/// Watched, wired by hand, and written by people who have no rights on the extension.
pub fn site(builder: cluster::Builder) -> Site {
    let site = Site::made_by(builder, &format!("create extension target_profile version '{OLD}'"));
    for (role, _) in ROLES {
        site.db.batch(&format!("create role {role}"));
    }
    site.db.batch("create role nobody login; grant pg_monitor to monitors");
    grant(&site.db);
    site.create_customers();
    site.db.batch(
        "create table watched (id text primary key, tier text, note text);
         select target_profile.watch('watched', 'acme', 'mbox3rdPartyId', 'id', '{tier}', \"when\" => 'NEW.tier IS NOT NULL');
         grant select, insert, update on watched, customers to nobody",
    );
    site
}

/// The levels, in any database.
pub fn grant(db: &support::Db) {
    for (role, levels) in ROLES {
        for level in levels {
            db.query("select target_profile.grant_to($1::text::regrole, $2)", &[&role, level]);
        }
    }
}

/// Something in every table: what waits, what was answered, what was given up, what is overtaken, paused and backfilled.
pub fn fill(site: &Site) {
    site.db.query(
        "select target_profile.add_client('paused', endpoint => $1, auth_token => 'secret', daily_quota => 777, null_value => '-')",
        &[&site.mock.endpoint()],
    );
    site.db.batch(
        "select target_profile.pause('paused', 'until noon');
         insert into watched select 'w' || n, 'tin', 'x' from generate_series(1, 50) n;
         insert into customers select 'c' || n, 'tin', n from generate_series(1, 50) n;
         insert into watched values ('a/b', 'gold', 'cannot be sent')",
    );
    site.db.batch("call target_profile.backfill('watched')");
    site.wait_until("select not exists (select from target_profile.outbox where client_code = 'acme')");
    // A dead letter that a newer update has overtaken.
    site.mock
        .on(support::Match::id("dead"))
        .times(1)
        .respond(support::Reply::failure("no"));
    site.update("dead", r#"{"a": 1, "b": 1}"#);
    site.wait_until("select exists (select from target_profile.dead_letter where profile_id = 'dead')");
    site.update("dead", r#"{"a": 2}"#);
    site.wait_until("select exists (select from target_profile.overtaken)");
    site.db.batch(
        "select target_profile_update('paused', 'mboxPC', n::text, '{\"a\": 1}', (n % 3)::smallint) from generate_series(1, 100) n",
    );
}
