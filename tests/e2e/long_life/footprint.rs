//! What a process of the server takes: memory that is its own, and processor time.

use std::fs;

/// Bytes of memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Footprint {
    /// Anonymous memory. Not what it shares by shared memory, of which a process has as much as it happens to have touched.
    pub own: u64,
    /// The highest `own` so far.
    pub highest: u64,
}

/// Watches a process over a long time, the two halves of it apart.
pub struct Watch {
    name: &'static str,
    pid: i32,
    pub start: u64,
    pub first_half: Footprint,
    pub second_half: Footprint,
}

impl Watch {
    pub fn begin(name: &'static str, pid: i32) -> Self {
        Self {
            name,
            pid,
            start: own_memory(pid),
            first_half: Footprint::default(),
            second_half: Footprint::default(),
        }
    }

    pub fn look(&mut self, second_half: bool) {
        let half = if second_half {
            &mut self.second_half
        } else {
            &mut self.first_half
        };
        half.own = own_memory(self.pid);
        half.highest = half.highest.max(half.own);
    }

    pub fn describe(&self) -> String {
        let mib = |bytes: u64| bytes as f64 / 1024.0 / 1024.0;
        format!(
            "{} {:.1} MiB at first, at most {:.1} in the first half and {:.1} in the second",
            self.name,
            mib(self.start),
            mib(self.first_half.highest),
            mib(self.second_half.highest)
        )
    }
}

fn own_memory(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the process lives");
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let kib: u64 = line
        .and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok())
        .expect("Anonymous is a number of kB");
    kib * 1024
}

/// Seconds, of all its threads.
pub fn processor_time(pid: i32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
    let nanoseconds = tasks.flatten().map(|task| {
        let stat = fs::read_to_string(task.path().join("schedstat")).expect("the thread lives");
        stat.split(' ')
            .next()
            .and_then(|first| first.parse::<u64>().ok())
            .expect("nanoseconds")
    });
    nanoseconds.sum::<u64>() as f64 / 1e9
}
