//! open_clip's layout: `open_clip_config.json` and names that are OpenAI's, with small differences.

use std::path::Path;

use serde_json::Value;

use crate::image::{Interpolation, Preprocessing};

use super::infer::LAYER_NORM_EPSILON;
use super::json::{Section, read_object};
use super::{
    Activation, CheckpointError, ClipConfig, ResNetConfig, TextConfig, TransformerConfig,
    VisionConfig, VitConfig,
};

/// Defaults of open_clip's `CLIPVisionCfg` and `CLIPTextCfg` (`model.py`): what a key that is not there means.
const VISION_LAYERS: usize = 12;
const VISION_WIDTH: usize = 768;
const HEAD_WIDTH: usize = 64;
const MLP_RATIO: f64 = 4.0;
const PATCH_SIZE: usize = 16;
const IMAGE_SIZE: usize = 224;
const CONTEXT_LENGTH: usize = 77;
const VOCAB_SIZE: usize = 49_408;
const TEXT_WIDTH: usize = 512;
const TEXT_HEADS: usize = 8;
const TEXT_LAYERS: usize = 12;
/// Channels of the last ResNet stage, as a multiple of the stem's.
const RESNET_EXPANSION: usize = 32;

/// Keys that change the architecture; any value but null, false and the one given here is refused.
const FIXED_VISION_KEYS: [(&str, &str); 18] = [
    ("timm_model_name", ""),
    ("attentional_pool", ""),
    ("attn_pooler_queries", "*"),
    ("attn_pooler_heads", "*"),
    ("ls_init_value", ""),
    ("no_ln_pre", ""),
    ("pos_embed_type", "learnable"),
    ("final_ln_after_pool", ""),
    ("pool_type", "tok"),
    ("global_average_pool", ""),
    ("input_patchnorm", ""),
    ("block_type", "default"),
    ("act_kwargs", ""),
    ("qk_norm", ""),
    ("scaled_cosine_attn", ""),
    ("scale_heads", ""),
    ("scale_attn", ""),
    ("scale_fc", ""),
];
const FIXED_TEXT_KEYS: [(&str, &str); 14] = [
    ("hf_model_name", ""),
    ("embed_cls", ""),
    ("ls_init_value", ""),
    ("no_causal_mask", ""),
    ("final_ln_after_pool", ""),
    ("pool_type", "argmax"),
    ("proj_bias", ""),
    ("proj_type", "linear"),
    ("block_type", "default"),
    ("act_kwargs", ""),
    ("qk_norm", ""),
    ("scaled_cosine_attn", ""),
    ("scale_attn", ""),
    ("scale_fc", ""),
];

/// What `open_clip_config.json` says.
#[derive(Debug)]
pub(super) struct OpenClipConfig {
    pub architecture: ClipConfig,
    pub preprocessing: Preprocessing,
    /// Whether the text tower was trained with a tokenizer other than OpenAI's.
    pub own_tokenizer: bool,
}

/// Reads `open_clip_config.json`, or one of open_clip's bare model configurations.
pub(super) fn read_config(path: &Path) -> Result<OpenClipConfig, CheckpointError> {
    let object = read_object(path)?;
    let root = Section::new(&object, path, "");
    let preprocess = root.section("preprocess_cfg", "preprocess_cfg.")?;
    let model = root.section("model_cfg", "model_cfg.")?.unwrap_or(root);
    for key in ["multimodal_cfg", "init_logit_bias"] {
        if let Some(value) = model.get(key) {
            return Err(model.unsupported(key, value));
        }
    }
    let (Some(vision), Some(text)) = (
        model.section("vision_cfg", "vision_cfg.")?,
        model.section("text_cfg", "text_cfg.")?,
    ) else {
        return Err(CheckpointError::malformed(
            path,
            "`vision_cfg` and `text_cfg`",
            "a configuration without them",
        ));
    };
    refuse_variants(&vision, &FIXED_VISION_KEYS)?;
    refuse_variants(&text, &FIXED_TEXT_KEYS)?;
    let activation = if model.flag("quick_gelu", false)? {
        Activation::QuickGelu
    } else {
        Activation::Gelu
    };
    let vision_config = vision_config(&vision, activation)?;
    let text_width = text.size("width", TEXT_WIDTH)?;
    let architecture = ClipConfig {
        embed_dim: model.size("embed_dim", 0)?,
        text: TextConfig {
            context_length: text.size("context_length", CONTEXT_LENGTH)?,
            vocab_size: text.size("vocab_size", VOCAB_SIZE)?,
            transformer: TransformerConfig {
                width: text_width,
                layers: text.size("layers", TEXT_LAYERS)?,
                heads: text.size("heads", TEXT_HEADS)?,
                mlp_width: mlp_width(&text, text_width)?,
                activation,
                layer_norm_epsilon: epsilon(&text)?,
            },
        },
        vision: vision_config,
    };
    let preprocessing = preprocessing(preprocess, architecture.vision.image_size(), path)?;
    let own_tokenizer = !text.text("hf_tokenizer_name", "")?.is_empty();
    Ok(OpenClipConfig {
        architecture,
        preprocessing,
        own_tokenizer,
    })
}

