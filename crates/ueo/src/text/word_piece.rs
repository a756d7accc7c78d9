//! BERT's vocabularies as `tokenizer.json` holds them: WordPiece behind BERT's own normalizer and word splitting.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::TextError;
use super::content::{AddedToken, BUDGET, at, malformed, too_large};
use super::sentence_piece::template;
use crate::quote;

/// Tokens that a vocabulary may have (BERT's multilingual one has 120,000), and those beside it.
const MAX_TOKENS: usize = 1 << 18;
const MAX_ADDED_TOKENS: usize = 4_096;
/// Bytes of a token.
const MAX_TOKEN_BYTES: usize = 1_024;
/// Characters of a word that is looked up piece by piece; BERT's limit is 100.
const MAX_WORD_CHARACTERS: u64 = 200;
const EXPECTED: &str = "tokenizer of BERT's kind";
/// What open_clip puts in a separator's place where it is told to strip it.
const STRIPPED: u32 = 0;

/// A vocabulary with BERT's pipeline: all that its token ids depend on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WordPiece {
    pub normalizer: Value,
    model: Value,
    added: Vec<AddedToken>,
    /// The token in front of a text (`[CLS]`).
    pub start: Option<u32>,
    /// The token behind it (`[SEP]`).
    separator: u32,
    /// Whether every separator becomes zero.
    strips_separator: bool,
}

impl WordPiece {
    /// Parses a `tokenizer.json` within the budget; `path` is for messages.
    pub(super) fn parse(
        json: &[u8],
        strips_separator: bool,
        path: &Path,
    ) -> Result<Self, TextError> {
        let mut file: Map<String, Value> = BUDGET
            .parse(json)
            .map_err(|error| at(path, EXPECTED, error))?;
        let mut part = |key: &str| file.remove(key).unwrap_or(Value::Null);
        let (normalizer, pre_tokenizer) = (part("normalizer"), part("pre_tokenizer"));
        let (model, around) = (part("model"), part("post_processor"));
        let added: Vec<AddedToken> = match part("added_tokens") {
            Value::Null => Vec::new(),
            tokens => serde_json::from_value(tokens)
                .map_err(|error| malformed(path, EXPECTED, &error.to_string()))?,
        };
        let check = Check { path };
        check.normalizer(&normalizer)?;
        if pre_tokenizer != json!({"type": "BertPreTokenizer"}) {
            return Err(check.unsupported("pre_tokenizer", &pre_tokenizer));
        }
        check.model(&model)?;
        check.added(&added)?;
        let mut content = Self {
            normalizer,
            model,
            added,
            start: None,
            separator: 0,
            strips_separator,
        };
        (content.start, content.separator) = template(&around, |token| content.id(token))
            .ok_or_else(|| check.unsupported("post_processor", &around))?;
        Ok(content)
    }

    /// The id of a token that is written out.
    pub(super) fn id(&self, token: &str) -> Option<u32> {
        let known = self.model["vocab"].get(token).and_then(Value::as_u64);
        let added = self.added.iter().find(|added| added.content == token);
        known
            .and_then(|id| u32::try_from(id).ok())
            .or(added.map(|added| added.id))
    }

    /// The token behind a text.
    pub(super) fn end(&self) -> u32 {
        self.replacement()
            .map_or(self.separator, |(_, replacement)| replacement)
    }

    /// The token that another one takes the place of, and that other one.
    pub(super) fn replacement(&self) -> Option<(u32, u32)> {
        self.strips_separator.then_some((self.separator, STRIPPED))
    }

    /// The pipeline for the `tokenizers` library, without truncation, padding or tokens around the text.
    pub(super) fn pipeline(&self) -> Value {
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": self.added,
            "normalizer": self.normalizer,
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": null,
            "decoder": null,
            "model": self.model,
        })
    }

    /// All that token ids depend on, as one JSON value.
    pub(super) fn canonical(&self) -> Value {
        json!({
            "normalizer": self.normalizer,
            "model": self.model,
            "added": self.added,
            "start": self.start,
            "end": self.separator,
            "strips_separator": self.strips_separator,
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

    /// BERT's normalizer with any of its switches.
    fn normalizer(&self, value: &Value) -> Result<(), TextError> {
        let known = value["type"] == "BertNormalizer"
            && value
                .as_object()
                .into_iter()
                .flatten()
                .all(|(key, value)| match key.as_str() {
                    "type" => true,
                    "clean_text" | "handle_chinese_chars" | "lowercase" => value.is_boolean(),
                    "strip_accents" => value.is_boolean() || value.is_null(),
                    _ => false,
                });
        match known {
            true => Ok(()),
            false => Err(self.unsupported("normalizer", value)),
        }
    }

    fn model(&self, model: &Value) -> Result<(), TextError> {
        for (key, value) in model.as_object().into_iter().flatten() {
            let accepted = match key.as_str() {
                "vocab" => true,
                "type" => value == "WordPiece",
                "unk_token" | "continuing_subword_prefix" => value.is_string(),
                "max_input_chars_per_word" => value
                    .as_u64()
                    .is_some_and(|limit| (1..=MAX_WORD_CHARACTERS).contains(&limit)),
                _ => value.is_null(),
            };
            if !accepted {
                return Err(self.unsupported(&format!("model.{}", quote::name(key)), value));
            }
        }
        if model["type"] != "WordPiece" {
            return Err(self.unsupported("model.type", &model["type"]));
        }
        let vocab = BTreeMap::<String, u32>::deserialize(&model["vocab"])
            .map_err(|error| malformed(self.path, EXPECTED, &error.to_string()))?;
        if vocab.len() > MAX_TOKENS {
            return Err(too_large(self.path, format!("{MAX_TOKENS} tokens")));
        }
        let unusable = |(token, id): &(&String, &u32)| {
            token.len() > MAX_TOKEN_BYTES || **id as usize >= 2 * MAX_TOKENS
        };
        match vocab.iter().find(unusable) {
            Some((token, id)) => {
                let found = format!("the id {id} of \"{}\"", quote::name(token));
                Err(malformed(self.path, "vocabulary", &found))
            }
            None => Ok(()),
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
