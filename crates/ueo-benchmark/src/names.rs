//! Names that become folders: of suites, domains and variants. They come from files that others may have written.

/// Longest name, in bytes: every file system has room for it.
pub const LONGEST_NAME: usize = 100;

/// Whether a name can be a folder's, below the folder that it is put in and nowhere else; if not, what was expected.
pub fn check_name(what: &str, name: &str) -> Result<(), String> {
    let refused = |expected: &str| {
        let shown: String = name.chars().take(LONGEST_NAME).collect();
        Err(format!("expected a {what} {expected}, found {shown:?}"))
    };
    if name.is_empty() || name.len() > LONGEST_NAME {
        return refused("of 1 to 100 bytes");
    }
    if name
        .chars()
        .any(|character| character.is_control() || is_invisible(character))
    {
        return refused("without control characters and line breaks");
    }
    if name.contains(['/', '\\', ':']) || name.starts_with('.') {
        return refused("that can be a folder: without / \\ : and without a leading dot");
    }
    if name.trim() != name {
        return refused("without spaces at its ends");
    }
    Ok(())
}

/// Characters that change how the text around them is read and show nothing themselves.
pub fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_where_they_are_put() {
        for name in ["a", "Real World", "x<b>&\"", "Köln", "v1.0", "a..b"] {
            assert_eq!(check_name("name", name), Ok(()), "{name}");
        }
        let long = "a".repeat(101);
        for name in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "a\\b",
            "C:x",
            "a\nb",
            " a",
            "a\u{202e}b",
            &long,
        ] {
            let error = check_name("name", name).unwrap_err();
            assert!(error.starts_with("expected a name "), "{error}");
            assert!(
                !error.contains(['\n', '\u{202e}']) && error.len() < 250,
                "{error}"
            );
        }
    }
}
