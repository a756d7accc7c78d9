//! One tokenizer type for every kind of checkpoint.

use super::hugging_face::HuggingFaceTokenizer;
use super::openai::OpenAiTokenizer;
use super::{TextError, TokenizerSource};

/// First token of every prompt, `[SOS]`.
pub const START_OF_TEXT: &str = "<|startoftext|>";
/// Last token of every prompt, `[EOS]`; CLIP's text feature is read at its position.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// CLIP's byte-pair encoding with the vocabulary and the text cleaning of one checkpoint.
///
/// # Example
///
/// ```
/// use ueo::text::{Tokenizer, TokenizerSource};
///
/// let tokenizer = Tokenizer::load(&TokenizerSource::OpenAi)?;
/// assert_eq!(tokenizer.encode("a photo of a dog.")?, [320, 1125, 539, 320, 1929, 269]);
/// # Ok::<(), ueo::text::TextError>(())
/// ```
#[derive(Debug)]
pub struct Tokenizer {
    kind: Kind,
    start_of_text: u32,
    end_of_text: u32,
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
        let (kind, origin) = match source {
            TokenizerSource::OpenAi => (
                Kind::OpenAi(Box::new(OpenAiTokenizer::embedded()?)),
                "OpenAI's release".to_owned(),
            ),
            TokenizerSource::TokenizerJson(path) => (
                Kind::HuggingFace(Box::new(HuggingFaceTokenizer::from_json_file(path)?)),
                path.display().to_string(),
            ),
            TokenizerSource::VocabAndMerges { vocab, merges } => (
                Kind::HuggingFace(Box::new(HuggingFaceTokenizer::from_vocab_and_merges(
                    vocab, merges,
                )?)),
                vocab.display().to_string(),
            ),
        };
        let special = |token: &'static str| {
            kind.token_id(token)
                .ok_or_else(|| TextError::MissingSpecialToken {
                    origin: origin.clone(),
                    token,
                })
        };
        Ok(Self {
            start_of_text: special(START_OF_TEXT)?,
            end_of_text: special(END_OF_TEXT)?,
            kind,
        })
    }

    /// Token ids of a text, without `[SOS]` and `[EOS]`.
    ///
    /// Special tokens written out in the text become those tokens, as in both reference implementations.
    ///
    /// # Errors
    ///
    /// If a Hugging Face tokenizer refuses the text. OpenAI's vocabulary spells every byte and refuses nothing.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TextError> {
        match &self.kind {
            Kind::OpenAi(tokenizer) => tokenizer.encode(text),
            Kind::HuggingFace(tokenizer) => tokenizer.encode(text),
        }
    }

    /// Id of `[SOS]`.
    pub fn start_of_text(&self) -> u32 {
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
