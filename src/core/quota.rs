//! The quota of one client: at most so many requests in any rolling 24 hours, retries counted.
//!
//! The ledger counts by minutes, and a minute counts until its end is 24 hours old: never less than the true window, and
//! at most a minute's requests more. Before anything is sent it must have been *reserved*, which whoever drives the drain
//! makes durable first; a crash turns all that was reserved into sent. Reserving in blocks makes that rare, and a block is
//! at most a hundredth of the quota: so much a crash may over-count.

use std::collections::BTreeMap;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::Duration;

use crate::time::Timestamp;

/// The window of the quota: "any rolling 24 hours".
pub const WINDOW: Duration = Duration::from_secs(24 * 3_600);

/// A block is at most this part of the quota.
pub const BLOCK_SHARE: u64 = 100;

/// The smallest block, in requests, where [`BLOCK_SHARE`] admits as many: single updates, each after
/// the other, then seldom wait for a reservation.
pub const SMALL_BLOCK: u64 = 16;

const MINUTE_MICROS: i64 = 60_000_000;

/// A minute of the ledger, by the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minute(i64);

impl Minute {
    /// The minute that holds a point in time.
    pub const fn of(time: Timestamp) -> Self {
        Self(time.unix_micros().div_euclid(MINUTE_MICROS))
    }

    /// Where it begins.
    pub const fn start(self) -> Timestamp {
        Timestamp::from_unix_micros(self.0.saturating_mul(MINUTE_MICROS))
    }

    /// So many minutes later; earlier if below zero.
    #[must_use]
    pub const fn plus(self, minutes: i64) -> Self {
        Self(self.0.saturating_add(minutes))
    }

    /// From when on it no longer counts: its end is 24 hours old.
    pub fn counts_until(self) -> Timestamp {
        Self(self.0.saturating_add(1)).start().plus(WINDOW)
    }
}

/// Which part of the quota a request draws on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// All of it.
    Fresh,
    /// The share that the client leaves to low priorities.
    Backfill,
}

impl Class {
    /// The class of a priority: below zero is what can wait, as a backfill can.
    pub const fn of(priority: i16) -> Self {
        if priority < 0 { Self::Backfill } else { Self::Fresh }
    }

    /// `requests` of this class.
    pub const fn count(self, requests: u64) -> Count {
        Count {
            all: requests,
            backfill: match self {
                Self::Fresh => 0,
                Self::Backfill => requests,
            },
        }
    }
}

/// A number of requests, and how many of them are of class [`Class::Backfill`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Requests of every class.
    pub all: u64,
    /// Those of them that are backfills.
    pub backfill: u64,
}

impl Count {
    /// None.
    pub const ZERO: Self = Self { all: 0, backfill: 0 };

    /// Whether there are none.
    pub const fn is_zero(self) -> bool {
        self.all == 0 && self.backfill == 0
    }

    fn of(self, class: Class) -> u64 {
        match class {
            Class::Fresh => self.all,
            Class::Backfill => self.backfill,
        }
    }

    fn max(self, other: Self) -> Self {
        Self {
            all: self.all.max(other.all),
            backfill: self.backfill.max(other.backfill),
        }
    }
}

impl Add for Count {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            all: self.all.saturating_add(other.all),
            backfill: self.backfill.saturating_add(other.backfill),
        }
    }
}

/// Stops at none.
impl Sub for Count {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            all: self.all.saturating_sub(other.all),
            backfill: self.backfill.saturating_sub(other.backfill),
        }
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Count {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

/// What a client may send in 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    limit: Count,
}

impl Quota {
    /// `daily` requests, of which low priorities may use the part `backfill_share` (from 0 to 1), but at least one: else
    /// they would wait for ever.
    pub fn new(daily: u64, backfill_share: f64) -> Self {
        // Exact up to 2^53 requests; the cast saturates.
        let share = (daily as f64 * backfill_share.clamp(0.0, 1.0)).floor() as u64;
        Self {
            limit: Count {
                all: daily,
                backfill: share.clamp(1, daily.max(1)),
            },
        }
    }

    /// The block that is reserved in advance at this pace, in requests a second.
    fn block(self, pace: u64) -> u64 {
        pace.max(SMALL_BLOCK).min(self.limit.all / BLOCK_SHARE)
    }
}

