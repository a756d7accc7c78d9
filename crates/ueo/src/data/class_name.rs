//! When two spellings are the same class, and which class is nearest to a spelling that is none.

use unicode_normalization::UnicodeNormalization as _;

/// Longest name that is compared letter by letter, in characters.
const COMPARED_CHARS: usize = 64;

/// A name without what spellings differ in: Unicode's form (NFC), case, and which of white space, underscores and
/// hyphens separates its words.
pub(crate) fn fold(name: &str) -> String {
    let lower = name.nfc().collect::<String>().to_lowercase();
    let lower: String = lower.nfc().collect();
    let words: Vec<&str> = lower
        .split(is_separator)
        .filter(|word| !word.is_empty())
        .collect();
    // A name of separators alone stays what it is.
    if words.is_empty() {
        lower
    } else {
        words.join(" ")
    }
}

/// A folded name without its separators: `AnnualCrop` and `annual crop` agree in it.
pub(super) fn joined(folded: &str) -> String {
    folded.replace(' ', "")
}

fn is_separator(char: char) -> bool {
    char.is_whitespace() || matches!(char, '_' | '-' | '\u{2010}' | '\u{2011}')
}

/// The index of the folded name that is nearest to a folded one, when a slip of the keyboard explains the difference: at
/// most a third of the letters changed.
pub(super) fn nearest(folded: &str, names: &[String]) -> Option<usize> {
    let length = folded.chars().count();
    if length > COMPARED_CHARS {
        return None;
    }
    let allowed = (length / 3).max(1);
    let near = |name: &String| {
        let difference = name.chars().count().abs_diff(length);
        (difference <= allowed).then(|| strsim::osa_distance(folded, name))
    };
    names
        .iter()
        .enumerate()
        .filter_map(|(index, name)| Some((near(name)?, index)))
        .filter(|&(distance, _)| distance <= allowed && distance < length)
        .min()
        .map(|(_, index)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_are_one() {
        for spelling in [
            "ice cream",
            "Ice_Cream",
            " ICE-cream ",
            "ice  cream",
            "_ice_cream",
        ] {
            assert_eq!(fold(spelling), "ice cream", "{spelling}");
        }
        assert_eq!(fold("cafe\u{301}"), fold("CAF\u{c9}"));
        assert_ne!(fold("cafe"), fold("café"));
        assert_ne!(fold("-"), fold("_"));
    }

    #[test]
    fn the_nearest_name_is_a_slip_away() {
        let names: Vec<String> = ["airplane", "alarm clock", "cat"].map(str::to_owned).into();
        assert_eq!(nearest("airplanes", &names), Some(0));
        assert_eq!(nearest("aeroplane", &names), Some(0));
        assert_eq!(nearest("alram clock", &names), Some(1));
        assert_eq!(nearest("phone", &names), None);
        assert_eq!(nearest("x", &names), None);
        assert_eq!(nearest(&"x".repeat(1000), &names), None);
    }
}
