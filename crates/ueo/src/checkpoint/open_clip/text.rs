//! The text tower of open_clip's configuration.

use serde_json::Value;

use crate::checkpoint::draft::FeatureToken;
use crate::checkpoint::json::Section;
use crate::checkpoint::tokenizer::OpenClipTokenizer;
use crate::checkpoint::{
    Activation, CheckpointError, TextArchitecture, TextConfig, TextProjection, TextRead,
    TransformerConfig,
};
use crate::text::TextCleaning;

use super::{epsilon, mlp_width};

/// Defaults of open_clip's `CLIPTextCfg` (`model.py`): what a key that is not there means.
const CONTEXT_LENGTH: usize = 77;
const VOCAB_SIZE: usize = 49_408;
const WIDTH: usize = 512;
const HEADS: usize = 8;
const LAYERS: usize = 12;
const END_OF_TEXT: usize = 2;
/// What open_clip's own tokenizer fills texts up with; a vocabulary in files says it itself.
const PADDING_TOKEN: u32 = 0;

/// Reads `text_cfg`; its keys were checked.
pub(super) fn config(
    text: &Section<'_>,
    activation: Activation,
) -> Result<TextConfig, CheckpointError> {
    let width = text.size("width", WIDTH)?;
    Ok(TextConfig {
        context_length: text.size("context_length", CONTEXT_LENGTH)?,
        vocab_size: text.size("vocab_size", VOCAB_SIZE)?,
        transformer: TransformerConfig {
            width,
            layers: text.size("layers", LAYERS)?,
            heads: text.size("heads", HEADS)?,
            mlp_width: mlp_width(text, width)?,
            activation,
            layer_norm_epsilon: epsilon(text)?,
        },
        architecture: architecture(text)?,
    })
}

fn architecture(text: &Section<'_>) -> Result<TextArchitecture, CheckpointError> {
    let projection = projection(text)?;
    let pool = text.text("pool_type", "argmax")?;
    let is_causal = !text.flag("no_causal_mask", false)?;
    let read = match pool {
        "argmax" | "eos" | "" => TextRead::EndOfText,
        "last" if !is_causal => TextRead::Last,
        other => return Err(text.unsupported("pool_type", &Value::from(other))),
    };
    match (is_causal, projection) {
        // Only SigLIP's has one.
        (_, TextProjection::Affine) => Err(text.unsupported("proj_bias", &Value::Bool(true))),
        (true, TextProjection::Linear) => Ok(TextArchitecture::Causal),
        (true, TextProjection::None) => Err(text.unsupported("proj_type", &Value::from("none"))),
        (false, _) => Ok(TextArchitecture::Padded {
            padding_token: PADDING_TOKEN,
            read,
            projection,
        }),
    }
}

/// What makes a feature of the token that is read.
pub(in crate::checkpoint) fn projection(
    text: &Section<'_>,
) -> Result<TextProjection, CheckpointError> {
    match (
        text.text("proj_type", "linear")?,
        text.flag("proj_bias", false)?,
    ) {
        ("none", _) => Ok(TextProjection::None),
        ("linear" | "", true) => Ok(TextProjection::Affine),
        ("linear" | "", false) => Ok(TextProjection::Linear),
        (other, _) => Err(text.unsupported("proj_type", &Value::from(other))),
    }
}

/// At which token open_clip reads the feature.
pub(super) fn feature_token(text: &Section<'_>) -> Result<FeatureToken, CheckpointError> {
    Ok(match text.text("pool_type", "argmax")? {
        "eos" => FeatureToken::Id {
            key: "text_cfg.eos_id",
            id: text.size("eos_id", END_OF_TEXT)? as u64,
        },
        "last" => FeatureToken::Unsaid,
        _ => FeatureToken::HighestId,
    })
}

/// The tokenizer's name, text cleaning and separator; any other argument of open_clip's tokenizers is refused.
pub(in crate::checkpoint) fn tokenizer(
    text: &Section<'_>,
) -> Result<OpenClipTokenizer, CheckpointError> {
    let name = text.text("hf_tokenizer_name", "")?;
    let mut asked = OpenClipTokenizer {
        name: (!name.is_empty()).then(|| name.to_owned()),
        ..OpenClipTokenizer::default()
    };
    let Some(arguments) = text.section("tokenizer_kwargs", "text_cfg.tokenizer_kwargs.")? else {
        return Ok(asked);
    };
    arguments.refuse_unknown(&["clean", "strip_sep_token"])?;
    asked.cleaning = match arguments.text("clean", "")? {
        "" => None,
        "whitespace" => Some(TextCleaning::Whitespace),
        "lower" => Some(TextCleaning::Lower),
        "canonicalize" => Some(TextCleaning::Canonicalize),
        other => return Err(arguments.unsupported("clean", &Value::from(other))),
    };
    asked.strips_separator = arguments.flag("strip_sep_token", false)?;
    if asked.strips_separator && asked.name.is_none() {
        return Err(arguments.unsupported("strip_sep_token", &Value::Bool(true)));
    }
    Ok(asked)
}
