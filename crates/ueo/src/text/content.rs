//! What a Hugging Face tokenizer's files say, read within a budget and checked against CLIP's own pipeline.
//!
//! transformers builds one and the same pipeline around every CLIP vocabulary (`CLIPTokenizer`): byte-pair encoding after
//! NFC, single spaces, lower case and CLIP's word splitting. Files that ask for anything else are refused by name, so
//! nothing in them chooses the code that runs on texts.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde_json::{Map, Value, json};

use super::sentence_piece::{self, SentencePiece};
use super::tokenizer::{END_OF_TEXT, START_OF_TEXT};
use super::word_piece::WordPiece;
use super::{TextCleaning, TextError, TokenizerSource, Vocabulary};
use crate::budget::{BudgetError, JsonBudget, read_within};
use crate::quote;

/// CLIP's `tokenizer.json` has 3.6 MB and 250,000 values.
pub(super) const BUDGET: JsonBudget = JsonBudget {
    bytes: 16 << 20,
    values: 1 << 20,
};
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

/// The content of a tokenizer: all that its token ids depend on.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenizerContent {
    /// What happens to a text first.
    pub cleaning: TextCleaning,
    pub(super) vocabulary: VocabularyContent,
}

/// The content of a vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum VocabularyContent {
    /// OpenAI's, which is embedded.
    OpenAi,
    /// Byte pairs with CLIP's pipeline around them.
    Pairs(BytePairs),
    /// SentencePiece's, with a pipeline of its own.
    SentencePiece(Box<SentencePiece>),
    /// BERT's.
    WordPiece(Box<WordPiece>),
}

/// A vocabulary with its merges.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct BytePairs {
    pub vocab: BTreeMap<String, u32>,
    pub merges: Vec<(String, String)>,
    /// What stands for characters that the vocabulary cannot spell.
    pub unknown: Option<String>,
    pub added: Vec<AddedToken>,
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

impl TokenizerContent {
    /// Reads the files that a checkpoint names, within a budget.
    ///
    /// # Errors
    ///
    /// [`TextError`], which names the file and what in it cannot be used.
    pub fn read(source: &TokenizerSource) -> Result<Self, TextError> {
        let cleaning = source.cleaning;
        let vocabulary = match &source.vocabulary {
            Vocabulary::OpenAi => VocabularyContent::OpenAi,
            Vocabulary::TokenizerJson(path) => {
                return Self::from_tokenizer_json(&read(path, BUDGET)?, cleaning, path);
            }
            Vocabulary::VocabAndMerges { vocab, merges } => {
                VocabularyContent::Pairs(BytePairs::from_vocab_and_merges(
                    (&read(vocab, BUDGET)?, vocab),
                    (&read(merges, BUDGET)?, merges),
                )?)
            }
            Vocabulary::WordPiece {
                path,
                strips_separator,
            } => {
                let content = WordPiece::parse(&read(path, BUDGET)?, *strips_separator, path)?;
                VocabularyContent::WordPiece(Box::new(content))
            }
            Vocabulary::SentencePiece(path) => {
                let json = read(path, sentence_piece::BUDGET)?;
                return Self::from_sentence_piece(&json, cleaning, path);
            }
        };
        Ok(Self {
            cleaning,
            vocabulary,
        })
    }

