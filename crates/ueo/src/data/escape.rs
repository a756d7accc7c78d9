//! Text from files as it may be shown: control characters escaped, long text cut.

use std::path::Path;

/// Characters of a quotation in an error: about a line.
const QUOTED_CHARS: usize = 100;

/// A text without anything that would steer a terminal: control characters, line and paragraph separators and marks
/// that turn the writing direction appear as escapes such as `\u{1b}`. Data keep the text as it is.
pub fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => {
                shown.extend(char.escape_unicode());
            }
            char if char.is_control() => shown.extend(char.escape_default()),
            char => shown.push(char),
        }
    }
    shown
}

/// A quotation of at most about a line, in quotation marks and [`escaped`].
pub(super) fn quoted(text: &str) -> String {
    let mut rest = text.char_indices().skip(QUOTED_CHARS);
    match rest.next() {
        None => format!("\"{}\"", escaped(text)),
        Some((end, _)) => format!("\"{}...\" ({} bytes)", escaped(&text[..end]), text.len()),
    }
}

/// A path, [`escaped`].
pub(super) fn shown(path: &Path) -> String {
    escaped(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped_and_nothing_else_changes() {
        assert_eq!(
            escaped("a\u{1b}[2Jb\n\t\u{7f}\u{9b}\u{202e}c"),
            "a\\u{1b}[2Jb\\n\\t\\u{7f}\\u{9b}\\u{202e}c"
        );
        let plain = "café \u{301} \"q\" \\ 猫 \u{1f638} 'x'";
        assert_eq!(escaped(plain), plain);
    }

    #[test]
    fn quotations_are_short() {
        assert_eq!(quoted("cat"), "\"cat\"");
        let text = "é".repeat(1_000_000);
        assert_eq!(
            quoted(&text),
            format!("\"{}...\" (2000000 bytes)", "é".repeat(100))
        );
    }
}
