//! Text cleaning of openai-clip and open_clip: `ftfy.fix_text`, `html.unescape` twice, white space, case, punctuation.

use serde::{Deserialize, Serialize};

/// What happens to a text before its tokenizer sees it, as the package that owns the checkpoint does it.
///
/// Those of open_clip first repair wrongly decoded and typographic characters (ftfy 6.3.1) and resolve HTML
/// entities twice.
///
/// Known difference: plsfix recognizes about one in a hundred strings of mojibake (text decoded in the wrong encoding)
/// differently from ftfy; the tests name examples. Text that was decoded correctly is not affected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextCleaning {
    /// Nothing: transformers leaves everything to the tokenizer's own pipeline.
    None,
    /// White space becomes single spaces: open_clip around a Hugging Face tokenizer.
    Whitespace,
    /// As `Whitespace`, then lower case: openai-clip, and open_clip with OpenAI's vocabulary.
    Lower,
    /// Underscores become spaces, ASCII punctuation is removed, then as `Lower`: open_clip's `canonicalize`.
    Canonicalize,
    /// Lower case, ASCII punctuation is removed (an underscore too), white space becomes single spaces; nothing is repaired:
    /// transformers' `SiglipTokenizer`.
    Siglip,
    /// Lower case, character by character; nothing is repaired: transformers' `Siglip2Tokenizer`.
    LowerCharacters,
}

impl TextCleaning {
    /// open_clip's name of the cleaning (`tokenizer_kwargs.clean`); `None` has none.
    pub fn open_clip_name(self) -> Option<&'static str> {
        match self {
            Self::None | Self::Siglip | Self::LowerCharacters => None,
            Self::Whitespace => Some("whitespace"),
            Self::Lower => Some("lower"),
            Self::Canonicalize => Some("canonicalize"),
        }
    }

    /// Cleans a text.
    ///
    /// Source: `canonicalize_text` in transformers' `tokenization_siglip.py`; `_clean_whitespace`, `_clean_lower`, `_clean_canonicalize` in open_clip's `tokenizer.py`;
    /// `whitespace_clean(basic_clean(text)).lower()` in openai-clip's `simple_tokenizer.py` is `_clean_lower`.
    pub(super) fn apply(self, text: &str) -> String {
        match self {
            Self::None => text.to_owned(),
            Self::Siglip => siglip(text),
            Self::LowerCharacters => text.chars().flat_map(char::to_lowercase).collect(),
            Self::Whitespace => single_spaces(&repair(text)),
            Self::Lower => single_spaces(&repair(text)).to_lowercase(),
            Self::Canonicalize => {
                let words: String = repair(text)
                    .replace('_', " ")
                    .chars()
                    .filter(|c| !c.is_ascii_punctuation())
                    .collect();
                single_spaces(&words.to_lowercase())
            }
        }
    }
}

/// `SiglipTokenizer.canonicalize_text` behind the mark of a space, which that class puts in front of every text.
///
/// The vocabulary's pipeline puts it there too, so it shows only where it stands alone: in front of white space.
fn siglip(text: &str) -> String {
    const SPACE_MARK: &str = "\u{2581}";
    // Python counts these separators as white space, Unicode does not.
    let is_space = |c: char| c.is_whitespace() || ('\u{1C}'..='\u{1F}').contains(&c);
    let lower = text.replace(SPACE_MARK, " ").to_lowercase();
    let kept: String = lower
        .chars()
        .filter(|c| !c.is_ascii_punctuation())
        .collect();
    let mut words: Vec<&str> = kept
        .split(is_space)
        .filter(|word| !word.is_empty())
        .collect();
    if kept.starts_with(is_space) && !words.is_empty() {
        words.insert(0, SPACE_MARK);
    }
    words.join(" ")
}

/// `basic_clean`, less its white space at both ends, which every cleaning removes later.
fn repair(text: &str) -> String {
    let text = drop_invalid_references(&drop_terminal_escapes(text));
    unescape(&unescape(&fix_text(&text)))
}

fn single_spaces(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ")
}

