//! What `pg_stat_activity` shows that the extension waits for.

use std::thread;

use support::{Match, Reply};

use crate::site::{SOON, Site, WORKER};

/// The name of a wait on this server: before PostgreSQL 17 all extensions share one.
fn named(site: &Site, name: &str) -> String {
    if site.count("select current_setting('server_version_num')::bigint") < 170_000 {
        return "Extension:Extension".to_owned();
    }
    format!("Extension:{name}")
}

fn wait_shown(site: &Site, whose: &str, name: &str) {
    site.cluster.wait_text(
        &site.db,
        &format!("select string_agg(wait_event_type || ':' || wait_event, ' ') from pg_stat_activity where {whose}"),
        &named(site, name),
        SOON,
    );
}

#[test]
fn each_wait_has_its_name_from_17_on() {
    let site = Site::new("wait_events");
    wait_shown(
        &site,
        "backend_type = 'target_profile launcher'",
        "TargetProfileLauncherMain",
    );
    wait_shown(
        &site,
        &format!("backend_type = '{WORKER}' and datname = 'postgres'"),
        "TargetProfileWorkerMain",
    );

    site.mock.on(Match::id("slow")).respond(Reply::hang());
    let id = site.update("slow", r#"{"a": 1}"#);
    site.mock.wait_hung(1, SOON);
    thread::scope(|scope| {
        let waits = site.cluster.db();
        let pid = waits.pid();
        let waiting =
            scope.spawn(move || -> String { waits.value("select state from target_profile.wait($1, '60 s')", &[&id]) });
        wait_shown(&site, &format!("pid = {pid}"), "TargetProfileWait");
        site.mock.release_hung();
        assert_eq!(waiting.join().unwrap(), "accepted");
    });

    site.add_database("other");
    let worker: i32 = support::wait::until("the worker of the other database", SOON, || {
        let sql = "select pid from target_profile.worker where database = 'other' and pid is not null";
        site.db.query(sql, &[]).first().map(|row| row.get(0))
    });
    site.cluster.sigstop(worker);
    thread::scope(|scope| {
        let drops = site.cluster.db();
        let pid = drops.pid();
        let dropping = scope.spawn(move || drops.batch("drop database other"));
        wait_shown(&site, &format!("pid = {pid}"), "TargetProfileWorkerStop");
        site.cluster.sigcont(worker);
        dropping.join().unwrap();
    });
}
