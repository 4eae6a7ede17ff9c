//! Every way of writing that PostgreSQL has, and what each of them sends: by a watch and by a trigger that was written by hand,
//! on a plain and on a partitioned table, with the triggers enabled in each of the ways that there are.
//!
//! The table of ways is in ways_of_writing/ways.rs. No worker runs: what was enqueued stays in the outbox.

mod ways;

use std::fmt;

use support::cluster::describe;
use support::{Cluster, Db, sqlstate};

use ways::{Step, WAYS, Way};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wiring {
    Watched,
    ByHand,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Table {
    Plain,
    Partitioned,
}

/// How `ALTER TABLE` has enabled the triggers; `pg_trigger.tgenabled`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Enabled {
    Origin,
    Replica,
    Always,
    Disabled,
}

/// `session_replication_role` of the writer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Origin,
    Replica,
}

/// The usual case first: if that fails, the others say nothing new. The first way meets all of these, the others the first ones.
const STATES: [(Enabled, Role); 8] = [
    (Enabled::Origin, Role::Origin),
    (Enabled::Always, Role::Replica),
    (Enabled::Disabled, Role::Origin),
    (Enabled::Replica, Role::Replica),
    (Enabled::Always, Role::Origin),
    (Enabled::Replica, Role::Origin),
    (Enabled::Origin, Role::Replica),
    (Enabled::Disabled, Role::Replica),
];

impl Enabled {
    const fn fires(self, role: Role) -> bool {
        match self {
            Self::Origin => matches!(role, Role::Origin),
            Self::Replica => matches!(role, Role::Replica),
            Self::Always => true,
            Self::Disabled => false,
        }
    }

    const fn sql(self) -> &'static str {
        match self {
            Self::Origin => "enable",
            Self::Replica => "enable replica",
            Self::Always => "enable always",
            Self::Disabled => "disable",
        }
    }
}

impl Role {
    const fn sql(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Replica => "replica",
        }
    }
}

/// One test of one way.
struct Case<'a> {
    way: &'a Way,
    wiring: Wiring,
    table: Table,
    enabled: Enabled,
    role: Role,
}

impl fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            way,
            wiring,
            table,
            enabled,
            role,
        } = self;
        let name = way.name;
        write!(f, "{name} ({wiring:?}, {table:?}, triggers {enabled:?}, role {role:?})")
    }
}

