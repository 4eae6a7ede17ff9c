//! The processes of a server, found by its own pid file only.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// A process, told apart from a later one with the same pid by its start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// The pid.
    pub pid: u32,
    /// When it started, in clock ticks since the machine did.
    pub start: u64,
}

/// The process that has this pid now.
pub fn process(pid: u32) -> Option<Process> {
    Process::of(pid)
}

struct Stat {
    state: char,
    parent: u32,
    /// In user and in kernel mode, in clock ticks.
    ticks: u64,
    start: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may contain anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3);
    Some(Stat {
        state: field(3)?.chars().next()?,
        parent: field(4)?.parse().ok()?,
        ticks: field(14)?.parse::<u64>().ok()? + field(15)?.parse::<u64>().ok()?,
        start: field(22)?.parse().ok()?,
    })
}

impl Process {
    pub(super) fn of(pid: u32) -> Option<Self> {
        stat(pid).map(|stat| Self { pid, start: stat.start })
    }

    /// Whether it still runs; a zombie does not.
    pub fn is_alive(self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.start == self.start && !matches!(stat.state, 'Z' | 'X'))
    }

    /// Its command line, as `ps` shows it.
    pub fn command_line(self) -> String {
        let bytes = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned()
    }

    /// The processor time that it has used so far, to a hundredth of a second.
    pub fn cpu_time(self) -> Duration {
        Duration::from_millis(stat(self.pid).map_or(0, |stat| stat.ticks * 10))
    }

    /// Sends a signal, unless it has ended.
    pub(super) fn signal(self, signal: Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| self.is_alive()) {
            // It may end just now.
            let _ = kill_process(pid, signal);
        }
    }

    /// Stops it (SIGSTOP), and waits until it has stopped.
    pub(super) fn stop(self) {
        const PATIENCE: Duration = Duration::from_secs(5);
        self.signal(Signal::STOP);
        let stopped =
            || stat(self.pid).is_none_or(|stat| stat.start != self.start || matches!(stat.state, 'T' | 't' | 'Z'));
        let _ = wait::poll(PATIENCE, || stopped().then_some(()));
    }

    /// Waits until its pid is free: not even a zombie is left, which Postgres would take for a running server.
    pub(super) fn is_reaped_within(self, deadline: Duration) -> bool {
        wait::poll(deadline, || {
            stat(self.pid).is_none_or(|stat| stat.start != self.start).then_some(())
        })
        .is_some()
    }

    /// Waits for its end.
    pub fn ends_within(self, deadline: Duration) -> bool {
        wait::poll(deadline, || (!self.is_alive()).then_some(())).is_some()
    }

    /// Its children.
    pub(super) fn children(self) -> Vec<Self> {
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let child = |pid| {
            stat(pid)
                .filter(|stat| stat.parent == self.pid)
                .map(|stat| Self { pid, start: stat.start })
        };
        pids.filter_map(child).collect()
    }
}

/// A running postmaster.
pub(super) struct Server {
    pub(super) postmaster: Process,
}

impl Server {
    /// The one that runs on a data directory: its pid file is there, and the process it names was started on it.
    pub(super) fn of(data: &Path) -> Option<Self> {
        let file = fs::read_to_string(data.join("postmaster.pid")).ok()?;
        let mut lines = file.lines();
        let pid = lines.next()?.trim().parse().ok()?;
        if Path::new(lines.next()?) != data {
            return None;
        }
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let ours = arguments
            .split(|byte| *byte == 0)
            .any(|argument| argument == data.as_os_str().as_encoded_bytes());
        let postmaster = Process::of(pid).filter(|process| ours && process.is_alive())?;
        Some(Self { postmaster })
    }

    /// Stops it without any care for its data. True if all its processes are gone.
    pub(super) fn destroy(&self) -> bool {
        const PATIENCE: Duration = Duration::from_secs(10);
        let mut processes = self.postmaster.children();
        processes.push(self.postmaster);
        let all_end = |processes: &[Process]| processes.iter().all(|process| process.ends_within(PATIENCE));
        processes.iter().for_each(|process| process.signal(Signal::CONT));
        self.postmaster.signal(Signal::QUIT);
        if all_end(&processes) {
            return true;
        }
        processes.iter().for_each(|process| process.signal(Signal::KILL));
        all_end(&processes)
    }
}
