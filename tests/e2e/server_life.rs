//! What befalls a server in its life, while its worker has work under way: nothing that was committed is lost, nothing that
//! was rolled back is sent, no write is harmed that the server itself does not refuse, and the worker goes on by itself.

mod clock;
mod copies;
mod descriptors;
mod disk;
mod processes;
mod settings;
mod shutdown;

use support::{Match, Reply};

use crate::site::{SOON, Site};

/// Enqueues profiles `p1` to `p<count>`, each in the same transaction with its number as value.
fn enqueue(site: &Site, count: i32) {
    site.db.execute(
        "select target_profile_update('acme', 'mbox3rdPartyId', 'p' || n, jsonb_build_object('n', n))
         from generate_series(1, $1::int) n",
        &[&count],
    );
}

/// Has every request hang, and waits until as many do as may be under way at a time.
fn hang(site: &Site, at_once: u64) {
    site.mock.on(Match::any()).respond(Reply::hang());
    site.db.query(
        "select target_profile.set_client('acme', max_in_flight => $1::int, timeout => '1 min')",
        &[&i32::try_from(at_once).unwrap()],
    );
    enqueue(site, 200);
    site.mock.wait_hung(at_once, SOON);
}

/// What hangs is answered, and nothing hangs any more.
fn release(site: &Site) {
    site.mock.clear_rules();
    site.mock.release_hung();
}

/// Of the profiles `p1` to `p<count>`, those whose value has not arrived.
fn missing(site: &Site, count: i32) -> Vec<i32> {
    (1..=count)
        .filter(|n| site.sent_value(&format!("p{n}"), "n") != Some(n.to_string()))
        .collect()
}

fn check_all_sent(site: &Site, count: i32) {
    site.wait_drained();
    assert_eq!(missing(site, count), Vec::<i32>::new());
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 0);
    assert_eq!(site.mock.max_in_flight_per_profile(), 1);
}

/// A session with the server that was started again.
fn reconnected(site: &Site) -> support::Db {
    support::wait::until("the end of the old session", SOON, || site.db.is_closed().then_some(()));
    support::wait::until("a connection with the server that was started again", SOON, || {
        site.cluster.try_client("postgres", "postgres").ok()
    })
}