fn vision_config(
    section: &Section<'_>,
    activation: Activation,
) -> Result<VisionConfig, CheckpointError> {
    let width = section.size("width", VISION_WIDTH)?;
    let head_width = section.size("head_width", HEAD_WIDTH)?;
    let image_size = match section.get("image_size") {
        Some(value @ Value::Array(sides)) => match sides.as_slice() {
            [height, side] if height == side => side
                .as_u64()
                .and_then(|side| usize::try_from(side).ok())
                .ok_or_else(|| section.wrong("image_size", "an integer", value))?,
            _ => return Err(section.unsupported("image_size", value)),
        },
        _ => section.size("image_size", IMAGE_SIZE)?,
    };
    if let Some(value @ Value::Array(stages)) = section.get("layers") {
        let layers: Option<Vec<usize>> = stages
            .iter()
            .map(|blocks| usize::try_from(blocks.as_u64()?).ok())
            .collect();
        let layers = layers
            .and_then(|layers| <[usize; 4]>::try_from(layers).ok())
            .ok_or_else(|| section.wrong("layers", "four integers", value))?;
        return Ok(VisionConfig::ResNet(ResNetConfig {
            image_size,
            layers,
            width,
            heads: width.saturating_mul(RESNET_EXPANSION) / head_width,
        }));
    }
    Ok(VisionConfig::Vit(VitConfig {
        image_size,
        patch_size: section.size("patch_size", PATCH_SIZE)?,
        transformer: TransformerConfig {
            width,
            layers: section.size("layers", VISION_LAYERS)?,
            heads: width / head_width,
            mlp_width: mlp_width(section, width)?,
            activation,
            layer_norm_epsilon: epsilon(section)?,
        },
    }))
}

/// `int(width * mlp_ratio)` as in open_clip.
fn mlp_width(section: &Section<'_>, width: usize) -> Result<usize, CheckpointError> {
    Ok((width as f64 * section.number("mlp_ratio", MLP_RATIO)?) as usize)
}

/// The LayerNorm's epsilon; any other argument of the normalization is refused.
fn epsilon(section: &Section<'_>) -> Result<f64, CheckpointError> {
    let Some(arguments) = section.section("norm_kwargs", "norm_kwargs.")? else {
        return Ok(LAYER_NORM_EPSILON);
    };
    for (key, value) in arguments.entries() {
        if key != "eps" {
            return Err(arguments.unsupported(key, value));
        }
    }
    arguments.number("eps", LAYER_NORM_EPSILON)
}

fn refuse_variants(section: &Section<'_>, fixed: &[(&str, &str)]) -> Result<(), CheckpointError> {
    for &(key, accepted) in fixed {
        let Some(value) = section.get(key) else {
            continue;
        };
        let harmless = match value {
            Value::Bool(flag) => !flag,
            Value::String(text) => text.is_empty() || text == accepted,
            Value::Object(object) => object.is_empty(),
            _ => accepted == "*",
        };
        if !harmless {
            return Err(section.unsupported(key, value));
        }
    }
    Ok(())
}

fn preprocessing(
    section: Option<Section<'_>>,
    image_size: usize,
    path: &Path,
) -> Result<Preprocessing, CheckpointError> {
    let clip = Preprocessing::clip(image_size);
    let Some(section) = section else {
        return Ok(clip);
    };
    let interpolation = match section.text("interpolation", "bicubic")? {
        "bicubic" => Interpolation::Bicubic,
        "bilinear" => Interpolation::Bilinear,
        other => return Err(section.unsupported("interpolation", &Value::from(other))),
    };
    if section.text("resize_mode", "shortest")? != "shortest" {
        return Err(CheckpointError::unsupported(
            path,
            "a `preprocess_cfg.resize_mode` other than \"shortest\"",
        ));
    }
    Ok(Preprocessing {
        mean: section.rgb("mean", clip.mean)?,
        std: section.rgb("std", clip.std)?,
        interpolation,
        ..clip
    })
}
