//! Qualified names in a statement.

/// The text with another name wherever `name` stands as a whole name; `None`: it does not.
#[must_use]
pub fn replaced(text: &str, name: &str, other: &str) -> Option<String> {
    let is_part = |character: char| character.is_alphanumeric() || matches!(character, '_' | '$' | '"' | '.');
    let mut done = String::new();
    let mut rest = text;
    let mut found = false;
    while let Some(at) = rest.find(name) {
        let (before, after) = rest.split_at(at);
        let after = after.strip_prefix(name).unwrap_or_default();
        let is_whole = !before
            .chars()
            .next_back()
            .or_else(|| done.chars().next_back())
            .is_some_and(is_part)
            && !after.chars().next().is_some_and(is_part);
        done.push_str(before);
        done.push_str(if is_whole { other } else { name });
        found |= is_whole;
        rest = after;
    }
    done.push_str(rest);
    found.then_some(done)
}
