//! Every setting of `pg_settings` that a database or a role can have, each with hostile values: what is sent, written and shown
//! stays the same.
//!
//! All settings are hostile at once. Where that changes anything, halves of them are tried until the ones at fault are known.

mod life;
mod values;

use support::{Cluster, Db, MockTarget};

use life::{Install, Life};
use values::{Assignment, Scope};

/// Where the settings are put, and how the extension comes into the database.
#[derive(Clone, Copy, Debug)]
struct Trial {
    scope: Scope,
    /// Which of the two values.
    which: usize,
    install: Install,
}

struct Trials {
    cluster: Cluster,
    mock: MockTarget,
    /// What comes out where nothing is set.
    expected: Vec<String>,
}

impl Trials {
    fn new(name: &str) -> Self {
        let cluster = Cluster::builder(name).fsync(false).build();
        let mock = MockTarget::builder().create_unknown(true).start();
        let db = cluster.db();
        for sql in [
            "create role tester superuser login",
            "create role caller superuser login",
            "set allow_in_place_tablespaces = on",
            "create tablespace elsewhere location ''",
        ] {
            db.batch(sql);
        }
        let mut trials = Self {
            cluster,
            mock,
            expected: Vec::new(),
        };
        let quiet = Trial {
            scope: Scope::Caller,
            which: 0,
            install: Install::Fresh,
        };
        trials.expected = trials
            .outcome(quiet, &[])
            .unwrap_or_else(|fault| panic!("with nothing set: {fault}"));
        trials
    }

    fn tester(&self) -> Db {
        self.cluster.client("postgres", "tester")
    }

    fn outcome(&self, trial: Trial, assignments: &[Assignment]) -> Result<Vec<String>, String> {
        let life = Life::begin(&self.cluster, &self.mock, trial.scope, assignments);
        let outcome = life.live(trial.install);
        life.end();
        outcome
    }

    /// What is wrong with these, if anything is.
    fn fault(&self, trial: Trial, assignments: &[Assignment]) -> Option<String> {
        let found = match self.outcome(trial, assignments) {
            Ok(found) => found,
            Err(fault) => return Some(fault),
        };
        let missing = self
            .expected
            .iter()
            .filter(|line| !found.contains(line))
            .map(|line| format!("- {line}"));
        let extra = found
            .iter()
            .filter(|line| !self.expected.contains(line))
            .map(|line| format!("+ {line}"));
        let lines: Vec<String> = missing.chain(extra).collect();
        (!lines.is_empty()).then(|| lines.join("\n      "))
    }

    /// The smallest sets of settings that are at fault, each with what happens.
    fn faults(&self, trial: Trial, assignments: &[Assignment]) -> Vec<String> {
        let Some(fault) = self.fault(trial, assignments) else {
            return Vec::new();
        };
        let (left, right) = assignments.split_at(assignments.len() / 2);
        let mut faults = Vec::new();
        if assignments.len() > 1 {
            faults.extend(self.faults(trial, left));
            faults.extend(self.faults(trial, right));
        }
        if faults.is_empty() {
            // One setting, or several that do it only together.
            let names: Vec<String> = assignments
                .iter()
                .take(12)
                .map(|one| format!("{} = {}", one.name, one.value))
                .collect();
            faults.push(format!("{trial:?}, {}:\n      {fault}", names.join("; ")));
        }
        faults
    }
}

fn all(trials: &Trials, of: &[Trial], one_by_one: bool) {
    let db = trials.tester();
    let mut faults = Vec::new();
    for &trial in of {
        let assignments = values::assignments(&db, trial.scope, trial.which);
        println!("{trial:?}: {} settings", assignments.len());
        assert!(
            assignments.len() > 100,
            "most settings are left out: {}",
            assignments.len()
        );
        if one_by_one {
            for assignment in &assignments {
                if let Some(fault) = trials.fault(trial, std::slice::from_ref(assignment)) {
                    faults.push(format!(
                        "{trial:?}, {} = {}: {fault}",
                        assignment.name, assignment.value
                    ));
                }
            }
        } else {
            faults.extend(trials.faults(trial, &assignments));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

const fn trial(scope: Scope, which: usize, install: Install) -> Trial {
    Trial { scope, which, install }
}

#[test]
fn no_setting_of_a_caller_changes_what_comes_out() {
    let trials = Trials::new("settings_caller");
    all(
        &trials,
        &[
            trial(Scope::Caller, 0, Install::Fresh),
            trial(Scope::Caller, 1, Install::Upgraded),
        ],
        false,
    );
}

#[test]
fn no_setting_of_the_database_or_the_superuser_changes_what_the_worker_does() {
    let trials = Trials::new("settings_worker");
    all(
        &trials,
        &[
            trial(Scope::Database, 0, Install::Upgraded),
            trial(Scope::Superuser, 1, Install::Fresh),
        ],
        false,
    );
}

/// What one setting alone does may be hidden by another.
#[test]
#[ignore = "takes an hour"]
fn no_setting_alone_changes_what_comes_out() {
    let trials = Trials::new("settings_alone");
    for which in [0, 1] {
        for scope in [Scope::Caller, Scope::Database, Scope::Superuser] {
            let install = if which == 0 { Install::Fresh } else { Install::Upgraded };
            all(&trials, &[trial(scope, which, install)], true);
        }
    }
}
