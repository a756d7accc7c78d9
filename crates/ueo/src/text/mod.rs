//! Text input: CLIP's byte-pair tokenizer and the prompts that carry the learnable context.

use std::path::PathBuf;

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
