//! The condition of a watch, as the WHEN of its triggers: `NEW` and `OLD` in it are replaced where one of the rows is another.

/// Which row a reference in a condition is to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggerRow {
    /// As it was.
    Old,
    /// As it is now.
    New,
}

/// A condition, and where it refers to which row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    text: String,
    /// Where the words are, in bytes, in the order of the text.
    references: Vec<(usize, usize, TriggerRow)>,
}

impl Condition {
    /// `references`: where the parser has found the words `OLD` and `NEW`. `None` if one of them is written in another way, as
    /// with escapes.
    #[must_use]
    pub fn new(text: &str, references: impl IntoIterator<Item = (usize, TriggerRow)>) -> Option<Self> {
        let mut found = Vec::new();
        for (at, row) in references {
            let word = match row {
                TriggerRow::Old => "old",
                TriggerRow::New => "new",
            };
            let rest = text.get(at..)?;
            let is_quoted = rest
                .strip_prefix('"')
                .and_then(|rest| rest.strip_prefix(word))
                .is_some_and(|rest| rest.starts_with('"'));
            let length = if is_quoted {
                word.len() + 2
            } else {
                rest.get(..word.len())
                    .filter(|given| given.eq_ignore_ascii_case(word))?
                    .len()
            };
            found.push((at, length, row));
        }
        found.sort_unstable_by_key(|&(at, ..)| at);
        Some(Self {
            text: text.to_owned(),
            references: found,
        })
    }

    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it looks at the row as it was.
    #[must_use]
    pub fn mentions_old(&self) -> bool {
        self.references.iter().any(|&(.., row)| row == TriggerRow::Old)
    }

    /// The same condition, but of another row where it said `row`.
    #[must_use]
    pub fn with(&self, row: TriggerRow, other: &str) -> String {
        let mut text = String::with_capacity(self.text.len() + other.len());
        let mut copied = 0;
        for &(at, length, which) in &self.references {
            if which == row {
                text.push_str(self.text.get(copied..at).unwrap_or_default());
                text.push_str(other);
                copied = at + length;
            }
        }
        text.push_str(self.text.get(copied..).unwrap_or_default());
        text
    }
}
