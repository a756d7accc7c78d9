//! open_clip's layout: `open_clip_config.json` and names that are OpenAI's, with small differences.

use std::path::Path;

use serde_json::{Map, Value};

use crate::image::{Interpolation, Preprocessing, ResizeRule};

use super::assemble::{Parameter, Recipe};
use super::draft::FeatureToken;
use super::infer::LAYER_NORM_EPSILON;
use super::json::{Section, read_object};
use super::timm::{self, Recipes};
use super::tokenizer::OpenClipTokenizer;
use super::validate::check_pixel_values;
use super::{
    Activation, CheckpointError, ClassToken, ClipConfig, ModularVitConfig, Pooling, ResNetConfig,
    Stem, TransformerConfig, VisionConfig, VitBlocks, VitConfig, siglip,
};

mod text;

pub(super) use text::{projection as text_projection, tokenizer};

/// Defaults of open_clip's `CLIPVisionCfg` (`model.py`): what a key that is not there means.
const VISION_LAYERS: usize = 12;
const VISION_WIDTH: usize = 768;
const HEAD_WIDTH: usize = 64;
const MLP_RATIO: f64 = 4.0;
const PATCH_SIZE: usize = 16;
const IMAGE_SIZE: usize = 224;
/// Channels of the last ResNet stage, as a multiple of the stem's.
const RESNET_EXPANSION: usize = 32;

/// Keys that change the architecture; any value but null, false and the one given here is refused.
const FIXED_VISION_KEYS: [(&str, &str); 14] = [
    ("attentional_pool", ""),
    ("attn_pooler_queries", "*"),
    ("attn_pooler_heads", "*"),
    ("global_average_pool", ""),
    ("input_patchnorm", ""),
    ("block_type", "default"),
    ("act_kwargs", ""),
    ("qk_norm", ""),
    ("scaled_cosine_attn", ""),
    ("scale_heads", ""),
    ("scale_attn_inner", ""),
    ("scale_attn", ""),
    ("scale_fc", ""),
    ("output_tokens", ""),
];
const FIXED_TEXT_KEYS: [(&str, &str); 13] = [
    ("hf_model_name", ""),
    ("embed_cls", ""),
    ("final_ln_after_pool", ""),
    ("block_type", "default"),
    ("act_kwargs", ""),
    ("qk_norm", ""),
    ("scaled_cosine_attn", ""),
    ("scale_heads", ""),
    ("scale_attn_inner", ""),
    ("scale_attn", ""),
    ("scale_fc", ""),
    ("output_tokens", ""),
    ("tokenizer_mode", ""),
];
/// Keys that are read here, or change nothing in a CLIP model that is not trained by open_clip itself. Any other key is
/// refused by name: open_clip knows no others.
const MODEL_KEYS: [&str; 11] = [
    "embed_dim",
    "vision_cfg",
    "text_cfg",
    "quick_gelu",
    "custom_text",
    "init_logit_scale",
    "nonscalar_logit_scale",
    "cast_dtype",
    "output_dict",
    "model_cfg",
    "preprocess_cfg",
];
const VISION_KEYS: [&str; 20] = [
    "no_ln_pre",
    "pos_embed_type",
    "final_ln_after_pool",
    "pool_type",
    "ls_init_value",
    "layers",
    "width",
    "head_width",
    "mlp_ratio",
    "patch_size",
    "image_size",
    "norm_kwargs",
    "patch_dropout",
    // Of an image tower of timm, which this one is not.
    "timm_model_name",
    "timm_model_pretrained",
    "timm_pool",
    "timm_proj",
    "timm_proj_bias",
    "timm_drop",
    "timm_drop_path",
];
const TEXT_KEYS: [&str; 19] = [
    "no_causal_mask",
    "pool_type",
    "proj_bias",
    "proj_type",
    "eos_id",
    "ls_init_value",
    "context_length",
    "vocab_size",
    "hf_tokenizer_name",
    "tokenizer_kwargs",
    "width",
    "heads",
    "layers",
    "mlp_ratio",
    "norm_kwargs",
    // Of a mask over padding, which no configuration asks for, and of a text tower of Hugging Face, which is refused where it is named.
    "pad_id",
    "hf_model_pretrained",
    "hf_proj_type",
    "hf_pooler_type",
];

