//! BERT's vocabularies as `tokenizer.json` holds them: WordPiece behind BERT's own normalizer and word splitting.

use std::path::Path;

use serde_json::{Value, json};

use super::TextError;
use super::content::BUDGET;
use super::tokenizer_json::{AddedToken, Check, TokenizerFile, pipeline, template};
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
        let check = Check {
            path,
            expected: EXPECTED,
            max_tokens: MAX_TOKENS,
            max_added_tokens: MAX_ADDED_TOKENS,
            max_token_bytes: MAX_TOKEN_BYTES,
        };
        let file = TokenizerFile::parse(json, BUDGET, &check)?;
        let added = check.parse_added(file.added_tokens)?;
        check_normalizer(&check, &file.normalizer)?;
        if file.pre_tokenizer != pre_tokenizer() {
            return Err(check.unsupported("pre_tokenizer", &file.pre_tokenizer));
        }
        check_model(&check, &file.model)?;
        check.added(&added)?;
        let mut content = Self {
            normalizer: file.normalizer,
            model: file.model,
            added,
            start: None,
            separator: 0,
            strips_separator,
        };
        (content.start, content.separator) =
            template(&file.post_processor, |token| content.id(token))
                .ok_or_else(|| check.unsupported("post_processor", &file.post_processor))?;
        Ok(content)
    }

    /// The id of a token that is written out.
    pub(super) fn id(&self, token: &str) -> Option<u32> {
        let known = self.model["vocab"].get(token).and_then(Value::as_u64);
        known
            .and_then(|id| u32::try_from(id).ok())
            .or(AddedToken::id_of(token, &self.added))
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

    /// The pipeline for the `tokenizers` library.
    pub(super) fn pipeline(&self) -> Value {
        pipeline(&self.added, &self.normalizer, &pre_tokenizer(), &self.model)
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

/// BERT's word splitting.
fn pre_tokenizer() -> Value {
    json!({"type": "BertPreTokenizer"})
}

/// BERT's normalizer with any of its switches.
fn check_normalizer(check: &Check<'_>, value: &Value) -> Result<(), TextError> {
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
        false => Err(check.unsupported("normalizer", value)),
    }
}

fn check_model(check: &Check<'_>, model: &Value) -> Result<(), TextError> {
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
            return Err(check.unsupported(&format!("model.{}", quote::name(key)), value));
        }
    }
    if model["type"] != "WordPiece" {
        return Err(check.unsupported("model.type", &model["type"]));
    }
    let vocabulary = check.parse_vocabulary(&model["vocab"])?;
    if vocabulary.len() > MAX_TOKENS {
        return Err(check.too_large(format!("{MAX_TOKENS} tokens")));
    }
    check.vocabulary(&vocabulary)
}
