//! The library and the SQL of different versions: what goes on, and what is said. And what the view says of errors at all.

use support::describe;

use crate::site::{SOON, Site};

/// Makes the SQL objects look like another version's, and has the worker look around.
fn pretend(site: &Site, version: &str) {
    site.db.execute(
        "update pg_extension set extversion = $1 where extname = 'target_profile'",
        &[&version],
    );
    site.db.batch("select target_profile._wake()");
}

fn last_error(site: &Site) -> Option<String> {
    site.db
        .query_one("select last_error from target_profile.worker", &[])
        .get(0)
}

#[test]
fn where_the_versions_differ_everything_goes_on_and_it_is_said_what_to_do() {
    let site = Site::new("differ");
    let own = site
        .db
        .text("select extversion from pg_extension where extname = 'target_profile'");
    let told = "the library of target_profile and the SQL of this database differ";
    site.create_customers();
    for (n, (sql, remedy)) in [
        (
            "0.0.1",
            "run ALTER EXTENSION target_profile UPDATE in this database".to_owned(),
        ),
        (
            "99.0.0",
            "install the library of version 99.0.0, if it is not, and restart the server so that it is loaded"
                .to_owned(),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mark = site.cluster.log_mark();
        pretend(&site, sql);
        site.cluster.wait_log_since(mark, told, SOON);
        assert_eq!(last_error(&site), Some(format!("library {own}, SQL {sql}: {remedy}")));
        // Once, however often the worker looks.
        site.update(&format!("f{n}"), r#"{"a": 1}"#);
        site.db
            .execute("insert into customers values ($1, 'gold', 1)", &[&format!("t{n}")]);
        site.db
            .batch("select target_profile.set_client('acme', max_in_flight => 10)");
        site.wait_drained();
        assert_eq!(site.sent_value(&format!("f{n}"), "a").as_deref(), Some("1"));
        assert_eq!(site.sent_value(&format!("t{n}"), "tier").as_deref(), Some("gold"));
        let log = site.cluster.log_since(mark);
        assert_eq!(log.matches(told).count(), 1, "{log}");
        assert!(log.contains(&format!("differ (library {own}, SQL {sql})")), "{log}");
    }
    pretend(&site, &own);
    assert_eq!(last_error(&site), None);
}

#[test]
fn an_error_that_may_come_of_it_says_so_in_its_hint() {
    let site = Site::new("hint");
    let mark = site.cluster.log_mark();
    pretend(&site, "0.0.1");
    site.cluster.wait_log_since(mark, "(library ", SOON);
    site.db.batch(
        "set allow_system_table_mods = on; alter table target_profile.client rename column null_value to missing",
    );
    let error = site
        .db
        .try_query("select target_profile_update('acme', 'mboxPC', '1', '{\"a\": 1}')", &[])
        .expect_err("a column is missing");
    let error = describe(&error);
    assert!(error.contains("42703"), "{error}");
    assert!(
        error.contains("Run ALTER EXTENSION target_profile UPDATE in this database."),
        "{error}"
    );
}

#[test]
fn an_error_that_is_over_goes_from_the_view_and_leaves_its_time() {
    let site = Site::new("over");
    site.db.batch("begin; lock target_profile.outbox");
    let other = site.cluster.db();
    other.batch("select target_profile._wake()");
    site.cluster.wait_sql(
        &other,
        "select state = 'failing' and last_error like '%lock timeout' and last_error_at is not null from target_profile.worker",
        SOON,
    );
    site.db.batch("commit");
    site.wait_until(
        "select state = 'idle' and last_error is null and last_error_at is not null from target_profile.worker",
    );
}
