//! Text in other languages: one function for Markdown, one for LaTeX. HTML is escaped by its template engine.

use super::names::is_invisible;

/// A text as Markdown shows it: on one line, without effect on what stands around it.
///
/// Backticks stay: the notes of tables set names in them, and names are checked before.
pub fn markdown_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let next = characters.peek().copied();
        match character {
            // A bracket is only a link's where an address follows.
            ']' if matches!(next, Some('(' | '[' | ':')) => escaped.push_str("\\]"),
            '\\' | '|' | '*' | '_' | '<' | '>' | '#' | '~' => escaped.extend(['\\', character]),
            '&' if next.is_some_and(|next| next == '#' || next.is_ascii_alphanumeric()) => {
                escaped.push_str("\\&");
            }
            other => escaped.push(plain(other)),
        }
    }
    escaped
}

/// A text as LaTeX prints it, in a caption, in a cell or behind the `%` of a remark.
pub fn latex_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', character]),
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '<' => escaped.push_str("\\textless{}"),
            '>' => escaped.push_str("\\textgreater{}"),
            '|' => escaped.push_str("\\textbar{}"),
            '"' => escaped.push_str("\\textquotedbl{}"),
            // Behind a line break `\\` these would be its arguments.
            '[' | ']' | '*' => escaped.extend(['{', character, '}']),
            '±' => escaped.push_str("$\\pm$"),
            '−' => escaped.push_str("$-$"),
            '†' => escaped.push_str("$^\\dagger$"),
            '×' => escaped.push_str("$\\times$"),
            other => escaped.push(plain(other)),
        }
    }
    escaped
}

/// A space in place of what ends a line, controls a terminal or turns the direction of writing.
fn plain(character: char) -> char {
    match character.is_control() || is_invisible(character) {
        true => ' ',
        false => character,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_leaves_its_place() {
        let hostile = "a\n\\input{/etc/passwd} | <b>*x*</b> [l](u) &lt; # ~ \u{1b}[31m\u{202e}";
        assert_eq!(
            markdown_text(hostile),
            "a \\\\input{/etc/passwd} \\| \\<b\\>\\*x\\*\\</b\\> [l\\](u) \\&lt; \\# \\~  [31m "
        );
        assert_eq!(
            latex_text("t\n\\input{x} 5 % of $^~_#&|<>\"[*]"),
            "t \\textbackslash{}input\\{x\\} 5 \\% of \\$\\textasciicircum{}\\textasciitilde{}\\_\\#\\&\\textbar{}\\textless{}\
             \\textgreater{}\\textquotedbl{}{[}{*}{]}"
        );
    }

    #[test]
    fn numbers_and_intervals_stay_readable() {
        let text = "62.6 ± 0.6 †, +1.3 [−2.1, 0.0]";
        assert_eq!(markdown_text(text), text);
        assert_eq!(
            latex_text(text),
            "62.6 $\\pm$ 0.6 $^\\dagger$, +1.3 {[}$-$2.1, 0.0{]}"
        );
    }
}
