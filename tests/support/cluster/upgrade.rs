//! pg_upgrade.

use super::{Cluster, Mode, tools};

/// From this version on, initdb makes clusters with checksums; pg_upgrade wants the old one to have them as well.
const CHECKSUMS_SINCE: u32 = 18;

impl Cluster {
    /// Takes over, by pg_upgrade, everything of a cluster of an older version, which is stopped for good. This cluster must
    /// never have been started (`build_stopped`). It is started afterwards.
    #[track_caller]
    pub fn upgrade_from(&self, old: &Cluster) {
        old.stop(Mode::Fast);
        if self.installation.major() >= CHECKSUMS_SINCE && old.installation.major() < CHECKSUMS_SINCE {
            let mut enable = tools::as_postgres(old.installation.program("pg_checksums"));
            enable.args(["--enable", "--no-sync", "-D"]).arg(old.data_dir());
            tools::run("give the old cluster checksums", &mut enable);
        }
        for step in [&["--check"][..], &[]] {
            let mut upgrade = tools::as_postgres(self.installation.program("pg_upgrade"));
            upgrade
                .args(step)
                .args(["--username", "postgres"])
                .arg("--old-bindir")
                .arg(old.installation.program(""))
                .arg("--new-bindir")
                .arg(self.installation.program(""))
                .arg("--old-datadir")
                .arg(old.data_dir())
                .arg("--new-datadir")
                .arg(self.data_dir())
                .arg("--socketdir")
                .arg(self.socket_dir())
                .args(["--old-port", &old.port.to_string(), "--new-port", &self.port.to_string()])
                // It writes a script there.
                .current_dir(self.socket_dir());
            tools::run(
                &format!("upgrade cluster \"{}\" to \"{}\"", old.name, self.name),
                &mut upgrade,
            );
        }
        self.start();
    }
}
