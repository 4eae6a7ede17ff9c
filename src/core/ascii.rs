//! Text for a reader whose encoding is not known to have every character.

/// The text in ASCII: other characters are escaped as `\u{…}`, and an ellipsis becomes three dots.
pub fn escaped(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '…' => ascii.push_str("..."),
            _ if character.is_ascii() => ascii.push(character),
            _ => ascii.extend(character.escape_unicode()),
        }
    }
    ascii
}
