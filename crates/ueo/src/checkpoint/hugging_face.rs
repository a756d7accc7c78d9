//! Hugging Face's layout: `config.json`, `preprocessor_config.json` and the names of transformers' `CLIPModel`.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::image::{CropRule, Interpolation, Preprocessing, ResizeRule};
use crate::quote;
use crate::text::TextCleaning;

use super::assemble::{Parameter, Recipe};
use super::draft::FeatureToken;
use super::json::{Section, read_object};
use super::validate::check_pixel_values;
use super::{
    Activation, CheckpointError, ClipConfig, TextArchitecture, TextConfig, TransformerConfig,
    VisionConfig, VitConfig, siglip,
};

/// Defaults of transformers' `CLIPTextConfig` and `CLIPVisionConfig`: what a key that is not there means.
struct TowerDefaults {
    width: usize,
    mlp_width: usize,
    heads: usize,
}
const TEXT_DEFAULTS: TowerDefaults = TowerDefaults {
    width: 512,
    mlp_width: 2048,
    heads: 8,
};
const VISION_DEFAULTS: TowerDefaults = TowerDefaults {
    width: 768,
    mlp_width: 3072,
    heads: 12,
};
const DEFAULT_LAYERS: usize = 12;
const DEFAULT_EMBED_DIM: usize = 512;
const DEFAULT_CONTEXT_LENGTH: usize = 77;
const DEFAULT_VOCAB_SIZE: usize = 49_408;
const DEFAULT_IMAGE_SIZE: usize = 224;
const DEFAULT_PATCH_SIZE: usize = 32;

/// Whether `config.json` describes a CLIP model, as opposed to any other model.
fn is_clip(config: &Map<String, Value>) -> bool {
    let named = |value: &Value, name: &str| value.as_str() == Some(name);
    config
        .get("model_type")
        .is_some_and(|kind| named(kind, "clip"))
        || config
            .get("architectures")
            .and_then(Value::as_array)
            .is_some_and(|list| list.iter().any(|item| named(item, "CLIPModel")))
}

/// Whether `config.json` describes a model that this library reads.
pub(super) fn is_known(config: &Map<String, Value>) -> bool {
    is_clip(config) || siglip::is_siglip(config)
}

/// Image processors that resize the shorter side, crop the centre and normalize.
const PROCESSORS: [&str; 4] = [
    "CLIPImageProcessor",
    "CLIPImageProcessorFast",
    "CLIPImageProcessorPil",
    "CLIPFeatureExtractor",
];
/// Where a checkpoint of this library says what this layout has no key for: the text cleaning and the crop rule of the
/// package that the weights came from.
pub(super) const OWN_SECTION: &str = "ueo";

/// What `config.json` says beside the architecture.
#[derive(Debug)]
pub(super) struct HuggingFaceConfig {
    pub architecture: ClipConfig,
    pub feature_token: FeatureToken,
    /// Of a checkpoint that this library wrote.
    pub cleaning: Option<TextCleaning>,
    /// Of a checkpoint that this library wrote.
    pub crop_rule: Option<CropRule>,
}

/// Reads `config.json`.
pub(super) fn read_config(
    config: &Map<String, Value>,
    path: &Path,
) -> Result<HuggingFaceConfig, CheckpointError> {
    siglip::refuse_naflex(config, path)?;
    let root = Section::new(config, path, "");
    if siglip::is_siglip(config) {
        return Ok(HuggingFaceConfig {
            architecture: siglip::hugging_face::architecture(config, path)?,
            feature_token: FeatureToken::Unsaid,
            cleaning: own_choice(&root, "text_cleaning")?,
            crop_rule: None,
        });
    }
    let architecture = architecture(config, path)?;
    let text = tower(&root, "text_config")?;
    let text = Section::new(&text, path, "text_config.");
    let feature_token = match text.get("eos_token_id") {
        None => FeatureToken::Unsaid,
        // transformers takes 2, which old configurations say, as "the highest id".
        Some(value) => match value.as_u64() {
            Some(2) => FeatureToken::HighestId,
            Some(id) => FeatureToken::Id {
                key: "text_config.eos_token_id",
                id,
            },
            None => return Err(text.unsupported("eos_token_id", value)),
        },
    };
    Ok(HuggingFaceConfig {
        architecture,
        feature_token,
        cleaning: own_choice(&root, "text_cleaning")?,
        crop_rule: own_choice(&root, "crop_rule")?,
    })
}

/// What a checkpoint of this library says under a key of its own section.
fn own_choice<T: DeserializeOwned>(
    root: &Section<'_>,
    key: &str,
) -> Result<Option<T>, CheckpointError> {
    let Some(own) = root.section(OWN_SECTION, "ueo.")? else {
        return Ok(None);
    };
    let read = |value: &Value| {
        serde_json::from_value(value.clone()).map_err(|_| own.unsupported(key, value))
    };
    own.get(key).map(read).transpose()
}

