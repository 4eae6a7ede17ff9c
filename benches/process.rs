//! What a process of the server costs: processor time of its threads, memory of its own.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A worker, or who serves a session.
#[derive(Clone)]
pub struct Process {
    proc: PathBuf,
}

/// Seconds of processor time.
#[derive(Clone, Copy, Default)]
pub struct Cpu {
    /// The thread that does everything with Postgres, a session's only one.
    pub postgres: f64,
    /// A worker's I/O thread, and whatever others there are.
    pub io: f64,
}

impl Process {
    pub fn of(pid: u32) -> Self {
        Self {
            proc: PathBuf::from(format!("/proc/{pid}")),
        }
    }

    /// So far. A thread that ends takes its time with it.
    pub fn cpu(&self) -> Cpu {
        let mut cpu = Cpu::default();
        let main = self.proc.file_name().map(|name| name.to_owned());
        for task in fs::read_dir(self.proc.join("task")).into_iter().flatten().flatten() {
            let stat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let nanoseconds: f64 = stat.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0.0);
            if Some(task.file_name()) == main {
                cpu.postgres += nanoseconds / 1e9;
            } else {
                cpu.io += nanoseconds / 1e9;
            }
        }
        cpu
    }

    /// MiB of memory that it shares with nobody: neither Postgres' shared memory nor program text.
    pub fn own_memory(&self) -> f64 {
        let status = fs::read_to_string(self.proc.join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
        kib.unwrap_or(f64::NAN) / 1024.0
    }
}

/// Watches the memory of one until it is asked for the highest.
pub struct MemoryWatch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<f64>,
    start: f64,
}

impl MemoryWatch {
    /// Begins with what it has now.
    pub fn begin(process: Process) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, start) = (Arc::clone(&stop), process.own_memory());
        let thread = thread::spawn(move || {
            let mut highest = 0.0_f64;
            while !stopped.load(Ordering::Relaxed) {
                highest = highest.max(process.own_memory());
                thread::sleep(Duration::from_millis(20));
            }
            highest
        });
        Self { stop, thread, start }
    }

    /// MiB at the beginning, and the highest.
    pub fn end(self) -> (f64, f64) {
        self.stop.store(true, Ordering::Relaxed);
        (self.start, self.thread.join().unwrap_or(f64::NAN))
    }
}
