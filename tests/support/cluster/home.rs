//! The directories of clusters: whose they are, the template they are copied from, and how they are removed.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use super::installation::Installation;
use super::server::{Process, Server};
use super::tools;

/// What the names of all directories begin with.
const PREFIX: &str = "target-profile-";
/// A file in a directory that is to be kept although its process has ended.
const KEPT: &str = "kept";
/// How long, and how many of them.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
const KEPT_AT_MOST: usize = 10;
/// Below the range from which Linux takes the ports of outgoing connections, so none of those is in the way.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The directory of one cluster.
pub(super) struct Home(PathBuf);

impl Home {
    /// Makes a directory that says whose it is. Before this process's first one, sets up the reaper and removes what
    /// dead processes have left.
    #[track_caller]
    pub(super) fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        reaper();
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("{}{number}-{plain}", own_prefix().display()));
        let mut make = tools::as_postgres("mkdir");
        make.args(["-m", "0700"]).arg(&path).arg(path.join("sock"));
        tools::run(&format!("make the directory of cluster \"{name}\""), &mut make);
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    pub(super) fn keep(&self) {
        let _ = fs::write(self.0.join(KEPT), "");
    }

    pub(super) fn remove(&self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// The path that all directories of this process begin with.
fn own_prefix() -> PathBuf {
    let me = Process::of(std::process::id()).expect("this process is in /proc");
    std::env::temp_dir().join(format!("{PREFIX}{}-{}-", me.pid, me.start))
}

/// The process that a directory belongs to.
fn owner(directory: &Path) -> Option<Process> {
    let mut parts = directory.file_name()?.to_str()?.strip_prefix(PREFIX)?.split('-');
    Some(Process {
        pid: parts.next()?.parse().ok()?,
        start: parts.next()?.parse().ok()?,
    })
}

/// A cluster that initdb made, once per process and installation, to be copied.
pub(super) struct Template {
    home: Home,
    /// Of the superuser.
    pub(super) password: String,
}

impl Template {
    pub(super) fn copy_to(&self, data: &Path) -> Command {
        let mut copy = tools::as_postgres("cp");
        copy.args(["-a", "--reflink=auto"]).arg(self.home.data()).arg(data);
        copy
    }
}

#[track_caller]
pub(super) fn template(installation: &Installation) -> &'static Template {
    static TESTED: OnceLock<Template> = OnceLock::new();
    static OTHER: OnceLock<Template> = OnceLock::new();
    let place = if *installation == Installation::tested() {
        &TESTED
    } else {
        &OTHER
    };
    place.get_or_init(|| {
        let home = Home::new("template");
        let password = random_hex();
        let file = home.path().join("password");
        fs::write(&file, &password).expect("the password file can be written");
        let mut initdb = tools::as_postgres(installation.program("initdb"));
        // The file belongs to us, initdb runs as postgres: hand it over by name only when that can read it.
        let mut own = Command::new("chmod");
        own.arg("0644").arg(&file);
        tools::run("let initdb read the password file", &mut own);
        initdb
            .arg("-D")
            .arg(home.data())
            .args(["-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"]);
        initdb
            .args(["--auth-local=trust", "--auth-host=scram-sha-256"])
            .arg("--pwfile")
            .arg(&file);
        tools::run("initdb of the template cluster", &mut initdb);
        Template { home, password }
    })
}

fn random_hex() -> String {
    let mut bytes = [0u8; 16];
    let read = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.expect("/dev/urandom can be read");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A port of 127.0.0.1 that is free, and that this process has not been given before.
#[track_caller]
pub(super) fn free_port() -> u16 {
    static NEXT: Mutex<Option<u16>> = Mutex::new(None);
    let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
    let span = u32::from(PORTS.end - PORTS.start);
    for _ in PORTS {
        // Another process begins elsewhere.
        let start = || PORTS.start + u16::try_from(std::process::id().wrapping_mul(97) % span).unwrap_or(0);
        let port = next.unwrap_or_else(start);
        *next = Some(if port + 1 < PORTS.end { port + 1 } else { PORTS.start });
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port in {PORTS:?}");
}

/// Waits for the end of its standard input, which is the end of the process that holds the other end, then stops the
/// servers in that process's directories and removes these.
const REAPER: &str = r#"
cat >/dev/null
alive() { [ -r "/proc/$1/stat" ] && ! grep -q '^[0-9]* (.*) Z' "/proc/$1/stat"; }
for dir in "$1"*; do
  [ -d "$dir" ] || continue
  pid=$(head -n 1 "$dir/data/postmaster.pid" 2>/dev/null)
  if [ -n "$pid" ] && tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF -- "$dir/data"; then
    kill -CONT "$pid"; kill -QUIT "$pid"; n=0
    while alive "$pid" && [ $n -lt 500 ]; do sleep 0.02; n=$((n + 1)); done
    if alive "$pid"; then kill -KILL "$pid"; fi
  fi
  [ -e "$dir/kept" ] || rm -rf -- "$dir"
done
"#;

/// Starts the reaper, once per process; set NO_REAPER to see what happens without.
fn reaper() {
    // Kept, with its end of the pipe, until this process ends.
    static CHILD: OnceLock<Option<Child>> = OnceLock::new();
    CHILD.get_or_init(|| {
        remove_stale();
        if std::env::var_os("NO_REAPER").is_some() {
            return None;
        }
        let mut command = Command::new("sh");
        command
            .args(["-c", REAPER, "target-profile-reaper"])
            .arg(own_prefix())
            .current_dir("/");
        // In a process group of its own, so what is typed at the terminal ends the test process and not the reaper.
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let child = command.spawn();
        Some(child.unwrap_or_else(|error| panic!("cannot start the reaper of clusters: {error}")))
    });
}

/// Stops the servers of test processes that have ended, and removes their directories, except the latest kept ones.
/// Returns what it removed.
pub fn remove_stale() -> Vec<PathBuf> {
    let mut removed = Vec::new();
    let mut kept: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_directory || owner(&path).is_none_or(|owner| owner.is_alive()) {
            continue;
        }
        let stopped = Server::of(&path.join("data")).is_none_or(|server| server.destroy());
        match fs::metadata(path.join(KEPT)).and_then(|file| file.modified()) {
            Ok(since) => kept.push((since, path)),
            Err(_) if stopped => removed.push(path),
            Err(_) => eprintln!("cannot stop the server in {}", path.display()),
        }
    }
    kept.sort_by_key(|(since, _)| std::cmp::Reverse(*since));
    let is_recent = |since: &SystemTime| since.elapsed().is_ok_and(|age| age < KEPT_FOR);
    let old = kept
        .into_iter()
        .enumerate()
        .filter(|(at, (since, _))| *at >= KEPT_AT_MOST || !is_recent(since));
    removed.extend(old.map(|(_, (_, path))| path));
    // Another test process may be doing the same.
    removed.retain(|path| fs::remove_dir_all(path).is_ok());
    removed
}
