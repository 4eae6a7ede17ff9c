//! Installations of Postgres: where the programs of a cluster are.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use super::tools;

/// The programs of one Postgres.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Installation {
    bin: PathBuf,
}

impl Installation {
    /// The one that is tested: that of `PG_CONFIG`, or of pg_config on the PATH.
    #[track_caller]
    pub fn tested() -> Self {
        static TESTED: OnceLock<Installation> = OnceLock::new();
        TESTED
            .get_or_init(|| Self::of(&std::env::var_os("PG_CONFIG").unwrap_or_else(|| "pg_config".into())))
            .clone()
    }

    /// An older one with the extension in it, to come from: that of `OLDER_PG_CONFIG`, which `make test` sets.
    #[track_caller]
    pub fn older() -> Option<Self> {
        let older = std::env::var_os("OLDER_PG_CONFIG").filter(|name| !name.is_empty());
        older.map(|pg_config| Self::of(&pg_config))
    }

    #[track_caller]
    fn of(pg_config: &OsStr) -> Self {
        let output = tools::run(
            &format!("ask {} for the bin directory", pg_config.display()),
            Command::new(pg_config).arg("--bindir"),
        );
        Self {
            bin: PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()),
        }
    }

    /// One of its programs.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// Its major version.
    #[track_caller]
    pub fn major(&self) -> u32 {
        let output = tools::run(
            "ask for the server's version",
            Command::new(self.program("pg_config")).arg("--version"),
        );
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let digits: String = said
            .chars()
            .skip_while(|c| !c.is_ascii_digit())
            .take_while(char::is_ascii_digit)
            .collect();
        digits
            .parse()
            .unwrap_or_else(|_| panic!("pg_config --version says {said:?}"))
    }
}
