//! What can go wrong between a string and its token ids.

use std::path::PathBuf;

/// A tokenizer that cannot be loaded, or a text that cannot be a prompt.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// A tokenizer file that cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A tokenizer file that is not what its name says.
    #[error("{} is not a valid {expected}: {found}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the file should have been.
        expected: &'static str,
        /// What the parser found instead.
        found: String,
    },
    /// A vocabulary without one of CLIP's two special tokens.
    #[error("the tokenizer of {origin} has no token {token}")]
    MissingSpecialToken {
        /// The file, or the name of the embedded vocabulary.
        origin: String,
        /// The token that was looked for.
        token: &'static str,
    },
    /// The library's own vocabulary does not decompress to the expected merges.
    #[error("the embedded OpenAI vocabulary is damaged: {found}")]
    DamagedVocabulary {
        /// What was found instead.
        found: String,
    },
    /// The tokenizer refused a text, for example a character that its vocabulary cannot spell.
    #[error("cannot tokenize {text:?}: {reason}")]
    Encode {
        /// The text.
        text: String,
        /// The tokenizer's reason.
        reason: String,
    },
    /// A class name whose prompt does not fit into the text tower.
    #[error(
        "the prompt of class {class:?} has {tokens} tokens with the context and both end markers; the text tower \
         takes at most {limit}"
    )]
    ClassTooLong {
        /// The class name as given.
        class: String,
        /// Length of its prompt.
        tokens: usize,
        /// Context length of the checkpoint.
        limit: usize,
    },
    /// A plain text that does not fit into the text tower.
    #[error(
        "{text:?} has {tokens} tokens with both end markers; the text tower takes at most {limit}"
    )]
    TextTooLong {
        /// The text as given.
        text: String,
        /// Its number of tokens.
        tokens: usize,
        /// Context length of the checkpoint.
        limit: usize,
    },
    /// A context without a single token has nothing to learn.
    #[error("the context {context:?} has no tokens")]
    EmptyContext {
        /// The context as given.
        context: String,
    },
}

impl TextError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreadable { .. } => {
                Some("check that the checkpoint directory is complete and readable")
            }
            Self::Malformed { .. } => Some("copy the file again from the source of the checkpoint"),
            Self::MissingSpecialToken { .. } => Some(
                "the text tower must be CLIP's, whose vocabulary holds <|startoftext|> and <|endoftext|>",
            ),
            Self::DamagedVocabulary { .. } => Some("build the program again from a clean checkout"),
            Self::Encode { .. } => {
                Some("remove unusual characters from the text, or check tokenizer.json")
            }
            Self::ClassTooLong { .. } => Some("shorten the class name"),
            Self::TextTooLong { .. } => Some("shorten the text, or allow truncation"),
            Self::EmptyContext { .. } => Some("use some words, such as \"a photo of a\""),
        }
    }
}