/// What `open_clip_config.json` says.
#[derive(Debug)]
pub(super) struct OpenClipConfig {
    pub architecture: ClipConfig,
    pub preprocessing: Preprocessing,
    /// What it says about texts.
    pub tokenizer: OpenClipTokenizer,
    /// Which towers scale what their blocks add.
    pub layer_scale: LayerScale,
    /// Where timm keeps the parameters of its image tower; `None` of one of open_clip's own.
    pub timm: Option<Recipes>,
    /// At which token the text feature is read.
    pub feature_token: FeatureToken,
}

/// Which towers have a learned factor per channel behind attention and perceptron (`ls_1`, `ls_2`). Nothing trains it
/// here, so it is multiplied into the matrices before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LayerScale {
    pub vision: bool,
    pub text: bool,
}

impl LayerScale {
    /// Puts the factors into the recipes of the parameters that they belong to.
    pub(super) fn fold(self, parameters: &mut [Parameter]) {
        for parameter in parameters {
            let scaled = match parameter.name.starts_with("visual.") {
                true => self.vision,
                false => self.text,
            };
            let Recipe::Copy(name) = &parameter.recipe else {
                continue;
            };
            let factors = [
                (".attn.out_proj.", ".ls_1.gamma"),
                (".mlp.c_proj.", ".ls_2.gamma"),
            ];
            let factor = factors.iter().find_map(|(layer, factor)| {
                let (block, _) = name.split_once(layer)?;
                Some(format!("{block}{factor}"))
            });
            if let (true, Some(factor)) = (scaled, factor) {
                parameter.recipe = Recipe::Scaled(name.clone(), factor);
            }
        }
    }
}

/// Reads `open_clip_config.json`, or one of open_clip's bare model configurations.
pub(super) fn read_config(path: &Path) -> Result<OpenClipConfig, CheckpointError> {
    config(&read_object(path)?, path)
}

/// As [`read_config`], of a file that was read.
pub(super) fn config(
    object: &Map<String, Value>,
    path: &Path,
) -> Result<OpenClipConfig, CheckpointError> {
    let root = Section::new(object, path, "");
    let preprocess = root.section("preprocess_cfg", "preprocess_cfg.")?;
    let model = root.section("model_cfg", "model_cfg.")?.unwrap_or(root);
    if let Some(config) = siglip::open_clip::config(&model, preprocess.as_ref(), path)? {
        return Ok(config);
    }
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
    refuse_variants(&text, &FIXED_TEXT_KEYS, &TEXT_KEYS)?;
    model.refuse_unknown(&MODEL_KEYS)?;
    let activation = if model.flag("quick_gelu", false)? {
        Activation::QuickGelu
    } else {
        Activation::Gelu
    };
    let timm = timm::tower(&vision)?;
    let (vision_config, timm) = match timm {
        Some(tower) => (tower.vision, Some(tower.recipes)),
        None => {
            refuse_variants(&vision, &FIXED_VISION_KEYS, &VISION_KEYS)?;
            (vision_config(&vision, activation)?, None)
        }
    };
    let architecture = ClipConfig {
        embed_dim: model.size("embed_dim", 0)?,
        text: text::config(&text, activation)?,
        vision: vision_config,
    };
    let preprocessing = preprocessing(preprocess, architecture.vision.image_size(), path)?;
    Ok(OpenClipConfig {
        architecture,
        preprocessing,
        tokenizer: tokenizer(&text)?,
        layer_scale: LayerScale {
            vision: has_layer_scale(&vision)?,
            text: has_layer_scale(&text)?,
        },
        timm,
        feature_token: text::feature_token(&text)?,
    })
}

/// Whether a first value of the factors is given; which one is of no interest to a model that was trained.
fn has_layer_scale(tower: &Section<'_>) -> Result<bool, CheckpointError> {
    match tower.get("ls_init_value") {
        None | Some(Value::Bool(false)) => Ok(false),
        Some(value @ Value::Bool(true)) => Err(tower.unsupported("ls_init_value", value)),
        Some(_) => tower.number("ls_init_value", 0.0).map(|_| true),
    }
}

