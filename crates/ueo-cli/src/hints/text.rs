//! Tokenizers and texts.

use ueo::text::TextError;

use super::Hint;

impl Hint for TextError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unreadable { .. } => {
                Some("check that the checkpoint directory is complete and readable")
            }
            Self::Malformed { .. } => Some("copy the file again from the source of the checkpoint"),
            Self::Unsupported { .. } | Self::TooLarge { .. } => Some(
                "use the tokenizer of the model: CLIP's byte-pair encoding, or the SentencePiece vocabulary of a SigLIP",
            ),
            Self::TextTooLarge { .. } => Some("shorten the text"),
            Self::MissingSpecialToken { .. } => Some(
                "the text tower must be CLIP's, whose vocabulary holds <|startoftext|> and <|endoftext|>",
            ),
            Self::DamagedVocabulary { .. } => Some("build the program again from a clean checkout"),
            Self::Encode { .. } => {
                Some("remove unusual characters from the text, or check tokenizer.json")
            }
            Self::ClassTooLong { .. } => Some("shorten the class name, or the template"),
            Self::TemplateTooLong { .. } => Some("shorten the template"),
            Self::TextTooLong { .. } => Some("shorten the text, or cut it off with --truncate"),
            Self::JoinedContext { .. } => {
                Some("check tokenizer.json: white space must end the words of a prompt")
            }
            Self::EmptyContext { .. } => {
                Some("put some words in front of {}, as in \"a photo of {}\"")
            }
            _ => None,
        };
        hint.map(str::to_owned)
    }
}
