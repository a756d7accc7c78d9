//! Foreign text inside messages: control characters shown escaped, lengths bounded to a line.
//!
//! Names and values out of files end up in messages, and a file's author chooses them: they may be megabytes long, or
//! hold escape sequences that a terminal obeys. Whatever is not our own passes through here before it is shown.

use std::fmt::{self, Write};
use std::path::Path;

/// Characters of a foreign name inside a sentence, before it is cut.
const NAME_CHARACTERS: usize = 80;
/// Characters of a part of a message that may hold foreign text, before it is cut.
const LINE_CHARACTERS: usize = 300;
/// Characters of a quotation, before it is cut.
const QUOTATION_CHARACTERS: usize = 100;

/// Shows a name or value out of a file: escaped, at most 80 characters and an ellipsis.
pub fn name(text: &str) -> Quoted<'_> {
    Quoted {
        text,
        limit: NAME_CHARACTERS,
    }
}

/// Shows a part of a message that may hold foreign text: escaped, at most 300 characters and an ellipsis.
pub fn line(text: &str) -> Quoted<'_> {
    Quoted {
        text,
        limit: LINE_CHARACTERS,
    }
}

/// Shows a text in full: escaped. The data keep it as it is.
pub fn whole(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    // Writing into a string cannot fail.
    let _ = text.chars().try_for_each(|c| escape(c, &mut shown));
    shown
}

/// Shows a text of several lines in full: escaped, but for line breaks and tabs.
pub fn lines(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    // Writing into a string cannot fail.
    let _ = text.chars().try_for_each(|c| match c {
        '\n' | '\t' => shown.write_char(c),
        _ => escape(c, &mut shown),
    });
    shown
}

/// Shows a text out of a file in quotation marks: escaped, at most about a line of it, and how long it is.
pub fn quotation(text: &str) -> String {
    match text.char_indices().nth(QUOTATION_CHARACTERS) {
        None => format!("\"{}\"", whole(text)),
        Some((end, _)) => format!("\"{}...\" ({} bytes)", whole(&text[..end]), text.len()),
    }
}

/// Shows a path: escaped, in full, because a path that was cut cannot be found.
pub fn path(path: &Path) -> String {
    whole(&path.to_string_lossy())
}

/// A text that is escaped and cut when it is displayed.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a> {
    text: &'a str,
    limit: usize,
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.text.chars();
        for c in characters.by_ref().take(self.limit) {
            escape(c, f)?;
        }
        if characters.next().is_some() {
            f.write_char('\u{2026}')?;
        }
        Ok(())
    }
}

fn escape(c: char, to: &mut impl Write) -> fmt::Result {
    if c.is_control() || reorders(c) {
        write!(to, "{}", c.escape_default())
    } else {
        to.write_char(c)
    }
}

/// Characters that are no control characters to Unicode, but break lines, hide, or turn the direction of what follows.
fn reorders(c: char) -> bool {
    matches!(
        c,
        '\u{61C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_long_texts_cut() {
        assert_eq!(
            name("caf\u{e9} \u{1b}[2J\n\u{202e}").to_string(),
            "caf\u{e9} \\u{1b}[2J\\n\\u{202e}"
        );
        let long = "x".repeat(1 << 20);
        assert_eq!(name(&long).to_string().chars().count(), NAME_CHARACTERS + 1);
        assert_eq!(line(&long).to_string().chars().count(), LINE_CHARACTERS + 1);
        assert!(name(&long).to_string().ends_with('\u{2026}'));
        assert_eq!(
            name(&long[..NAME_CHARACTERS]).to_string(),
            long[..NAME_CHARACTERS]
        );
    }

    #[test]
    fn what_steers_a_terminal_is_escaped_and_nothing_else_changes() {
        assert_eq!(
            whole("a\u{1b}[2Jb\n\t\u{7f}\u{9b}\u{202e}c"),
            "a\\u{1b}[2Jb\\n\\t\\u{7f}\\u{9b}\\u{202e}c"
        );
        assert_eq!(lines("a\u{1b}[2J\n\tb\r"), "a\\u{1b}[2J\n\tb\\r");
        let plain = "café \u{301} \"q\" \\ 猫 \u{1f638} 'x'";
        assert_eq!(whole(plain), plain);
    }

    #[test]
    fn quotations_are_short() {
        assert_eq!(quotation("cat"), "\"cat\"");
        let text = "é".repeat(1_000_000);
        assert_eq!(
            quotation(&text),
            format!("\"{}...\" (2000000 bytes)", "é".repeat(100))
        );
    }

    #[test]
    fn paths_are_shown_in_full() {
        let long = format!("/data/{}/\u{1b}.png", "x".repeat(500));
        assert_eq!(
            path(Path::new(&long)).len(),
            long.len() + "\\u{1b}".len() - 1
        );
    }
}
