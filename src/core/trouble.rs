//! What is wrong with a worker at present, each thing until it is over: what the view `worker` shows as `last_error`.
//!
//! A DBA looks at that column to see whether there is something to do, and an alarm goes by it: what is over must go, and what
//! stands must not be hidden by the next turn that went well.

use std::collections::BTreeMap;

/// Where a trouble comes from, the worst first. It is over when that very thing has gone well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A turn of the worker ended early: nothing is sent.
    Turn,
    /// A client's settings are not valid: it is left out.
    Clients,
    /// The settings of the connection cannot be used: the former ones are.
    Connection,
    /// The I/O thread has died; another one has taken its place.
    Network,
    /// An update is too large for the memory that there is.
    Memory,
    /// Old records cannot be dropped.
    House,
}

/// What stands.
#[derive(Debug, Default)]
pub struct Troubles {
    standing: BTreeMap<Source, String>,
}

impl Troubles {
    /// This has happened.
    pub fn note(&mut self, source: Source, text: String) {
        self.standing.insert(source, text);
    }

    /// That has gone well.
    pub fn is_over(&mut self, source: Source) {
        self.standing.remove(&source);
    }

    /// The worst of what stands.
    pub fn worst(&self) -> Option<&str> {
        self.standing.values().next().map(String::as_str)
    }
}
