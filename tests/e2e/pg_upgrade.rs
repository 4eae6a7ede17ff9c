//! From an older version of Postgres to the one that is tested: by pg_upgrade, and by a dump.
//!
//! `make test PG=17` (any but the default) says where the older server is, with the extension in it (`pgrx-config/older`).

use support::Cluster;
use support::cluster::Installation;

use crate::full_queue;
use crate::site::skipped;

/// The server to come from; that there is none is said aloud.
fn older(test: &str) -> Option<Installation> {
    let older = Installation::older();
    if older.is_none() {
        skipped(
            test,
            "OLDER_PG_CONFIG names no older server; `make test-servers` has one",
        );
    }
    older
}

/// supabase/postgres#1030: an extension whose worker kept pg_upgrade from its work.
#[test]
fn pg_upgrade_is_not_in_the_way_and_keeps_everything() {
    let Some(older) = older("pg_upgrade_is_not_in_the_way_and_keeps_everything") else {
        return;
    };
    let site = full_queue::site("upgrade_from", older);
    let kept = full_queue::contents(&site.db);
    let sent = site.mock.request_count();

    let new = Cluster::builder("upgrade_to").build_stopped();
    new.upgrade_from(&site.cluster);
    assert_eq!(site.mock.request_count(), sent, "something was sent meanwhile");
    let db = new.db();
    full_queue::assert_kept(&db, &kept, &[]);
    assert_eq!(
        db.text("select extversion = default_version from pg_extension e join pg_available_extensions a on a.name = extname where extname = 'target_profile'"),
        "t"
    );
    full_queue::sends_nothing_until_adopted(&site, &new, "postgres");
}

#[test]
fn a_dump_of_an_older_server_is_restored_whole() {
    let Some(older) = older("a_dump_of_an_older_server_is_restored_whole") else {
        return;
    };
    let site = full_queue::site("dump_from", older);
    let kept = full_queue::contents(&site.db);
    let new = Cluster::builder("dump_to").build();
    new.db().batch(full_queue::ROLES);
    new.db().batch("create database crm template template0");
    // As the manual has it: by pg_dump of the newer version.
    let dump = site.cluster.pg_dump_by(&Installation::tested(), &["-Fc", "postgres"]);
    new.restore("crm", &dump);
    full_queue::assert_kept(&new.db_in("crm"), &kept, full_queue::NOT_DUMPED);
    full_queue::sends_nothing_until_adopted(&site, &new, "crm");
}
