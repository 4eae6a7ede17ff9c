//! What the catalogs say of the extension in one database, to be compared with what they say in another.

use std::collections::BTreeSet;

use support::Db;

/// A line for each property of each object.
pub struct Catalog(BTreeSet<[String; 3]>);

impl Catalog {
    pub fn of(db: &Db) -> Self {
        let rows = db.rows(include_str!("catalog.sql"));
        let row = |row: Vec<Option<String>>| {
            let mut texts = row.into_iter().map(Option::unwrap_or_default);
            std::array::from_fn(|_| texts.next().expect("three columns"))
        };
        Self(rows.into_iter().map(row).collect())
    }

    /// What is here and not there, and what is there and not here; nothing for the same.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let line =
            |sign: char, [object, property, value]: &[String; 3]| format!("{sign} {object}: {property}: {value}");
        let missing = self.0.difference(&other.0).map(|row| (row, line('-', row)));
        let extra = other.0.difference(&self.0).map(|row| (row, line('+', row)));
        let mut lines: Vec<_> = missing.chain(extra).collect();
        lines.sort();
        lines.into_iter().map(|(_, line)| line).collect()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}
