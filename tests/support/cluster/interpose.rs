//! Servers whose disk is full, or whose clock is set, while nobody else's is: a small library stands between the server
//! and its C library. It is built with `cc` from `tests/support/interpose`, which needs no mount, no package and no right
//! that a test may not have.

use std::fs;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Cluster, tools};

/// What stands between a server and its C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interposed {
    /// [`Cluster::fill_disk`] and [`Cluster::make_room`].
    Disk,
    /// [`Cluster::set_clock`].
    Clock,
    /// [`Cluster::fail_io_thread`].
    Epoll,
}

/// In which direction a clock is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offset {
    /// It is fast by that much.
    Ahead(Duration),
    /// It is slow by that much.
    Behind(Duration),
}

impl Interposed {
    const fn source(self) -> &'static str {
        match self {
            Self::Disk => "disk_full.c",
            Self::Clock => "clock.c",
            Self::Epoll => "epoll.c",
        }
    }

    /// The environment variable that names the file by which it is told what to do.
    const fn variable(self) -> &'static str {
        match self {
            Self::Disk => "DISK_FULL_BELOW",
            Self::Clock => "CLOCK_OFFSET",
            Self::Epoll => "IO_THREAD_FAILS",
        }
    }

    fn control(self, home: &Path) -> PathBuf {
        home.join(self.variable().to_lowercase())
    }

    fn library(self, home: &Path) -> PathBuf {
        home.join("interposed.so")
    }

    /// Builds it into a cluster's directory.
    #[track_caller]
    pub(super) fn build(self, home: &Path) {
        let source = crate::repository().join("tests/support/interpose").join(self.source());
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(self.library(home))
            .arg(source)
            .arg("-ldl");
        tools::run(&format!("build {}", self.source()), &mut cc);
        if self == Self::Clock {
            write(&self.control(home), &0i64.to_ne_bytes());
        }
    }

    /// What a server's environment must have.
    pub(super) fn environment(self, home: &Path) -> [String; 2] {
        [
            format!("LD_PRELOAD={}", self.library(home).display()),
            format!("{}={}", self.variable(), self.control(home).display()),
        ]
    }
}

/// Over what is there: the file may be mapped.
#[track_caller]
fn write(path: &Path, bytes: &[u8]) {
    let written = fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .and_then(|mut file| file.rewind().and_then(|()| file.write_all(bytes)));
    written.unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}

impl Cluster {
    /// From now on no file below this directory can grow. For clusters built with [`Interposed::Disk`].
    #[track_caller]
    pub fn fill_disk(&self, below: &Path) {
        let control = self.control_of(Interposed::Disk);
        let unfinished = control.with_extension("new");
        write(&unfinished, below.as_os_str().as_encoded_bytes());
        fs::rename(&unfinished, control).expect("a file can be renamed in its directory");
    }

    /// There is room again.
    #[track_caller]
    pub fn make_room(&self) {
        fs::remove_file(self.control_of(Interposed::Disk)).expect("the disk was full");
    }

    /// Sets the clock of all processes of the server, at once. For clusters built with [`Interposed::Clock`].
    #[track_caller]
    pub fn set_clock(&self, offset: Offset) {
        let micros = |by: Duration| i64::try_from(by.as_micros()).expect("an offset that can be represented");
        let offset = match offset {
            Offset::Ahead(by) => micros(by),
            Offset::Behind(by) => -micros(by),
        };
        write(&self.control_of(Interposed::Clock), &offset.to_ne_bytes());
    }

    /// The I/O thread of the next worker that has an event panics, once. For clusters built with [`Interposed::Epoll`].
    #[track_caller]
    pub fn fail_io_thread(&self) -> PathBuf {
        let control = self.control_of(Interposed::Epoll);
        write(&control, b"");
        control
    }

    #[track_caller]
    fn control_of(&self, wanted: Interposed) -> PathBuf {
        assert_eq!(
            self.interposed,
            Some(wanted),
            "cluster \"{}\" was built without it",
            self.name
        );
        wanted.control(self.dir())
    }
}
