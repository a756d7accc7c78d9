//! SentencePiece vocabularies as `tokenizer.json` holds them: Unigram, or byte-pair encoding with byte fallback.
//!
//! There is no one pipeline around them as there is around CLIP's, so the file's own is used, built of a closed list of parts: those
//! that SentencePiece converters write, none of which can take more than a few times a text's length in time or memory. Padding and
//! truncation of the file are left aside, since the text tower pads and prompts report what does not fit.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::TextError;
use super::content::{AddedToken, Merge, at, malformed, too_large};
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
        let mut file: Map<String, Value> = BUDGET
            .parse(json)
            .map_err(|error| at(path, EXPECTED, error))?;
        let check = Check { path };
        let mut part = |key: &str| file.remove(key).unwrap_or(Value::Null);
        let (normalizer, pre_tokenizer) = (part("normalizer"), part("pre_tokenizer"));
        let (model, around) = (part("model"), part("post_processor"));
        let added = match part("added_tokens") {
            Value::Null => Vec::new(),
            tokens => serde_json::from_value(tokens)
                .map_err(|error| malformed(path, EXPECTED, &error.to_string()))?,
        };
        check.normalizer(&normalizer, 0)?;
        check.pre_tokenizer(&pre_tokenizer, 0)?;
        check.model(&model)?;
        check.added(&added)?;
        let mut content = Self {
            normalizer,
            pre_tokenizer,
            model,
            added,
            start: None,
            end: 0,
        };
        (content.start, content.end) = template(&around, |token| content.id(token))
            .ok_or_else(|| check.unsupported("post_processor", &around))?;
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
        let added = self.added.iter().find(|added| added.content == token);
        position
            .and_then(|id| u32::try_from(id).ok())
            .or(added.map(|added| added.id))
    }

    /// The pipeline for the `tokenizers` library, without truncation, padding or tokens around the text.
    pub(super) fn pipeline(&self) -> Value {
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": self.added,
            "normalizer": self.normalizer,
            "pre_tokenizer": self.pre_tokenizer,
            "post_processor": null,
            "decoder": null,
            "model": self.model,
        })
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

/// Checks of one file.
struct Check<'a> {
    path: &'a Path,
}

