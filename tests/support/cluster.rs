//! Throwaway Postgres clusters.
//!
//! Each is a fresh directory below the temporary directory, private to its owner: data, log and Unix socket. Local
//! connections are trusted (only the owner and root can reach the socket); TCP, on 127.0.0.1, needs `password()`.
//!
//! Nothing outlives the tests. Dropping a cluster stops its server and removes the directory. A test process that is
//! killed leaves that to its reaper, a small shell process that waits for the process's end; and what even the reaper
//! could not do is done by the next test process that builds a cluster. Directories say whose they are: their name
//! carries pid and start time of the test process. Only servers found by the pid file in such a directory, and
//! confirmed by their command line, are ever stopped.
//!
//! The directory of a cluster that is dropped during a panic, or with KEEP_CLUSTERS=1, is kept for a day, its server
//! stopped.

mod backup;
mod control;
mod db;
mod home;
mod installation;
mod interpose;
mod server;
mod tools;
mod upgrade;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub use backup::BackupBuilder;
pub use db::{Db, describe, identifier, sqlstate};
pub use home::remove_stale;
pub use installation::Installation;
pub use interpose::{Interposed, Offset};
pub use rustix::process::Signal;
pub use server::{Process, process};

use home::Home;
use server::Server;

/// How long a server may take to start or stop before that is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// How to stop a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// When the last session ends.
    Smart,
    /// Sessions are aborted, and a checkpoint is written.
    Fast,
    /// No checkpoint: the next start recovers.
    Immediate,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Smart => "smart",
            Self::Fast => "fast",
            Self::Immediate => "immediate",
        })
    }
}

/// A throwaway cluster.
pub struct Cluster {
    name: String,
    installation: Installation,
    home: Home,
    port: u16,
    password: String,
    /// Processes stopped by `sigstop`, to be continued before the server is stopped for good.
    frozen: Mutex<Vec<Process>>,
    /// Pids of processes that the test has sent a signal.
    struck: Mutex<Vec<i32>>,
    /// What stands between its server and the C library.
    interposed: Option<Interposed>,
}

/// Makes a cluster.
#[must_use = "nothing happens before build"]
pub struct Builder {
    name: String,
    installation: Installation,
    conf: Vec<(String, String)>,
    preload: bool,
    fsync: bool,
    interposed: Option<Interposed>,
}

impl Builder {
    /// Sets a parameter in postgresql.conf; the last one of a name wins, also over the settings all test clusters share.
    pub fn conf(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.conf.push((key.to_owned(), value.to_string()));
        self
    }

    /// Whether the extension's library is preloaded; it is, unless told otherwise.
    pub fn preload(mut self, preload: bool) -> Self {
        self.preload = preload;
        self
    }

    /// Whether the server waits for the disk; it does, as in production, unless told otherwise.
    pub fn fsync(mut self, fsync: bool) -> Self {
        self.fsync = fsync;
        self
    }

    /// Lets the server's disk be full, or its clock be set.
    pub fn interposed(mut self, what: Interposed) -> Self {
        self.interposed = Some(what);
        self
    }

    /// Which Postgres it is of; the one that is tested, unless told otherwise.
    pub fn installation(mut self, installation: Installation) -> Self {
        self.installation = installation;
        self
    }

    /// Makes the cluster and starts it.
    #[track_caller]
    pub fn build(self) -> Cluster {
        self.build_stopped().started()
    }

    /// Makes the cluster without starting it.
    #[track_caller]
    pub fn build_stopped(self) -> Cluster {
        let template = home::template(&self.installation);
        let home = Home::new(&self.name);
        tools::run(
            &format!("copy the template cluster for \"{}\"", self.name),
            &mut template.copy_to(&home.data()),
        );
        append(&home.data(), &shared_conf());
        let mut cluster = Cluster::at(self.name, self.installation, home, template.password.clone());
        if let Some(interposed) = self.interposed {
            interposed.build(cluster.dir());
            cluster.interposed = Some(interposed);
        }
        cluster.append_conf(&[
            ("shared_preload_libraries".to_owned(), preloaded(self.preload)),
            ("fsync".to_owned(), if self.fsync { "on" } else { "off" }.to_owned()),
        ]);
        cluster.append_conf(&self.conf);
        cluster
    }
}

/// Adds to a cluster's postgresql.conf, where the last setting of a name wins.
fn append(data: &Path, text: &str) {
    let file = data.join("postgresql.conf");
    let result = fs::read_to_string(&file).and_then(|old| fs::write(&file, old + text));
    result.unwrap_or_else(|error| panic!("cannot write {}: {error}", file.display()));
}

fn preloaded(preload: bool) -> String {
    if preload { "target_profile" } else { "" }.to_owned()
}

/// What every test cluster has, from pgrx-config/postgresql.conf, if that is there.
fn shared_conf() -> String {
    fs::read_to_string(crate::repository().join("pgrx-config/postgresql.conf")).unwrap_or_default()
}

