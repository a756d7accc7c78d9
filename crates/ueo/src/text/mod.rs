//! Text input: CLIP's byte-pair tokenizer, SentencePiece's and BERT's vocabularies, and the prompts that carry the learnable context.
//!
//! The first stage of the text tower's input: names and sentences come in, token ids go out.

mod byte_pairs;
mod clean;
mod content;
mod error;
mod hugging_face;
mod openai;
mod prompt;
mod sentence_piece;
mod template;
mod tokenizer;
mod tokenizer_json;
mod word_piece;

use std::path::{Path, PathBuf};

pub use clean::TextCleaning;
pub use content::TokenizerContent;
pub use error::TextError;
pub use prompt::{DEFAULT_CONTEXT, Overlong, PromptSet, tokenize_text};
pub use template::{Template, TemplateError};
pub use tokenizer::{END_OF_TEXT, START_OF_TEXT, Tokenizer};

/// The tokenizer that a checkpoint was trained with: where its vocabulary is, and what happens to a text before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizerSource {
    /// Where the vocabulary and its merges are.
    pub vocabulary: Vocabulary,
    /// What the owning package does to a text first.
    pub cleaning: TextCleaning,
}

/// Where a vocabulary is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// OpenAI's vocabulary of 49,408 tokens, embedded in this library.
    OpenAi,
    /// A Hugging Face `tokenizer.json` with CLIP's pipeline.
    TokenizerJson(PathBuf),
    /// A Hugging Face `tokenizer.json` with a SentencePiece vocabulary (Unigram, or byte pairs with byte fallback).
    SentencePiece(PathBuf),
    /// A Hugging Face `tokenizer.json` with BERT's pipeline (WordPiece).
    WordPiece {
        /// Path of `tokenizer.json`.
        path: PathBuf,
        /// Whether zero takes the place of every separator (`[SEP]`), as open_clip's `strip_sep_token` asks.
        strips_separator: bool,
    },
    /// A Hugging Face pair of `vocab.json` and `merges.txt`.
    VocabAndMerges {
        /// Path of `vocab.json`.
        vocab: PathBuf,
        /// Path of `merges.txt`.
        merges: PathBuf,
    },
}

impl TokenizerSource {
    /// OpenAI's vocabulary with openai-clip's text cleaning.
    pub const OPENAI: Self = Self {
        vocabulary: Vocabulary::OpenAi,
        cleaning: TextCleaning::Lower,
    };

    /// A Hugging Face `tokenizer.json` as transformers uses it.
    pub fn tokenizer_json(path: impl Into<PathBuf>) -> Self {
        Self {
            vocabulary: Vocabulary::TokenizerJson(path.into()),
            cleaning: TextCleaning::None,
        }
    }

    /// The vocabulary's files; none for OpenAI's.
    pub fn files(&self) -> Vec<&Path> {
        match &self.vocabulary {
            Vocabulary::OpenAi => Vec::new(),
            Vocabulary::TokenizerJson(path)
            | Vocabulary::SentencePiece(path)
            | Vocabulary::WordPiece { path, .. } => vec![path],
            Vocabulary::VocabAndMerges { vocab, merges } => vec![vocab, merges],
        }
    }
}
