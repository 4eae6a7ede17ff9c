//! A database in which there is something of everything, at rest: for copies of it, which must have it all.

use support::cluster::Installation;
use support::{Cluster, Db, Match, Reply};

use crate::site::{SOON, Site, WORKER};

/// The only one for which Target takes the client's requests.
const TOKEN: &str = "s3cret-token";

/// What `scarce` may send in a day, of which `SCARCE_SENT` is used up.
const SCARCE_QUOTA: i64 = 40;
const SCARCE_SENT: i64 = 30;

/// They belong to the cluster, so that a dump of the database has none.
pub const ROLES: &str = "create role crm_app; create role support; create role boss";

/// What the worker knows better than a dump.
pub const NOT_DUMPED: &[&str] = &["backing_off"];

/// Updates that have failed and are to be tried again.
const RETRIES: i64 = 3;

/// Updates of `acme` that wait, each of a profile of its own.
const WAITING: i64 = 3_000;

/// A site of that Postgres whose clients `acme` and `scarce` have sent some, and are paused with much more.
pub fn site(name: &str, installation: Installation) -> Site {
    let site = Site::with(Cluster::builder(name).installation(installation));
    site.add_client("scarce");
    site.mock.require_token("acme", TOKEN);
    site.db.query(
        "select target_profile.set_client('acme', auth_token => $1, null_value => '(none)', arrays => 'indexed',
             max_attempts => 7, max_age => '3 days 4 hours', max_in_flight => 17, delay => '1 ms')",
        &[&TOKEN],
    );
    site.db.batch(&format!(
        "select target_profile.set_client('scarce', daily_quota => {SCARCE_QUOTA}, backfill_share => 0.25);
         {ROLES};
         select target_profile.grant_to('crm_app', 'writer');
         select target_profile.grant_to('support', 'reader');
         select target_profile.grant_to('boss', 'admin')"
    ));
    watch_tables(&site);
    send_some(&site);
    fail_some(&site);
    site.db
        .batch("select target_profile.pause(client_code, 'before the upgrade') from target_profile.client");
    enqueue_much(&site);
    // With the worker goes whatever it would have changed yet.
    site.cluster.set("target_profile.databases", "none");
    site.cluster.wait_no_backend(WORKER, SOON);
    site
}