    /// Parses the text of a `tokenizer.json`; `path` is for messages.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn from_tokenizer_json(
        json: &[u8],
        cleaning: TextCleaning,
        path: &Path,
    ) -> Result<Self, TextError> {
        Ok(Self {
            cleaning,
            vocabulary: VocabularyContent::Pairs(BytePairs::from_tokenizer_json(json, path)?),
        })
    }

    /// As [`Self::from_tokenizer_json`], of a SentencePiece vocabulary with its own pipeline.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn from_sentence_piece(
        json: &[u8],
        cleaning: TextCleaning,
        path: &Path,
    ) -> Result<Self, TextError> {
        let content = SentencePiece::parse(json, path)?;
        Ok(Self {
            cleaning,
            vocabulary: VocabularyContent::SentencePiece(Box::new(content)),
        })
    }

    /// Id of a token that is written out, unless the vocabulary is OpenAI's.
    pub fn id(&self, token: &str) -> Option<u32> {
        match &self.vocabulary {
            VocabularyContent::OpenAi => None,
            VocabularyContent::Pairs(pairs) => pairs.id(token),
            VocabularyContent::SentencePiece(content) => content.id(token),
            VocabularyContent::WordPiece(content) => content.id(token),
        }
    }

    /// BERT's normalizer, of a vocabulary of its kind.
    pub fn bert_normalizer(&self) -> Option<&Value> {
        match &self.vocabulary {
            VocabularyContent::WordPiece(content) => Some(&content.normalizer),
            _ => None,
        }
    }

    /// Whether a token stands in front of every text.
    pub fn has_start(&self) -> bool {
        match &self.vocabulary {
            VocabularyContent::SentencePiece(content) => content.start.is_some(),
            VocabularyContent::WordPiece(content) => content.start.is_some(),
            _ => true,
        }
    }

    /// Id of `[EOS]`, unless the vocabulary is OpenAI's.
    pub fn end_of_text(&self) -> Option<u32> {
        match &self.vocabulary {
            VocabularyContent::OpenAi => None,
            VocabularyContent::Pairs(pairs) => pairs.id(END_OF_TEXT),
            VocabularyContent::SentencePiece(content) => Some(content.end),
            VocabularyContent::WordPiece(content) => Some(content.end()),
        }
    }

    /// The highest id of a token of a vocabulary with CLIP's pipeline, unless it is OpenAI's.
    pub fn highest_id(&self) -> Option<u32> {
        let VocabularyContent::Pairs(pairs) = &self.vocabulary else {
            return None;
        };
        let added = pairs.added.iter().map(|token| token.id);
        pairs.vocab.values().copied().chain(added).max()
    }

    /// Everything that token ids depend on, as one JSON value: cleaning, and for a vocabulary out of files its tokens with
    /// ids, merges in order, and added tokens. The same content in other files gives the same value.
    pub fn canonical(&self) -> Value {
        match &self.vocabulary {
            VocabularyContent::OpenAi => {
                json!({"cleaning": self.cleaning, "vocabulary": "openai"})
            }
            VocabularyContent::SentencePiece(content) => {
                json!({"cleaning": self.cleaning, "sentence-piece": content.canonical()})
            }
            VocabularyContent::WordPiece(content) => {
                json!({"cleaning": self.cleaning, "word-piece": content.canonical()})
            }
            VocabularyContent::Pairs(pairs) => json!({
                "cleaning": self.cleaning,
                "vocabulary": pairs.vocab,
                "merges": pairs.merges,
                "unknown": pairs.unknown,
                "added": pairs.added,
            }),
        }
    }
}

impl BytePairs {
    pub(super) fn id(&self, token: &str) -> Option<u32> {
        let added = self.added.iter().find(|added| added.content == token);
        self.vocab
            .get(token)
            .copied()
            .or(added.map(|added| added.id))
    }

    /// Reads a `tokenizer.json`, all of whose parts that change token ids must be CLIP's.
    fn from_tokenizer_json(json: &[u8], path: &Path) -> Result<Self, TextError> {
        const EXPECTED: &str = "tokenizer of the Hugging Face kind";
        let mut file: Map<String, Value> = BUDGET
            .parse(json)
            .map_err(|error| at(path, EXPECTED, error))?;
        let check = Check { path };
        check.equal(&file, "normalizer", &[normalizer()])?;
        check.equal(&file, "pre_tokenizer", &pre_tokenizers())?;
        check.post_processor(file.get("post_processor"))?;
        let model = match file.remove("model") {
            Some(Value::Object(model)) => model,
            _ => return Err(malformed(path, EXPECTED, "no object `model`")),
        };
        check.model(&model)?;
        let parsed = |error: serde_json::Error| malformed(path, EXPECTED, &error.to_string());
        let model: Model = serde_json::from_value(Value::Object(model)).map_err(parsed)?;
        let added = match file.remove("added_tokens") {
            None | Some(Value::Null) => Vec::new(),
            Some(tokens) => serde_json::from_value(tokens).map_err(parsed)?,
        };
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
        check.tokens(&pairs)?;
        Ok(pairs)
    }

