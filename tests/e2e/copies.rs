//! Copies of a database: they keep the queue and send nothing until they are told to.

use support::cluster::Installation;

use crate::full_queue;

#[test]
fn a_restored_dump_keeps_everything_and_sends_nothing_until_adopted() {
    let site = full_queue::site("restore", Installation::tested());
    let kept = full_queue::contents(&site.db);
    let dump = site.cluster.pg_dump(&["postgres"]);
    site.db.batch("create database copy template template0");
    site.cluster.restore("copy", &dump);
    full_queue::assert_kept(&site.cluster.db_in("copy"), &kept, full_queue::NOT_DUMPED);
    site.cluster.set("target_profile.databases", "copy");
    full_queue::sends_nothing_until_adopted(&site, &site.cluster, "copy");
}