fn vision_config(
    section: &Section<'_>,
    activation: Activation,
) -> Result<VisionConfig, CheckpointError> {
    let width = section.size("width", VISION_WIDTH)?;
    let head_width = section.size("head_width", HEAD_WIDTH)?;
    let image_size = section.square("image_size", IMAGE_SIZE)?;
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
    let vit = VitConfig {
        image_size,
        patch_size: section.square("patch_size", PATCH_SIZE)?,
        transformer: TransformerConfig {
            width,
            layers: section.size("layers", VISION_LAYERS)?,
            heads: width / head_width,
            mlp_width: mlp_width(section, width)?,
            activation,
            layer_norm_epsilon: epsilon(section)?,
        },
    };
    // Fixed positions are among the weights as learned ones are.
    match section.text("pos_embed_type", "learnable")? {
        "learnable" | "sin_cos_2d" | "" => {}
        other => return Err(section.unsupported("pos_embed_type", &Value::from(other))),
    }
    let normalized_tokens = !section.flag("no_ln_pre", false)?;
    let pooling = pooling(section)?;
    if normalized_tokens && pooling == Pooling::ClassToken {
        return Ok(VisionConfig::Vit(vit));
    }
    Ok(VisionConfig::ModularVit(ModularVitConfig {
        vit,
        stem: Stem::Patches,
        class_token: ClassToken::Positioned,
        normalized_tokens,
        blocks: VitBlocks::PreNorm,
        pooling,
        projection_bias: false,
    }))
}

/// What a feature is made of; the average of tokens that were normalized before is none of ours.
fn pooling(section: &Section<'_>) -> Result<Pooling, CheckpointError> {
    let norm_is_last = section.flag("final_ln_after_pool", false)?;
    match section.text("pool_type", "tok")? {
        "tok" | "" => Ok(Pooling::ClassToken),
        "avg" if norm_is_last => Ok(Pooling::Average),
        "avg" => Err(section.unsupported("final_ln_after_pool", &Value::Bool(false))),
        other => Err(section.unsupported("pool_type", &Value::from(other))),
    }
}

/// `int(width * mlp_ratio)` as in open_clip.
pub(super) fn mlp_width(section: &Section<'_>, width: usize) -> Result<usize, CheckpointError> {
    Ok((width as f64 * section.number("mlp_ratio", MLP_RATIO)?) as usize)
}

/// The LayerNorm's epsilon; any other argument of the normalization is refused.
pub(super) fn epsilon(section: &Section<'_>) -> Result<f64, CheckpointError> {
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

fn refuse_variants(
    section: &Section<'_>,
    fixed: &[(&str, &str)],
    known: &[&str],
) -> Result<(), CheckpointError> {
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
    let fixed = fixed.iter().map(|(key, _)| *key);
    let all: Vec<&str> = fixed.chain(known.iter().copied()).collect();
    section.refuse_unknown(&all)
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
    with_preprocess_cfg(clip, &section, path)
}

/// Preprocessing with what a `preprocess_cfg` says about it; mean and deviation that it does not name are CLIP's.
pub(super) fn with_preprocess_cfg(
    preprocessing: Preprocessing,
    section: &Section<'_>,
    path: &Path,
) -> Result<Preprocessing, CheckpointError> {
    let interpolation = match section.text("interpolation", "bicubic")? {
        "bicubic" => Interpolation::Bicubic,
        "bilinear" => Interpolation::Bilinear,
        other => return Err(section.unsupported("interpolation", &Value::from(other))),
    };
    let resize_rule = match section.text("resize_mode", "shortest")? {
        "shortest" => ResizeRule::Shortest,
        "squash" => ResizeRule::Squash,
        other => return Err(section.unsupported("resize_mode", &Value::from(other))),
    };
    let mode = section.text("mode", "RGB")?;
    if mode != "RGB" {
        return Err(section.unsupported("mode", &Value::from(mode)));
    }
    let clip = Preprocessing::clip(preprocessing.crop);
    let preprocessing = Preprocessing {
        mean: section.rgb("mean", clip.mean)?,
        std: section.deviation("std", clip.std)?,
        interpolation,
        resize_rule,
        ..preprocessing
    };
    check_pixel_values(&preprocessing, path)?;
    Ok(preprocessing)
}