    /// Reads the older pair of files, around which transformers puts CLIP's pipeline.
    fn from_vocab_and_merges(
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
            .filter_map(|&token| Some(special_token(token, *vocab.get(token)?)))
            .collect();
        let pairs = Self {
            vocab,
            merges: pairs,
            unknown: Some(END_OF_TEXT.to_owned()),
            added,
        };
        Check { path: vocab_path }.tokens(&pairs)?;
        Ok(pairs)
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

    /// A part that must be one of those given, keys that hold the library's defaults left aside.
    fn equal(
        &self,
        file: &Map<String, Value>,
        key: &str,
        accepted: &[Value],
    ) -> Result<(), TextError> {
        let found = file.get(key).unwrap_or(&Value::Null);
        if accepted.contains(&without_defaults(found)) {
            return Ok(());
        }
        Err(self.unsupported(key, found))
    }

    /// What stands around a text must be CLIP's two markers; nothing at all is what vocabularies without a pipeline have.
    fn post_processor(&self, found: Option<&Value>) -> Result<(), TextError> {
        let found = found.unwrap_or(&Value::Null);
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
            Err(self.unsupported("post_processor", found))
        }
    }

    /// The model's settings; files of the first releases do not name its type.
    fn model(&self, model: &Map<String, Value>) -> Result<(), TextError> {
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
                return Err(self.unsupported(&format!("model.{}", quote::name(key)), value));
            }
        }
        if model.contains_key("end_of_word_suffix") {
            return Ok(());
        }
        Err(self.unsupported("model.end_of_word_suffix", &Value::Null))
    }

    /// Numbers and lengths of tokens, and one id for each.
    fn tokens(&self, pairs: &BytePairs) -> Result<(), TextError> {
        let (tokens, merges) = (pairs.vocab.len(), pairs.merges.len());
        if tokens > MAX_TOKENS || merges > MAX_TOKENS {
            return Err(too_large(
                self.path,
                format!("{MAX_TOKENS} tokens or merges"),
            ));
        }
        if pairs.added.len() > MAX_ADDED_TOKENS {
            return Err(too_large(
                self.path,
                format!("{MAX_ADDED_TOKENS} tokens in `added_tokens`"),
            ));
        }
        let largest = 2 * MAX_TOKENS as u32;
        if let Some((token, id)) = pairs.vocab.iter().find(|(_, id)| **id >= largest) {
            let found = format!("the id {id} of \"{}\"", quote::name(token));
            return Err(malformed(self.path, "vocabulary", &found));
        }
        for added in &pairs.added {
            let expected = pairs.vocab.get(&added.content).copied().unwrap_or(added.id);
            let content = &added.content;
            if content.is_empty()
                || content.len() > MAX_ADDED_BYTES
                || expected != added.id
                || added.id >= largest
            {
                let found = format!(
                    "`added_tokens` with \"{}\" as {} (in `model.vocab`: {expected})",
                    quote::name(content),
                    added.id
                );
                return Err(malformed(
                    self.path,
                    "tokenizer of the Hugging Face kind",
                    &found,
                ));
            }
        }
        Ok(())
    }
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

pub(super) fn special_token(content: &str, id: u32) -> AddedToken {
    AddedToken {
        id,
        content: content.to_owned(),
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
    }
}

fn read(path: &Path, budget: JsonBudget) -> Result<Vec<u8>, TextError> {
    read_within(path, budget.bytes).map_err(|error| at(path, "tokenizer file", error))
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