/// A change of what is reserved, to be made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adjustment {
    /// So many more, valid once they are durable.
    More(Count),
    /// So many fewer, given back at once.
    Fewer(Count),
}

/// The ledger of one client.
#[derive(Debug, Clone)]
pub struct Ledger {
    quota: Quota,
    /// What counts of the minutes before the current one.
    past: BTreeMap<Minute, Count>,
    /// The sum of `past`.
    past_sum: Count,
    current: Minute,
    /// Durably reserved in the current minute, including what has been charged.
    reserved: Count,
    /// Charged in the current minute.
    charged: Count,
    /// Selected to be sent, not yet charged.
    planned: Count,
}

impl Ledger {
    /// The ledger as it was stored: for each minute what was reserved, all of which counts as sent.
    pub fn load(quota: Quota, stored: &[(Minute, Count)], now: Timestamp) -> Self {
        let current = stored
            .iter()
            .map(|(minute, _)| *minute)
            .chain([Minute::of(now)])
            .max()
            .unwrap_or(Minute::of(now));
        let mut ledger = Self {
            quota,
            past: BTreeMap::new(),
            past_sum: Count::ZERO,
            current,
            reserved: Count::ZERO,
            charged: Count::ZERO,
            planned: Count::ZERO,
        };
        for (minute, count) in stored {
            if *minute == current {
                ledger.reserved += *count;
                ledger.charged += *count;
            } else {
                *ledger.past.entry(*minute).or_default() += *count;
                ledger.past_sum += *count;
            }
        }
        ledger.expire(now);
        ledger
    }

    /// Another quota, from now on.
    pub fn set_quota(&mut self, quota: Quota) {
        self.quota = quota;
    }

    /// Goes to the minute of `now`, never back: after the clock was set back the ledger stays at the latest minute that it
    /// has seen, and so frees nothing too early. The answer is the minute that is over and what had been reserved in it
    /// for nothing.
    pub fn advance(&mut self, now: Timestamp) -> Option<(Minute, Count)> {
        let minute = Minute::of(now);
        let mut unused = None;
        if minute > self.current {
            let over = std::mem::replace(&mut self.current, minute);
            let excess = self.reserved - self.charged;
            unused = (!excess.is_zero()).then_some((over, excess));
            if !self.charged.is_zero() {
                *self.past.entry(over).or_default() += self.charged;
                self.past_sum += self.charged;
            }
            self.reserved = Count::ZERO;
            self.charged = Count::ZERO;
        }
        self.expire(now);
        unused
    }

    /// The clock was set: the minutes that count move along with it.
    pub fn follow(&mut self, minutes: i64) {
        self.current = self.current.plus(minutes);
        self.past = std::mem::take(&mut self.past)
            .into_iter()
            .map(|(minute, count)| (minute.plus(minutes), count))
            .collect();
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some(oldest) = self.past.first_entry() {
            if oldest.key().counts_until() > now {
                break;
            }
            self.past_sum -= oldest.remove();
        }
    }

    /// The minute that is charged.
    pub fn current(&self) -> Minute {
        self.current
    }

    /// What counts now, of all classes.
    pub fn used(&self) -> Count {
        self.past_sum + self.charged
    }

    /// How many more requests of a class may be selected.
    pub fn left(&self, class: Class) -> u64 {
        let left = self.quota.limit - (self.used() + self.planned);
        match class {
            Class::Fresh => left.all,
            Class::Backfill => left.all.min(left.backfill),
        }
    }

    /// When the next request of a class may be selected; `None`: now.
    pub fn resumes_at(&self, class: Class) -> Option<Timestamp> {
        if self.left(class) > 0 {
            return None;
        }
        let all = self.freed_at(Class::Fresh, 1);
        match class {
            Class::Fresh => Some(all),
            Class::Backfill => Some(all.max(self.freed_at(Class::Backfill, 1))),
        }
    }

