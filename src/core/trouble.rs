//! The present errors of a worker: which one the view `worker` shows as `last_error`, and which lines the log gets.
//!
//! DBAs and alarms go by that column. So an error that is over must disappear, and one that persists must not be hidden by a turn that
//! succeeds. The log has a line when an error begins, when it changes and when it is over, however often it is repeated.

use std::collections::BTreeMap;

/// Where an error comes from, the worst first. It is over when that step succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A turn of the worker ended early: nothing is sent.
    Turn,
    /// Logical replication writes entries of another server into the outbox: nothing is sent.
    Subscription,
    /// A client's settings are not valid: it is left out.
    Clients,
    /// Somebody has rows locked that must be written: what cannot be settled is kept.
    Locked,
    /// Responses cannot be recorded where they belong.
    Records,
    /// The settings of the connection cannot be used: the former ones are.
    Connection,
    /// Entries of clients that were removed cannot be moved to the dead letters.
    Orphans,
    /// The I/O thread has died; another one has taken its place.
    Network,
    /// An update is too large for the memory that there is.
    Memory,
    /// Old records cannot be dropped.
    House,
    /// Logical replication carries tables of the extension to other servers.
    Publication,
}

/// An error whose text changes more often is not logged again until it is over.
const TEXTS_TOLD: usize = 8;

#[derive(Debug)]
struct Trouble {
    text: String,
    /// What the log has of it.
    told: Vec<String>,
    times: u64,
}

/// A trouble that is over.
#[derive(Debug, PartialEq, Eq)]
pub struct Over {
    /// As it was last.
    pub text: String,
    /// How often it happened.
    pub times: u64,
}

/// What stands.
#[derive(Debug, Default)]
pub struct Troubles {
    standing: BTreeMap<Source, Trouble>,
}

impl Troubles {
    /// This has happened; whether it is to be written into the log.
    pub fn note(&mut self, source: Source, text: String) -> bool {
        let trouble = self.standing.entry(source).or_insert_with(|| Trouble {
            text: String::new(),
            told: Vec::new(),
            times: 0,
        });
        trouble.times = trouble.times.saturating_add(1);
        let is_news = trouble.told.len() < TEXTS_TOLD && !trouble.told.contains(&text);
        if is_news {
            trouble.told.push(text.clone());
        }
        trouble.text = text;
        is_news
    }

    /// That step has succeeded. Returns the error that stood until now, if there was one.
    pub fn is_over(&mut self, source: Source) -> Option<Over> {
        let Trouble { text, times, .. } = self.standing.remove(&source)?;
        Some(Over { text, times })
    }

    /// The worst of what stands.
    pub fn worst(&self) -> Option<&str> {
        self.standing.values().next().map(|trouble| trouble.text.as_str())
    }
}
