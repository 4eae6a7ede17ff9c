//! Nobody becomes more than he is by what the worker does. Whoever owns the extension's tables can put code on them; it runs with his
//! rights. (What one role has written and another's session runs is in `tests/regress/sql/rights.sql`.)

use support::{Cluster, Match, Reply, describe, sqlstate};

use crate::site::{SOON, Site};

/// Puts code of the role `installer` wherever a table can have some, in the schema of that name. Each says in the server's log as whom
/// it runs, tries what a superuser may, and leaves a `search_path` behind in which the operators are its own.
const PLANT: &str = r#"
create function installer.told(what text) returns boolean language plpgsql as $$
begin
    raise log '% ran as %, session %', what, current_user, session_user;
    begin execute 'alter role installer superuser'; exception when others then null; end;
    begin execute 'set role postgres'; exception when others then null; end;
    begin execute 'reset role'; exception when others then null; end;
    begin execute 'set session authorization postgres'; exception when others then null; end;
    begin execute 'reset session authorization'; exception when others then null; end;
    begin execute 'alter role installer superuser'; exception when others then null; end;
    perform pg_catalog.set_config('search_path', 'installer, pg_catalog', false);
    return true;
end $$;
-- Of the kind that an index may have.
create function installer.indexed(what text) returns text language plpgsql immutable as $$
begin perform installer.told('index of ' || what); return what; end $$;
create function installer.on_event() returns trigger language plpgsql as $$
begin perform installer.told(tg_op || ' on ' || tg_table_name); return null; end $$;
create function installer.filled() returns text language plpgsql as $$
begin perform installer.told('default'); return ''; end $$;
create function installer.equal(oid, oid) returns boolean language plpgsql as $$
begin perform installer.told('operator'); return $1 operator(pg_catalog.=) $2; end $$;
create function installer.equal(name, name) returns boolean language plpgsql as $$
begin perform installer.told('operator'); return $1 operator(pg_catalog.=) $2; end $$;
create function installer.equal(text, text) returns boolean language plpgsql as $$
begin perform installer.told('operator'); return $1 operator(pg_catalog.=) $2; end $$;
create operator installer.= (function = installer.equal, leftarg = oid, rightarg = oid);
create operator installer.= (function = installer.equal, leftarg = name, rightarg = name);
create operator installer.= (function = installer.equal, leftarg = text, rightarg = text);
do $$
declare
    t text;
