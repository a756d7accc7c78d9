//! Decides which vocabulary belongs to a checkpoint.

use std::path::Path;

use crate::text::TokenizerSource;

use super::CheckpointError;

/// Tokens of OpenAI's vocabulary.
const OPENAI_VOCAB_SIZE: usize = 49_408;

/// A tokenizer that is in files of the directory: `tokenizer.json` before `vocab.json` and `merges.txt`.
pub(super) fn in_directory(directory: &Path) -> Option<TokenizerSource> {
    let json = directory.join("tokenizer.json");
    if json.is_file() {
        return Some(TokenizerSource::TokenizerJson(json));
    }
    let vocab = directory.join("vocab.json");
    let merges = directory.join("merges.txt");
    (vocab.is_file() && merges.is_file())
        .then_some(TokenizerSource::VocabAndMerges { vocab, merges })
}

/// The tokenizer of a Hugging Face directory, whose files must say it unless the vocabulary has OpenAI's size.
pub(super) fn for_hugging_face(
    directory: &Path,
    vocab_size: usize,
    decisions: &mut Vec<String>,
) -> Result<TokenizerSource, CheckpointError> {
    if let Some(source) = in_directory(directory) {
        return Ok(source);
    }
    if vocab_size == OPENAI_VOCAB_SIZE {
        decisions.push(
            "tokenizer: OpenAI's, because the directory has no tokenizer and the vocabulary has OpenAI's 49,408 tokens"
                .to_owned(),
        );
        return Ok(TokenizerSource::OpenAi);
    }
    Err(CheckpointError::Unrecognized {
        path: directory.to_owned(),
        expected: format!(
            "tokenizer.json, or vocab.json and merges.txt, for the vocabulary of {vocab_size} tokens"
        ),
        found: "neither".to_owned(),
    })
}

/// The tokenizer of the other layouts: OpenAI's, unless the vocabulary has another size and the directory has files.
pub(super) fn for_openai_names(
    directory: &Path,
    vocab_size: usize,
    own_tokenizer: bool,
    decisions: &mut Vec<String>,
) -> TokenizerSource {
    if vocab_size == OPENAI_VOCAB_SIZE && !own_tokenizer {
        return TokenizerSource::OpenAi;
    }
    if let Some(source) = in_directory(directory) {
        return source;
    }
    decisions.push(format!(
        "tokenizer: OpenAI's, because nothing names another one; but the vocabulary has {vocab_size} tokens instead of \
         49,408, so texts whose tokens are outside of it will be refused"
    ));
    TokenizerSource::OpenAi
}
