//! Prompts: `[SOS]` where the model has one, the learnable context, the class's own tokens, `[EOS]`.

use super::{Template, TextError, Tokenizer};

/// Words whose token embeddings initialize the context (Liang et al. 2024, section 3.3).
pub const DEFAULT_CONTEXT: &str = "a photo of a";

/// The prompts of a list of known classes: one shared prefix and one suffix per class.
///
/// The prompt of class `k` is `[SOS] v1 .. vn <tokens of the name> "." [EOS]`. Ids are those of the whole sentence
/// "a photo of a NAME.", which the released program tokenizes before it puts the context vectors in place of the
/// first n words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptSet {
    start_of_text: Option<u32>,
    context: Vec<u32>,
    suffixes: Vec<Vec<u32>>,
}

impl PromptSet {
    /// Prompts with [`DEFAULT_CONTEXT`]; underscores in class names become spaces.
    ///
    /// `context_length` is the number of tokens that the text tower takes, both end markers included.
    ///
    /// # Errors
    ///
    /// If a prompt does not fit into `context_length`, or the tokenizer refuses a name.
    pub fn new(
        tokenizer: &Tokenizer,
        class_names: &[impl AsRef<str>],
        context_length: usize,
    ) -> Result<Self, TextError> {
        Self::with_context(tokenizer, DEFAULT_CONTEXT, class_names, context_length)
    }

    /// Prompts whose context begins as the given words; as many vectors are learned as the words have tokens.
    ///
    /// # Errors
    ///
    /// As [`PromptSet::new`], and if the context has no tokens.
    pub fn with_context(
        tokenizer: &Tokenizer,
        context: &str,
        class_names: &[impl AsRef<str>],
        context_length: usize,
    ) -> Result<Self, TextError> {
        let sentence = |class: &str| format!("{context} {}.", class.replace('_', " "));
        Self::of_sentences(tokenizer, context, sentence, class_names, context_length)
    }

    /// Prompts whose context begins as the template's words in front of the class name; what follows the name stays as it is.
    ///
    /// # Errors
    ///
    /// As [`PromptSet::new`], and if there are no words in front of the name.
    pub fn with_template(
        tokenizer: &Tokenizer,
        template: &Template,
        class_names: &[impl AsRef<str>],
        context_length: usize,
    ) -> Result<Self, TextError> {
        let (context, sentence) = (template.context(), |class: &str| template.about(class));
        Self::of_sentences(tokenizer, context, sentence, class_names, context_length)
    }

    /// `context` is what the sentence about each class begins with.
    fn of_sentences(
        tokenizer: &Tokenizer,
        context: &str,
        sentence: impl Fn(&str) -> String,
        class_names: &[impl AsRef<str>],
        context_length: usize,
    ) -> Result<Self, TextError> {
        let context_tokens = tokenizer.encode(context)?;
        if context_tokens.is_empty() {
            return Err(TextError::EmptyContext {
                context: context.to_owned(),
            });
        }
        let suffix = |class: &str| -> Result<Vec<u32>, TextError> {
            let tokens = tokenizer.encode(&sentence(class))?;
            let markers = usize::from(tokenizer.start_of_text().is_some()) + 1;
            if tokens.len() + markers > context_length {
                return Err(TextError::ClassTooLong {
                    class: class.to_owned(),
                    tokens: tokens.len() + markers,
                    limit: context_length,
                });
            }
            // White space ends every word of CLIP's and of SentencePiece's usual vocabularies, so the context's words keep their
            // tokens whatever follows them.
            if !tokens.starts_with(&context_tokens) {
                return Err(TextError::JoinedContext {
                    context: context.to_owned(),
                    class: class.to_owned(),
                });
            }
            let name = tokens.into_iter().skip(context_tokens.len());
            Ok(name.chain([tokenizer.end_of_text()]).collect())
        };
        Ok(Self {
            suffixes: class_names
                .iter()
                .map(|class| suffix(class.as_ref()))
                .collect::<Result<_, _>>()?,
            start_of_text: tokenizer.start_of_text(),
            context: context_tokens,
        })
    }

    /// Id of `[SOS]`, where the model has one.
    pub fn start_of_text(&self) -> Option<u32> {
        self.start_of_text
    }

    /// Tokens whose embeddings initialize the context, one per learnable vector (4 in CLIP's vocabulary).
    pub fn context(&self) -> &[u32] {
        &self.context
    }

    /// Per class, the tokens after the context: the name, the full stop, `[EOS]`.
    pub fn suffixes(&self) -> &[Vec<u32>] {
        &self.suffixes
    }

    /// Number of tokens that all classes share: `[SOS]` and the context.
    pub fn prefix_len(&self) -> usize {
        usize::from(self.start_of_text.is_some()) + self.context.len()
    }

    /// Tokens of the longest prompt, `[SOS]` and `[EOS]` included.
    pub fn longest(&self) -> usize {
        self.prefix_len() + self.suffixes.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// The whole prompt of a class with the context's initial words, or `None` if there is no such class.
    pub fn tokens(&self, class: usize) -> Option<Vec<u32>> {
        let prefix = self
            .start_of_text
            .into_iter()
            .chain(self.context.iter().copied());
        let suffix = self.suffixes.get(class)?;
        Some(prefix.chain(suffix.iter().copied()).collect())
    }
}

/// What to do with a text that does not fit into the text tower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlong {
    /// Report it.
    Error,
    /// Keep the first tokens and replace the last one by `[EOS]` (`truncate=True` of openai-clip).
    Truncate,
}

/// `[SOS]` where the model has one, the tokens of a plain text, `[EOS]`; nothing is added to the text and nothing pads it.
///
/// # Errors
///
/// If the text has more than `context_length` tokens and must not be truncated, or the tokenizer refuses it.
pub fn tokenize_text(
    tokenizer: &Tokenizer,
    text: &str,
    context_length: usize,
    overlong: Overlong,
) -> Result<Vec<u32>, TextError> {
    let mut tokens: Vec<u32> = tokenizer.start_of_text().into_iter().collect();
    tokens.extend(tokenizer.encode(text)?);
    tokens.push(tokenizer.end_of_text());
    if tokens.len() > context_length {
        if overlong == Overlong::Error {
            return Err(TextError::TextTooLong {
                text: text.to_owned(),
                tokens: tokens.len(),
                limit: context_length,
            });
        }
        tokens.truncate(context_length);
        if let Some(last) = tokens.last_mut() {
            *last = tokenizer.end_of_text();
        }
    }
    Ok(tokens)
}