fn watch_tables(site: &Site) {
    site.create_customers();
    site.db.batch(
        r#"create schema "CRM";
           create table "CRM"."Accounts" (id int primary key, plan text, seats int, "Home City" text);
           select target_profile.watch('"CRM"."Accounts"', 'acme', 'mbox3rdPartyId', '''A-'' || id',
               '{plan,seats,city=Home City}', "when" => 'NEW.seats > 0', send => 'changed');
           create table visits (visitor text, page text, primary key (visitor)) partition by list (visitor);
           create table visits_rest partition of visits default;
           select target_profile.watch('visits', 'acme', 'mboxPC', 'visitor', '{page}', priority => 5::smallint,
               on_invalid => 'error', always => true);
           insert into customers select 'C-' || n, 'tin', n from generate_series(1, 20) n;
           insert into "CRM"."Accounts" select n, 'team', n, null from generate_series(1, 20) n;
           insert into visits select 'v' || n, '/' from generate_series(1, 20) n"#,
    );
    site.wait_drained();
}

fn send_some(site: &Site) {
    site.db.query(
        "select target_profile_update('scarce', 'mboxPC', 's' || n, jsonb_build_object('n', n)) from generate_series(1, $1) n",
        &[&(i32::try_from(SCARCE_SENT).unwrap())],
    );
    site.wait_drained();
}

/// Dead letters of three kinds, a value that a newer one has overtaken, and retries that wait.
fn fail_some(site: &Site) {
    let refused = |id: &str| id.starts_with("refused");
    site.mock
        .on(Match::client("acme").and_when(move |request| request.id.as_deref().is_some_and(refused)))
        .respond(Reply::failure("Invalid profile"));
    for n in 1..=5 {
        site.update(&format!("refused{n}"), r#"{"a": "é", "b": [1, {"c": null}]}"#);
    }
    let overtaken = site.mock.on(Match::id("overtaken")).respond(Reply::failure("not now"));
    site.update("overtaken", r#"{"a": 1, "b": 1}"#);
    site.wait_until("select count(*) = 6 from target_profile.dead_letter");
    site.mock.remove_rule(overtaken);
    site.update("overtaken", r#"{"a": 2}"#);
    site.wait_drained();
    site.db.batch(
        "insert into customers values ('C/1', 'gold', 1), ('C+2', 'gold', 2);
         select target_profile.discard(min(id)) from target_profile.dead_letter",
    );
    site.mock
        .on(Match::client("acme").and_when(|request| request.id.as_deref().is_some_and(|id| id.starts_with("later"))))
        .respond(Reply::status(500));
    for n in 1..=RETRIES {
        site.update(&format!("later{n}"), r#"{"a": 1}"#);
    }
    site.wait_until(&format!(
        "select count(*) = {RETRIES} from target_profile.outbox where attempts > 0 and next_attempt_at is not null"
    ));
}

fn enqueue_much(site: &Site) {
    site.db.batch(&format!(
        r#"select target_profile_update('acme', 'mbox3rdPartyId', 'w' || n, jsonb_build_object('n', n, 'half', n / 2.0),
               (n % 21 - 10)::smallint) from generate_series(1, {WAITING}) n;
           select target_profile_update('scarce', 'mboxPC', 's' || n, jsonb_build_object('n', n * 2))
               from generate_series(1, {SCARCE_SENT}) n;
           update customers set tier = 'gold' where id like 'C-%';
           update "CRM"."Accounts" set "Home City" = 'Łódź' where id <= 10;
           update visits set page = '/new'"#
    ));
    site.db
        .batch(r#"call target_profile.backfill('"CRM"."Accounts"', 'id > 5')"#);
}

/// All that the extension's tables and sequences hold.
pub fn contents(db: &Db) -> Vec<(String, String)> {
    let relations = db.rows(
        "select c.relname, c.relkind = 'S' from pg_class c
         where c.relnamespace = 'target_profile'::regnamespace and c.relkind in ('r', 'p', 'S') order by 1",
    );
    let name = |row: &Vec<Option<String>>| row[0].clone().unwrap();
    let contents = relations.iter().map(|row| {
        let relation = name(row);
        let sql = match row[1].as_deref() {
            Some("t") => format!("select concat(last_value, is_called) from target_profile.{relation}"),
            _ => format!(
                "select coalesce(string_agg(r::text, E'\\n' order by r::text), '') from target_profile.{relation} r"
            ),
        };
        let text = db.text(&sql);
        (relation, text)
    });
    contents.collect()
}

/// Everything is there that was in the original; `but` names relations that a copy of this kind leaves out.
#[track_caller]
pub fn assert_kept(copy: &Db, original: &[(String, String)], but: &[&str]) {
    let names =
        |contents: &[(String, String)]| -> Vec<String> { contents.iter().map(|(name, _)| name.clone()).collect() };
    let now = contents(copy);
    assert_eq!(names(&now), names(original));
    for ((name, now), (_, before)) in now.iter().zip(original) {
        if !but.contains(&name.as_str()) {
            assert_eq!(now, before, "{name}");
        }
    }
}

/// A copy of `site`, by now on `cluster`, sends nothing until it is adopted, and then what waited, by the ledger that it has brought.
pub fn sends_nothing_until_adopted(site: &Site, cluster: &Cluster, database: &str) {
    let copy = cluster.db_in(database);
    let sent = site.mock.request_count();
    site.mock.clear_rules();
    copy.batch("select target_profile.resume(client_code) from target_profile.client");
    cluster.wait_sql(
        &copy,
        &format!("select state = 'not adopted' from target_profile.worker where database = '{database}'"),
        SOON,
    );
    assert_eq!(
        copy.text("select string_agg(distinct state, ' ') from target_profile.status"),
        "not adopted"
    );
    assert!(
        copy.text("select string_agg(distinct reason, ' ') from target_profile.status")
            .contains("target_profile.adopt()")
    );
    assert_eq!(
        copy.text("select string_agg(distinct state, ' ') from target_profile.watch_state"),
        "ok"
    );
    // The triggers do what they did; so do the rights.
    copy.batch(
        "update customers set balance = balance + 1 where id = 'C-1'; update visits set page = '/last' where visitor = 'v1';
         set role crm_app;
         select target_profile_update('acme', 'mbox3rdPartyId', 'by the app', '{\"a\": 1}');
         reset role; set role support; select count(*) from target_profile.outbox; reset role",
    );
    let denied = copy.try_batch("set role crm_app; select from target_profile.outbox");
    assert_eq!(support::sqlstate(&denied.unwrap_err()), "42501");
    copy.batch("reset role");
    assert_eq!(site.mock.request_count(), sent, "a copy has sent something");

    let used = "select quota_used from target_profile.status where client_code = 'acme'";
    copy.batch("select target_profile.adopt()");
    cluster.wait_sql(
        &copy,
        "select not exists (select from target_profile.outbox where client_code = 'acme')",
        SOON,
    );
    assert_eq!(
        copy.text(
            "select count(*) from target_profile.response where profile_id like 'later%' and outcome = 'accepted' and attempt > 1"
        ),
        RETRIES.to_string(),
        "attempts count on"
    );
    let value = |id: &str, name: &str| site.mock.value("acme", "mbox3rdPartyId", id, name);
    assert_eq!(value("w2999", "half").as_deref(), Some("1499.5000000000000000"));
    assert_eq!(value("C-1", "tier").as_deref(), Some("gold"));
    assert_eq!(value("C-1", "balance").as_deref(), Some("2"));
    assert_eq!(value("A-7", "city").as_deref(), Some("Łódź"));
    assert_eq!(value("by the app", "a").as_deref(), Some("1"));
    let page = site.mock.value("acme", "mboxPC", "v1", "page");
    assert_eq!(page.as_deref(), Some("/last"));

    // The quota goes on counting where it was.
    cluster.wait_sql(
        &copy,
        "select state = 'quota' from target_profile.status where client_code = 'scarce'",
        SOON,
    );
    let count = |client: &str| i64::try_from(site.mock.requests_of(client).len()).unwrap();
    assert_eq!(count("scarce"), SCARCE_QUOTA);
    let used: i64 = copy.value(used, &[]);
    assert!(used >= count("acme"), "{used} counted of {}", count("acme"));

    // Dead letters are sent again, but for what was newer.
    copy.batch("select target_profile.retry(id) from target_profile.dead_letter where profile_id = 'overtaken'");
    site.mock
        .wait_value("acme", "mbox3rdPartyId", "overtaken", "b", "1", SOON);
    assert_eq!(
        site.mock.value_history("acme", "mbox3rdPartyId", "overtaken", "a"),
        ["2"]
    );
}
