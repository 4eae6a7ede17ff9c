//! Which ids may still appear below a cursor: rows get their ids when they are inserted and become visible
//! when they commit, and not in the same order.
//!
//! Every writer of the outbox has its transaction id before it draws an outbox id. So a transaction that
//! had no id yet when a snapshot was taken can only bring outbox ids drawn after that snapshot. One that had is named in
//! the snapshot until it ends, *if its id is below `xmax`*: that is one more than the highest id that has completed, not the
//! next to be given out, and those in between are running without being named. The horizon remembers, for each
//! transaction that may be running, an outbox id below which it cannot have written; when the transaction has ended, the ids above
//! are read once more, and nothing else ever is. Rows that come by another way (logical replication, a restore, an
//! `INSERT` by hand) do not keep that order: for them the worker sweeps from the start now and then.

use std::collections::BTreeMap;

/// What `pg_current_snapshot()` says: the transactions that a snapshot sees as running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    xmax: u64,
    running: Vec<u64>,
    next_xid: u64,
}

impl Snapshot {
    /// Reads the text form of `pg_snapshot`, `xmin:xmax:xid,xid,…`. Without [`Snapshot::with_next_xid`] it stands for one
    /// in which nothing from `xmax` on is running.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let _xmin: u64 = parts.next()?.parse().ok()?;
        let xmax = parts.next()?.parse().ok()?;
        let list = parts.next()?;
        if parts.next().is_some() {
            return None;
        }
        let running = if list.is_empty() {
            Vec::new()
        } else {
            list.split(',')
                .map(|xid| xid.parse().ok())
                .collect::<Option<Vec<_>>>()?
        };
        Some(Self {
            xmax,
            running,
            next_xid: xmax,
        })
    }

    /// Adds the next transaction id to be given out, read after the snapshot was taken (`ReadNextFullTransactionId`).
    /// Those from `xmax` up to it are running, though the snapshot does not name them.
    #[must_use]
    pub fn with_next_xid(self, next_xid: u64) -> Self {
        Self {
            next_xid: next_xid.max(self.xmax),
            ..self
        }
    }
}

/// The transactions that may have been running at the last snapshot, each with the id above which its rows lie.
#[derive(Debug, Default)]
pub struct Horizon {
    /// Those that a snapshot named.
    named: BTreeMap<u64, i64>,
    /// Those from `xmax` up to `next_xid`, of which no snapshot tells more: from each transaction id here up to the
    /// next, the id above which their rows lie.
    unnamed: BTreeMap<u64, i64>,
    xmax: u64,
    next_xid: u64,
    /// An id that had been drawn before the last snapshot was taken; none is known before the first.
    drawn_before: Option<i64>,
    /// The last id that is known to have been drawn, read beside the last snapshot.
    drawn: Option<i64>,
}

/// What a snapshot means for the ids that have been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// Nothing.
    Nothing,
    /// A transaction that may have written above this id has ended since: what lies there must be read again.
    RereadAbove(i64),
    /// The sequence was set back: all must be read again, and ids below the cursors will be drawn once more.
    SetBack,
}

impl Horizon {
    /// The last id that is known to have been drawn: whoever enqueues from now on has a higher one.
    pub fn drawn(&self) -> i64 {
        self.drawn.unwrap_or(i64::MIN)
    }

    /// Takes note of a snapshot and of the last id drawn (read after the snapshot was taken).
    pub fn observe(&mut self, snapshot: &Snapshot, drawn: i64) -> Observed {
        let set_back = self.drawn.is_some_and(|before| drawn < before);
        if set_back {
            // What is running has drawn its ids before or after; nobody can tell.
            let anywhere = self.named.values_mut().chain(self.unnamed.values_mut());
            anywhere.for_each(|above| *above = i64::MIN);
            self.drawn_before = None;
        }
        let mut reread: Option<i64> = None;
        self.named.retain(|xid, above| {
            let still = snapshot.running.contains(xid);
            if !still {
                reread = Some(reread.map_or(*above, |id| id.min(*above)));
            }
            still
        });
        // Of those that could not be named then and could be now, the first that is not has ended; the later a
        // transaction began, the higher lie its rows.
        let nameable = self.xmax..self.next_xid.min(snapshot.xmax);
        if let Some(ended) = nameable.clone().find(|xid| !snapshot.running.contains(xid)) {
            let above = self.unnamed_above(ended);
            reread = Some(reread.map_or(above, |id| id.min(above)));
        }
        // One that got its id after the last snapshot has drawn its outbox ids after it, too; at the very first one
        // that is not known. Each entry stands for all up to the next, so few are needed.
        if snapshot.next_xid > self.next_xid {
            let first = self.next_xid;
            self.unnamed.insert(first, self.drawn_before.unwrap_or(i64::MIN));
            self.next_xid = snapshot.next_xid;
        }
        for &xid in &snapshot.running {
            let above = self.unnamed_above(xid);
            self.named.entry(xid).or_insert(above);
        }
        self.xmax = self.xmax.max(snapshot.xmax);
        let past: Vec<u64> = self
            .unnamed
            .range(..=self.xmax)
            .map(|(xid, _)| *xid)
            .rev()
            .skip(1)
            .collect();
        for xid in past {
            self.unnamed.remove(&xid);
        }
        self.drawn_before = if set_back { None } else { self.drawn };
        self.drawn = Some(drawn);
        match reread {
            _ if set_back => Observed::SetBack,
            Some(above) => Observed::RereadAbove(above),
            None => Observed::Nothing,
        }
    }

    /// The id above which the rows of a transaction lie that is not named yet.
    fn unnamed_above(&self, xid: u64) -> i64 {
        self.unnamed
            .range(..=xid)
            .next_back()
            .map_or(i64::MIN, |(_, above)| *above)
    }
}
