//! More profiles that wait, and more priorities, than the worker keeps in mind: nobody else waits for them.

use support::Cluster;

use crate::site::Site;

#[test]
fn thousands_of_profiles_that_wait_hold_up_no_fresh_update_and_can_be_let_go() {
    let site = Site::with(Cluster::builder("waiting").conf("target_profile.poll_interval", "1s"));
    site.db.batch(
        "insert into target_profile.outbox (client_code, id_kind, profile_id, attrs, attempts, next_attempt_at)
         select 'acme', 'mbox3rdPartyId', 'w' || n, '{\"a\": \"1\"}', 1, now() + '5 hours' from generate_series(1, 12000) n",
    );
    site.wait_until("select state = 'idle' from target_profile.worker");
    for (name, priority) in [("fresh", 0), ("urgent", 1_000), ("low", -1)] {
        site.db.query(
            "select target_profile_update('acme', 'mbox3rdPartyId', $1, '{\"a\": 2}', $2::int2)",
            &[&name, &i16::try_from(priority).unwrap()],
        );
        site.wait_until(&format!(
            "select exists (select from target_profile.response where profile_id = '{name}' and outcome = 'accepted')"
        ));
    }
    assert_eq!(site.count("select count(*) from target_profile.outbox"), 12_000);
    // Somebody lets one of them go.
    site.db
        .batch("update target_profile.outbox set next_attempt_at = null where profile_id in ('w1', 'w11999')");
    site.wait_until("select count(*) = 11998 from target_profile.outbox");
    // And then all.
    site.db.query("select target_profile.resume('acme')", &[]);
    site.wait_until("select count(*) < 11900 from target_profile.outbox");
}

#[test]
fn thousands_of_priorities_of_one_client_hold_up_no_other() {
    let site = Site::with(Cluster::builder("priorities").fsync(false));
    site.add_client("other");
    site.db.batch(
        "select target_profile.pause('acme');
         select target_profile_update('acme', 'mbox3rdPartyId', 'p' || n, '{\"a\": 1}', n::int2)
         from generate_series(-20000, 20000) n",
    );
    site.db.query("select target_profile.resume('acme')", &[]);
    for nth in 0..3 {
        let id: i64 = site.db.value(
            "select target_profile_update('other', 'mbox3rdPartyId', $1, '{\"a\": 1}')",
            &[&format!("c{nth}")],
        );
        site.wait_until(&format!("select state = 'accepted' from target_profile.result({id})"));
    }
    let left = site.count("select count(*) from target_profile.outbox where client_code = 'acme'");
    assert!(left > 10_000, "the other client did not wait: {left} are left");
    site.wait_until("select count(*) < 30000 from target_profile.outbox");
}