begin
    foreach t in array '{outbox,response,dead_letter,activity,client,backing_off}'::text[] loop
        execute format('create trigger planted after insert or update or delete on target_profile.%I
            for each row execute function installer.on_event()', t);
        execute format('alter table target_profile.%I enable always trigger planted', t);
    end loop;
end $$;
create index on target_profile.activity (installer.indexed(client_code));
alter table target_profile.dead_letter add check (installer.told('check'));
alter table target_profile.backing_off add column more text default installer.filled();
alter table target_profile.outbox enable row level security, force row level security;
create policy planted on target_profile.outbox using (installer.told('policy'));
create rule planted as on insert to target_profile.overtaken do also select installer.told('rule');
alter table target_profile.overtaken enable always rule planted;
"#;

/// A site whose extension was made by a superuser of the name `installer`.
fn installed(name: &str) -> Site {
    let site = Site::made_by(
        Cluster::builder(name),
        "create role installer login superuser; create schema installer authorization installer;
         set role installer; create extension target_profile schema public; reset role",
    );
    site.update("first", r#"{"a": 1}"#);
    site.wait_drained();
    site
}

fn is_superuser(site: &Site, role: &str) -> bool {
    site.db
        .value("select rolsuper from pg_roles where rolname = $1", &[&role])
}

fn worker_error(site: &Site) -> Option<String> {
    site.db
        .try_text("select last_error from target_profile.worker")
        .expect("the view worker")
}

fn restart_worker(site: &Site) {
    site.db.batch(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity where backend_type = 'target_profile worker'",
    );
}

#[test]
fn code_on_the_tables_of_an_owner_who_is_no_superuser_runs_as_that_owner() {
    let site = installed("rights-owner");
    site.db.batch("alter role installer nosuperuser");
    site.cluster.client("postgres", "installer").batch(PLANT);
    // Events of every table: sent, rejected, tried again, and failing until the breaker opens.
    site.mock.on(Match::id("bad")).respond(Reply::status(400));
    site.mock
        .on(Match::id("odd").and_nth(1))
        .respond(Reply::status(200).body("<html>"));
    site.mock.on(Match::id("busy").and_nth(1)).respond(Reply::status(503));
    site.update("good", r#"{"a": 1}"#);
    site.update("bad", r#"{"a": 1}"#);
    site.update("odd", r#"{"a": 1}"#);
    site.wait_until("select exists (select from target_profile.outbox where attempts = 1)");
    site.update("busy", r#"{"a": 1}"#);
    site.wait_until("select exists (select from target_profile.backing_off)");
    // In a session of its own: what a trigger sets in a function of its owner's, it sets for the caller.
    site.cluster.db().batch("select target_profile.resume('acme')");
    site.wait_drained();
    restart_worker(&site);
    site.update("after", r#"{"a": 1}"#);
    site.wait_drained();
    for id in ["good", "odd", "busy", "after"] {
        assert_eq!(site.sent_value(id, "a").as_deref(), Some("1"), "{id}");
    }
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 1);
    for what in [
        "DELETE on outbox",
        "UPDATE on outbox",
        "INSERT on response_",
        "INSERT on dead_letter",
        "on activity",
        "INSERT on backing_off",
        "index of acme",
        "check",
    ] {
        let log = site.cluster.log();
        assert!(
            log.lines()
                .any(|line| line.contains(what) && line.contains("ran as installer")),
            "{what} has not run"
        );
    }
    // Whatever it was, and whichever operators the planted search_path has found.
    assert!(
        !site.cluster.log_contains("ran as postgres"),
        "planted code ran as superuser"
    );
    assert!(!is_superuser(&site, "installer"));
    assert_eq!(worker_error(&site), None);
}

#[test]
fn tables_that_were_given_to_a_role_without_login_go_on_with_its_rights() {
    let site = Site::made_by(
        Cluster::builder("rights-reassign"),
        "create role installer login superuser; create role box;
         set role installer; create extension target_profile schema public; reset role",
    );
    // The day of responses is still to be made: by the new owner.
    site.db.batch("select target_profile.pause('acme')");
    site.update("before", r#"{"a": 1}"#);
    site.db.batch(
        "reassign owned by installer to box;
         create schema box authorization box;
         set role box;
         create function box.boom() returns trigger language plpgsql as $$
         begin
             raise log 'boom ran as %', current_user;
             begin execute 'alter role box superuser'; exception when others then null; end;
             return null;
         end $$;
         create trigger boom after delete on target_profile.outbox for each statement execute function box.boom();
         alter table target_profile.outbox enable always trigger boom;
         reset role;
         select target_profile.resume('acme')",
    );
    site.wait_drained();
    assert_eq!(site.sent_value("before", "a").as_deref(), Some("1"));
    assert!(site.cluster.log_contains("boom ran as box"));
    assert!(!site.cluster.log_contains("boom ran as postgres"));
    assert!(!is_superuser(&site, "box"));
    assert_eq!(
        site.db.text(
            "select string_agg(distinct pg_get_userbyid(c.relowner), ',')
             from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'target_profile.response'::regclass"
        ),
        "box"
    );
}

#[test]
fn giving_all_away_beside_a_busy_worker_never_fails_for_it() {
    let site = installed("rights-give");
    site.db.batch("create role box");
    for round in 0..20 {
        // Requests whose answers are settled while the locks are taken, one table after the other.
        site.db.batch(&format!(
            "select target_profile_update('acme', 'mbox3rdPartyId', '{round}-' || i, '{{\"a\": 1}}') from generate_series(1, 200) i"
        ));
        let (from, to) = if round % 2 == 0 {
            ("installer", "box")
        } else {
            ("box", "installer")
        };
        site.db.batch(&format!("reassign owned by {from} to {to}"));
    }
    site.wait_drained();
    site.wait_until("select last_error is null from target_profile.worker");
    assert_eq!(site.count("select count(*) from target_profile.dead_letter"), 0);
}

#[test]
fn a_superuser_who_owns_the_tables_may_put_on_them_what_he_likes() {
    let site = installed("rights-superuser");
    // A constraint that is deferred, which a security-restricted operation would not allow.
    site.db.batch(
        "create table gone (id bigint, who text);
         create function forget() returns trigger language plpgsql as $$
         begin insert into public.gone values (old.id, current_user); return null; end $$;
         create constraint trigger forget after delete on target_profile.outbox deferrable initially deferred
             for each row execute function forget();
         alter table target_profile.outbox enable always trigger forget",
    );
    let id = site.update("x", r#"{"a": 1}"#);
    site.wait_drained();
    assert_eq!(
        site.db.text(&format!("select who from gone where id = {id}")),
        "installer"
    );
}

#[test]
fn an_object_that_belongs_to_somebody_else_stops_the_worker_which_names_it() {
    let site = installed("rights-mixed");
    site.db
        .batch("create role stranger login; create role colleague login; grant installer to colleague");
    let day = site.db.text(
        "select inhrelid::regclass::text from pg_inherits where inhparent = 'target_profile.response'::regclass limit 1",
    );
    let objects = [
        (
            "table target_profile.dead_letter".to_owned(),
            "table target_profile.dead_letter",
        ),
        (format!("table {day}"), "table target_profile.response_"),
        (
            "function target_profile._bury_orphans(text)".to_owned(),
            "function target_profile._bury_orphans",
        ),
    ];
    for (number, (object, told)) in objects.iter().enumerate() {
        site.db.batch(&format!("alter {object} owner to stranger"));
        let id = format!("held-{number}");
        site.update(&id, r#"{"a": 1}"#);
        site.wait_until(&format!(
            "select coalesce(last_error like '%{told}% belongs to role stranger%', false) from target_profile.worker"
        ));
        assert_eq!(site.sent_value(&id, "a"), None, "{object}");
        // As soon as it is mended it goes on by itself.
        site.db.batch(&format!("alter {object} owner to installer"));
        site.wait_drained();
        assert_eq!(site.sent_value(&id, "a").as_deref(), Some("1"), "{object}");
        site.wait_until("select last_error is null from target_profile.worker");
    }
    // Whoever may do all that the owner may is no stranger: a restored dump has days of a superuser's.
    site.db.batch(&format!("alter table {day} owner to postgres"));
    site.update("superuser", r#"{"a": 1}"#);
    site.wait_drained();
    site.db.batch(&format!(
        "alter role installer nosuperuser; alter table {day} owner to colleague"
    ));
    site.cluster.wait_sql(
        &site.db,
        "select coalesce(last_error like '%permission denied%', false) or not exists (select from target_profile.outbox)
         from target_profile.worker",
        SOON,
    );
    assert!(worker_error(&site).is_none_or(|error| !error.contains("belongs to")));
}

#[test]
fn settings_that_make_every_session_another_role_do_not_reach_the_worker() {
    let site = Site::new("rights-set-role");
    site.db.batch("create role lowpriv login");
    for (number, (set, reset)) in [
        (
            "alter database postgres set role = lowpriv",
            "alter database postgres reset role",
        ),
        (
            "alter role postgres set role = lowpriv",
            "alter role postgres reset role",
        ),
        (
            "alter database postgres set session_authorization = lowpriv",
            "alter database postgres reset session_authorization",
        ),
        (
            "alter role postgres set session_authorization = lowpriv",
            "alter role postgres reset session_authorization",
        ),
        (
            "alter database postgres set role = lowpriv; alter role postgres set session_authorization = lowpriv",
            "alter database postgres reset role; alter role postgres reset session_authorization",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        site.db.batch(set);
        restart_worker(&site);
        let id = format!("r{number}");
        site.update(&id, r#"{"a": 1}"#);
        site.wait_drained();
        assert_eq!(site.sent_value(&id, "a").as_deref(), Some("1"), "{set}");
        assert_eq!(worker_error(&site), None, "{set}");
        site.db.batch(reset);
    }
}

/// The functions that change our tables have the rights of the extension's owner, and a trigger runs with the rights of whoever writes.
#[test]
fn code_on_a_table_that_was_given_away_does_not_run_with_the_rights_of_our_functions() {
    let site = installed("rights-functions");
    site.mock.on(Match::any()).respond(Reply::status(503));
    site.update("waits", r#"{"a": 1}"#);
    site.db.batch(
        "insert into target_profile.dead_letter (id, client_code, id_kind, profile_id, attrs, priority, source, enqueued_at, attempts, reason)
             values (-1, 'acme', 'mbox3rdPartyId', 'p', '{\"a\": \"1\"}', 0, 'function', now(), 0, 'test');
         create role stranger; create schema stranger authorization stranger;
         create function stranger.rise() returns trigger language plpgsql as $$
             begin
                 begin alter role stranger superuser; exception when others then null; end;
                 return coalesce(new, old);
             end $$;
         alter function stranger.rise() owner to stranger",
    );
    for table in [
        "client",
        "outbox",
        "dead_letter",
        "overtaken",
        "superseded",
        "binding",
        "backing_off",
    ] {
        site.db
            .batch(&format!("alter table target_profile.{table} owner to stranger"));
        site.db.batch(&format!(
            "create trigger rise before insert or update or delete on target_profile.{table}
                 for each row execute function stranger.rise();
             create trigger rise_once before insert or update or delete on target_profile.{table}
                 for each statement execute function stranger.rise()"
        ));
        for call in [
            "adopt()",
            "add_client('umbrella')",
            "set_client('acme', delay => '1 s')",
            "pause('acme', 'test')",
            "resume('acme')",
            "remove_client('acme', dead_letter_waiting => true)",
            "retry(-1)",
            "retry_all('acme')",
            "discard(-1)",
        ] {
            let error = site
                .db
                .try_batch(&format!("select target_profile.{call}"))
                .expect_err(call);
            assert_eq!(sqlstate(&error), "55000", "{table}, {call}: {}", describe(&error));
            assert!(
                describe(&error).contains("belongs to role stranger"),
                "{}",
                describe(&error)
            );
        }
        site.db.batch(&format!(
            "drop trigger rise on target_profile.{table}; drop trigger rise_once on target_profile.{table};
             alter table target_profile.{table} owner to installer"
        ));
    }
    assert!(!is_superuser(&site, "stranger"));
    site.db.batch("select target_profile.discard(-1)");
}

/// At the commit it would run as whoever commits.
#[test]
fn a_deferred_trigger_of_another_owner_runs_as_that_owner_when_the_function_is_called() {
    let site = installed("rights-deferred");
    site.db.batch(
        "create role stranger login; create schema stranger authorization stranger;
         create function stranger.rise() returns trigger language plpgsql as $$
             begin
                 raise log 'deferred ran as %', current_user;
                 begin alter role stranger superuser; exception when others then null; end;
                 return null;
             end $$;
         alter function stranger.rise() owner to stranger;
         create constraint trigger rise after insert on target_profile.outbox deferrable initially deferred
             for each row execute function stranger.rise();
         grant usage on schema target_profile to stranger;
         grant usage on sequence target_profile.outbox_id_seq to stranger;
         alter table target_profile.outbox owner to stranger",
    );
    site.db
        .batch("begin; select target_profile_update('acme', 'mbox3rdPartyId', 'by hand', '{\"a\": 1}'); commit");
    site.cluster.wait_log("deferred ran as stranger", SOON);
    assert!(!site.cluster.log_contains("deferred ran as postgres"));
    assert!(!is_superuser(&site, "stranger"));
}

/// "Failing row contains" all of it.
#[test]
fn a_constraint_of_a_dba_does_not_show_the_token() {
    let site = Site::new("rights-token");
    site.db.batch(
        "alter table target_profile.client
             add constraint short_codes check (length(client_code) < 8),
             add constraint no_secrets check (auth_token is distinct from 'wrong-secret'),
             add constraint one_secret unique (auth_token)",
    );
    site.db
        .batch("select target_profile.set_client('acme', auth_token => 'taken-secret')");
    for call in [
        "add_client('much-too-long', auth_token => 'my-secret')",
        "add_client('umbrella', auth_token => 'wrong-secret')",
        "add_client('umbrella', auth_token => 'taken-secret')",
        "set_client('acme', auth_token => 'wrong-secret')",
    ] {
        let error = site
            .db
            .try_batch(&format!("select target_profile.{call}"))
            .expect_err(call);
        assert!(sqlstate(&error).starts_with("23"), "{call}: {}", describe(&error));
        assert!(!describe(&error).contains("-secret"), "{call}: {}", describe(&error));
    }
    // The statements themselves are logged, as any that fails. What Postgres adds to them is not the row.
    let log = site.cluster.log();
    assert!(
        !log.lines()
            .any(|line| line.contains("DETAIL") && line.contains("-secret"))
    );
}