/// ftfy's `fix_text`.
///
/// ftfy leaves HTML entities alone from the first line that contains `<`, plsfix decodes them everywhere. Their
/// ampersands are therefore hidden behind an ASCII character that the text does not use.
fn fix_text(text: &str) -> String {
    let Some(tag) = text.find('<') else {
        return plsfix::fix_text(text, None);
    };
    let line = text[..tag].rfind('\n').map_or(0, |end| end + 1);
    let (before, after) = text.split_at(line);
    let fixed_after = match ['^', '~', '\\', '@', '#', '%']
        .into_iter()
        .find(|c| !after.contains(*c))
    {
        Some(mask) => {
            let masked = after.replace('&', mask.encode_utf8(&mut [0; 4]));
            plsfix::fix_text(&masked, None).replace(mask, "&")
        }
        None => plsfix::fix_text(after, None),
    };
    plsfix::fix_text(before, None) + &fixed_after
}

/// Removes ANSI color sequences (ESC, `[`, digits and semicolons, a letter), which ftfy removes and plsfix misses.
fn drop_terminal_escapes(text: &str) -> String {
    let mut pieces = text.split("\u{1B}[");
    let mut output = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let tail = piece.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        match tail.strip_prefix(|c: char| c.is_ascii_alphabetic()) {
            Some(after) => output.push_str(after),
            None => {
                output.push_str("\u{1B}[");
                output.push_str(piece);
            }
        }
    }
    output
}

/// Removes numeric references that Python drops, because plsfix would decode them and keep the characters.
fn drop_invalid_references(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("&#") {
        let (before, reference) = rest.split_at(start);
        output.push_str(before);
        rest = match numeric_reference(reference) {
            Some((code, length)) if is_dropped(code) => &reference[length..],
            _ => {
                output.push_str("&#");
                &reference[2..]
            }
        };
    }
    output.push_str(rest);
    output
}

/// Python's `html.unescape`: HTML5's rules, except that it drops references to control characters and noncharacters.
fn unescape(text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    let mut rest = text;
    // A numeric reference ends any named one before it, so the pieces between them are independent.
    while let Some(start) = rest.find("&#") {
        output.push_str(&htmlize::unescape(&rest[..start]));
        let reference = &rest[start..];
        match numeric_reference(reference) {
            Some((code, length)) => {
                if !is_dropped(code) {
                    output.push_str(&htmlize::unescape(&reference[..length]));
                }
                rest = &reference[length..];
            }
            None => {
                output.push_str("&#");
                rest = &reference[2..];
            }
        }
    }
    output.push_str(&htmlize::unescape(rest));
    output
}

/// Code point and length in bytes of the numeric reference that a text beginning with `&#` opens with.
fn numeric_reference(text: &str) -> Option<(u32, usize)> {
    let (prefix, radix) = match text.as_bytes().get(2) {
        Some(b'x' | b'X') => (3, 16),
        _ => (2, 10),
    };
    let digits = text[prefix..]
        .bytes()
        .take_while(|byte| char::from(*byte).is_digit(radix))
        .count();
    if digits == 0 {
        return None;
    }
    let end = prefix + digits;
    // Whatever does not fit into 32 bits is no code point either.
    let code = u32::from_str_radix(&text[prefix..end], radix).unwrap_or(u32::MAX);
    let semicolon = usize::from(text.as_bytes().get(end) == Some(&b';'));
    Some((code, end + semicolon))
}

/// Python's `html._invalid_codepoints`, less those that stand for Windows-1252 characters.
fn is_dropped(code: u32) -> bool {
    matches!(code, 0x1..=0x8 | 0xB | 0xE..=0x1F | 0x7F | 0xFDD0..=0xFDEF)
        || (code <= 0x0010_FFFF && code & 0xFFFE == 0xFFFE)
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn unescape_follows_python_where_it_leaves_html5() {
        for (text, expected) in [
            ("&#1;&#x1F;&#127;&#xFDD0;&#x10FFFF;", ""),
            (
                "&#0;&#xD800;&#x110000;&#99999999999999;",
                "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}",
            ),
            ("&#128;&#150;&#129;&#13;", "\u{20AC}\u{2013}\u{81}\r"),
            ("&#38;amp;", "&amp;"),
            (
                "&notit; &ampersand &unknown; &#; &#x; &",
                "\u{AC}it; &ersand &unknown; &#; &#x; &",
            ),
            ("caf&#233 caf&#xE9x", "caf\u{E9} caf\u{E9}x"),
            ("&am&#112;", "&amp"),
        ] {
            assert_eq!(unescape(text), expected, "{text:?}");
        }
    }
}
