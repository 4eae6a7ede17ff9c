//! The three ways to stop a server, beside an endpoint that does not answer.

use std::thread;
use std::time::{Duration, Instant};

use support::Mode;

use super::{check_all_sent, hang, release};
use crate::site::{SOON, Site};

/// About a second; the rest is pg_ctl's, the checkpoint's and that of a busy machine. One that waited for an answer would take a
/// minute.
const PROMPT: Duration = Duration::from_secs(4);

#[test]
fn a_server_stops_at_once_in_each_way_while_the_endpoint_hangs_and_goes_on_when_it_is_started() {
    // citusdata/pg_cron#318, supabase/pg_net#78: a worker that holds up whoever waits for its end.
    let mut site = Site::new("shutdown");
    for mode in [Mode::Smart, Mode::Fast, Mode::Immediate] {
        hang(&site, 16);
        site.update("last", &format!("{{\"mode\": \"{mode}\"}}"));
        let Site { mock, cluster, db } = site;
        let took = if mode == Mode::Smart {
            // Whoever is there may stay, and what he commits is sent.
            thread::scope(|scope| {
                let stopping = scope.spawn(|| cluster.stop(mode));
                support::wait::until("new sessions to be refused", SOON, || {
                    cluster.try_client("postgres", "postgres").err()
                });
                mock.clear_rules();
                db.batch(
                    "select target_profile_update('acme', 'mbox3rdPartyId', 'meanwhile', '{\"a\": 1}', 1::smallint)",
                );
                mock.release_hung();
                mock.wait_value("acme", "mbox3rdPartyId", "meanwhile", "a", "1", SOON);
                mock.on(support::Match::any()).respond(support::Reply::hang());
                db.batch("select target_profile_update('acme', 'mbox3rdPartyId', 'hangs', '{\"a\": 1}', 2::smallint)");
                mock.wait_hung(1, SOON);
                assert!(
                    cluster.is_running() && !stopping.is_finished(),
                    "it does not wait for its client"
                );
                let began = Instant::now();
                drop(db);
                stopping.join().unwrap();
                began.elapsed()
            })
        } else {
            let began = Instant::now();
            cluster.stop(mode);
            began.elapsed()
        };
        println!("{mode}: {took:?}");
        assert!(took < PROMPT, "the {mode} stop took {took:?}");
        cluster.start();
        let db = cluster.db();
        site = Site { mock, cluster, db };
        release(&site);
        check_all_sent(&site, 200);
        assert_eq!(site.sent_value("last", "mode"), Some(mode.to_string()));
        site.wait_until("select state = 'idle' and last_error is null from target_profile.worker");
    }
    assert_eq!(site.sent_value("hangs", "a").as_deref(), Some("1"));
}
