//! SentencePiece vocabularies as `tokenizer.json` holds them: Unigram, or byte-pair encoding with byte fallback.
//!
//! There is no one pipeline around them as there is around CLIP's, so the file's own is used, built of a closed list of parts: those
//! that SentencePiece converters write, none of which can take more than a few times a text's length in time or memory. Padding and
//! truncation of the file are left aside, since the text tower pads and prompts report what does not fit.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::TextError;
use super::byte_pairs::Merge;
use super::tokenizer_json::{AddedToken, Check, TokenizerFile, malformed, pipeline, template};
use crate::budget::JsonBudget;
use crate::quote;

/// Gemma's `tokenizer.json` (256,000 tokens and 580,000 merges) has 34 MB and two million values, XLM-V's (902,000 tokens) up to twice as
/// many bytes and 2.7 million values.
pub(super) const BUDGET: JsonBudget = JsonBudget {
    bytes: 128 << 20,
    values: 1 << 22,
};
/// Tokens that a vocabulary may have, a little more than XLM-V's, and merges, about two of Gemma's.
const MAX_TOKENS: usize = 1 << 20;
const MAX_MERGES: usize = 1 << 20;
/// Tokens beside the vocabulary (Gemma has some 250), and the bytes that a token may have.
const MAX_ADDED_TOKENS: usize = 4_096;
const MAX_TOKEN_BYTES: usize = 1_024;
/// Depth and length of a sequence of parts.
const MAX_DEPTH: usize = 4;
const MAX_PARTS: usize = 16;
/// A replacement rule's text; what a rule of a character map may make of one character (the longest of Unicode's has 33 bytes).
const MAX_REPLACEMENT_BYTES: usize = 8;
const MAX_MAPPED_BYTES: usize = 256;
/// A character map in base64; NMT's has 316 kB.
const MAX_MAP_BYTES: usize = 4 << 20;
/// White space as SentencePiece writes it.
const SPACE_MARK: &str = "\u{2581}";
const EXPECTED: &str = "tokenizer of the SentencePiece kind";

/// A pipeline whose parts were checked: all that its token ids depend on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SentencePiece {
    normalizer: Value,
    pre_tokenizer: Value,
    model: Value,
    added: Vec<AddedToken>,
    /// The token in front of a text, if any.
    pub start: Option<u32>,
    /// The token behind it.
    pub end: u32,
}

impl SentencePiece {
    /// Parses a `tokenizer.json` within the budget; `path` is for messages.
    pub(super) fn parse(json: &[u8], path: &Path) -> Result<Self, TextError> {
        let check = Check {
            path,
            expected: EXPECTED,
            max_tokens: MAX_TOKENS,
            max_added_tokens: MAX_ADDED_TOKENS,
            max_token_bytes: MAX_TOKEN_BYTES,
        };
        let file = TokenizerFile::parse(json, BUDGET, &check)?;
        let added = check.parse_added(file.added_tokens)?;
        check_normalizer(&check, &file.normalizer, 0)?;
        check_pre_tokenizer(&check, &file.pre_tokenizer, 0)?;
        check_model(&check, &file.model)?;
        check.added(&added)?;
        let mut content = Self {
            normalizer: file.normalizer,
            pre_tokenizer: file.pre_tokenizer,
            model: file.model,
            added,
            start: None,
            end: 0,
        };
        (content.start, content.end) = template(&file.post_processor, |token| content.id(token))
            .ok_or_else(|| check.unsupported("post_processor", &file.post_processor))?;
        Ok(content)
    }

    /// The id of a token that is written out.
    pub(super) fn id(&self, token: &str) -> Option<u32> {
        let position = match &self.model["vocab"] {
            Value::Object(vocab) => vocab.get(token).and_then(Value::as_u64),
            Value::Array(pieces) => {
                let found = pieces.iter().position(|piece| piece[0] == token);
                found.map(|position| position as u64)
            }
            _ => None,
        };
        position
            .and_then(|id| u32::try_from(id).ok())
            .or(AddedToken::id_of(token, &self.added))
    }

    /// The pipeline for the `tokenizers` library.
    pub(super) fn pipeline(&self) -> Value {
        pipeline(
            &self.added,
            &self.normalizer,
            &self.pre_tokenizer,
            &self.model,
        )
    }

