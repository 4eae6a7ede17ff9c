//! A worker that gets no more file descriptors.

use std::time::Duration;

use support::{Cluster, Match, MockTarget, Reply};

use super::{check_all_sent, enqueue};
use crate::site::{SOON, Site, WORKER};

/// Postgres opens files beside the sockets, and stops the whole server when it cannot open one of WAL.
#[test]
fn a_worker_without_file_descriptors_sends_with_fewer_and_harms_nobody() {
    let site = Site::with(Cluster::builder("files").conf("target_profile.max_in_flight", "400"));
    site.db
        .batch("select target_profile.set_client('acme', max_in_flight => 400)");
    enqueue(&site, 10);
    site.wait_drained();
    let worker = site.cluster.wait_backend(WORKER, SOON);
    let before = site.cluster.limit_files(worker, site.cluster.open_files(worker) + 10);
    site.mock
        .on(Match::any())
        .respond(Reply::delay(Duration::from_millis(20)));
    enqueue(&site, 100);
    support::wait::until("everything to be sent while files of WAL come and go", SOON, || {
        site.db.batch("select pg_switch_wal()");
        site.db
            .query_one("select not exists (select from target_profile.outbox)", &[])
            .get::<_, bool>(0)
            .then_some(())
    });
    check_all_sent(&site, 100);
    // What went wrong has its reason.
    let reasons = "select coalesce(string_agg(distinct message, '; '), '') from target_profile.response
         where outcome <> 'accepted' and message not like '%Too many open files%'";
    assert_eq!(site.db.text(reasons), "");
    assert_eq!(site.cluster.wait_backend(WORKER, SOON), worker, "the same process");
    assert!(!site.cluster.log_contains("PANIC"));
    // It uses again what it gets again.
    site.cluster.limit_files(worker, before);
    site.mock.clear_rules();
    site.mock.on(Match::any()).respond(Reply::hang());
    enqueue(&site, 400);
    site.mock.wait_hung(300, SOON);
    super::release(&site);
    check_all_sent(&site, 400);
    site.wait_until("select state = 'idle' and last_error is null from target_profile.worker");
}

/// Each client's endpoint is a host of its own, and a connection to it is kept for a while.
#[test]
fn idle_connections_to_many_hosts_make_room() {
    const HOSTS: u64 = 80;
    let site = Site::new("hosts");
    enqueue(&site, 1);
    site.wait_drained();
    let worker = site.cluster.wait_backend(WORKER, SOON);
    let before = site.cluster.open_files(worker);
    site.cluster.limit_files(worker, before + 100);
    let hosts: Vec<MockTarget> = (0..HOSTS)
        .map(|_| MockTarget::builder().create_unknown(true).start())
        .collect();
    for (n, host) in hosts.iter().enumerate() {
        let client = format!("client{n}");
        site.db.query(
            "select target_profile.add_client($1, endpoint => $2)",
            &[&client, &host.endpoint()],
        );
        site.db.query(
            "select target_profile_update($1, 'mbox3rdPartyId', 'p', '{\"n\": 1}')",
            &[&client],
        );
        host.wait_value(&client, "mbox3rdPartyId", "p", "n", "1", SOON);
    }
    site.wait_drained();
    let open = site.cluster.open_files(worker);
    assert!(
        open < before + HOSTS * 3 / 4,
        "{open} files are open, {before} were before; {HOSTS} hosts were sent to"
    );
    assert_eq!(site.cluster.wait_backend(WORKER, SOON), worker, "the same process");
    assert_eq!(
        site.count("select count(*) from target_profile.response where outcome <> 'accepted'"),
        0
    );
}
