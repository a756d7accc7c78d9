//! Byte-pair vocabularies of Hugging Face's files, checked against CLIP's own pipeline.
//!
//! transformers builds one and the same pipeline around every CLIP vocabulary (`CLIPTokenizer`): byte-pair encoding after
//! NFC, single spaces, lower case and CLIP's word splitting. Files that ask for anything else are refused by name, so
//! nothing in them chooses the code that runs on texts.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde_json::{Map, Value, json};

use super::TextError;
use super::content::BUDGET;
use super::tokenizer::{END_OF_TEXT, START_OF_TEXT};
use super::tokenizer_json::{AddedToken, Check, TokenizerFile, at, malformed, too_large};
use crate::quote;

/// Tokens that a vocabulary may have: five of CLIP's.
const MAX_TOKENS: usize = 1 << 18;
/// Tokens beside the vocabulary (CLIP has its two markers), and the bytes that one may have.
const MAX_ADDED_TOKENS: usize = 1_000;
const MAX_ADDED_BYTES: usize = 256;

/// CLIP's word splitting as transformers writes it now, and as its converter wrote it before.
pub(super) const WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
const FORMER_WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
/// What ends a word's last piece.
pub(super) const END_OF_WORD: &str = "</w>";

/// A vocabulary with its merges.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct BytePairs {
    pub vocab: BTreeMap<String, u32>,
    pub merges: Vec<(String, String)>,
    /// What stands for characters that the vocabulary cannot spell.
    pub unknown: Option<String>,
    pub added: Vec<AddedToken>,
}

impl BytePairs {
    pub(super) fn id(&self, token: &str) -> Option<u32> {
        let known = self.vocab.get(token).copied();
        known.or(AddedToken::id_of(token, &self.added))
    }

    /// Reads a `tokenizer.json`, all of whose parts that change token ids must be CLIP's.
    pub(super) fn from_tokenizer_json(json: &[u8], path: &Path) -> Result<Self, TextError> {
        let check = check(path);
        let file = TokenizerFile::parse(json, BUDGET, &check)?;
        check_equal(&check, "normalizer", &file.normalizer, &[normalizer()])?;
        let accepted = pre_tokenizers();
        check_equal(&check, "pre_tokenizer", &file.pre_tokenizer, &accepted)?;
        check_post_processor(&check, &file.post_processor)?;
        let Value::Object(model) = file.model else {
            return Err(check.malformed("no object `model`"));
        };
        check_model(&check, &model)?;
        let model: Model = serde_json::from_value(Value::Object(model))
            .map_err(|error| check.malformed(&error.to_string()))?;
        let added = check.parse_added(file.added_tokens)?;
        let pairs = Self {
            vocab: model.vocab,
            merges: model
                .merges
                .into_iter()
                .map(|merge| (merge.0, merge.1))
                .collect(),
            unknown: model.unk_token,
            added,
        };
        check_tokens(&check, &pairs)?;
        Ok(pairs)
    }

    /// Reads the older pair of files, around which transformers puts CLIP's pipeline.
    pub(super) fn from_vocab_and_merges(
        (vocab, vocab_path): (&[u8], &Path),
        (merges, merges_path): (&[u8], &Path),
    ) -> Result<Self, TextError> {
        let vocab: BTreeMap<String, u32> = BUDGET
            .parse(vocab)
            .map_err(|error| at(vocab_path, "vocab.json (an object of token to id)", error))?;
        let text = std::str::from_utf8(merges)
            .map_err(|error| malformed(merges_path, "merges.txt", &error.to_string()))?;
        let mut pairs = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with("#version") {
                continue;
            }
            let mut pieces = line.split(' ');
            match (pieces.next(), pieces.next(), pieces.next()) {
                (Some(left), Some(right), None) => pairs.push((left.to_owned(), right.to_owned())),
                _ => {
                    let line = quote::name(line);
                    let found = format!("line {} is \"{line}\", not two pieces", index + 1);
                    return Err(malformed(merges_path, "merges.txt", &found));
                }
            }
            if pairs.len() > MAX_TOKENS {
                return Err(too_large(merges_path, format!("{MAX_TOKENS} merges")));
            }
        }
        let added = [START_OF_TEXT, END_OF_TEXT]
            .iter()
            .filter_map(|&token| Some(AddedToken::special(token, *vocab.get(token)?)))
            .collect();
        let pairs = Self {
            vocab,
            merges: pairs,
            unknown: Some(END_OF_TEXT.to_owned()),
            added,
        };
        check_tokens(&check(vocab_path), &pairs)?;
        Ok(pairs)
    }
}

/// Checks of a file.
fn check(path: &Path) -> Check<'_> {
    Check {
        path,
        expected: "tokenizer of the Hugging Face kind",
        max_tokens: MAX_TOKENS,
        max_added_tokens: MAX_ADDED_TOKENS,
        max_token_bytes: MAX_ADDED_BYTES,
    }
}

/// A part that must be one of those given, keys that hold the library's defaults left aside.
fn check_equal(
    check: &Check<'_>,
    key: &str,
    found: &Value,
    accepted: &[Value],
) -> Result<(), TextError> {
    if accepted.contains(&without_defaults(found)) {
        return Ok(());
    }
    Err(check.unsupported(key, found))
}