fn architecture(config: &Map<String, Value>, path: &Path) -> Result<ClipConfig, CheckpointError> {
    if !is_clip(config) {
        let kind = config.get("model_type").unwrap_or(&Value::Null);
        return Err(CheckpointError::unsupported(
            path,
            format!(
                "the model type {} (only \"clip\" and \"siglip\" are)",
                quote::name(&kind.to_string())
            ),
        ));
    }
    let root = Section::new(config, path, "");
    let text = tower(&root, "text_config")?;
    let vision = tower(&root, "vision_config")?;
    let text = Section::new(&text, path, "text_config.");
    let vision = Section::new(&vision, path, "vision_config.");
    if vision.size("num_channels", 3)? != 3 {
        return Err(CheckpointError::unsupported(
            path,
            "an image with other than 3 channels",
        ));
    }
    Ok(ClipConfig {
        embed_dim: root.size("projection_dim", DEFAULT_EMBED_DIM)?,
        vision: VisionConfig::Vit(VitConfig {
            image_size: vision.square("image_size", DEFAULT_IMAGE_SIZE)?,
            patch_size: vision.square("patch_size", DEFAULT_PATCH_SIZE)?,
            transformer: transformer(&vision, &VISION_DEFAULTS)?,
        }),
        text: TextConfig {
            context_length: text.size("max_position_embeddings", DEFAULT_CONTEXT_LENGTH)?,
            vocab_size: text.size("vocab_size", DEFAULT_VOCAB_SIZE)?,
            transformer: transformer(&text, &TEXT_DEFAULTS)?,
            architecture: TextArchitecture::Causal,
        },
    })
}

/// One tower's configuration. Early releases repeat it as `text_config_dict`, whose values win in transformers.
pub(super) fn tower(root: &Section<'_>, key: &str) -> Result<Map<String, Value>, CheckpointError> {
    let mut merged = Map::new();
    for key in [key.to_owned(), format!("{key}_dict")] {
        match root.get(&key) {
            None => {}
            Some(Value::Object(object)) => {
                merged.extend(
                    object
                        .iter()
                        .map(|(key, value)| (key.clone(), value.clone())),
                );
            }
            Some(other) => return Err(root.wrong(&key, "an object", other)),
        }
    }
    Ok(merged)
}

fn transformer(
    section: &Section<'_>,
    defaults: &TowerDefaults,
) -> Result<TransformerConfig, CheckpointError> {
    let activation = match section.text("hidden_act", "quick_gelu")? {
        "quick_gelu" => Activation::QuickGelu,
        "gelu" => Activation::Gelu,
        other => return Err(section.unsupported("hidden_act", &Value::from(other))),
    };
    Ok(TransformerConfig {
        width: section.size("hidden_size", defaults.width)?,
        layers: section.size("num_hidden_layers", DEFAULT_LAYERS)?,
        heads: section.size("num_attention_heads", defaults.heads)?,
        mlp_width: section.size("intermediate_size", defaults.mlp_width)?,
        activation,
        layer_norm_epsilon: section.number("layer_norm_eps", super::infer::LAYER_NORM_EPSILON)?,
    })
}

/// The section of an image processor, if it is one of some classes; one that does not say its class is the first.
pub(super) fn processor<'a>(
    object: &'a Map<String, Value>,
    path: &'a Path,
    classes: &[&'static str],
) -> Result<Section<'a>, CheckpointError> {
    let root = Section::new(object, path, "");
    let section = root
        .section("image_processor", "image_processor.")?
        .unwrap_or(root);
    for key in ["image_processor_type", "feature_extractor_type"] {
        let class = section.text(key, classes[0])?;
        if !classes.contains(&class) {
            return Err(section.unsupported(key, &Value::from(class)));
        }
    }
    Ok(section)
}

/// Reads `preprocessor_config.json` (or the `image_processor` of a `processor_config.json`).
pub(super) fn read_preprocessing(path: &Path) -> Result<Preprocessing, CheckpointError> {
    preprocessing(&read_object(path)?, path)
}

/// As [`read_preprocessing`], of a file that was read.
pub(super) fn preprocessing(
    object: &Map<String, Value>,
    path: &Path,
) -> Result<Preprocessing, CheckpointError> {
    let section = processor(object, path, &PROCESSORS)?;
    for key in ["do_resize", "do_center_crop"] {
        if !section.flag(key, true)? {
            return Err(section.unsupported(key, &Value::Bool(false)));
        }
    }
    for key in ["do_pad", "default_to_square", "use_square_size"] {
        if section.flag(key, false)? {
            return Err(section.unsupported(key, &Value::Bool(true)));
        }
    }
    let clip = Preprocessing::clip(DEFAULT_IMAGE_SIZE);
    let preprocessing = Preprocessing {
        resize: side(&section, "size", clip.resize)?,
        crop: side(&section, "crop_size", clip.crop)?,
        resize_rule: match section
            .get("size")
            .is_some_and(|size| size.get("height").is_some())
        {
            true => ResizeRule::Squash,
            false => ResizeRule::Shortest,
        },
        crop_rule: CropRule::Transformers,
        ..clip
    };
    let preprocessing = with_pixel_values(&section, preprocessing)?;
    check_pixel_values(&preprocessing, path)?;
    Ok(preprocessing)
}

