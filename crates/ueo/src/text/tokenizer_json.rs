//! What all readers of a `tokenizer.json` share: its parts, what is said of parts that cannot be used, and the pipeline that is built
//! of those that can.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::TextError;
use crate::budget::{BudgetError, JsonBudget};
use crate::quote;

/// The parts of a `tokenizer.json` that token ids depend on, as the file has them; null where it has none.
pub(super) struct TokenizerFile {
    pub normalizer: Value,
    pub pre_tokenizer: Value,
    pub post_processor: Value,
    pub model: Value,
    pub added_tokens: Value,
}

impl TokenizerFile {
    /// Parses a file within a budget.
    pub fn parse(json: &[u8], budget: JsonBudget, check: &Check<'_>) -> Result<Self, TextError> {
        let mut file: Map<String, Value> = budget
            .parse(json)
            .map_err(|error| at(check.path, check.expected, error))?;
        let mut part = |key: &str| file.remove(key).unwrap_or(Value::Null);
        Ok(Self {
            normalizer: part("normalizer"),
            pre_tokenizer: part("pre_tokenizer"),
            post_processor: part("post_processor"),
            model: part("model"),
            added_tokens: part("added_tokens"),
        })
    }
}

/// A token that is found in the text as it is, before words are split.
#[derive(Clone, Debug, PartialEq, Deserialize, serde::Serialize)]
pub(super) struct AddedToken {
    pub id: u32,
    pub content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    special: bool,
}

impl AddedToken {
    /// A marker.
    pub fn special(content: &str, id: u32) -> Self {
        Self {
            id,
            content: content.to_owned(),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
            special: true,
        }
    }

    /// The id of the one that is written out so.
    pub fn id_of(token: &str, added: &[Self]) -> Option<u32> {
        let found = added.iter().find(|added| added.content == token);
        found.map(|added| added.id)
    }
}

/// Checks of one file.
pub(super) struct Check<'a> {
    /// For messages.
    pub path: &'a Path,
    /// What the file should be.
    pub expected: &'static str,
    /// Tokens that its vocabulary may have; ids may go up to twice as many.
    pub max_tokens: usize,
    /// Tokens beside the vocabulary.
    pub max_added_tokens: usize,
    /// Bytes of a token.
    pub max_token_bytes: usize,
}

impl Check<'_> {
    /// The error about a part that is well-formed, but not known.
    pub fn unsupported(&self, key: &str, value: &Value) -> TextError {
        let value = value.to_string();
        TextError::Unsupported {
            path: self.path.to_owned(),
            feature: format!("`{key}`: {}", quote::name(&value)),
        }
    }

    /// The error about a file that is not what it should be.
    pub fn malformed(&self, found: &str) -> TextError {
        malformed(self.path, self.expected, found)
    }

    /// The error about a file that has more of something than `limit` says.
    pub fn too_large(&self, limit: String) -> TextError {
        too_large(self.path, limit)
    }

    /// The list of added tokens, as [`TokenizerFile::added_tokens`] has it.
    pub fn parse_added(&self, tokens: Value) -> Result<Vec<AddedToken>, TextError> {
        match tokens {
            Value::Null => Ok(Vec::new()),
            tokens => {
                serde_json::from_value(tokens).map_err(|error| self.malformed(&error.to_string()))
            }
        }
    }

    /// The number of added tokens.
    pub fn added_count(&self, added: &[AddedToken]) -> Result<(), TextError> {
        if added.len() > self.max_added_tokens {
            let limit = format!("{} tokens in `added_tokens`", self.max_added_tokens);
            return Err(self.too_large(limit));
        }
        Ok(())
    }

    /// Number, lengths and ids of added tokens.
    pub fn added(&self, added: &[AddedToken]) -> Result<(), TextError> {
        self.added_count(added)?;
        let unusable = added
            .iter()
            .find(|token| token.content.is_empty() || !self.is_usable(&token.content, token.id));
        match unusable {
            Some(token) => {
                let content = quote::name(&token.content);
                let found = format!("`added_tokens` with \"{content}\" as {}", token.id);
                Err(self.malformed(&found))
            }
            None => Ok(()),
        }
    }

    /// A vocabulary that is an object of token to id.
    pub fn parse_vocabulary(&self, vocabulary: &Value) -> Result<BTreeMap<String, u32>, TextError> {
        BTreeMap::deserialize(vocabulary).map_err(|error| self.malformed(&error.to_string()))
    }

    /// Lengths and ids of a vocabulary's tokens.
    pub fn vocabulary(&self, vocabulary: &BTreeMap<String, u32>) -> Result<(), TextError> {
        let unusable = |(token, id): &(&String, &u32)| !self.is_usable(token, **id);
        match vocabulary.iter().find(unusable) {
            Some((token, id)) => {
                let found = format!("the id {id} of \"{}\"", quote::name(token));
                Err(malformed(self.path, "vocabulary", &found))
            }
            None => Ok(()),
        }
    }

    /// Whether a token has no more bytes, and no higher an id, than one may have.
    pub fn is_usable(&self, token: &str, id: u32) -> bool {
        token.len() <= self.max_token_bytes && (id as usize) < 2 * self.max_tokens
    }
}

/// A pipeline of parts that were checked for the `tokenizers` library, without truncation, padding or tokens around the text: length
/// limits belong to the prompts, which report what does not fit.
pub(super) fn pipeline(
    added_tokens: &[AddedToken],
    normalizer: &Value,
    pre_tokenizer: &Value,
    model: &Value,
) -> Value {
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens,
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": null,
        "decoder": null,
        "model": model,
    })
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

pub(super) fn at(path: &Path, expected: &'static str, error: BudgetError) -> TextError {
    match error {
        BudgetError::Io(source) => TextError::Unreadable {
            path: path.to_owned(),
            source,
        },
        BudgetError::Bytes { limit } => too_large(path, format!("{limit} bytes")),
        BudgetError::Values { limit } => too_large(path, format!("{limit} values")),
        BudgetError::Json { reason } => malformed(path, expected, &reason),
    }
}

pub(super) fn malformed(path: &Path, expected: &'static str, found: &str) -> TextError {
    TextError::Malformed {
        path: path.to_owned(),
        expected,
        found: found.to_owned(),
    }
}

pub(super) fn too_large(path: &Path, limit: String) -> TextError {
    TextError::TooLarge {
        path: path.to_owned(),
        limit,
    }
}
