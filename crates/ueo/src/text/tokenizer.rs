//! One tokenizer type for every kind of checkpoint.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::content::VocabularyContent;
use super::hugging_face::HuggingFaceTokenizer;
use super::openai::OpenAiTokenizer;
use super::{TextCleaning, TextError, TokenizerContent, TokenizerSource};
use crate::quote;

/// Longest text that is tokenized; a prompt of CLIP has 77 tokens, which is less than a kilobyte.
const MAX_TEXT_BYTES: usize = 64 << 10;

/// First token of every prompt, `[SOS]`.
pub const START_OF_TEXT: &str = "<|startoftext|>";
/// Last token of every prompt, `[EOS]`; CLIP's text feature is read at its position.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// The vocabulary and the text cleaning of one checkpoint: CLIP's byte-pair encoding, a SentencePiece vocabulary or BERT's.
///
/// # Example
///
/// ```
/// use ueo::text::{Tokenizer, TokenizerSource};
///
/// let tokenizer = Tokenizer::load(&TokenizerSource::OPENAI)?;
/// assert_eq!(tokenizer.encode("a photo of a dog.")?, [320, 1125, 539, 320, 1929, 269]);
/// # Ok::<(), ueo::text::TextError>(())
/// ```
#[derive(Debug)]
pub struct Tokenizer {
    kind: Kind,
    cleaning: TextCleaning,
    start_of_text: Option<u32>,
    end_of_text: u32,
    /// A token, and what takes its place.
    replacement: Option<(u32, u32)>,
}

#[derive(Debug)]
enum Kind {
    OpenAi(Box<OpenAiTokenizer>),
    HuggingFace(Box<HuggingFaceTokenizer>),
}

impl Tokenizer {
    /// Builds the tokenizer that a checkpoint names.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or parsed, or its vocabulary lacks CLIP's special tokens.
    pub fn load(source: &TokenizerSource) -> Result<Self, TextError> {
        let files = source.files();
        let path = files
            .first()
            .copied()
            .unwrap_or(Path::new("OpenAI's release"));
        Self::build(&TokenizerContent::read(source)?, path)
    }

    /// Builds the tokenizer of a content that was read; `path` is for messages.
    ///
    /// # Errors
    ///
    /// If its merges make tokens that its vocabulary does not have, or CLIP's special tokens are not in it.
    pub fn build(content: &TokenizerContent, path: &Path) -> Result<Self, TextError> {
        let built = |build: &dyn Fn() -> Result<HuggingFaceTokenizer, TextError>| {
            let tokenizer = without_panic(build).unwrap_or_else(|reason| {
                Err(TextError::Malformed {
                    path: path.to_owned(),
                    expected: "tokenizer of the Hugging Face kind",
                    found: reason,
                })
            })?;
            Ok::<_, TextError>(Kind::HuggingFace(Box::new(tokenizer)))
        };
        let kind = match &content.vocabulary {
            VocabularyContent::OpenAi => Kind::OpenAi(Box::new(OpenAiTokenizer::embedded()?)),
            VocabularyContent::Pairs(pairs) => built(&|| HuggingFaceTokenizer::new(pairs, path))?,
            VocabularyContent::SentencePiece(pieces) => {
                return Ok(Self {
                    kind: built(&|| HuggingFaceTokenizer::from_pipeline(&pieces.pipeline(), path))?,
                    start_of_text: pieces.start,
                    end_of_text: pieces.end,
                    cleaning: content.cleaning,
                    replacement: None,
                });
            }
            VocabularyContent::WordPiece(pieces) => {
                return Ok(Self {
                    kind: built(&|| HuggingFaceTokenizer::from_pipeline(&pieces.pipeline(), path))?,
                    start_of_text: pieces.start,
                    end_of_text: pieces.end(),
                    cleaning: content.cleaning,
                    replacement: pieces.replacement(),
                });
            }
        };
        let special = |token: &'static str| {
            kind.token_id(token)
                .ok_or_else(|| TextError::MissingSpecialToken {
                    origin: quote::path(path),
                    token,
                })
        };
        Ok(Self {
            start_of_text: Some(special(START_OF_TEXT)?),
            end_of_text: special(END_OF_TEXT)?,
            cleaning: content.cleaning,
            replacement: None,
            kind,
        })
    }

    /// Token ids of a text, without `[SOS]` and `[EOS]`.
    ///
    /// Special tokens written out in the text become those tokens, as in both reference implementations.
    ///
    /// # Errors
    ///
    /// If the text is longer than 64 KiB, or a Hugging Face tokenizer refuses it. OpenAI's vocabulary spells every byte
    /// and refuses nothing.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TextError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(TextError::TextTooLarge {
                text: text.chars().take(100).collect(),
                bytes: text.len(),
                limit: MAX_TEXT_BYTES,
            });
        }
        let encoded = without_panic(|| {
            let text = self.cleaning.apply(text);
            match &self.kind {
                Kind::OpenAi(tokenizer) => tokenizer.encode(&text),
                Kind::HuggingFace(tokenizer) => tokenizer.encode(&text),
            }
        });
        let mut tokens = encoded.unwrap_or_else(|reason| {
            Err(TextError::Encode {
                text: text.to_owned(),
                reason,
            })
        })?;
        if let Some((token, replacement)) = self.replacement {
            for found in tokens.iter_mut().filter(|found| **found == token) {
                *found = replacement;
            }
        }
        Ok(tokens)
    }

    /// Id of `[SOS]`; SentencePiece's vocabularies mostly have none in front of a text.
    pub fn start_of_text(&self) -> Option<u32> {
        self.start_of_text
    }

    /// Id of `[EOS]`.
    pub fn end_of_text(&self) -> u32 {
        self.end_of_text
    }

    /// Number of tokens, special ones included.
    pub fn vocab_size(&self) -> usize {
        match &self.kind {
            Kind::OpenAi(tokenizer) => tokenizer.vocab_size(),
            Kind::HuggingFace(tokenizer) => tokenizer.vocab_size(),
        }
    }
}

impl Kind {
    fn token_id(&self, token: &str) -> Option<u32> {
        match self {
            Self::OpenAi(tokenizer) => tokenizer.token_id(token),
            Self::HuggingFace(tokenizer) => tokenizer.token_id(token),
        }
    }
}

/// Turns a panic inside a library into its message. Content that is known to cause one is refused before; this is for
/// what is not known.
fn without_panic<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let message = panic
            .downcast_ref::<&str>()
            .map(|&text| text.to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned());
        format!(
            "the tokenizer failed: {}",
            message.as_deref().unwrap_or("no reason given")
        )
    })
}