impl Cluster {
    /// Begins a cluster; the name is part of its directory's and appears in messages.
    pub fn builder(name: &str) -> Builder {
        Builder {
            name: name.to_owned(),
            installation: Installation::tested(),
            conf: Vec::new(),
            preload: true,
            fsync: true,
            interposed: None,
        }
    }

    fn at(name: String, installation: Installation, home: Home, password: String) -> Self {
        let cluster = Self {
            name,
            installation,
            home,
            port: home::free_port(),
            password,
            frozen: Mutex::new(Vec::new()),
            struck: Mutex::new(Vec::new()),
            interposed: None,
        };
        let socket = cluster.socket_dir().join(format!(".s.PGSQL.{}", cluster.port));
        let length = socket.as_os_str().len();
        assert!(
            length < 108,
            "{} is {length} bytes long, too long for a Unix socket: set TMPDIR",
            socket.display()
        );
        cluster.append_conf(&[
            ("listen_addresses".to_owned(), "127.0.0.1".to_owned()),
            ("port".to_owned(), cluster.port.to_string()),
            (
                "unix_socket_directories".to_owned(),
                cluster.socket_dir().display().to_string(),
            ),
        ]);
        cluster
    }

    fn append_conf(&self, settings: &[(String, String)]) {
        let lines = settings
            .iter()
            .map(|(key, value)| format!("{key} = '{}'\n", value.replace('\'', "''")));
        append(&self.data_dir(), &lines.collect::<String>());
    }

    #[track_caller]
    fn started(self) -> Self {
        self.start();
        self
    }

    /// The name given to the builder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The TCP port, also part of the socket's name.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the Unix socket is: the value for `host` in a connection string.
    pub fn socket_dir(&self) -> PathBuf {
        self.home.path().join("sock")
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.home.data()
    }

    /// The superuser's password, for TCP.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// A connection string in keywords, over the socket.
    pub fn conninfo(&self, database: &str, user: &str) -> String {
        format!(
            "host={} port={} dbname={database} user={user}",
            self.socket_dir().display(),
            self.port
        )
    }

    /// The server's log so far, over all starts.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    /// The length of the log, as a mark for `log_since`.
    pub fn log_mark(&self) -> usize {
        fs::read(self.log_file()).map_or(0, |log| log.len())
    }

    /// The log since a mark.
    pub fn log_since(&self, mark: usize) -> String {
        let log = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(log.get(mark..).unwrap_or_default()).into_owned()
    }

    /// Whether the log contains a text.
    pub fn log_contains(&self, text: &str) -> bool {
        self.log().contains(text)
    }

    /// Waits until the log contains a text.
    #[track_caller]
    pub fn wait_log(&self, text: &str, deadline: Duration) {
        self.wait_log_since(0, text, deadline);
    }

    /// Waits until the log since a mark contains a text.
    #[track_caller]
    pub fn wait_log_since(&self, mark: usize, text: &str, deadline: Duration) {
        let found = crate::wait::poll(deadline, || self.log_since(mark).contains(text).then_some(()));
        if found.is_none() {
            let name = &self.name;
            panic!(
                "waited {deadline:?} in vain for {text:?} in the log of \"{name}\", which ends:\n{}",
                self.log_tail()
            );
        }
    }

    /// The last lines of the log.
    pub fn log_tail(&self) -> String {
        const LINES: usize = 40;
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// The line of the log that tells of a crash that no test has made: it restarts the server, so that what is tested may look well.
    /// A PANIC, which some tests provoke, aborts too.
    fn own_crash(&self) -> Option<String> {
        let log = self.log();
        let panics = log.contains("PANIC:");
        let struck = self.struck.lock().unwrap_or_else(PoisonError::into_inner);
        let is_struck = |line: &str| struck.iter().any(|pid| line.contains(&format!("(PID {pid})")));
        let is_crash = |line: &&str| {
            line.starts_with("TRAP:")
                || (!is_struck(line)
                    && (line.contains("was terminated by signal 11")
                        || (!panics && line.contains("was terminated by signal 6"))))
        };
        log.lines().find(is_crash).map(str::to_owned)
    }

    fn log_file(&self) -> PathBuf {
        self.home.path().join("server.log")
    }

    fn server(&self) -> Option<Server> {
        Server::of(&self.data_dir())
    }

    /// The directory that holds everything of this cluster.
    pub fn dir(&self) -> &Path {
        self.home.path()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.thaw();
        let stopped = self.server().is_none_or(|server| server.destroy());
        let panicking = std::thread::panicking();
        let crash = self.own_crash();
        let keep = panicking || crash.is_some() || std::env::var_os("KEEP_CLUSTERS").is_some_and(|value| value == "1");
        if keep || !stopped {
            self.home.keep();
            let state = if stopped { "stopped" } else { "NOT STOPPED" };
            let (name, dir, tail) = (&self.name, self.home.path().display(), self.log_tail());
            eprintln!("cluster \"{name}\" ({state}) is kept in {dir}; its log ends:\n{tail}");
        } else {
            self.home.remove();
        }
        if let Some(line) = crash.filter(|_| !panicking) {
            panic!("the server of cluster \"{}\" has crashed by itself: {line}", self.name);
        }
    }
}
