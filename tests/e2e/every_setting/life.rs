//! What is done with the extension in its life, from CREATE EXTENSION to the last day of `response`, and what comes out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use support::{Cluster, Db, Match, MockTarget, Reply, describe, wait};

use super::values::{Assignment, Scope};

/// It takes a second or two where nothing is wrong.
const PATIENCE: Duration = Duration::from_secs(40);

/// How the extension comes into the database.
#[derive(Clone, Copy, Debug)]
pub enum Install {
    Fresh,
    /// As 0.1.0, with something in it, and updated.
    Upgraded,
}

pub struct Life<'a> {
    cluster: &'a Cluster,
    mock: &'a MockTarget,
    scope: Scope,
    admin: Db,
    /// Of whom none of the settings is.
    tester: Db,
}

impl<'a> Life<'a> {
    /// A database where these settings are set.
    pub fn begin(cluster: &'a Cluster, mock: &'a MockTarget, scope: Scope, assignments: &[Assignment]) -> Self {
        mock.clear();
        mock.clear_profiles();
        mock.clear_rules();
        mock.on(Match::id("dead")).times(1).respond(Reply::failure("no"));
        mock.on(Match::id("later"))
            .times(1)
            .respond(Reply::status(503).retry_after("1"));
        let admin = cluster.client("postgres", "tester");
        for sql in CLEAN {
            admin.batch(sql);
        }
        admin.batch("create database life template template0 encoding 'UTF8' locale 'C'");
        let db = cluster.client("life", "tester");
        db.batch("create access method other type table handler heap_tableam_handler; create schema evil");
        drop(db);
        let whose = match scope {
            Scope::Caller => "role caller",
            Scope::Database => "database life",
            Scope::Superuser => "role postgres",
        };
        for one in assignments {
            admin.batch(&format!(
                "alter role tester in database life set {} from current",
                one.name
            ));
            admin.batch(&one.alter(whose));
        }
        let tester = cluster.client("life", "tester");
        Self {
            cluster,
            mock,
            scope,
            admin,
            tester,
        }
    }

    pub fn end(self) {
        drop(self.tester);
        for sql in CLEAN {
            self.admin.batch(sql);
        }
    }

    pub fn live(&self, install: Install) -> Result<Vec<String>, String> {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.try_live(install)));
        outcome.unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            Err(format!("panicked: {}", said.chars().take(1500).collect::<String>()))
        })
    }

    fn try_live(&self, install: Install) -> Result<Vec<String>, String> {
        let caller = if self.scope == Scope::Caller {
            self.cluster
                .try_client("life", "caller")
                .map_err(|error| describe(&error))?
        } else {
            self.cluster.client("life", "tester")
        };
        let run = |sql: &str| {
            caller
                .try_batch(sql)
                .map_err(|error| format!("{sql}: {}", describe(&error)))
        };
        run(match install {
            Install::Fresh => "create extension target_profile schema public",
            // What a released script cannot stand, it cannot stand.
            Install::Upgraded => {
                "set local standard_conforming_strings = on; set local default_table_access_method = heap;
                 create extension target_profile schema public version '0.1.0'"
            }
        })?;
        let client = format!(
            "select target_profile.add_client('acme', endpoint => '{}', timeout => '5 s', max_age => '3 days 4 hours')",
            self.mock.endpoint()
        );
        run(&client)?;
        run(MAKE)?;
        if matches!(install, Install::Upgraded) {
            run("alter extension target_profile update")?;
        }
        for sql in WRITE {
            run(sql)?;
        }
        let copied = caller.try_copy_in("copy public.crm (id, tier) from stdin", "40\tcopied\n".into());
        copied.map_err(|error| format!("copy: {}", describe(&error)))?;
        self.until("all is sent", DRAINED)?;
        let pid = self.text("select pid::text from target_profile.worker where database = current_database()");
        for sql in AFTERWARDS {
            run(sql)?;
        }
        self.until("all is sent again", DRAINED)?;
        // A day of the worker's own, and one that is too old, which it drops when it looks again.
        self.tester
            .batch("select target_profile._ensure_response_partition('2020-01-02')");
        self.tester.batch("select pg_reload_conf()");
        self.until(
            "the old day is dropped",
            "select to_regclass('target_profile.response_20200102') is null",
        )?;
        for sql in SHOWN {
            run(sql)?;
        }
        let mut lines = self.outcome();
        let again = self.text("select pid::text from target_profile.worker where database = current_database()");
        lines.push(format!("same worker: {}", pid == again));
        Ok(lines)
    }

    fn until(&self, what: &str, sql: &str) -> Result<(), String> {
        let met = wait::poll(PATIENCE, || self.tester.value::<bool>(sql, &[]).then_some(()));
        met.ok_or_else(|| {
            let said = "select concat_ws(', ', state, last_error, (select string_agg(concat_ws(' ', id, profile_id, last_outcome), ', ')
                from target_profile.outbox)) from target_profile.worker where database = current_database()";
            format!("waited in vain until {what}; worker: {}", self.text(said))
        })
    }

    fn text(&self, sql: &str) -> String {
        self.tester.try_text(sql).ok().flatten().unwrap_or_default()
    }

    fn outcome(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (key, attributes) in self.mock.profiles() {
            lines.push(format!("sent {key:?}: {attributes:?}"));
        }
        for sql in OUTCOME {
            for row in self.tester.rows(sql) {
                let row: Vec<String> = row
                    .into_iter()
                    .map(|value| value.unwrap_or("null".to_owned()))
                    .collect();
                lines.push(row.join(" | "));
            }
        }
        lines
    }
}

