//! Decides which vocabulary and which text cleaning belong to a checkpoint.

use std::path::Path;

use serde_json::Value;

use crate::quote;
use crate::text::{END_OF_TEXT, START_OF_TEXT, TextCleaning, TokenizerSource, Vocabulary};

use super::CheckpointError;
use super::json::{Section, read_object};

/// Tokens of OpenAI's vocabulary.
const OPENAI_VOCAB_SIZE: usize = 49_408;
/// Classes of transformers that build CLIP's pipeline, or take `tokenizer.json` as it is.
const HUGGING_FACE_CLASSES: [&str; 5] = [
    "CLIPTokenizer",
    "CLIPTokenizerFast",
    "PreTrainedTokenizer",
    "PreTrainedTokenizerFast",
    "TokenizersBackend",
];

/// A vocabulary that is in files of the directory: `tokenizer.json` before `vocab.json` and `merges.txt`.
fn in_directory(directory: &Path) -> Result<Option<Vocabulary>, CheckpointError> {
    let json = directory.join("tokenizer.json");
    let vocab = directory.join("vocab.json");
    let merges = directory.join("merges.txt");
    let vocabulary = if json.is_file() {
        Vocabulary::TokenizerJson(json)
    } else if vocab.is_file() && merges.is_file() {
        refuse_added_tokens(&directory.join("added_tokens.json"))?;
        Vocabulary::VocabAndMerges { vocab, merges }
    } else {
        return Ok(None);
    };
    check_settings(&directory.join("tokenizer_config.json"))?;
    Ok(Some(vocabulary))
}

/// Settings beside a vocabulary that would change token ids.
fn check_settings(path: &Path) -> Result<(), CheckpointError> {
    if !path.is_file() {
        return Ok(());
    }
    let object = read_object(path)?;
    let section = Section::new(&object, path, "");
    let class = section.text("tokenizer_class", "CLIPTokenizer")?;
    if !HUGGING_FACE_CLASSES.contains(&class) {
        return Err(section.unsupported("tokenizer_class", &Value::from(class)));
    }
    for (key, expected) in [("bos_token", START_OF_TEXT), ("eos_token", END_OF_TEXT)] {
        // A token is a text, or an object with its text under `content`.
        let found = section
            .get(key)
            .map(|token| token.get("content").unwrap_or(token));
        if let Some(found) = found
            && found != expected
        {
            return Err(section.unsupported(key, found));
        }
    }
    Ok(())
}

/// Tokens that were added to the older pair of files; CLIP's two markers may stand there too.
fn refuse_added_tokens(path: &Path) -> Result<(), CheckpointError> {
    if !path.is_file() {
        return Ok(());
    }
    let object = read_object(path)?;
    Section::new(&object, path, "").refuse_unknown(&[START_OF_TEXT, END_OF_TEXT])
}

/// The tokenizer of a Hugging Face directory, whose files must say it unless the vocabulary has OpenAI's size.
///
/// `cleaning` is what a checkpoint that this library wrote says about its texts; transformers itself cleans nothing.
pub(super) fn for_hugging_face(
    directory: &Path,
    vocab_size: usize,
    cleaning: Option<TextCleaning>,
    decisions: &mut Vec<String>,
) -> Result<TokenizerSource, CheckpointError> {
    if let Some(vocabulary) = in_directory(directory)? {
        return Ok(TokenizerSource {
            vocabulary,
            cleaning: cleaning.unwrap_or(TextCleaning::None),
        });
    }
    if vocab_size == OPENAI_VOCAB_SIZE {
        decisions.push(
            "tokenizer: OpenAI's, because the directory has no tokenizer and the vocabulary has OpenAI's 49,408 tokens"
                .to_owned(),
        );
        return Ok(TokenizerSource {
            cleaning: cleaning.unwrap_or(TextCleaning::Lower),
            ..TokenizerSource::OPENAI
        });
    }
    Err(CheckpointError::unrecognized(
        directory,
        format!(
            "tokenizer.json, or vocab.json and merges.txt, for the vocabulary of {vocab_size} tokens"
        ),
        "neither",
    ))
}

/// What open_clip's configuration says about texts.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenClipTokenizer {
    /// The Hugging Face tokenizer that it names.
    pub name: Option<String>,
    /// The cleaning that it names.
    pub cleaning: Option<TextCleaning>,
    /// Whether zero takes the place of every separator.
    pub strips_separator: bool,
}

/// The tokenizer of the other layouts: OpenAI's, unless the vocabulary has another size and the directory has files.
pub(super) fn for_openai_names(
    directory: &Path,
    vocab_size: usize,
    asked: &OpenClipTokenizer,
    decisions: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Result<TokenizerSource, CheckpointError> {
    let openai = TokenizerSource {
        vocabulary: Vocabulary::OpenAi,
        cleaning: asked.cleaning.unwrap_or(TextCleaning::Lower),
    };
    if vocab_size == OPENAI_VOCAB_SIZE && asked.name.is_none() {
        return Ok(openai);
    }
    if let Some(vocabulary) = in_directory(directory)? {
        return Ok(TokenizerSource {
            vocabulary,
            cleaning: asked.cleaning.unwrap_or(TextCleaning::Whitespace),
        });
    }
    let reason = match &asked.name {
        Some(name) => format!(
            "the configuration names the tokenizer `{}`, whose files (tokenizer.json, or vocab.json and merges.txt) are \
             not beside it",
            quote::name(name)
        ),
        None => format!(
            "nothing names another one; but the vocabulary has {vocab_size} tokens instead of 49,408"
        ),
    };
    decisions.push(format!(
        "tokenizer: OpenAI's, because {reason}; texts whose tokens are outside of the vocabulary will be refused"
    ));
    warnings.push(format!(
        "texts may be tokenized wrongly: {reason}, and OpenAI's is used"
    ));
    Ok(openai)
}
