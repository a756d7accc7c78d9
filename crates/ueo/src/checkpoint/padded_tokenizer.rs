//! Tokenizers of other vocabularies than CLIP's: `tokenizer.json`, what `tokenizer_config.json` says about cleaning, padding and
//! markers.

use std::path::Path;

use serde_json::{Map, Value};

use super::CheckpointError;
use super::json::{Section, read_object};
use super::tokenizer::OpenClipTokenizer;
use crate::text::{TextCleaning, TokenizerContent, TokenizerSource, Vocabulary};

/// A tokenizer with the token that fills texts up.
pub(super) struct PaddedTokenizer {
    pub source: TokenizerSource,
    pub padding_token: u32,
}

/// A class of transformers: its name, its padding token where nothing else names one, and whether it pads on the left then.
struct Class {
    name: &'static str,
    padding: Option<&'static str>,
    pads_left: bool,
}

/// Classes that take `tokenizer.json` as it is, but for the cleaning that [`cleaning_of_class`] knows.
const CLASSES: [Class; 13] = [
    class("SiglipTokenizer", Some("</s>"), false),
    class("T5Tokenizer", Some("<pad>"), false),
    class("T5TokenizerFast", Some("<pad>"), false),
    class("GemmaTokenizer", Some("<pad>"), true),
    class("GemmaTokenizerFast", Some("<pad>"), true),
    class("Siglip2Tokenizer", Some("<pad>"), true),
    class("XLMRobertaTokenizer", Some("<pad>"), false),
    class("XLMRobertaTokenizerFast", Some("<pad>"), false),
    class("BertTokenizer", Some("[PAD]"), false),
    class("BertTokenizerFast", Some("[PAD]"), false),
    class("PreTrainedTokenizer", None, false),
    class("PreTrainedTokenizerFast", None, false),
    class("TokenizersBackend", None, false),
];

const fn class(name: &'static str, padding: Option<&'static str>, pads_left: bool) -> Class {
    Class {
        name,
        padding,
        pads_left,
    }
}

impl Class {
    /// Whether its vocabulary is WordPiece's.
    fn is_berts(&self) -> bool {
        self.name.starts_with("BertTokenizer")
    }
}

/// What a class does to a text before its vocabulary sees it.
fn cleaning_of_class(class: &Class) -> TextCleaning {
    match class.name {
        "SiglipTokenizer" => TextCleaning::Siglip,
        "Siglip2Tokenizer" => TextCleaning::LowerCharacters,
        _ => TextCleaning::None,
    }
}

/// As transformers loads it: without a class it is that of the model type.
pub(super) fn for_hugging_face(directory: &Path) -> Result<PaddedTokenizer, CheckpointError> {
    let files = Files::read(directory)?;
    let config = files.config();
    let class = files.class(&config, "SiglipTokenizer")?;
    if class.is_berts() {
        return Err(config.unsupported("tokenizer_class", &Value::from(class.name)));
    }
    if class.name == "SiglipTokenizer" && !config.flag("do_lower_case", true)? {
        return Err(config.unsupported("do_lower_case", &Value::Bool(false)));
    }
    files.tokenizer(&config, class, cleaning_of_class(class), false)
}

/// As open_clip wraps it: texts are cleaned first.
pub(super) fn for_open_clip(
    directory: &Path,
    asked: &OpenClipTokenizer,
) -> Result<PaddedTokenizer, CheckpointError> {
    let files = Files::read(directory)?;
    let config = files.config();
    let class = files.class(&config, "PreTrainedTokenizerFast")?;
    let cleaning = asked.cleaning.unwrap_or(TextCleaning::Whitespace);
    // Two cleanings in a row are one only where the first leaves nothing to the second.
    if cleaning_of_class(class) != TextCleaning::None && cleaning != TextCleaning::Canonicalize {
        return Err(config.unsupported("tokenizer_class", &Value::from(class.name)));
    }
    files.tokenizer(&config, class, cleaning, asked.strips_separator)
}

/// The files beside a checkpoint.
struct Files<'a> {
    directory: &'a Path,
    config_path: std::path::PathBuf,
    config: Map<String, Value>,
}

