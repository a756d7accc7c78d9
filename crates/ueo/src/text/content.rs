//! What a tokenizer's files say, read within a budget: all that its token ids depend on.

use std::path::Path;

use serde_json::{Value, json};

use super::byte_pairs::BytePairs;
use super::sentence_piece::{self, SentencePiece};
use super::tokenizer::END_OF_TEXT;
use super::tokenizer_json::at;
use super::word_piece::WordPiece;
use super::{TextCleaning, TextError, TokenizerSource, Vocabulary};
use crate::budget::{JsonBudget, read_within};

/// CLIP's `tokenizer.json` has 3.6 MB and 250,000 values.
pub(super) const BUDGET: JsonBudget = JsonBudget {
    bytes: 16 << 20,
    values: 1 << 20,
};

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

fn read(path: &Path, budget: JsonBudget) -> Result<Vec<u8>, TextError> {
    read_within(path, budget.bytes).map_err(|error| at(path, "tokenizer file", error))
}