impl Case<'_> {
    fn expected(&self) -> Vec<&str> {
        if self.enabled.fires(self.role) {
            self.way.expected(self.table).to_vec()
        } else {
            Vec::new()
        }
    }

    /// A fresh table of three customers, wired.
    fn set_up(&self, db: &Db) {
        let (kind, partitions) = match self.table {
            Table::Plain => ("", ""),
            Table::Partitioned => (
                "partition by list (region)",
                "create table customer_eu partition of customer for values in ('eu');
                 create table customer_us partition of customer for values in ('us');",
            ),
        };
        let wire = match self.wiring {
            Wiring::Watched => "select target_profile.watch('customer', 'acme', 'mboxPC', 'id', '{tier,city}')",
            Wiring::ByHand => {
                "create trigger to_target after insert or update on customer for each row
                 execute function target_profile_trigger('acme', 'mboxPC', 'id', 'tier', 'city')"
            }
        };
        db.batch(&format!(
            "drop schema if exists crm cascade;
             create schema crm;
             set search_path = crm, public;
             create table customer (
                 id text, region text default 'eu', tier text, city text, note text, unique (id, region)) {kind};
             {partitions}
             insert into customer values ('a', 'eu', 'gold', 'Oslo'), ('b', 'eu', 'silver', 'Rome'), ('c', 'us', 'tin', 'Lima');
             {wire};
             delete from target_profile.outbox"
        ));
        db.batch(&format!(
            "do $$ declare name text; begin
                 for name in select tgname from pg_trigger where tgrelid = 'customer'::regclass and not tgisinternal loop
                     execute format('alter table customer {} trigger %I', name);
                 end loop;
             end $$;
             set session_replication_role = {}",
            self.enabled.sql(),
            self.role.sql()
        ));
    }

    fn run(&self, db: &Db) {
        for step in self.way.steps {
            match *step {
                Step::Run(sql) => {
                    let ran = db.try_batch(sql);
                    ran.unwrap_or_else(|error| panic!("{self}: {sql}: {}", describe(&error)));
                }
                Step::Fails(sql, code) => {
                    let error = db.try_batch(sql).expect_err(sql);
                    assert_eq!(sqlstate(&error), code, "{self}: {sql}");
                }
                Step::Copy(sql, rows) => {
                    db.copy_in(sql, rows.into());
                }
                Step::CopyFails(sql, rows, code) => {
                    let error = db.try_copy_in(sql, rows.into()).expect_err(sql);
                    assert_eq!(sqlstate(&error), code, "{self}: {sql}");
                }
                Step::Prepared(sql, arguments) => {
                    let statement = db.prepare(sql);
                    for argument in arguments {
                        db.query_prepared(&statement, &[argument]);
                    }
                }
            }
        }
    }

    fn check(&self, db: &Db) -> Result<(), String> {
        self.set_up(db);
        self.run(db);
        db.batch("reset session_replication_role");
        let entries = db.query(
            "select concat_ws(' ', profile_id, coalesce(attrs ->> 'tier', '-'), coalesce(attrs ->> 'city', '-'))
             from target_profile.outbox order by id",
            &[],
        );
        let mut entries: Vec<&str> = entries.iter().map(|row| row.get(0)).collect();
        if self.way.unordered {
            entries.sort_unstable();
        }
        let expected = self.expected();
        let dead: i64 = db.value("select count(*) from target_profile.dead_letter", &[]);
        if entries == expected && dead == 0 {
            Ok(())
        } else {
            Err(format!(
                "{self}:\n    sent     {entries:?}\n    expected {expected:?}, {dead} dead letters"
            ))
        }
    }
}

fn all_ways(wiring: Wiring, table: Table) {
    let name = format!("ways{}", wiring as u8 * 2 + table as u8);
    let cluster = Cluster::builder(&name)
        .fsync(false)
        .conf("target_profile.databases", "none")
        .conf("log_min_messages", "error")
        .build();
    let db = cluster.db();
    db.batch(
        "set client_min_messages = error; create extension target_profile; select target_profile.add_client('acme')",
    );
    let version: i32 = db.value("select current_setting('server_version_num')::int", &[]);
    let mut failed = Vec::new();
    let mut checked = 0;
    for (index, way) in WAYS.iter().enumerate() {
        if way.since > version / 10_000 || way.only.is_some_and(|only| only != table) {
            continue;
        }
        let states = match (index, table) {
            (0, _) => STATES.len(),
            (_, Table::Plain) => 3,
            (_, Table::Partitioned) => 2,
        };
        for (enabled, role) in STATES.into_iter().take(states) {
            // Triggers and rules of the way itself do not fire there.
            if way.by_triggers && role == Role::Replica {
                continue;
            }
            let case = Case {
                way,
                wiring,
                table,
                enabled,
                role,
            };
            checked += 1;
            if let Err(fault) = case.check(&db) {
                failed.push(fault);
                break;
            }
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {checked}:\n{}",
        failed.len(),
        failed.join("\n")
    );
    println!("{wiring:?}, {table:?}: {checked} cases");
}

#[test]
fn a_watched_table_sends_every_way_of_writing() {
    all_ways(Wiring::Watched, Table::Plain);
}

#[test]
fn a_watched_partitioned_table_sends_every_way_of_writing() {
    all_ways(Wiring::Watched, Table::Partitioned);
}

#[test]
fn a_table_wired_by_hand_sends_every_way_of_writing() {
    all_ways(Wiring::ByHand, Table::Plain);
}

#[test]
fn a_partitioned_table_wired_by_hand_sends_every_way_of_writing() {
    all_ways(Wiring::ByHand, Table::Partitioned);
}

#[test]
fn each_way_has_a_name_of_its_own() {
    let mut names: Vec<&str> = WAYS.iter().map(|way| way.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), WAYS.len());
}