    /// All that token ids depend on, as one JSON value.
    pub(super) fn canonical(&self) -> Value {
        json!({
            "normalizer": self.normalizer,
            "pre_tokenizer": self.pre_tokenizer,
            "model": self.model,
            "added": self.added,
            "start": self.start,
            "end": self.end,
        })
    }
}

/// The parts of a sequence, few and not deep.
fn parts<'v>(
    check: &Check<'_>,
    value: &'v Value,
    list: &str,
    depth: usize,
) -> Result<&'v [Value], TextError> {
    match value[list].as_array() {
        Some(parts) if parts.len() <= MAX_PARTS && depth < MAX_DEPTH => Ok(parts),
        _ => Err(check.unsupported(list, value)),
    }
}

fn check_normalizer(check: &Check<'_>, value: &Value, depth: usize) -> Result<(), TextError> {
    let known = match value["type"].as_str() {
        None => value.is_null(),
        Some("Sequence") => {
            let parts = parts(check, value, "normalizers", depth)?;
            return parts
                .iter()
                .try_for_each(|part| check_normalizer(check, part, depth + 1));
        }
        Some("Lowercase" | "NFC" | "NFD" | "NFKC" | "NFKD" | "Strip") => true,
        Some("Prepend") => value["prepend"] == SPACE_MARK,
        Some("Precompiled") => return check_character_map(check, &value["precompiled_charsmap"]),
        Some("Replace") => {
            let is_short =
                |value: &Value| value.as_str().map(str::len) <= Some(MAX_REPLACEMENT_BYTES);
            let pattern = match (
                value["pattern"]["String"].as_str(),
                &value["pattern"]["Regex"],
            ) {
                (Some(text), Value::Null) => {
                    !text.is_empty() && text.len() <= MAX_REPLACEMENT_BYTES
                }
                (None, Value::String(pattern)) => is_plain_pattern(pattern),
                _ => false,
            };
            pattern && value["content"].is_string() && is_short(&value["content"])
        }
        Some(_) => false,
    };
    known
        .then_some(())
        .ok_or_else(|| check.unsupported("normalizer", value))
}

/// SentencePiece's character map: `[length of the trie, trie, replacements that each end with zero]`.
fn check_character_map(check: &Check<'_>, value: &Value) -> Result<(), TextError> {
    const MAP: &str = "character map (`precompiled_charsmap`)";
    let text = value.as_str().unwrap_or_default();
    if text.len() > MAX_MAP_BYTES {
        return Err(check.too_large(format!("{MAX_MAP_BYTES} bytes of {MAP}")));
    }
    let replacements = STANDARD.decode(text).ok().and_then(|bytes| {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let trie = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        Some(rest.get(trie..)?.to_vec())
    });
    let Some(replacements) = replacements else {
        return Err(malformed(check.path, MAP, "bytes that end too early"));
    };
    let longest = replacements.split(|byte| *byte == 0).map(<[u8]>::len).max();
    if longest > Some(MAX_MAPPED_BYTES) {
        let limit = format!("{MAX_MAPPED_BYTES} bytes in a replacement of its {MAP}");
        return Err(check.too_large(limit));
    }
    Ok(())
}

fn check_pre_tokenizer(check: &Check<'_>, value: &Value, depth: usize) -> Result<(), TextError> {
    let known = match value["type"].as_str() {
        None => value.is_null(),
        Some("Sequence") => {
            let parts = parts(check, value, "pretokenizers", depth)?;
            return parts
                .iter()
                .try_for_each(|part| check_pre_tokenizer(check, part, depth + 1));
        }
        Some("WhitespaceSplit") => true,
        Some("Metaspace") => value["replacement"] == SPACE_MARK,
        Some("Split") => value["pattern"]["String"] == " " && value["pattern"]["Regex"].is_null(),
        Some(_) => false,
    };
    known
        .then_some(())
        .ok_or_else(|| check.unsupported("pre_tokenizer", value))
}

fn check_model(check: &Check<'_>, value: &Value) -> Result<(), TextError> {
    match value["type"].as_str() {
        Some("Unigram") => {
            check_keys(check, value, &["type", "vocab", "unk_id", "byte_fallback"])?;
            check_unigram(check, value)
        }
        Some("BPE") => {
            let off = |key: &str| {
                let value = &value[key];
                value.is_null() || value == "" || value == 0.0
            };
            for key in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
                if !off(key) {
                    return Err(check.unsupported(&format!("model.{key}"), &value[key]));
                }
            }
            check_keys(
                check,
                value,
                &[
                    "type",
                    "vocab",
                    "merges",
                    "unk_token",
                    "fuse_unk",
                    "byte_fallback",
                    "ignore_merges",
                    "dropout",
                    "continuing_subword_prefix",
                    "end_of_word_suffix",
                ],
            )?;
            check_byte_pairs(check, value)
        }
        _ => Err(check.unsupported("model.type", &value["type"])),
    }
}