impl<'a> Files<'a> {
    fn read(directory: &'a Path) -> Result<Self, CheckpointError> {
        let json = directory.join("tokenizer.json");
        if !json.is_file() {
            let found = match directory.join("spiece.model").is_file() {
                true => {
                    "spiece.model alone, which transformers converts: AutoTokenizer.from_pretrained(...).save_pretrained(...)"
                }
                false => "none",
            };
            return Err(CheckpointError::unrecognized(
                directory,
                "tokenizer.json beside the weights",
                found,
            ));
        }
        let config_path = directory.join("tokenizer_config.json");
        let config = match config_path.is_file() {
            true => read_object(&config_path)?,
            false => Map::new(),
        };
        Ok(Self {
            directory,
            config_path,
            config,
        })
    }

    fn config(&self) -> Section<'_> {
        Section::new(&self.config, &self.config_path, "")
    }

    fn class(
        &self,
        config: &Section<'_>,
        default: &'static str,
    ) -> Result<&'static Class, CheckpointError> {
        let name = config.text("tokenizer_class", default)?;
        CLASSES
            .iter()
            .find(|class| class.name == name)
            .ok_or_else(|| config.unsupported("tokenizer_class", &Value::from(name)))
    }

    fn tokenizer(
        &self,
        config: &Section<'_>,
        class: &Class,
        cleaning: TextCleaning,
        strips_separator: bool,
    ) -> Result<PaddedTokenizer, CheckpointError> {
        let side = if class.pads_left { "left" } else { "right" };
        let side = config.text("padding_side", side)?;
        if side != "right" {
            return Err(config.unsupported("padding_side", &Value::from(side)));
        }
        let path = self.directory.join("tokenizer.json");
        let vocabulary = match (class.is_berts(), strips_separator) {
            (true, _) => Vocabulary::WordPiece {
                path,
                strips_separator,
            },
            (false, true) => {
                return Err(config.unsupported("tokenizer_class", &Value::from(class.name)));
            }
            (false, false) => Vocabulary::SentencePiece(path),
        };
        let source = TokenizerSource {
            vocabulary,
            cleaning,
        };
        let content = TokenizerContent::read(&source)?;
        check_bert(config, &content)?;
        // What stands around a text is in tokenizer.json; a class that is told otherwise changes it.
        for (key, there) in [
            ("add_bos_token", content.has_start()),
            ("add_eos_token", true),
        ] {
            if config.flag(key, there)? != there {
                return Err(config.unsupported(key, &Value::Bool(!there)));
            }
        }
        // A token is a text, or an object with its text under `content`.
        let named = config
            .get("pad_token")
            .map(|token| token.get("content").unwrap_or(token));
        let token = match named {
            Some(token) => token
                .as_str()
                .ok_or_else(|| config.wrong("pad_token", "a token", token))?,
            None => class.padding.ok_or_else(|| {
                CheckpointError::malformed(
                    &self.config_path,
                    "a token in `pad_token`, up to the text tower's length",
                    "none",
                )
            })?,
        };
        let padding_token = content.id(token).ok_or_else(|| {
            config.wrong(
                "pad_token",
                "a token of the vocabulary",
                &Value::from(token),
            )
        })?;
        Ok(PaddedTokenizer {
            source,
            padding_token,
        })
    }
}

/// transformers builds BERT's normalizer of these keys, whatever tokenizer.json says.
fn check_bert(config: &Section<'_>, content: &TokenizerContent) -> Result<(), CheckpointError> {
    let Some(normalizer) = content.bert_normalizer() else {
        return Ok(());
    };
    for (key, there) in [
        ("do_lower_case", "lowercase"),
        ("tokenize_chinese_chars", "handle_chinese_chars"),
    ] {
        let asked = Value::Bool(config.flag(key, true)?);
        if normalizer[there] != asked {
            return Err(config.unsupported(key, &asked));
        }
    }
    let accents = config.get("strip_accents").unwrap_or(&Value::Null);
    match normalizer["strip_accents"] == *accents {
        true => Ok(()),
        false => Err(config.unsupported("strip_accents", accents)),
    }
}
