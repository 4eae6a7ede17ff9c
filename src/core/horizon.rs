//! Which ids may still appear below a cursor: rows get their ids when they are inserted and become visible
//! when they commit, and not in the same order.
//!
//! Every writer of the outbox has its transaction id before it draws an outbox id. So a transaction that
//! was not running yet when a snapshot was taken can only bring ids drawn after that snapshot, and one that was
//! running is named in the snapshot until it ends. The horizon remembers, for each running transaction, an id
//! below which it cannot have written; when the transaction has ended, the ids above are read once more, and
//! nothing else ever is. Rows that come by another way (logical replication, a restore, an `INSERT` by hand)
//! do not keep that order: for them the worker sweeps from the start now and then.

use std::collections::BTreeMap;

/// What `pg_current_snapshot()` says: the transactions that a snapshot sees as running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    xmax: u64,
    running: Vec<u64>,
    next_xid: u64,
}

impl Snapshot {
    /// Reads the text form of `pg_snapshot`, `xmin:xmax:xid,xid,…`.
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

    /// Adds the next transaction id to be given out.
    #[must_use]
    pub fn with_next_xid(self, next_xid: u64) -> Self {
        Self {
            next_xid: next_xid.max(self.xmax),
            ..self
        }
    }
}

/// The running transactions of the last snapshot, each with the id above which its rows lie.
#[derive(Debug, Default)]
pub struct Horizon {
    running: BTreeMap<u64, i64>,
    xmax: u64,
    /// An id that had been drawn before the last snapshot was taken.
    drawn_before: i64,
    /// The last id that is known to have been drawn, read beside the last snapshot.
    drawn: i64,
}

impl Horizon {
    /// Takes note of a snapshot and of the last id drawn (read after the snapshot was taken). The answer is
    /// the id above which rows must be read again, because a transaction that may have written there has ended
    /// since the last call.
    pub fn observe(&mut self, snapshot: &Snapshot, drawn: i64) -> Option<i64> {
        let mut reread: Option<i64> = None;
        self.running.retain(|xid, above| {
            let still = snapshot.running.contains(xid);
            if !still {
                reread = Some(reread.map_or(*above, |id| id.min(*above)));
            }
            still
        });
        for &xid in &snapshot.running {
            // One that began after the last snapshot has drawn its ids after it, too. One that is older yet not
            // known can only be met at the very first snapshot.
            let above = if xid >= self.xmax && self.xmax > 0 {
                self.drawn_before
            } else {
                0
            };
            self.running.entry(xid).or_insert(above);
        }
        self.xmax = snapshot.xmax;
        self.drawn_before = self.drawn;
        self.drawn = self.drawn.max(drawn);
        reread
    }
}
