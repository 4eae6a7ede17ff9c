//! Decoding of queries and form bodies, strict where a browser is lenient, so that a sender's mistake is seen.

/// The name-value pairs of a query or of a form body, in order.
pub(super) fn form(text: &[u8]) -> Result<Vec<(String, String)>, String> {
    text.split(|byte| *byte == b'&')
        .filter(|piece| !piece.is_empty())
        .map(|piece| {
            let equals = piece.iter().position(|byte| *byte == b'=');
            let (name, value) = equals.map_or((piece, &[][..]), |at| (&piece[..at], &piece[at + 1..]));
            Ok((percent(name)?, percent(value)?))
        })
        .collect()
}

/// One form-encoded piece: `%XX` and `+` decoded; a broken escape, a bare byte that must be escaped, or bytes that are
/// not UTF-8 are errors.
fn percent(piece: &[u8]) -> Result<String, String> {
    let shown = || String::from_utf8_lossy(&piece[..piece.len().min(80)]).into_owned();
    let mut bytes = Vec::with_capacity(piece.len());
    let mut rest = piece;
    while let Some((first, after)) = rest.split_first() {
        rest = match first {
            b'%' => {
                let digits = after.get(..2).and_then(|pair| Some(16 * hex(pair[0])? + hex(pair[1])?));
                bytes.push(digits.ok_or_else(|| format!("broken percent escape in \"{}\"", shown()))?);
                &after[2..]
            }
            b'+' => {
                bytes.push(b' ');
                after
            }
            0x21..=0x7e => {
                bytes.push(*first);
                after
            }
            _ => return Err(format!("byte {first:#04x} is not escaped in \"{}\"", shown())),
        };
    }
    String::from_utf8(bytes).map_err(|_| format!("not UTF-8 once decoded: \"{}\"", shown()))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}
