//! A library that is older than the SQL: a server between `make install` and its restart, in which somebody was quick with
//! ALTER EXTENSION UPDATE.
//!
//! That library is built from the history, which takes minutes. The test runs itself a second time, with the server that has it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{Cluster, Mode};

use crate::site::{SOON, WORKER};
use crate::upgrade::old::{self, OLD};

/// Set in the second run: the library that the server is restarted with.
const PRESENT: &str = "PRESENT_LIBRARY";

#[test]
#[ignore = "takes minutes the first time: make soak"]
fn an_old_library_goes_on_with_the_new_sql_and_asks_for_a_restart() {
    if let Some(present) = std::env::var_os(PRESENT) {
        return with_the_old_library(Path::new(&present));
    }
    let program = support::repository().join("pgrx-config/released");
    let made = Command::new(program)
        .arg(OLD)
        .stderr(Stdio::inherit())
        .output()
        .expect("pgrx-config/released runs");
    if made.status.code() == Some(3) {
        println!("SKIPPED: the library of {OLD} cannot be built without the history of this repository");
        return;
    }
    assert!(made.status.success(), "pgrx-config/released: {}", made.status);
    let old = String::from_utf8(made.stdout)
        .expect("a path in UTF-8")
        .trim()
        .to_owned();
    let this = std::env::current_exe().expect("this program has a path");
    let status = Command::new(this)
        .args(["--ignored", "--nocapture", "--exact"])
        .arg("old_library::an_old_library_goes_on_with_the_new_sql_and_asks_for_a_restart")
        .env(PRESENT, library(&std::env::var("PG_CONFIG").expect("PG_CONFIG is set")))
        .env("PG_CONFIG", old)
        .status()
        .expect("this program runs");
    assert!(status.success(), "with the old library: {status}");
}

/// That of a server.
fn library(pg_config: &str) -> PathBuf {
    let output = Command::new(pg_config)
        .arg("--pkglibdir")
        .output()
        .expect("pg_config runs");
    let directory = String::from_utf8(output.stdout).expect("a path in UTF-8");
    PathBuf::from(directory.trim()).join("target_profile.so")
}

fn with_the_old_library(present: &Path) {
    let site = old::site(Cluster::builder("oldlib"));
    let new = env!("CARGO_PKG_VERSION");
    let told = format!(
        "library {OLD}, SQL {new}: install the library of version {new}, if it is not, and restart the server so that it is loaded"
    );
    let mark = site.cluster.log_mark();
    old::fill(&site);
    site.db.batch("alter extension target_profile update");
    site.cluster.wait_log_since(
        mark,
        "the library of target_profile and the SQL of this database differ",
        SOON,
    );
    site.wait_until(&format!(
        "select last_error = '{told}' and pid is not null from target_profile.worker"
    ));

    // Every way in, by people who have no rights on the extension, and every way out.
    let nobody = site.cluster.client("postgres", "nobody");
    nobody
        .batch("update watched set tier = 'gold' where id = 'w1'; update customers set tier = 'gold' where id = 'c1'");
    site.update("f", r#"{"tier": "gold"}"#);
    site.db.batch("call target_profile.backfill('watched', 'id = ''w2''')");
    for id in ["w1", "c1", "f"] {
        site.mock.wait_value("acme", "mbox3rdPartyId", id, "tier", "gold", SOON);
    }
    site.db.batch(
        "select target_profile.set_client('paused', reset => '{auth_token}'), target_profile.resume('paused');
         select target_profile.retry_all('acme');
         select * from target_profile.status, target_profile.watch_state, target_profile.backfill_progress;
         create role late; select target_profile.grant_to('late', 'writer'), target_profile.revoke_from('late')",
    );
    site.wait_drained();
    // Also a database that has known nothing else.
    let fresh = site.add_database("fresh");
    let id: i64 = fresh.value(
        "select target_profile_update('acme', 'mboxPC', 'fresh', '{\"a\": 1}')",
        &[],
    );
    let state: String = fresh.value("select state from target_profile.wait($1, '30 s')", &[&id]);
    assert_eq!(state, "accepted");

    // With the next library it is as if nothing had been.
    let installed = library(&std::env::var("PG_CONFIG").expect("PG_CONFIG is set"));
    let beside = installed.with_extension("new");
    std::fs::copy(present, &beside).expect("the library can be copied");
    std::fs::rename(&beside, &installed).expect("the library can be replaced");
    site.cluster.restart(Mode::Fast);
    let db = site.cluster.db();
    site.cluster.wait_backend(WORKER, SOON);
    site.cluster.wait_sql(
        &db,
        "select count(*) = 2 and bool_and(last_error is null and state = 'idle') from target_profile.worker",
        SOON,
    );
    db.batch("update watched set tier = 'new' where id = 'w1'");
    site.mock
        .wait_value("acme", "mbox3rdPartyId", "w1", "tier", "new", SOON);
    assert!(!site.cluster.log_contains("ERROR:"), "{}", site.cluster.log_tail());
}