/// Nothing of an earlier life.
const CLEAN: &[&str] = &[
    "load 'plpgsql'",
    "alter role caller reset all",
    "alter role postgres reset all",
    "drop database if exists life with (force)",
];

const DRAINED: &str = "select not exists (select from target_profile.outbox)
    and not exists (select from target_profile.worker where database = current_database() and last_error is not null)";

/// Tables with values of every type whose text depends on a setting.
const MAKE: &str = "
    create table public.crm (id integer primary key, tier text, at timestamptz, day date, span interval, size float8, bytes bytea,
        price money, tags text[], doc jsonb, during tstzrange, ok boolean, amount numeric, about regclass, times timestamptz[]);
    create table public.by_hand (id text primary key, tier text, at timestamptz);
    create table public.old_rows (id bigint primary key, tier text, at timestamptz, score real);
    create trigger to_target after insert or update on public.by_hand for each row
        execute function public.target_profile_trigger('acme', 'mbox3rdPartyId', 'id', 'tier', 'at');
    select target_profile.watch('public.crm', 'acme', 'mbox3rdPartyId', 'id',
        '{tier,at,day,span,size,bytes,price,tags,doc,during,ok,amount,about,times}', \"when\" => 'NEW.id < 100 AND NEW.tier IS NOT NULL');
    select target_profile.watch('public.crm', 'acme', 'mboxPC', 'NEW.id + 1000', '{tier,sent_at=at}', send => 'changed')";

const WRITE: &[&str] = &[
    "insert into public.crm values (1, 'gold', '2026-01-02 03:04:05.678+00', '2026-03-04', '1 day 02:03:04', 0.1::float8 + 0.2,
        decode('00ff', 'hex'), 12.34::numeric::money, array['a', null, 'b c'], '{\"a\": {\"b\": [1, 2]}}',
        tstzrange('2026-01-02 03:04:05+00', null), true, 123456789012345678901234567890.12, 'pg_catalog.pg_class',
        array['2026-01-02 03:04:05+00']::timestamptz[])",
    "insert into public.crm (id, tier) select n, 'many' from generate_series(10, 30) n",
    "update public.crm set tier = 'silver', span = make_interval(days => -1, hours => 2) where id between 10 and 12",
    "begin; update public.crm set tier = 'never' where id = 13; rollback",
    "update public.crm set at = '2026-07-08 09:10:11+00' where id = 14",
    "insert into public.by_hand values ('h1', 'gold', '2026-01-02 03:04:05+00'), ('a/b', 'gold', null)",
    "select public.target_profile_update('acme', 'mbox3rdPartyId', 'f1', '{\"a\": 1, \"b\": [\"x\", 1.50], \"c.d\": 1e400}'::jsonb)",
    "select public.target_profile_update('acme', 'mbox3rdPartyId', '4711', '{\"a\": true}'::jsonb, 5::smallint)",
    "select public.target_profile_update('acme', 'mbox3rdPartyId', '47110000000000', '{\"a\": null, \"b\": \"\"}'::jsonb)",
    "select public.target_profile_update('acme', 'mboxPC', '00112233-4455-6677-8899-aabbccddeeff'::uuid::text, '{\"a\": 1}'::jsonb)",
    "select public.target_profile_update('acme', 'mbox3rdPartyId', 'dead', '{\"a\": 1}'::jsonb)",
    "select public.target_profile_update('acme', 'mbox3rdPartyId', 'later', '{\"a\": 1}'::jsonb)",
    "insert into public.old_rows select n, 'old', '2026-01-02 03:04:05+00'::timestamptz + n * interval '1 hour', n / 7.0
        from generate_series(1, 50) n",
    "select target_profile.watch('public.old_rows', 'acme', 'mbox3rdPartyId', 'id + 5000', '{tier,at,score}')",
    "call target_profile.backfill('public.old_rows', $$at < timestamptz '2027-01-01 00:00+00'$$, chunk => 20)",
    // Merged: the first entry of several is not where they are looked up.
    "select public.target_profile_update('acme', 'mbox3rdPartyId', 'merged', jsonb_build_object('n' || n, n)) from generate_series(1, 5) n",
];

