//! What can go wrong between a string and its token ids.

use std::path::PathBuf;

use crate::quote;

/// A tokenizer that cannot be loaded, or a text that cannot be a prompt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A tokenizer file that cannot be read.
    #[error("cannot read {}: {source}", quote::path(path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A tokenizer file that is not what its name says.
    #[error(
        "{} is not a valid {expected}: {}",
        quote::path(path),
        quote::line(found)
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the file should have been.
        expected: &'static str,
        /// What the parser found instead.
        found: String,
    },
    /// A tokenizer with parts that no supported model has.
    #[error("{}: {} is not supported", quote::path(path), quote::line(feature))]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The part, for example `` `model.dropout`: 0.9 ``.
        feature: String,
    },
    /// A tokenizer file that asks for more memory or work than any checkpoint's.
    #[error("{} is not read: it has more than {limit}", quote::path(path))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What it may have at most.
        limit: String,
    },
    /// A text that is far longer than any prompt.
    #[error(
        "the text \"{}\" has {bytes} bytes; at most {limit} are read",
        quote::name(text)
    )]
    TextTooLarge {
        /// Its beginning.
        text: String,
        /// Its length.
        bytes: usize,
        /// The longest text that is tokenized.
        limit: usize,
    },
    /// A vocabulary without one of CLIP's two special tokens.
    #[error("the tokenizer of {} has no token {token}", quote::line(origin))]
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
    #[error("cannot tokenize \"{}\": {}", quote::name(text), quote::line(reason))]
    Encode {
        /// The text.
        text: String,
        /// The tokenizer's reason.
        reason: String,
    },
    /// A class name whose prompt does not fit into the text tower.
    #[error(
        "the prompt of class \"{}\" has {tokens} tokens with the context and both end markers; the text tower \
         takes at most {limit}",
        quote::name(class)
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
        "\"{}\" has {tokens} tokens with both end markers; the text tower takes at most {limit}",
        quote::name(text)
    )]
    TextTooLong {
        /// The text as given.
        text: String,
        /// Its number of tokens.
        tokens: usize,
        /// Context length of the checkpoint.
        limit: usize,
    },
    /// A template that leaves no room for a class name.
    #[error(
        "the template \"{}\" has {tokens} tokens with both end markers and before any class name; the text tower takes at \
         most {limit}",
        quote::name(template)
    )]
    TemplateTooLong {
        /// The template as given.
        template: String,
        /// Its number of tokens.
        tokens: usize,
        /// Context length of the checkpoint.
        limit: usize,
    },
    /// Context and class name share a token, so nothing can stand in the context's place.
    #[error(
        "the tokenizer joins the words \"{}\" with what follows them in the prompt of class \"{}\"",
        quote::name(context),
        quote::name(class)
    )]
    JoinedContext {
        /// The context's initial words.
        context: String,
        /// The class name as given.
        class: String,
    },
    /// A context without a single token has nothing to learn.
    #[error(
        "expected words for the context to start from, in front of the class name, found \"{}\"",
        quote::name(context)
    )]
    EmptyContext {
        /// The context as given.
        context: String,
    },
}