/// Refuses settings that are not known.
fn check_keys(check: &Check<'_>, model: &Value, known: &[&str]) -> Result<(), TextError> {
    let mut entries = model.as_object().into_iter().flatten();
    match entries.find(|(key, value)| !value.is_null() && !known.contains(&key.as_str())) {
        Some((key, value)) => Err(check.unsupported(&format!("model.{}", quote::name(key)), value)),
        None => Ok(()),
    }
}

fn check_unigram(check: &Check<'_>, model: &Value) -> Result<(), TextError> {
    let Some(pieces) = model["vocab"].as_array() else {
        return Err(check.malformed("no list `model.vocab`"));
    };
    check_token_count(check, pieces.len())?;
    for piece in pieces {
        let usable = match piece.as_array().map(Vec::as_slice) {
            Some([Value::String(text), Value::Number(score)]) => {
                (1..=MAX_TOKEN_BYTES).contains(&text.len())
                    && score.as_f64().is_some_and(f64::is_finite)
            }
            _ => false,
        };
        if !usable {
            let found = format!(
                "the piece {} in `model.vocab`",
                quote::name(&piece.to_string())
            );
            return Err(check.malformed(&found));
        }
    }
    let unknown = &model["unk_id"];
    let in_range = unknown.as_u64().is_some_and(|id| id < pieces.len() as u64);
    if unknown.is_null() || in_range {
        return Ok(());
    }
    Err(check.unsupported("model.unk_id", unknown))
}

fn check_byte_pairs(check: &Check<'_>, model: &Value) -> Result<(), TextError> {
    let vocabulary = check.parse_vocabulary(&model["vocab"])?;
    check_token_count(check, vocabulary.len())?;
    check.vocabulary(&vocabulary)?;
    let merges = Vec::<Merge>::deserialize(&model["merges"])
        .map_err(|error| check.malformed(&error.to_string()))?;
    if merges.len() > MAX_MERGES {
        return Err(check.too_large(format!("{MAX_MERGES} merges")));
    }
    Ok(())
}

fn check_token_count(check: &Check<'_>, tokens: usize) -> Result<(), TextError> {
    match tokens {
        0 => Err(check.malformed("an empty vocabulary")),
        1..=MAX_TOKENS => Ok(()),
        _ => Err(check.too_large(format!("{MAX_TOKENS} tokens"))),
    }
}

/// Patterns that cannot backtrack: runs of white space, or one character of a class of ASCII punctuation.
fn is_plain_pattern(pattern: &str) -> bool {
    if [r"\s+", r"\s{2,}", " {2,}", " +"].contains(&pattern) {
        return true;
    }
    let Some(class) = pattern
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    else {
        return false;
    };
    let mut characters = class.chars();
    let mut count = 0;
    while let Some(character) = characters.next() {
        let literal = match character {
            '\\' => characters.next(),
            // These mean something else where they are not escaped.
            '^' | '[' | ']' | '-' | '&' | '~' => match (character, count) {
                ('&' | '~', _) => Some(character),
                ('^', 1..) => Some(character),
                _ => None,
            },
            other => Some(other),
        };
        if !literal.is_some_and(|literal| literal.is_ascii_punctuation()) {
            return false;
        }
        count += 1;
    }
    count > 0
}

#[cfg(test)]
mod tests {
    use super::is_plain_pattern;

    #[test]
    fn only_patterns_that_cannot_backtrack_pass() {
        for pattern in [
            r"\s+",
            " {2,}",
            r##"[!"\#\$%\&'\(\)\*\+,\-\./:;<=>\?@\[\\\]\^_`\{\|\}\~]"##,
            r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]\^_`{|}~]"##,
        ] {
            assert!(is_plain_pattern(pattern), "{pattern}");
        }
        for pattern in [
            "(a+)+$", "[^a]", "[a-z]", "[!]+", "[]", "[", r"[\s]", "[!--]", r"[\]", "(?i)a",
        ] {
            assert!(!is_plain_pattern(pattern), "{pattern}");
        }
    }
}