impl Check<'_> {
    fn unsupported(&self, key: &str, value: &Value) -> TextError {
        let value = value.to_string();
        TextError::Unsupported {
            path: self.path.to_owned(),
            feature: format!("`{key}`: {}", quote::name(&value)),
        }
    }

    /// The parts of a sequence, few and not deep.
    fn parts<'v>(
        &self,
        value: &'v Value,
        list: &str,
        depth: usize,
    ) -> Result<&'v [Value], TextError> {
        match value[list].as_array() {
            Some(parts) if parts.len() <= MAX_PARTS && depth < MAX_DEPTH => Ok(parts),
            _ => Err(self.unsupported(list, value)),
        }
    }

    fn normalizer(&self, value: &Value, depth: usize) -> Result<(), TextError> {
        let known = match value["type"].as_str() {
            None => value.is_null(),
            Some("Sequence") => {
                let parts = self.parts(value, "normalizers", depth)?;
                return parts
                    .iter()
                    .try_for_each(|part| self.normalizer(part, depth + 1));
            }
            Some("Lowercase" | "NFC" | "NFD" | "NFKC" | "NFKD" | "Strip") => true,
            Some("Prepend") => value["prepend"] == SPACE_MARK,
            Some("Precompiled") => return self.character_map(&value["precompiled_charsmap"]),
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
            .ok_or_else(|| self.unsupported("normalizer", value))
    }

    /// SentencePiece's character map: `[length of the trie, trie, replacements that each end with zero]`.
    fn character_map(&self, value: &Value) -> Result<(), TextError> {
        const MAP: &str = "character map (`precompiled_charsmap`)";
        let text = value.as_str().unwrap_or_default();
        if text.len() > MAX_MAP_BYTES {
            return Err(too_large(
                self.path,
                format!("{MAX_MAP_BYTES} bytes of {MAP}"),
            ));
        }
        let replacements = STANDARD.decode(text).ok().and_then(|bytes| {
            let (length, rest) = bytes.split_first_chunk::<4>()?;
            let trie = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            Some(rest.get(trie..)?.to_vec())
        });
        let Some(replacements) = replacements else {
            return Err(malformed(self.path, MAP, "bytes that end too early"));
        };
        let longest = replacements.split(|byte| *byte == 0).map(<[u8]>::len).max();
        if longest > Some(MAX_MAPPED_BYTES) {
            let limit = format!("{MAX_MAPPED_BYTES} bytes in a replacement of its {MAP}");
            return Err(too_large(self.path, limit));
        }
        Ok(())
    }

    fn pre_tokenizer(&self, value: &Value, depth: usize) -> Result<(), TextError> {
        let known = match value["type"].as_str() {
            None => value.is_null(),
            Some("Sequence") => {
                let parts = self.parts(value, "pretokenizers", depth)?;
                return parts
                    .iter()
                    .try_for_each(|part| self.pre_tokenizer(part, depth + 1));
            }
            Some("WhitespaceSplit") => true,
            Some("Metaspace") => value["replacement"] == SPACE_MARK,
            Some("Split") => {
                value["pattern"]["String"] == " " && value["pattern"]["Regex"].is_null()
            }
            Some(_) => false,
        };
        known
            .then_some(())
            .ok_or_else(|| self.unsupported("pre_tokenizer", value))
    }

    fn model(&self, value: &Value) -> Result<(), TextError> {
        match value["type"].as_str() {
            Some("Unigram") => {
                self.keys(value, &["type", "vocab", "unk_id", "byte_fallback"])?;
                self.unigram(value)
            }
            Some("BPE") => {
                let off = |key: &str| {
                    let value = &value[key];
                    value.is_null() || value == "" || value == 0.0
                };
                for key in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
                    if !off(key) {
                        return Err(self.unsupported(&format!("model.{key}"), &value[key]));
                    }
                }
                self.keys(
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
                self.byte_pairs(value)
            }
            _ => Err(self.unsupported("model.type", &value["type"])),
        }
    }

    /// Refuses settings that are not known.
    fn keys(&self, model: &Value, known: &[&str]) -> Result<(), TextError> {
        let mut entries = model.as_object().into_iter().flatten();
        match entries.find(|(key, value)| !value.is_null() && !known.contains(&key.as_str())) {
            Some((key, value)) => {
                Err(self.unsupported(&format!("model.{}", quote::name(key)), value))
            }
            None => Ok(()),
        }
    }

    fn unigram(&self, model: &Value) -> Result<(), TextError> {
        let Some(pieces) = model["vocab"].as_array() else {
            return Err(malformed(self.path, EXPECTED, "no list `model.vocab`"));
        };
        self.token_count(pieces.len())?;
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
                return Err(malformed(self.path, EXPECTED, &found));
            }
        }
        let unknown = &model["unk_id"];
        let in_range = unknown.as_u64().is_some_and(|id| id < pieces.len() as u64);
        if unknown.is_null() || in_range {
            return Ok(());
        }
        Err(self.unsupported("model.unk_id", unknown))
    }

    fn byte_pairs(&self, model: &Value) -> Result<(), TextError> {
        let parsed = |error: serde_json::Error| malformed(self.path, EXPECTED, &error.to_string());
        let vocab = BTreeMap::<String, u32>::deserialize(&model["vocab"]).map_err(parsed)?;
        self.token_count(vocab.len())?;
        if let Some((token, id)) = vocab
            .iter()
            .find(|(token, id)| token.len() > MAX_TOKEN_BYTES || **id as usize >= 2 * MAX_TOKENS)
        {
            let found = format!("the id {id} of \"{}\"", quote::name(token));
            return Err(malformed(self.path, "vocabulary", &found));
        }
        let merges = Vec::<Merge>::deserialize(&model["merges"]).map_err(parsed)?;
        if merges.len() > MAX_MERGES {
            return Err(too_large(self.path, format!("{MAX_MERGES} merges")));
        }
        Ok(())
    }

    fn token_count(&self, tokens: usize) -> Result<(), TextError> {
        match tokens {
            0 => Err(malformed(self.path, EXPECTED, "an empty vocabulary")),
            1..=MAX_TOKENS => Ok(()),
            _ => Err(too_large(self.path, format!("{MAX_TOKENS} tokens"))),
        }
    }

    fn added(&self, added: &[AddedToken]) -> Result<(), TextError> {
        if added.len() > MAX_ADDED_TOKENS {
            let limit = format!("{MAX_ADDED_TOKENS} tokens in `added_tokens`");
            return Err(too_large(self.path, limit));
        }
        let unusable = added.iter().find(|token| {
            !(1..=MAX_TOKEN_BYTES).contains(&token.content.len())
                || token.id as usize >= 2 * MAX_TOKENS
        });
        match unusable {
            Some(token) => {
                let content = quote::name(&token.content);
                let found = format!("`added_tokens` with \"{content}\" as {}", token.id);
                Err(malformed(self.path, EXPECTED, &found))
            }
            None => Ok(()),
        }
    }
}

/// The ids of the tokens in front of a text and behind it, `[start] text end`; `None` of anything else.
pub(super) fn template(
    value: &Value,
    id_of: impl Fn(&str) -> Option<u32>,
) -> Option<(Option<u32>, u32)> {
    let is_text = |item: &Value| item["Sequence"]["id"] == "A";
    let token = |item: &Value| {
        let name = item["SpecialToken"]["id"].as_str()?;
        let id = id_of(name)?;
        // The template's own list of ids must say the same.
        let ids = &value["special_tokens"][name]["ids"];
        (*ids == json!([id])).then_some(id)
    };
    if value["type"] != "TemplateProcessing" {
        return None;
    }
    match value["single"].as_array()?.as_slice() {
        [text, end] if is_text(text) => Some((None, token(end)?)),
        [start, text, end] if is_text(text) => Some((Some(token(start)?), token(end)?)),
        _ => None,
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
