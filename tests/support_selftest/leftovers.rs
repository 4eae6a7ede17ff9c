//! What becomes of clusters whose test process is killed.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::Cluster;
use support::cluster::{Process, process, remove_stale};
use support::wait;

const DEADLINE: Duration = Duration::from_secs(20);

/// Not a test: the process that the others kill. It makes a cluster, says where, and waits for its end.
#[test]
#[ignore = "run by the tests of this file"]
fn victim() {
    if std::env::var_os("SUPPORT_VICTIM").is_none() {
        return;
    }
    let cluster = Cluster::builder("victim").preload(false).fsync(false).build();
    println!("\nvictim {} {}", cluster.dir().display(), cluster.postmaster().pid);
    if std::env::var_os("SUPPORT_VICTIM_PANICS").is_some() {
        panic!("as told");
    }
    loop {
        std::thread::park();
    }
}

struct Victim {
    child: Child,
    dir: PathBuf,
    postmaster: Process,
}

fn victim_process(variables: &[&str]) -> Victim {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--ignored",
        "--exact",
        "leftovers::victim",
        "--nocapture",
        "--test-threads=1",
    ]);
    command
        .env("SUPPORT_VICTIM", "1")
        .env_remove("NO_REAPER")
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    for variable in variables {
        command.env(variable, "1");
    }
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let line = lines
        .find(|line| line.starts_with("victim "))
        .expect("the victim says where its cluster is");
    let mut parts = line.split(' ').skip(1);
    let dir = PathBuf::from(parts.next().unwrap());
    let postmaster = process(parts.next().unwrap().parse().unwrap()).expect("the victim's server runs");
    Victim { child, dir, postmaster }
}

/// The directories of the victim, the template's too.
fn directories(victim: &Victim) -> Vec<PathBuf> {
    let name = victim.dir.file_name().unwrap().to_str().unwrap();
    let prefix = name
        .rsplit_once("-victim")
        .unwrap()
        .0
        .rsplit_once('-')
        .unwrap()
        .0
        .to_owned()
        + "-";
    let entries = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    let of_victim = entries.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)));
    of_victim.map(|entry| entry.path()).collect()
}

#[test]
fn reaper_cleans_up_after_a_killed_process() {
    let mut victim = victim_process(&[]);
    assert_eq!(directories(&victim).len(), 2);
    victim.child.kill().unwrap();
    victim.child.wait().unwrap();
    wait::until("the reaper to remove the victim's directories", DEADLINE, || {
        directories(&victim).is_empty().then_some(())
    });
    assert!(!victim.postmaster.is_alive());
}

#[test]
fn stale_directories_are_removed_once_their_server_is_stopped() {
    let mut victim = victim_process(&["NO_REAPER"]);
    remove_stale();
    assert!(
        victim.dir.exists() && victim.postmaster.is_alive(),
        "the process lives, so its cluster is not stale"
    );
    victim.child.kill().unwrap();
    victim.child.wait().unwrap();
    assert!(
        victim.dir.exists() && victim.postmaster.is_alive(),
        "there is no reaper"
    );
    // Another test process may come first.
    wait::until("the victim's directories to be removed", DEADLINE, || {
        remove_stale();
        directories(&victim).is_empty().then_some(())
    });
    assert!(!victim.postmaster.is_alive());
}

#[test]
fn a_panic_keeps_the_directory_and_stops_the_server() {
    let mut victim = victim_process(&["SUPPORT_VICTIM_PANICS"]);
    victim.child.wait().unwrap();
    assert!(!victim.postmaster.is_alive());
    let log = std::fs::read_to_string(victim.dir.join("server.log")).unwrap();
    assert!(log.contains("ready to accept connections"));
    wait::until("the reaper to remove the rest", DEADLINE, || {
        (directories(&victim) == [victim.dir.clone()]).then_some(())
    });
    remove_stale();
    assert!(victim.dir.exists(), "what is kept is not stale at once");
    std::fs::remove_dir_all(&victim.dir).unwrap();
}
