//! Logical replication of the extension's own tables: none of them is meant for another server.
//!
//! A publication FOR ALL TABLES has them, too. Then a subscriber gets the tokens, and the entries, which the publisher sends itself, and each
//! new partition of `response` stops its apply worker. The worker warns of such a publication. While a subscription writes into the tables
//! that the worker sends from, it sends nothing, since it cannot tell its own entries from those of another server.

use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use target_profile_core::replication::{Link, published, subscribed};
use target_profile_core::trouble::Source;

use super::queries::{PUBLISHED, SUBSCRIBED};
use super::state::Worker;
use super::transaction::{Access, transaction};
use crate::pg::support::errors::Fault;
use crate::pg::support::statement::Statement;

impl Worker {
    /// Which way do our tables go, if any?
    pub(super) fn look_at_replication(&mut self) -> Result<(), String> {
        let (publications, subscriptions) = transaction("looking at replication", Access::Read, |client| {
            Ok((
                PUBLISHED.with(|statement| links(statement, client))?,
                SUBSCRIBED.with(|statement| links(statement, client))?,
            ))
        })?;
        match published(&publications) {
            Some(advice) => self.warn_of(Source::Publication, &advice.finding, &advice.hint),
            None => self.is_over(Source::Publication),
        }
        let advice = subscribed(&subscriptions);
        let was_subscriber = std::mem::replace(&mut self.is_subscriber, advice.is_some());
        match advice {
            Some(advice) => self.warn_of(Source::Subscription, &advice.finding, &advice.hint),
            None => self.is_over(Source::Subscription),
        }
        if was_subscriber != self.is_subscriber {
            self.drain.set_enabled(self.may_send());
            self.drain.new_work();
        }
        Ok(())
    }
}

fn links(statement: &Statement, client: &SpiClient<'_>) -> Result<Vec<Link>, Fault> {
    let mut links = Vec::new();
    for row in statement.select(client, &[])? {
        links.push(Link {
            name: row.get(1)?.unwrap_or_default(),
            tables: row.get(2)?.unwrap_or_default(),
        });
    }
    Ok(links)
}

/// Whether a subscription writes into a table. Asked with each claim, so it is a look into a cache: a subscription is announced to all
/// before it brings its first row.
pub fn is_target(table: pg_sys::Oid) -> bool {
    // SAFETY: inside a transaction; a list of the system cache, which is given back. The other keys are not looked at.
    unsafe {
        pg_sys::AcceptInvalidationMessages();
        let none = pg_sys::Datum::from(0);
        let cache = pg_sys::SysCacheIdentifier::SUBSCRIPTIONRELMAP as i32;
        let list = pg_sys::SearchSysCacheList(cache, 1, table.into(), none, none);
        let found = (*list).n_members > 0;
        pg_sys::ReleaseCatCacheList(list);
        found
    }
}
