//! Copies of a running cluster.

use std::fmt;

use super::home::Home;
use super::{Cluster, tools};

/// Makes a physical copy of a cluster, with a port, socket and directory of its own.
#[must_use = "nothing happens before build"]
pub struct BackupBuilder<'a> {
    source: &'a Cluster,
    name: String,
    standby: bool,
    conf: Vec<(String, String)>,
}

impl Cluster {
    /// Begins a base backup, which becomes a cluster of its own.
    pub fn base_backup(&self, name: &str) -> BackupBuilder<'_> {
        BackupBuilder {
            source: self,
            name: name.to_owned(),
            standby: false,
            conf: Vec::new(),
        }
    }

    /// Begins a base backup that follows this cluster.
    pub fn standby(&self, name: &str) -> BackupBuilder<'_> {
        BackupBuilder {
            standby: true,
            ..self.base_backup(name)
        }
    }
}

impl BackupBuilder<'_> {
    /// Sets a parameter in its postgresql.conf.
    pub fn conf(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.conf.push((key.to_owned(), value.to_string()));
        self
    }

    /// Makes the copy and starts it.
    #[track_caller]
    pub fn build(self) -> Cluster {
        self.build_stopped().started()
    }

    /// Makes the copy without starting it.
    #[track_caller]
    pub fn build_stopped(self) -> Cluster {
        let (source, home) = (self.source, Home::new(&self.name));
        let mut command = tools::as_postgres(source.installation.program("pg_basebackup"));
        command
            .arg("-D")
            .arg(home.data())
            .args(["-X", "stream", "-c", "fast", "--no-sync"]);
        command.arg("-d").arg(source.conninfo("postgres", "postgres"));
        if self.standby {
            command.arg("-R");
        }
        tools::run(
            &format!("make the base backup \"{}\" of cluster \"{}\"", self.name, source.name),
            &mut command,
        );
        let copy = Cluster::at(self.name, source.installation.clone(), home, source.password.clone());
        copy.append_conf(&self.conf);
        copy
    }
}
