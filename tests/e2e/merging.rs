//! A large backlog: what the quota counts are profiles, not changes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use support::mock_target::{Attributes, Recording};
use support::{Cluster, wait};

use crate::site::Site;

#[test]
fn ten_entries_a_profile_are_one_request() {
    drain_backlog(11_000, 10);
}

#[test]
#[ignore = "takes minutes: make soak"]
fn over_a_million_entries_of_110_000_profiles_are_at_most_110_000_requests() {
    drain_backlog(110_000, 10);
}

/// Enqueues `each` entries for each of `profiles` profiles while nothing is sent, then lets them go.
fn drain_backlog(profiles: u32, each: u32) {
    let site = Site::with(Cluster::builder("merging").conf("target_profile.enabled", "off"));
    site.mock.record(Recording::Profiles);
    // A profile's entries lie as far apart as they can. `last` is overridden by each, `shared` by some, and the others stay
    // as the one or two entries set them that have them at all.
    site.db.batch(&format!(
        "create table change as
         select n, 'p' || n % {profiles} as id,
             jsonb_build_object('last', n, 'k' || n / {profiles} % 7, n)
             || case when n / {profiles} % 3 = 1 then jsonb_build_object('shared', n) else '{{}}' end
             || case when n < {profiles} then jsonb_build_object('first', 'of ' || n) else '{{}}' end as attrs
         from generate_series(0, {profiles} * {each} - 1) n"
    ));
    let began = Instant::now();
    site.db.batch(
        "select count(target_profile_update('acme', 'mbox3rdPartyId', id, attrs))
         from (select id, attrs from change order by n) in_order",
    );
    let entries = i64::from(profiles * each);
    assert_eq!(site.count("select count(*) from target_profile.outbox"), entries);
    assert_eq!(site.mock.request_count(), 0, "it was not to send yet");
    let enqueued = began.elapsed();

    let began = Instant::now();
    site.cluster.set("target_profile.enabled", "on");
    // The stand-in is asked first: each look at an outbox of a million dead rows takes its time from the drain.
    let patience = Duration::from_secs(60 + u64::from(profiles) / 200);
    let what = format!("{profiles} requests to arrive");
    wait::until(&what, patience, || {
        (site.mock.request_count() >= profiles.into()).then_some(())
    });
    site.cluster.wait_sql(
        &site.db,
        "select not exists (select from target_profile.outbox)",
        patience,
    );
    let drained = began.elapsed();

    assert!(
        site.mock.request_count() <= profiles.into(),
        "{} requests for {profiles} profiles",
        site.mock.request_count()
    );
    assert_eq!(site.mock.max_in_flight_per_profile(), 1);
    let row = site.db.query_one(
        "select count(*), count(distinct profile_id), sum(cardinality(outbox_ids))::bigint, bool_and(outcome = 'accepted')
         from target_profile.response",
        &[],
    );
    assert_eq!(u64::try_from(row.get::<_, i64>(0)).unwrap(), site.mock.request_count());
    assert_eq!(row.get::<_, i64>(1), i64::from(profiles));
    assert_eq!(row.get::<_, i64>(2), entries, "each entry is part of one request");
    assert!(row.get::<_, bool>(3));

    let expected = site.db.query(
        "select id, jsonb_object_agg(key, value)::text from (
             select distinct on (id, key) id, key, value from change, jsonb_each_text(attrs) order by id, key, n desc) newest
         group by id",
        &[],
    );
    let expected: BTreeMap<String, Attributes> = expected
        .iter()
        .map(|row| (row.get(0), serde_json::from_str(row.get(1)).unwrap()))
        .collect();
    assert_eq!(expected.len(), usize::try_from(profiles).unwrap());
    let sent = site.mock.profiles();
    assert_eq!(sent.len(), expected.len());
    for (key, attrs) in &sent {
        assert_eq!(Some(attrs), expected.get(&key.id), "{}", key.id);
    }
    println!(
        "merging: {entries} entries, {} requests, {enqueued:?} to enqueue, {drained:?} to drain",
        site.mock.request_count()
    );
}
