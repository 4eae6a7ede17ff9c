//! Starting, stopping and hurting a cluster, and the programs that work on it.

use std::path::Path;
use std::process::Output;
use std::sync::PoisonError;
use std::time::Duration;

use rustix::process::Signal;

use super::server::Process;
use super::{Cluster, Db, Installation, Mode, PATIENCE, tools};
use crate::wait;

/// How long the processes of a crashed server may take to notice.
const CRASH_PATIENCE: Duration = Duration::from_secs(15);

impl Cluster {
    /// Starts the server, and waits until it accepts connections.
    #[track_caller]
    pub fn start(&self) {
        let output = self.try_start();
        if !output.status.success() {
            let (said, name) = (String::from_utf8_lossy(&output.stderr), &self.name);
            panic!(
                "waited in vain for cluster \"{name}\" to start: {said}its log ends:\n{}",
                self.log_tail()
            );
        }
    }

    /// Starts the server, which may fail: for settings that must be refused.
    #[track_caller]
    pub fn try_start(&self) -> Output {
        let mut command = self.pg_ctl("start");
        command.arg("-l").arg(self.log_file());
        tools::output(&format!("start cluster \"{}\"", self.name), &mut command)
    }

    /// Stops the server, and waits for its end.
    #[track_caller]
    pub fn stop(&self, mode: Mode) {
        let output = self.try_stop(mode);
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let name = &self.name;
            panic!(
                "waited in vain for the {mode} stop of cluster \"{name}\": {said}its log ends:\n{}",
                self.log_tail()
            );
        }
    }

    /// Stops the server, which may fail.
    #[track_caller]
    pub fn try_stop(&self, mode: Mode) -> Output {
        let mut command = self.pg_ctl("stop");
        command.arg("-m").arg(mode.to_string());
        tools::output(&format!("stop cluster \"{}\"", self.name), &mut command)
    }

    /// Stops and starts the server.
    #[track_caller]
    pub fn restart(&self, mode: Mode) {
        self.stop(mode);
        self.start();
    }

    /// Has the server read its configuration anew, and waits until new sessions see that; a session or worker that runs
    /// already follows at its next look.
    #[track_caller]
    pub fn reload(&self) {
        let load_time = || self.db().text("select pg_conf_load_time()::text");
        let before = load_time();
        tools::run(&format!("reload cluster \"{}\"", self.name), &mut self.pg_ctl("reload"));
        let what = format!("cluster \"{}\" to read its configuration anew", self.name);
        wait::until(&what, PATIENCE, || (load_time() != before).then_some(()));
    }

    /// Sets a parameter for the cluster (ALTER SYSTEM) and reloads.
    #[track_caller]
    pub fn set(&self, key: &str, value: &str) {
        self.alter_system(&format!("set {} = '{}'", parameter(key), value.replace('\'', "''")));
    }

    /// Takes a parameter back to what postgresql.conf says, and reloads.
    #[track_caller]
    pub fn reset(&self, key: &str) {
        self.alter_system(&format!("reset {}", parameter(key)));
    }

    #[track_caller]
    fn alter_system(&self, what: &str) {
        self.db().batch(&format!("alter system {what}"));
        self.reload();
    }

    fn pg_ctl(&self, verb: &str) -> std::process::Command {
        let mut command = match self.interposed {
            None => tools::as_postgres(self.installation.program("pg_ctl")),
            Some(interposed) => {
                let mut command = tools::as_postgres("env");
                command
                    .args(interposed.environment(self.dir()))
                    .arg(self.installation.program("pg_ctl"));
                command
            }
        };
        command.arg(verb).arg("-D").arg(self.data_dir()).arg("-s");
        if verb != "reload" {
            command.args(["-w", "-t", &PATIENCE.as_secs().to_string()]);
        }
        command
    }

    /// Whether the server runs.
    pub fn is_running(&self) -> bool {
        self.server().is_some()
    }

    /// The postmaster.
    #[track_caller]
    pub fn postmaster(&self) -> Process {
        match self.server() {
            Some(server) => server.postmaster,
            None => panic!(
                "cluster \"{}\" does not run; its log ends:\n{}",
                self.name,
                self.log_tail()
            ),
        }
    }

    /// All processes of the server but the postmaster.
    #[track_caller]
    pub fn processes(&self) -> Vec<Process> {
        self.postmaster().children()
    }

    /// Kills the postmaster (SIGKILL), and waits until the other processes have noticed and gone, as each must by itself.
    #[track_caller]
    pub fn crash(&self) {
        let (postmaster, children) = self.all_processes();
        postmaster.signal(Signal::KILL);
        self.wait_reaped(postmaster);
        let all_gone = wait::poll(CRASH_PATIENCE, || {
            children.iter().all(|child| !child.is_alive()).then_some(())
        });
        if all_gone.is_none() {
            let stay = children.iter().filter(|child| child.is_alive());
            let stay: Vec<String> = stay
                .map(|child| format!("{} {}", child.pid, child.command_line()))
                .collect();
            children.iter().for_each(|child| child.signal(Signal::KILL));
            panic!("waited {CRASH_PATIENCE:?} in vain for these to notice that their postmaster is gone: {stay:?}");
        }
    }

    /// Kills every process of the server (SIGKILL), none of which gets to do anything more.
    #[track_caller]
    pub fn power_loss(&self) {
        let (postmaster, children) = self.all_processes();
        for process in children.iter().chain([&postmaster]) {
            process.signal(Signal::KILL);
        }
        for process in &children {
            assert!(
                process.ends_within(PATIENCE),
                "waited in vain for the end of the killed process {}",
                process.pid
            );
        }
        self.wait_reaped(postmaster);
    }

    /// The postmaster, stopped so that it starts no further processes, and those it has started.
    #[track_caller]
    fn all_processes(&self) -> (Process, Vec<Process>) {
        let postmaster = self.postmaster();
        postmaster.stop();
        (postmaster, postmaster.children())
    }

    /// Waits until a killed postmaster has ended and init has reaped it, without which the next start would be refused.
    #[track_caller]
    fn wait_reaped(&self, postmaster: Process) {
        let reaped = postmaster.is_reaped_within(PATIENCE);
        assert!(
            reaped,
            "waited {PATIENCE:?} in vain for init to reap the killed postmaster {}",
            postmaster.pid
        );
    }

    /// Kills one process of this server (SIGKILL), and waits for its end. The server then restarts its other processes.
    #[track_caller]
    pub fn kill9(&self, pid: i32) {
        let process = self.own(pid);
        process.signal(Signal::KILL);
        assert!(
            process.ends_within(PATIENCE),
            "waited in vain for the end of the killed process {pid}"
        );
    }

    /// Sends a signal to one process of this server.
    #[track_caller]
    pub fn signal(&self, pid: i32, signal: Signal) {
        self.struck.lock().unwrap_or_else(PoisonError::into_inner).push(pid);
        self.own(pid).signal(signal);
    }

    /// Stops one process of this server (SIGSTOP) until `sigcont`.
    #[track_caller]
    pub fn sigstop(&self, pid: i32) {
        let process = self.own(pid);
        process.stop();
        self.frozen.lock().unwrap_or_else(PoisonError::into_inner).push(process);
    }

    /// Lets a stopped process go on.
    #[track_caller]
    pub fn sigcont(&self, pid: i32) {
        let process = self.own(pid);
        process.signal(Signal::CONT);
        self.frozen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|frozen| *frozen != process);
    }

    /// How many files and sockets a process of this server has open.
    #[track_caller]
    pub fn open_files(&self, pid: i32) -> u64 {
        let process = self.own(pid);
        let files = std::fs::read_dir(format!("/proc/{}/fd", process.pid));
        files.expect("the process is there").count() as u64
    }

    /// Limits how many files and sockets a process of this server may have open; returns the limit until now. Those that
    /// are open stay so.
    #[track_caller]
    pub fn limit_files(&self, pid: i32, limit: u64) -> u64 {
        let pid = self.own(pid).pid;
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("the process is there");
        let before = limits.lines().find(|line| line.starts_with("Max open files"));
        let before = before.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
        let mut prlimit = tools::as_postgres("prlimit");
        // The soft limit alone, which may be raised again.
        prlimit.args([format!("--pid={pid}"), format!("--nofile={limit}:")]);
        tools::run("limit the files of a process", &mut prlimit);
        before.expect("a limit")
    }

    /// Limits what a process of this server may have: `what` is an option of prlimit, such as `as` or `nproc`, `limit` a number, or
    /// `None` for as much as it may have.
    #[track_caller]
    pub fn limit(&self, pid: i32, what: &str, limit: Option<u64>) {
        let pid = self.own(pid).pid;
        let limit = limit.map_or_else(
            || {
                let mut prlimit = tools::as_postgres("prlimit");
                prlimit.args([
                    format!("--pid={pid}"),
                    format!("--{what}"),
                    "--noheadings".to_owned(),
                    "--output=HARD".to_owned(),
                ]);
                let output = tools::run("ask for the limit of a process", &mut prlimit);
                String::from_utf8_lossy(&output.stdout).trim().to_owned()
            },
            |limit| limit.to_string(),
        );
        let mut prlimit = tools::as_postgres("prlimit");
        // The soft limit alone, which may be raised again.
        prlimit.args([format!("--pid={pid}"), format!("--{what}={limit}:")]);
        tools::run("limit a process", &mut prlimit);
    }

    pub(super) fn thaw(&self) {
        for process in self.frozen.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            process.signal(Signal::CONT);
        }
    }

    /// A process of this server; anything else is not ours to touch.
    #[track_caller]
    fn own(&self, pid: i32) -> Process {
        let postmaster = self.postmaster();
        let found = u32::try_from(pid).ok().and_then(Process::of);
        let found = found.filter(|process| *process == postmaster || postmaster.children().contains(process));
        found.unwrap_or_else(|| panic!("{pid} is no process of cluster \"{}\"", self.name))
    }

    /// The pids of the processes whose backend_type or application_name is like this pattern.
    #[track_caller]
    pub fn backend_pids(&self, pattern: &str) -> Vec<i32> {
        let sql =
            "select pid from pg_stat_activity where backend_type like $1 or application_name like $1 order by pid";
        self.db().query(sql, &[&pattern]).iter().map(|row| row.get(0)).collect()
    }

    /// The pid of the one process whose backend_type or application_name is like this pattern; panics if there are more.
    #[track_caller]
    pub fn backend_pid(&self, pattern: &str) -> Option<i32> {
        let pids = self.backend_pids(pattern);
        assert!(pids.len() <= 1, "more than one process is like {pattern:?}: {pids:?}");
        pids.first().copied()
    }

    /// Waits for a process whose backend_type or application_name is like this pattern.
    #[track_caller]
    pub fn wait_backend(&self, pattern: &str, deadline: Duration) -> i32 {
        let db = self.db();
        let sql = "select pid from pg_stat_activity where backend_type like $1 or application_name like $1 limit 1";
        let found = wait::poll(deadline, || db.query(sql, &[&pattern]).first().map(|row| row.get(0)));
        found.unwrap_or_else(|| {
            panic!(
                "waited {deadline:?} in vain for a process like {pattern:?}; the log ends:\n{}",
                self.log_tail()
            )
        })
    }

    /// Waits until no process is like this pattern.
    #[track_caller]
    pub fn wait_no_backend(&self, pattern: &str, deadline: Duration) {
        let what = format!("the end of every process like {pattern:?} in cluster \"{}\"", self.name);
        wait::until(&what, deadline, || self.backend_pids(pattern).is_empty().then_some(()));
    }

    /// A superuser's session in the database postgres.
    #[track_caller]
    pub fn db(&self) -> Db {
        self.client("postgres", "postgres")
    }

    /// A superuser's session in a database.
    #[track_caller]
    pub fn db_in(&self, database: &str) -> Db {
        self.client(database, "postgres")
    }

    /// A session of a user in a database.
    #[track_caller]
    pub fn client(&self, database: &str, user: &str) -> Db {
        self.try_client(database, user).unwrap_or_else(|error| {
            let (name, error) = (&self.name, super::db::describe(&error));
            panic!(
                "cannot connect to {database} of cluster \"{name}\" as {user}: {error}; its log ends:\n{}",
                self.log_tail()
            )
        })
    }

    /// A session of a user in a database, which may be refused.
    pub fn try_client(&self, database: &str, user: &str) -> Result<Db, tokio_postgres::Error> {
        Db::connect(&self.socket_dir(), self.port, database, user)
    }

    /// Creates an empty database.
    #[track_caller]
    pub fn create_db(&self, database: &str) -> Db {
        self.db()
            .batch(&format!("create database {}", super::db::identifier(database)));
        self.db_in(database)
    }

    /// Runs a query that yields one boolean until it yields true.
    #[track_caller]
    pub fn wait_sql(&self, db: &Db, sql: &str, deadline: Duration) {
        let mut last = None;
        let met = wait::poll(deadline, || {
            last = db.query_one(sql, &[]).get::<_, Option<bool>>(0);
            (last == Some(true)).then_some(())
        });
        if met.is_none() {
            panic!(
                "waited {deadline:?} in vain for: {sql}\nlast value: {last:?}; the log ends:\n{}",
                self.log_tail()
            );
        }
    }

    /// Runs a query until the text of its first row's first column is as expected; the message shows the last one.
    #[track_caller]
    pub fn wait_text(&self, db: &Db, sql: &str, expected: &str, deadline: Duration) {
        let mut last = None;
        let met = wait::poll(deadline, || {
            last = db
                .try_text(sql)
                .unwrap_or_else(|error| panic!("{sql}: {}", super::db::describe(&error)));
            (last.as_deref() == Some(expected)).then_some(())
        });
        if met.is_none() {
            let tail = self.log_tail();
            panic!(
                "waited {deadline:?} in vain for {expected:?} from: {sql}\nlast value: {last:?}; the log ends:\n{tail}"
            );
        }
    }

    /// Runs SQL through psql, as superuser, stopping at the first error; returns what it prints, tuples only, unaligned.
    #[track_caller]
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let what = format!("run through psql: {sql}");
        let output = tools::run_with_input(&what, &mut self.psql_command(database), sql.as_bytes());
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// The same without panicking.
    #[track_caller]
    pub fn try_psql(&self, database: &str, sql: &str) -> Output {
        tools::output_with_input("run psql", &mut self.psql_command(database), sql.as_bytes())
    }

    /// Runs a file through psql.
    #[track_caller]
    pub fn psql_file(&self, database: &str, file: &Path) -> String {
        let sql =
            std::fs::read_to_string(file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
        self.psql(database, &sql)
    }

    fn psql_command(&self, database: &str) -> std::process::Command {
        let mut command = self.tool("psql");
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, "-f", "-"]);
        command
    }

    /// One of Postgres' client programs, told to connect to this cluster as superuser over the socket; runs as ourselves.
    #[track_caller]
    pub fn tool(&self, program: &str) -> std::process::Command {
        self.tool_of(&self.installation, program)
    }

    /// The same, of another installation.
    #[track_caller]
    fn tool_of(&self, installation: &Installation, program: &str) -> std::process::Command {
        let mut command = tools::as_self(installation.program(program));
        command
            .arg("-h")
            .arg(self.socket_dir())
            .args(["-p", &self.port.to_string(), "-U", "postgres"]);
        command
    }

    /// pg_dump with these arguments (`-Fc`, the database, …).
    #[track_caller]
    pub fn pg_dump(&self, arguments: &[&str]) -> Vec<u8> {
        tools::run("run pg_dump", self.tool("pg_dump").args(arguments)).stdout
    }

    /// pg_dump of another installation, which may be newer.
    #[track_caller]
    pub fn pg_dump_by(&self, installation: &Installation, arguments: &[&str]) -> Vec<u8> {
        let mut command = self.tool_of(installation, "pg_dump");
        tools::run("run pg_dump", command.args(arguments)).stdout
    }

    /// The records of the WAL between two positions, as pg_waldump describes them.
    #[track_caller]
    pub fn wal_records(&self, from: &str, to: &str) -> Vec<String> {
        if from == to {
            return Vec::new();
        }
        let mut command = tools::as_postgres(self.installation.program("pg_waldump"));
        command
            .arg("-p")
            .arg(self.data_dir().join("pg_wal"))
            .args(["-s", from, "-e", to]);
        let output = tools::output("run pg_waldump", &mut command);
        let (said, records) = (
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout),
        );
        // What is between two positions may be no record but the end of a page.
        assert!(
            output.status.success() || said.contains("could not find a valid record"),
            "cannot read the WAL of cluster \"{}\": {said}",
            self.name
        );
        records.lines().map(str::to_owned).collect()
    }

    /// pg_dumpall with these arguments.
    #[track_caller]
    pub fn pg_dumpall(&self, arguments: &[&str]) -> Vec<u8> {
        tools::run("run pg_dumpall", self.tool("pg_dumpall").args(arguments)).stdout
    }

    /// Restores a dump of either format into an existing database.
    #[track_caller]
    pub fn restore(&self, database: &str, dump: &[u8]) {
        let output = self.try_restore(database, dump);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "cannot restore into {database} of cluster \"{}\": {said}",
            self.name
        );
    }

    /// The same without panicking.
    #[track_caller]
    pub fn try_restore(&self, database: &str, dump: &[u8]) -> Output {
        let mut command = if dump.starts_with(b"PGDMP") {
            let mut command = self.tool("pg_restore");
            command.args(["--exit-on-error", "-d", database]);
            command
        } else {
            self.psql_command(database)
        };
        tools::output_with_input("restore a dump", &mut command, dump)
    }

    /// Promotes a standby, and waits until it accepts writes.
    #[track_caller]
    pub fn promote(&self) {
        tools::run(
            &format!("promote cluster \"{}\"", self.name),
            &mut self.pg_ctl("promote"),
        );
    }
}

/// A parameter's name, which is formatted into SQL.
#[track_caller]
fn parameter(key: &str) -> &str {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    assert!(!key.is_empty() && key.chars().all(allowed), "{key:?} is no parameter");
    key
}
