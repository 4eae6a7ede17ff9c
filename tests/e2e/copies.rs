//! Copies of a database: they keep the queue and send nothing until they are told to.

use crate::site::Site;

#[test]
fn a_restored_dump_keeps_everything_and_sends_nothing_until_adopted() {
    let site = Site::new("restore");
    site.update("sent", r#"{"a": 1}"#);
    site.wait_drained();
    site.db.batch("select target_profile.pause('acme', 'for the dump')");
    for n in 0..10 {
        site.update(&format!("waiting{n}"), r#"{"a": 1}"#);
    }
    let dump = site.cluster.pg_dump(&["postgres"]);
    site.db.batch("create database copy template template0");
    site.cluster.restore("copy", &dump);
    let copy = site.cluster.db_in("copy");
    for table in ["client", "outbox", "response", "dead_letter", "binding"] {
        let sql =
            format!("select coalesce(string_agg(t::text, E'\\n' order by t::text), '') from target_profile.{table} t");
        assert_eq!(copy.text(&sql), site.db.text(&sql), "{table}");
    }
    copy.batch("select target_profile.resume('acme')");
    site.cluster.wait_sql(
        &copy,
        "select state = 'not adopted' from target_profile.worker where database = 'copy'",
        crate::site::SOON,
    );
    assert_eq!(copy.text("select state from target_profile.status"), "not adopted");
    assert_eq!(site.mock.request_count(), 1, "a copy has sent something");
    copy.batch("select target_profile.adopt()");
    site.cluster.wait_sql(
        &copy,
        "select not exists (select from target_profile.outbox)",
        crate::site::SOON,
    );
    assert_eq!(site.mock.request_count(), 11);
    let next: i64 = copy.value("select target_profile_update('acme', 'mboxPC', 'x', '{\"a\": 1}')", &[]);
    assert!(next > 11, "the sequence went on where the original was");
}
