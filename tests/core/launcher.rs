//! Which databases get a worker, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use target_profile_core::launcher::{
    Database, LOOKING, Launcher, LauncherAction, PAUSE_CAP, Refusal, ServiceState, WorkerEnd,
};
use target_profile_core::time::Timestamp;

const INTERVAL: Duration = Duration::from_secs(60);

fn at(milliseconds: u64) -> Timestamp {
    Timestamp::from_unix_micros(0).plus(Duration::from_millis(milliseconds))
}

fn set(databases: &[Database]) -> BTreeSet<Database> {
    databases.iter().copied().collect()
}

fn launcher(databases: &[Database]) -> Launcher {
    let mut launcher = Launcher::new(INTERVAL);
    launcher.set_databases(&set(databases), at(0));
    launcher
}

/// Takes all steps, starting whatever is to be started.
fn steps(launcher: &mut Launcher, held: &[Database], now: Timestamp) -> Vec<LauncherAction> {
    let mut steps = Vec::new();
    while let Some(step) = launcher.next(&set(held), now) {
        if let LauncherAction::Start(database) = step {
            launcher.started(database, now);
        }
        steps.push(step);
    }
    steps
}

#[test]
fn each_database_is_looked_into_and_two_at_a_time() {
    let mut launcher = launcher(&[1, 2, 3]);
    assert_eq!(
        steps(&mut launcher, &[], at(0)),
        [LauncherAction::Start(1), LauncherAction::Start(2)]
    );
    assert_eq!(launcher.databases().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(launcher.running().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(launcher.next_wake(&set(&[]), at(0)), Some(at(10_000)));
    launcher.serves(1);
    assert_eq!(steps(&mut launcher, &[], at(10)), [LauncherAction::Start(3)]);
    assert_eq!(launcher.next_wake(&set(&[]), at(10)), None, "all have been started");
}

#[test]
fn a_worker_that_waits_for_a_lock_does_not_keep_others_from_being_started() {
    let mut launcher = launcher(&[1, 2, 3]);
    steps(&mut launcher, &[], at(0));
    assert_eq!(steps(&mut launcher, &[], at(9_999)), []);
    assert_eq!(steps(&mut launcher, &[], at(10_000)), [LauncherAction::Start(3)]);
}

#[test]
fn a_database_without_the_extension_keeps_no_worker_and_is_looked_into_ever_more_rarely() {
    let mut launcher = launcher(&[1]);
    let mut now = 0;
    for minutes in [1_u64, 2, 4, 8, 16, 32, 64, 64, 64] {
        assert_eq!(steps(&mut launcher, &[], at(now)), [LauncherAction::Start(1)]);
        launcher.ended(1, WorkerEnd::NoExtension, at(now));
        assert_eq!(steps(&mut launcher, &[], at(now)), [LauncherAction::Forget(1)]);
        assert_eq!(launcher.standing(1, &set(&[])), Some(ServiceState::Absent));
        let next = now + minutes * 60_000;
        assert_eq!(launcher.next_wake(&set(&[]), at(now)), Some(at(next)), "{minutes}");
        assert_eq!(steps(&mut launcher, &[], at(next - 1)), []);
        now = next;
    }
}

#[test]
fn an_announcement_has_it_looked_into_at_once() {
    let mut launcher = launcher(&[1]);
    steps(&mut launcher, &[], at(0));
    launcher.ended(1, WorkerEnd::NoExtension, at(5));
    launcher.announced(1, at(10));
    assert_eq!(
        steps(&mut launcher, &[], at(10)),
        [LauncherAction::Forget(1), LauncherAction::Start(1)]
    );
    launcher.announced(7, at(10));
    assert_eq!(
        steps(&mut launcher, &[], at(10)),
        [],
        "a database that it must not serve"
    );
}

#[test]
fn an_extension_that_comes_while_the_worker_goes_is_not_missed() {
    let mut launcher = launcher(&[1]);
    steps(&mut launcher, &[], at(0));
    launcher.announced(1, at(3));
    launcher.ended(1, WorkerEnd::NoExtension, at(5));
    assert_eq!(
        steps(&mut launcher, &[], at(5)),
        [LauncherAction::Forget(1), LauncherAction::Start(1)]
    );
}

#[test]
fn a_worker_that_ends_is_started_at_once_and_one_that_goes_on_ending_ever_more_slowly() {
    let mut launcher = launcher(&[1]);
    let mut now = 0;
    for pause in [0_u64, 1, 2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(steps(&mut launcher, &[], at(now)), [LauncherAction::Start(1)]);
        launcher.serves(1);
        launcher.ended(1, WorkerEnd::Unexpected, at(now + 10));
        launcher.announced(1, at(now + 10));
        let next = now + 10 + pause * 1000;
        assert_eq!(launcher.next_wake(&set(&[]), at(now + 10)), Some(at(next)), "{pause}");
        now = next;
    }
    assert!(matches!(
        launcher.standing(1, &set(&[])),
        Some(ServiceState::Ended(9, when)) if when == at(now)
    ));
    // One that ran for a minute has not failed at its start.
    steps(&mut launcher, &[], at(now));
    launcher.ended(1, WorkerEnd::Unexpected, at(now + 60_000));
    assert_eq!(steps(&mut launcher, &[], at(now + 60_000)), [LauncherAction::Start(1)]);
}

#[test]
fn a_held_database_is_left_and_served_again_afterwards() {
    let mut launcher = launcher(&[1, 2]);
    steps(&mut launcher, &[], at(0));
    launcher.serves(1);
    launcher.serves(2);
    assert_eq!(steps(&mut launcher, &[1], at(10)), [LauncherAction::Stop(1)]);
    assert_eq!(steps(&mut launcher, &[1], at(20)), [], "it was asked already");
    launcher.ended(1, WorkerEnd::Asked, at(30));
    assert_eq!(steps(&mut launcher, &[1], at(30)), []);
    assert_eq!(launcher.standing(1, &set(&[1])), Some(ServiceState::Held));
    assert_eq!(launcher.next_wake(&set(&[1]), at(30)), None);
    assert_eq!(steps(&mut launcher, &[], at(40)), [LauncherAction::Start(1)]);
}

#[test]
fn a_database_that_is_gone_or_left_out_is_forgotten() {
    let mut launcher = launcher(&[1, 2, 3]);
    steps(&mut launcher, &[], at(0));
    launcher.serves(1);
    launcher.ended(2, WorkerEnd::NoExtension, at(5));
    assert_eq!(
        steps(&mut launcher, &[], at(5)),
        [LauncherAction::Forget(2), LauncherAction::Start(3)]
    );
    launcher.set_databases(&set(&[3]), at(10));
    assert_eq!(
        steps(&mut launcher, &[], at(10)),
        [LauncherAction::Forget(2), LauncherAction::Stop(1)]
    );
    launcher.ended(1, WorkerEnd::Asked, at(20));
    assert_eq!(steps(&mut launcher, &[], at(20)), [LauncherAction::Forget(1)]);
    assert_eq!(launcher.standing(1, &set(&[])), None);
    // It may come back.
    launcher.set_databases(&set(&[1, 3]), at(30));
    assert_eq!(steps(&mut launcher, &[], at(30)), [LauncherAction::Start(1)]);
}

#[test]
fn a_full_table_of_workers_is_told_once_and_tried_ever_more_rarely() {
    let mut launcher = launcher(&[1, 2]);
    let held = set(&[]);
    let mut now = 0;
    for (n, pause) in [1_u64, 2, 4, 8, 16, 32, 60, 60].into_iter().enumerate() {
        assert_eq!(launcher.next(&held, at(now)), Some(LauncherAction::Start(1)));
        assert_eq!(launcher.refused(1, Refusal::NoProcess, at(now)), n == 0);
        assert_eq!(launcher.next(&held, at(now)), None, "nobody else is tried either");
        let next = at(now + pause * 1000);
        assert_eq!(launcher.standing(2, &held), Some(ServiceState::NoProcess(next)));
        assert_eq!(launcher.next_wake(&held, at(now)), Some(next));
        now += pause * 1000;
    }
    assert_eq!(
        steps(&mut launcher, &[], at(now)),
        [LauncherAction::Start(1), LauncherAction::Start(2)]
    );
    launcher.ended(1, WorkerEnd::Unexpected, at(now + 1));
    assert_eq!(launcher.next(&held, at(now + 1)), Some(LauncherAction::Start(1)));
    assert!(
        !launcher.refused(1, Refusal::NoProcess, at(now + 1)),
        "it was told minutes ago"
    );
    launcher.started(1, at(now + 2));
    launcher.ended(1, WorkerEnd::Unexpected, at(now + 700_000));
    assert!(
        launcher.refused(1, Refusal::NoProcess, at(now + 700_000)),
        "that was long ago"
    );
}

#[test]
fn a_process_that_becomes_free_is_used_at_once() {
    let mut launcher = launcher(&[1, 2]);
    let held = set(&[]);
    assert_eq!(launcher.next(&held, at(0)), Some(LauncherAction::Start(1)));
    launcher.started(1, at(0));
    assert_eq!(launcher.next(&held, at(0)), Some(LauncherAction::Start(2)));
    launcher.refused(2, Refusal::NoProcess, at(0));
    launcher.ended(1, WorkerEnd::NoExtension, at(10));
    assert_eq!(
        steps(&mut launcher, &[], at(10)),
        [LauncherAction::Forget(1), LauncherAction::Start(2)]
    );
}

#[test]
fn a_database_without_a_place_does_not_hold_up_the_others() {
    let mut launcher = launcher(&[1, 2]);
    let held = set(&[]);
    assert_eq!(launcher.next(&held, at(0)), Some(LauncherAction::Start(1)));
    assert!(launcher.refused(1, Refusal::NoPlace, at(0)));
    assert_eq!(launcher.standing(1, &held), Some(ServiceState::NoPlace));
    assert_eq!(steps(&mut launcher, &[], at(0)), [LauncherAction::Start(2)]);
    assert_eq!(launcher.next(&held, at(60_000)), Some(LauncherAction::Start(1)));
    assert!(!launcher.refused(1, Refusal::NoPlace, at(60_000)), "it was told");
}

#[test]
fn databases_with_entries_come_before_those_that_nobody_knows() {
    let mut launcher = launcher(&[1, 2]);
    steps(&mut launcher, &[], at(0));
    launcher.serves(2);
    launcher.ended(1, WorkerEnd::NoExtension, at(1));
    launcher.ended(2, WorkerEnd::Asked, at(60_500));
    launcher.set_databases(&set(&[1, 2, 3]), at(60_000));
    assert_eq!(
        steps(&mut launcher, &[], at(61_000))[..2],
        [LauncherAction::Forget(1), LauncherAction::Start(2)]
    );
    launcher.serves(2);
    assert_eq!(
        steps(&mut launcher, &[], at(61_000)),
        [LauncherAction::Start(1)],
        "its second look"
    );
}

#[test]
fn the_next_launcher_takes_over_what_runs_and_looks_at_the_rest() {
    let mut launcher = Launcher::new(INTERVAL);
    launcher.adopt(1, true, at(0));
    launcher.adopt(2, false, at(0));
    launcher.set_databases(&set(&[1, 2, 3]), at(0));
    assert_eq!(steps(&mut launcher, &[], at(0)), [LauncherAction::Start(3)]);
    // What was announced while there was no launcher is not known: one more look.
    launcher.ended(2, WorkerEnd::NoExtension, at(5));
    assert_eq!(
        steps(&mut launcher, &[], at(5)),
        [LauncherAction::Forget(2), LauncherAction::Start(2)]
    );
    // A worker of a database that is gone meanwhile.
    launcher.set_databases(&set(&[2, 3]), at(10));
    assert_eq!(steps(&mut launcher, &[], at(10)), [LauncherAction::Stop(1)]);
}

#[derive(Debug, Clone)]
enum Event {
    List(Vec<Database>),
    Hold(Vec<Database>),
    Announce(Database),
    Serves(Database),
    End(Database, u8),
    Full(bool),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let database = 1..6_u32;
    prop_oneof![
        prop::collection::vec(database.clone(), 0..6).prop_map(Event::List),
        prop::collection::vec(database.clone(), 0..3).prop_map(Event::Hold),
        database.clone().prop_map(Event::Announce),
        database.clone().prop_map(Event::Serves),
        (database, 0..3_u8).prop_map(|(database, ending)| Event::End(database, ending)),
        any::<bool>().prop_map(Event::Full),
        (0..100_000_u64).prop_map(Event::Pass),
    ]
}

proptest! {
    /// Whatever happens: never two workers in a database, never more than two that look around, none started where it must not
    /// be, and when all has calmed down each database has been looked into.
    #[test]
    fn no_history_starts_two_workers_or_forgets_a_database(events in prop::collection::vec(event(), 0..60)) {
        let mut launcher = Launcher::new(INTERVAL);
        let (mut eligible, mut held, mut full) = (set(&[]), set(&[]), false);
        // Each process that runs, since when, and whether it has found the extension.
        let mut running: BTreeMap<Database, (u64, bool)> = BTreeMap::new();
        let mut now = 0;
        let mut visited: BTreeSet<Database>;
        for event in events {
            match event {
                Event::List(databases) => {
                    eligible = databases.into_iter().collect();
                    launcher.set_databases(&eligible, at(now));
                }
                Event::Hold(databases) => held = databases.into_iter().collect(),
                Event::Announce(database) => launcher.announced(database, at(now)),
                Event::Serves(database) => {
                    if let Some((_, serves)) = running.get_mut(&database) {
                        *serves = true;
                        launcher.serves(database);
                    }
                }
                Event::End(database, ending) => {
                    if running.remove(&database).is_some() {
                        let ending = [WorkerEnd::NoExtension, WorkerEnd::Asked, WorkerEnd::Unexpected][usize::from(ending)];
                        launcher.ended(database, ending, at(now));
                    }
                }
                Event::Full(is_full) => full = is_full,
                Event::Pass(milliseconds) => now += milliseconds,
            }
            let mut turns = 0;
            while let Some(step) = launcher.next(&held, at(now)) {
                turns += 1;
                prop_assert!(turns < 100, "it spins");
                match step {
                    LauncherAction::Start(database) => {
                        prop_assert!(eligible.contains(&database) && !held.contains(&database));
                        let looking = running.values().filter(|(since, serves)| !serves && now - since < 10_000);
                        prop_assert!(looking.count() < LOOKING);
                        if full {
                            launcher.refused(database, Refusal::NoProcess, at(now));
                        } else {
                            prop_assert!(running.insert(database, (now, false)).is_none(), "two workers");
                            launcher.started(database, at(now));
                        }
                    }
                    LauncherAction::Stop(database) => {
                        prop_assert!(running.contains_key(&database));
                        prop_assert!(held.contains(&database) || !eligible.contains(&database));
                    }
                    LauncherAction::Forget(database) => prop_assert!(!running.contains_key(&database)),
                }
            }
            let known: BTreeSet<Database> = launcher.running().collect();
            let there: BTreeSet<Database> = running.keys().copied().collect();
            prop_assert_eq!(known, there);
            if let Some(wake) = launcher.next_wake(&held, at(now)) {
                prop_assert!(wake > at(now), "it would spin");
            }
        }
        // From here on nothing is in the way.
        visited = running.keys().copied().collect();
        for _ in 0..100 {
            for database in running.keys().copied().collect::<Vec<_>>() {
                launcher.serves(database);
            }
            while let Some(step) = launcher.next(&set(&[]), at(now)) {
                if let LauncherAction::Start(database) = step {
                    launcher.started(database, at(now));
                    running.insert(database, (now, false));
                    visited.insert(database);
                }
            }
            now += u64::try_from(PAUSE_CAP.as_millis()).unwrap();
        }
        let absent = |database: &Database| launcher.standing(*database, &set(&[])) == Some(ServiceState::Absent);
        prop_assert!(eligible.iter().all(|database| visited.contains(database) || absent(database)));
    }
}

#[test]
fn another_interval_counts_from_the_next_look_on() {
    let mut launcher = launcher(&[1]);
    steps(&mut launcher, &[], at(0));
    launcher.set_interval(2 * INTERVAL);
    launcher.ended(1, WorkerEnd::NoExtension, at(0));
    steps(&mut launcher, &[], at(0));
    assert_eq!(launcher.next_wake(&set(&[]), at(0)), Some(at(120_000)));
}

#[test]
fn a_database_without_the_extension_needs_no_place() {
    let mut launcher = launcher(&[1]);
    assert_eq!(launcher.standing(1, &set(&[])), Some(ServiceState::Due));
    steps(&mut launcher, &[], at(0));
    launcher.ended(1, WorkerEnd::NoExtension, at(0));
    assert_eq!(steps(&mut launcher, &[], at(0)), [LauncherAction::Forget(1)]);
    assert!(launcher.refused(1, Refusal::NoPlace, at(60_000)));
    assert_eq!(launcher.standing(1, &set(&[])), Some(ServiceState::Absent));
    assert_eq!(
        launcher.next_wake(&set(&[]), at(60_000)),
        Some(at(60_000).plus(PAUSE_CAP))
    );
}
