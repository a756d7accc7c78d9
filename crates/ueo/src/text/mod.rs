//! Text input: CLIP's byte-pair tokenizer and the prompts that carry the learnable context.
//!
//! The first stage of the text tower's input: names and sentences come in, token ids go out.

mod clean;
mod error;
mod hugging_face;
mod openai;
mod prompt;
mod tokenizer;

use std::path::PathBuf;

pub use error::TextError;
pub use prompt::{DEFAULT_CONTEXT, Overlong, PromptSet, tokenize_text};
pub use tokenizer::{END_OF_TEXT, START_OF_TEXT, Tokenizer};

/// Which vocabulary and which text cleaning a checkpoint was trained with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenizerSource {
    /// OpenAI's vocabulary of 49,408 tokens, embedded in this library, with openai-clip's text cleaning.
    OpenAi,
    /// A Hugging Face `tokenizer.json`.
    TokenizerJson(PathBuf),
    /// A Hugging Face pair of `vocab.json` and `merges.txt`.
    VocabAndMerges {
        /// Path of `vocab.json`.
        vocab: PathBuf,
        /// Path of `merges.txt`.
        merges: PathBuf,
    },
}
