//! Who is told what became of an entry, after the worker has settled it.

use support::{Db, Match, Reply};

use crate::site::Site;

fn state(db: &Db, id: i64) -> Option<String> {
    let by_wait = db
        .try_query("select state from target_profile.wait($1, '0')", &[&id])
        .ok()
        .map(|rows| rows[0].get(0));
    let by_result = db
        .query("select state from target_profile.result($1)", &[&id])
        .first()
        .map(|row| row.get(0));
    assert_eq!(by_wait, by_result);
    by_result
}

#[test]
fn each_role_is_told_of_its_own_entries_merged_with_others_or_given_up() {
    let site = Site::new("own");
    site.db.batch(
        "create role his login; create role hers login;
         select target_profile.grant_to('his', 'writer'), target_profile.grant_to('hers', 'writer');
         select target_profile.pause('acme')",
    );
    let [his, hers] = ["his", "hers"].map(|role| site.cluster.client("postgres", role));
    site.mock.on(Match::id("dead")).respond(Reply::failure("no"));
    let update = |db: &Db, id: &str, attrs: &str| -> i64 {
        db.value(
            "select target_profile_update('acme', 'mbox3rdPartyId', $1, $2::text::jsonb)",
            &[&id, &attrs],
        )
    };
    let alone = update(&his, "alone", r#"{"a": 1}"#);
    let twice = [1, 2].map(|n| update(&his, "twice", &format!(r#"{{"a": {n}}}"#)));
    let first = update(&his, "both", r#"{"a": 1}"#);
    let second = update(&hers, "both", r#"{"b": 1}"#);
    let dead = update(&hers, "dead", r#"{"a": 1}"#);
    for (db, own, others) in [(&his, first, second), (&hers, dead, alone)] {
        assert_eq!(state(db, own).as_deref(), Some("waiting"));
        assert_eq!(state(db, others), None);
    }
    site.db.batch("select target_profile.resume('acme')");
    site.wait_drained();
    for (id, whose) in [
        ("alone", "{his}"),
        ("twice", "{his}"),
        ("both", "{his,hers}"),
        ("dead", "{hers}"),
    ] {
        let kept =
            format!("select string_agg(enqueued_by::text, ' ') from target_profile.response where profile_id = '{id}'");
        assert_eq!(site.db.text(&kept), whose, "{id}");
    }
    assert_eq!(
        site.db.text("select enqueued_by from target_profile.dead_letter"),
        "hers"
    );
    for (own, other, id, became) in [
        (&his, &hers, alone, "accepted"),
        (&his, &hers, twice[0], "accepted"),
        (&his, &hers, twice[1], "accepted"),
        (&his, &hers, first, "accepted"),
        (&hers, &his, second, "accepted"),
        (&hers, &his, dead, "dead"),
    ] {
        assert_eq!(state(own, id).as_deref(), Some(became), "{id}");
        assert_eq!(state(other, id), None, "{id}");
        assert_eq!(state(&site.db, id).as_deref(), Some(became), "{id}");
    }
}