/// What stands around a text must be CLIP's two markers; nothing at all is what vocabularies without a pipeline have.
fn check_post_processor(check: &Check<'_>, found: &Value) -> Result<(), TextError> {
    let token = |value: &Value, expected: &str| value.as_str() == Some(expected);
    let is_clip = match found["type"].as_str() {
        None => found.is_null(),
        Some("RobertaProcessing") => {
            token(&found["cls"][0], START_OF_TEXT) && token(&found["sep"][0], END_OF_TEXT)
        }
        Some("TemplateProcessing") => match found["single"].as_array().map(Vec::as_slice) {
            Some([start, text, end]) => {
                token(&start["SpecialToken"]["id"], START_OF_TEXT)
                    && token(&text["Sequence"]["id"], "A")
                    && token(&end["SpecialToken"]["id"], END_OF_TEXT)
            }
            _ => false,
        },
        Some(_) => false,
    };
    if is_clip {
        Ok(())
    } else {
        Err(check.unsupported("post_processor", found))
    }
}

/// The model's settings; files of the first releases do not name its type.
fn check_model(check: &Check<'_>, model: &Map<String, Value>) -> Result<(), TextError> {
    for (key, value) in model {
        let accepted = match (key.as_str(), value) {
            ("vocab" | "merges" | "unk_token", _) => true,
            ("type", value) => value == "BPE",
            ("end_of_word_suffix", value) => value == END_OF_WORD,
            ("dropout", value) => value.is_null() || value.as_f64() == Some(0.0),
            ("continuing_subword_prefix", value) => value.is_null() || value == "",
            ("fuse_unk" | "byte_fallback" | "ignore_merges", value) => value == false,
            (_, value) => value.is_null(),
        };
        if !accepted {
            return Err(check.unsupported(&format!("model.{}", quote::name(key)), value));
        }
    }
    if model.contains_key("end_of_word_suffix") {
        return Ok(());
    }
    Err(check.unsupported("model.end_of_word_suffix", &Value::Null))
}

/// Numbers and lengths of tokens, and one id for each.
fn check_tokens(check: &Check<'_>, pairs: &BytePairs) -> Result<(), TextError> {
    let (tokens, merges) = (pairs.vocab.len(), pairs.merges.len());
    if tokens > MAX_TOKENS || merges > MAX_TOKENS {
        return Err(check.too_large(format!("{MAX_TOKENS} tokens or merges")));
    }
    check.added_count(&pairs.added)?;
    let largest = 2 * MAX_TOKENS as u32;
    if let Some((token, id)) = pairs.vocab.iter().find(|(_, id)| **id >= largest) {
        let found = format!("the id {id} of \"{}\"", quote::name(token));
        return Err(malformed(check.path, "vocabulary", &found));
    }
    for added in &pairs.added {
        let expected = pairs.vocab.get(&added.content).copied().unwrap_or(added.id);
        let content = &added.content;
        if content.is_empty() || !check.is_usable(content, added.id) || expected != added.id {
            let found = format!(
                "`added_tokens` with \"{}\" as {} (in `model.vocab`: {expected})",
                quote::name(content),
                added.id
            );
            return Err(check.malformed(&found));
        }
    }
    Ok(())
}

/// The model of a `tokenizer.json`, its settings aside.
#[derive(Deserialize)]
struct Model {
    vocab: BTreeMap<String, u32>,
    merges: Vec<Merge>,
    unk_token: Option<String>,
}

/// A merge, as `["a", "b"]` or, in older files, as `"a b"`.
pub(super) struct Merge(String, String);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = Merge;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("two pieces")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Merge, E> {
                match text.split_once(' ') {
                    Some((left, right)) if !right.contains(' ') => {
                        Ok(Merge(left.to_owned(), right.to_owned()))
                    }
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Merge, A::Error> {
                let missing = |n| de::Error::invalid_length(n, &Pair);
                let left = items.next_element()?.ok_or_else(|| missing(0))?;
                let right = items.next_element()?.ok_or_else(|| missing(1))?;
                match items.next_element::<de::IgnoredAny>()? {
                    None => Ok(Merge(left, right)),
                    Some(_) => Err(missing(3)),
                }
            }
        }
        deserializer.deserialize_any(Pair)
    }
}

/// CLIP's normalizer.
pub(super) fn normalizer() -> Value {
    json!({"type": "Sequence", "normalizers": [
        {"type": "NFC"},
        {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
        {"type": "Lowercase"},
    ]})
}

/// CLIP's word splitting in its two spellings; the second differs only where a text spells out a marker, which is found
/// before words are split.
fn pre_tokenizers() -> [Value; 2] {
    [WORDS, FORMER_WORDS].map(|words| {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": words}, "behavior": "Removed", "invert": true},
            {"type": "ByteLevel", "add_prefix_space": false},
        ]})
    })
}

/// A part of a pipeline without the keys that token ids do not depend on: where a piece stood in the text
/// (`trim_offsets`), and splitting once more what CLIP's word splitting split (`use_regex`).
fn without_defaults(part: &Value) -> Value {
    match part {
        Value::Object(object) => object
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "trim_offsets" | "use_regex"))
            .map(|(key, value)| (key.clone(), without_defaults(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(without_defaults).collect(),
        other => other.clone(),
    }
}