    /// When at least `requests` of those that count on a class' limit may be selected, should nothing else be sent
    /// meanwhile; at most the whole limit.
    fn freed_at(&self, class: Class, requests: u64) -> Timestamp {
        let taken = (self.used() + self.planned).of(class).saturating_add(requests);
        let mut missing = taken.saturating_sub(self.quota.limit.of(class));
        let mut at = Timestamp::from_unix_micros(i64::MIN);
        for (minute, count) in &self.past {
            if missing == 0 {
                return at;
            }
            missing = missing.saturating_sub(count.of(class));
            at = minute.counts_until();
        }
        if missing == 0 { at } else { self.current.counts_until() }
    }

    /// Selected to be sent.
    pub fn plan(&mut self, count: Count) {
        self.planned += count;
    }

    /// Not to be sent after all, before it was charged.
    pub fn unplan(&mut self, count: Count) {
        self.planned -= count;
    }

    /// What must be reserved before `count` can be charged in the current minute; `None`: nothing. `pace` is how many
    /// requests there were in the last second: so many more are reserved in advance, within the bounds of a block.
    pub fn lacks(&self, count: Count, pace: u64) -> Option<Count> {
        let wanted = self.charged + count;
        let lack = wanted - self.reserved;
        if lack.is_zero() {
            return None;
        }
        let held = self.past_sum + wanted.max(self.reserved);
        let free = self.quota.limit - held;
        let block = self.quota.block(pace);
        Some(Count {
            all: lack.all + block.min(free.all),
            backfill: lack.backfill
                + if lack.backfill > 0 {
                    block.min(free.all).min(free.backfill)
                } else {
                    0
                },
        })
    }

    /// A reservation of that minute is durable. The answer is what of it has come too late to be used, because the minute
    /// is over.
    pub fn reserved(&mut self, minute: Minute, count: Count) -> Count {
        if minute == self.current {
            self.reserved += count;
            Count::ZERO
        } else {
            count
        }
    }

    /// What was planned is sent now, and counts.
    pub fn charge(&mut self, count: Count) {
        self.planned -= count;
        self.charged += count;
    }

    /// What was charged in that minute was not sent after all. Only the current minute forgets it; an older one counts
    /// too much, which does no harm.
    pub fn refund(&mut self, minute: Minute, count: Count) {
        if minute == self.current {
            self.charged -= count;
        }
    }

    /// Keeps about a block in reserve while requests go out at `pace` a second, and a small one otherwise, so that the next
    /// request need not wait. Called when something is written anyway.
    pub fn adjust(&mut self, pace: u64) -> Option<Adjustment> {
        let block = self.quota.block(pace);
        let unused = self.reserved - self.charged;
        let backfill = if self.charged.backfill > 0 { block } else { 0 };
        if unused.all > block.saturating_mul(2) || unused.backfill > backfill.saturating_mul(2) {
            let fewer = unused - Count { all: block, backfill };
            self.reserved -= fewer;
            return Some(Adjustment::Fewer(fewer));
        }
        if unused.all < block.div_ceil(2) {
            let free = self.quota.limit - (self.past_sum + self.reserved.max(self.charged + self.planned));
            let more = Count {
                all: (block - unused.all).min(free.all),
                backfill: backfill
                    .saturating_sub(unused.backfill)
                    .min(free.all)
                    .min(free.backfill),
            };
            return (!more.is_zero()).then_some(Adjustment::More(more));
        }
        None
    }

    /// How long it takes until `requests` more are sent: at `pace` a second, and no faster than the quota admits. `None`:
    /// there is no pace to go by.
    pub fn forecast(&self, requests: u64, pace: f64, now: Timestamp) -> Option<Duration> {
        if requests == 0 {
            return Some(Duration::ZERO);
        }
        // Without a pace the division gives no duration.
        let by_pace = Duration::try_from_secs_f64(requests as f64 / pace).ok();
        let over = requests.saturating_sub(self.left(Class::Fresh));
        if over == 0 {
            return by_pace;
        }
        // Each full quota takes a day. The rest is sent as the minutes of the last day end.
        let limit = self.quota.limit.all.max(1);
        let days = (over - 1) / limit;
        let rest = over - days * limit;
        let left = self.left(Class::Fresh);
        let by_quota = self
            .freed_at(Class::Fresh, left.saturating_add(rest).min(limit))
            .since(now)
            .saturating_add(WINDOW.saturating_mul(u32::try_from(days).unwrap_or(u32::MAX)));
        Some(by_pace.map_or(by_quota, |pace| pace.max(by_quota)))
    }
}