/// The filter and the normalization that a processor names; what it does not name is as in `defaults`.
pub(super) fn with_pixel_values(
    section: &Section<'_>,
    defaults: Preprocessing,
) -> Result<Preprocessing, CheckpointError> {
    // Numbers of Pillow's filters.
    let interpolation = match section.number("resample", 3.0)? {
        3.0 => Interpolation::Bicubic,
        2.0 => Interpolation::Bilinear,
        other => return Err(section.unsupported("resample", &Value::from(other))),
    };
    let (mean, std) = if section.flag("do_normalize", true)? {
        (
            section.rgb("image_mean", defaults.mean)?,
            section.deviation("image_std", defaults.std)?,
        )
    } else {
        ([0.0; 3], [1.0; 3])
    };
    let factor = if section.flag("do_rescale", true)? {
        section.positive("rescale_factor", 1.0 / 255.0)?
    } else {
        1.0
    };
    // (v f - mean) / std = (v / 255 - mean / 255 f) / (std / 255 f): any factor is a mean and a deviation.
    let shrink =
        |values: [f32; 3]| values.map(|value| (f64::from(value) / (factor * 255.0)) as f32);
    Ok(Preprocessing {
        mean: shrink(mean),
        std: shrink(std),
        interpolation,
        ..defaults
    })
}

/// A size in any of its forms: `224`, `{"shortest_edge": 224}`, or `{"height": 224, "width": 224}`, which squeezes
/// where it is the size to resize to.
fn side(
    section: &Section<'_>,
    key: &'static str,
    default: usize,
) -> Result<usize, CheckpointError> {
    match section.get(key) {
        Some(Value::Object(object)) => {
            let axis = |axis: &str| object.get(axis).and_then(Value::as_u64);
            match (axis("shortest_edge"), axis("height"), axis("width")) {
                (Some(side), None, None) if side > 0 => Ok(side as usize),
                (None, Some(height), Some(width)) if height == width && height > 0 => {
                    Ok(height as usize)
                }
                _ => Err(section.unsupported(key, &Value::Object(object.clone()))),
            }
        }
        _ => section.size(key, default),
    }
}

/// Places every parameter of an OpenAI-named list in transformers' names.
pub(super) fn place(parameters: Vec<(String, Vec<usize>)>) -> Vec<Parameter> {
    parameters
        .into_iter()
        .map(|(name, shape)| {
            let recipe = recipe(&name);
            Parameter {
                name,
                shape,
                recipe,
            }
        })
        .collect()
}

/// Buffers that older releases saved with the parameters.
pub(super) fn is_known_extra(name: &str) -> bool {
    name.ends_with("embeddings.position_ids")
}

/// Where transformers keeps an OpenAI parameter. Spellings are upstream's.
pub(super) fn recipe(name: &str) -> Recipe {
    match name {
        "logit_scale" => Recipe::Copy(name.to_owned()),
        "text_projection" => Recipe::Transpose("text_projection.weight".into()),
        "visual.proj" => Recipe::Transpose("visual_projection.weight".into()),
        _ => match name.strip_prefix("visual.") {
            Some(rest) => tower_recipe("vision_model", rest),
            None => tower_recipe("text_model", name),
        },
    }
}

fn tower_recipe(tower: &str, name: &str) -> Recipe {
    let Some(block) = name.strip_prefix("transformer.resblocks.") else {
        let renamed = match name {
            "positional_embedding" => "embeddings.position_embedding.weight".to_owned(),
            "token_embedding.weight" => "embeddings.token_embedding.weight".to_owned(),
            "class_embedding" => "embeddings.class_embedding".to_owned(),
            "conv1.weight" => "embeddings.patch_embedding.weight".to_owned(),
            _ => name
                .replace("ln_pre.", "pre_layrnorm.")
                .replace("ln_post.", "post_layernorm.")
                .replace("ln_final.", "final_layer_norm."),
        };
        return Recipe::Copy(format!("{tower}.{renamed}"));
    };
    let (layer, name) = block.split_once('.').unwrap_or((block, ""));
    let layer = format!("{tower}.encoder.layers.{layer}");
    if let Some(kind) = name.strip_prefix("attn.in_proj_") {
        return Recipe::Stack(
            ["q", "k", "v"].map(|part| format!("{layer}.self_attn.{part}_proj.{kind}")),
        );
    }
    let renamed = name
        .replace("attn.", "self_attn.")
        .replace("ln_1.", "layer_norm1.")
        .replace("ln_2.", "layer_norm2.")
        .replace("c_fc.", "fc1.")
        .replace("c_proj.", "fc2.");
    Recipe::Copy(format!("{layer}.{renamed}"))
}
