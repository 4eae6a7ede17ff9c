//! The warnings about logical replication of the extension's own tables.

/// A publication or a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Which of our tables it has, separated by commas.
    pub tables: String,
}

/// What is wrong and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// What is wrong.
    pub finding: String,
    /// What to do.
    pub hint: String,
}

/// Of publications that have tables of ours.
pub fn published(publications: &[Link]) -> Option<Advice> {
    let found = describe("publication", publications)?;
    Some(Advice {
        finding: format!("tables of target_profile are published: {found}"),
        hint: "A subscriber gets tokens and entries of this server, and its apply ends at each new day of response. Name in the \
               publication the tables that are to be replicated, without those of the schema target_profile, and refresh the \
               subscription."
            .to_owned(),
    })
}

/// Of subscriptions that write into tables of ours.
pub fn subscribed(subscriptions: &[Link]) -> Option<Advice> {
    let found = describe("subscription", subscriptions)?;
    Some(Advice {
        finding: format!("nothing is sent, since entries of another server arrive here: {found}"),
        hint: "Leave the tables of the schema target_profile out of the publication and refresh the subscription, or drop it. Then delete \
               from target_profile.outbox what the other server sends, or call target_profile.adopt() if this one takes its place."
            .to_owned(),
    })
}

fn describe(what: &str, links: &[Link]) -> Option<String> {
    let each: Vec<String> = links
        .iter()
        .map(|link| format!("{what} \"{}\" has {}", link.name, link.tables))
        .collect();
    (!each.is_empty()).then(|| each.join("; "))
}
