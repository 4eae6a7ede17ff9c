//! A reload while requests are under way.

use super::{check_all_sent, hang, release};
use crate::site::{SOON, Site, WORKER};

#[test]
fn a_reload_takes_effect_in_worker_and_launcher_while_requests_hang() {
    let site = Site::new("reload");
    let processes = || {
        (
            site.cluster.wait_backend(WORKER, SOON),
            site.cluster.wait_backend("target_profile launcher", SOON),
        )
    };
    let before = processes();
    site.cluster.set("target_profile.max_in_flight", "5");
    hang(&site, 5);
    site.db
        .batch("select target_profile.set_client('acme', max_in_flight => 100)");
    site.cluster.set("target_profile.max_in_flight", "12");
    site.mock.wait_hung(12, SOON);
    assert_eq!(site.mock.max_in_flight(), 12);
    // Nobody announces a database that is allowed to have a worker by the file alone.
    site.cluster.set("target_profile.databases", "nowhere");
    site.wait_until("select state = 'excluded' from target_profile.worker");
    release(&site);
    site.cluster.reset("target_profile.databases");
    check_all_sent(&site, 200);
    assert_eq!(processes().1, before.1, "the launcher was started again");
}
