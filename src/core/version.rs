//! The version of the library and that of the SQL objects of a database.
//!
//! They differ between the two steps of an upgrade. This module decides which one is older, and what the DBA has to do.

use std::cmp::Ordering;

/// What to do where the two differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// Which versions they are, without a verb: "library 0.2.0, SQL 0.1.0".
    pub finding: String,
    /// What to do, in words that follow a colon.
    pub remedy: String,
}

impl Advice {
    /// In one line, for the view.
    pub fn line(&self) -> String {
        format!("{}: {}", self.finding, self.remedy)
    }

    /// As a sentence, for a HINT.
    pub fn hint(&self) -> String {
        let mut first = self.remedy.chars();
        let capital = first.next().map(|c| c.to_ascii_uppercase());
        let remedy: String = capital.into_iter().chain(first).collect();
        format!("The versions of target_profile differ ({}). {remedy}.", self.finding)
    }
}

/// What to do about the library of version `library` beside the SQL objects of version `sql`; `None`: they are the same.
pub fn advice(library: &str, sql: &str) -> Option<Advice> {
    if library == sql {
        return None;
    }
    let order = parse(library).zip(parse(sql)).map(|(library, sql)| library.cmp(&sql));
    let remedy = match order {
        Some(Ordering::Greater) => "run ALTER EXTENSION target_profile UPDATE in this database".to_owned(),
        Some(Ordering::Less) => {
            format!("install the library of version {sql}, if it is not, and restart the server so that it is loaded")
        }
        // Not numbers that can be compared, or two spellings of the same.
        Some(Ordering::Equal) | None => {
            "install one version of both, restart the server and run ALTER EXTENSION target_profile UPDATE in this database"
                .to_owned()
        }
    };
    Some(Advice {
        finding: format!("library {library}, SQL {sql}"),
        remedy,
    })
}

/// Numbers between dots, and after a hyphen what makes it a version before that one.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version<'t> {
    numbers: Vec<u64>,
    release: bool,
    pre: &'t str,
}

fn parse(text: &str) -> Option<Version<'_>> {
    let (numbers, pre) = text
        .split_once('-')
        .map_or((text, None), |(numbers, pre)| (numbers, Some(pre)));
    let mut numbers = numbers
        .split('.')
        .map(|number| number.parse().ok())
        .collect::<Option<Vec<u64>>>()?;
    while numbers.len() > 1 && numbers.last() == Some(&0) {
        numbers.pop();
    }
    Some(Version {
        numbers,
        release: pre.is_none(),
        pre: pre.unwrap_or_default(),
    })
}