/// Once all is sent.
const AFTERWARDS: &[&str] = &[
    "select target_profile.retry(id) from target_profile.dead_letter where profile_id = 'dead'",
    "select target_profile.discard(id) from target_profile.dead_letter where profile_id = 'a/b'",
    "select target_profile.retry_all('acme', '-infinity')",
    "select target_profile.set_client('acme', delay => '1 ms', max_age => '2 days', reset => '{max_attempts}')",
    "select target_profile.pause('acme', 'a moment'); select target_profile.resume('acme')",
    "begin isolation level read committed; select target_profile.wait(max(e), '10 s') from target_profile.response, unnest(outbox_ids) e; commit",
    "select target_profile.grant_to('pg_monitor', 'reader'); select target_profile.revoke_from('pg_monitor')",
    "select target_profile._ensure_response_partition('2031-03-05'), target_profile._ensure_response_partition('2020-01-01')",
    "create table public.dropped as select target_profile._drop_response_partitions('2020-01-02 00:00:00+00') as days;
     insert into public.dropped select target_profile._drop_response_partitions('2020-01-02 00:00:00+00')",
    "create table public.previewed as select * from public.target_profile_preview('acme', 'mboxPC', 'p', '{\"a\": 1.0, \"z\": \"ä\"}'::jsonb)",
    "create table public.looked_up as
     select e as id, r.* from (select distinct e from target_profile.response, unnest(outbox_ids) e) s, target_profile.result(s.e) r",
];

/// Views, to whoever looks at them.
const SHOWN: &[&str] = &[
    "select * from target_profile.status",
    "select * from target_profile.worker",
    "select * from target_profile.watch_state",
    "select * from target_profile.backfill_progress",
    "select target_profile.stop_backfill('public.old_rows')",
    "select target_profile._close_activity()",
];

const OUTCOME: &[&str] = &[
    "select distinct 'response', client_code, id_kind, profile_id, method, outcome, http_status, message
     from target_profile.response where profile_id not in ('dead', 'later') order by 4",
    "select 'dead letter', client_code, id_kind, profile_id, attrs, reason, discarded_at is not null from target_profile.dead_letter",
    "select 'client', client_code, max_attempts, max_age, delay, paused_at from target_profile.client",
    "select 'watch', \"table\", id_column, attrs, send, \"when\", id_expression, id_columns from target_profile.watched_table order by 2, 3",
    "select 'watch state', \"table\", id_kind, state from target_profile.watch_state order by 2, 3",
    "select 'backfill', \"table\", \"where\", state, rows_done, entries, invalid, last_error from target_profile.backfill_progress",
    "select 'status', client_code, state, backlog from target_profile.status",
    "select 'worker', last_error from target_profile.worker where database = current_database()",
    "select 'counted', sum(sent) = (select count(*) from target_profile.response), sum(accepted + rejected + failed) = sum(sent)
     from target_profile.activity",
    "select distinct 'day', regexp_replace(pg_get_expr(c.relpartbound, c.oid), '[0-9]{4}-[0-9]{2}-[0-9]{2}', 'DAY', 'g')
     from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'target_profile.response'::regclass",
    "select 'no other table', relname from pg_class c join pg_am a on a.oid = c.relam
     where relnamespace = 'target_profile'::regnamespace and relkind = 'r' and amname <> 'heap'",
    "select 'dropped', days from public.dropped",
    "select 'previewed', * from public.previewed",
    "select 'looked up', count(distinct id), count(*), count(*) filter (where state = 'accepted') from public.looked_up",
];
