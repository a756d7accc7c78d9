//! SigLIP in open_clip's layout: an image tower that timm knows by name, and a text tower with open_clip's own settings.

use std::path::Path;

use serde_json::Value;

use crate::checkpoint::draft::{Draft, FeatureToken};
use crate::checkpoint::json::Section;
use crate::checkpoint::load::{OPEN_CLIP_CONFIG, parent};
use crate::checkpoint::open_clip::{
    LayerScale, OpenClipConfig, epsilon, mlp_width, text_projection, tokenizer as named_tokenizer,
    with_preprocess_cfg,
};
use crate::checkpoint::weights_file::WeightsFile;
use crate::checkpoint::{
    Activation, ActivationSource, CheckpointError, CheckpointKind, ClipConfig, TextArchitecture,
    TextConfig, TextProjection, TextRead, TransformerConfig, VisionConfig, VitConfig,
    padded_tokenizer,
};
use crate::image::Preprocessing;

/// timm's epsilon.
const TIMM_EPSILON: f64 = 1e-6;
/// Defaults of open_clip's `CLIPTextCfg`.
const TEXT_WIDTH: usize = 512;
const TEXT_HEADS: usize = 8;
const TEXT_LAYERS: usize = 12;
/// Until the tokenizer's files say it: the padding token of the English vocabulary.
const PADDING_TOKEN: u32 = 1;

/// Keys that are read here, or change nothing in a model that is not trained by open_clip itself.
const MODEL_KEYS: [&str; 11] = [
    "embed_dim",
    "vision_cfg",
    "text_cfg",
    "custom_text",
    "init_logit_scale",
    "init_logit_bias",
    "nonscalar_logit_scale",
    "cast_dtype",
    "output_dict",
    "model_cfg",
    "preprocess_cfg",
];
const VISION_KEYS: [&str; 8] = [
    "image_size",
    "timm_model_name",
    "timm_model_pretrained",
    "timm_pool",
    "timm_proj",
    "timm_drop",
    "timm_drop_path",
    "patch_dropout",
];
const TEXT_KEYS: [&str; 16] = [
    "context_length",
    "vocab_size",
    "hf_tokenizer_name",
    "tokenizer_kwargs",
    "width",
    "heads",
    "layers",
    "mlp_ratio",
    "norm_kwargs",
    "act_kwargs",
    "no_causal_mask",
    "proj_bias",
    "proj_type",
    "pool_type",
    // Of a mask over padding, which no SigLIP has, and of pooling at a marker.
    "pad_id",
    "eos_id",
];

/// An image tower as timm's `vision_transformer.py` registers it: no class token, attention pooling.
struct TimmTower {
    name: &'static str,
    patch_size: usize,
    image_size: usize,
    width: usize,
    layers: usize,
    heads: usize,
    mlp_width: usize,
    activation: Activation,
}

impl TimmTower {
    fn transformer(&self) -> TransformerConfig {
        TransformerConfig {
            width: self.width,
            layers: self.layers,
            heads: self.heads,
            mlp_width: self.mlp_width,
            activation: self.activation,
            layer_norm_epsilon: TIMM_EPSILON,
        }
    }
}

/// The towers of one size.
macro_rules! towers {
    ($($name:literal: $patch:literal, $image:literal, $width:literal, $layers:literal, $heads:literal, $mlp:literal, $activation:ident;)*) => {
        &[$(TimmTower {
            name: $name,
            patch_size: $patch,
            image_size: $image,
            width: $width,
            layers: $layers,
            heads: $heads,
            mlp_width: $mlp,
            activation: Activation::$activation,
        }),*]
    };
}

/// timm 1.0.31. Patch, input, width, blocks, heads, perceptron, activation.
const TOWERS: &[TimmTower] = towers! {
    "vit_base_patch32_siglip_256": 32, 256, 768, 12, 12, 3072, GeluTanh;
    "vit_base_patch16_siglip_224": 16, 224, 768, 12, 12, 3072, Gelu;
    "vit_base_patch16_siglip_256": 16, 256, 768, 12, 12, 3072, Gelu;
    "vit_base_patch16_siglip_384": 16, 384, 768, 12, 12, 3072, Gelu;
    "vit_base_patch16_siglip_512": 16, 512, 768, 12, 12, 3072, Gelu;
    "vit_large_patch16_siglip_256": 16, 256, 1024, 24, 16, 4096, Gelu;
    "vit_large_patch16_siglip_384": 16, 384, 1024, 24, 16, 4096, Gelu;
    "vit_large_patch16_siglip_512": 16, 512, 1024, 24, 16, 4096, GeluTanh;
    "vit_so400m_patch14_siglip_224": 14, 224, 1152, 27, 16, 4304, Gelu;
    "vit_so400m_patch14_siglip_378": 14, 378, 1152, 27, 16, 4304, Gelu;
    "vit_so400m_patch14_siglip_384": 14, 384, 1152, 27, 16, 4304, Gelu;
    "vit_so400m_patch16_siglip_256": 16, 256, 1152, 27, 16, 4304, GeluTanh;
    "vit_so400m_patch16_siglip_384": 16, 384, 1152, 27, 16, 4304, GeluTanh;
    "vit_so400m_patch16_siglip_512": 16, 512, 1152, 27, 16, 4304, GeluTanh;
    "vit_giantopt_patch16_siglip_256": 16, 256, 1536, 40, 16, 6144, GeluTanh;
    "vit_giantopt_patch16_siglip_384": 16, 384, 1536, 40, 16, 6144, GeluTanh;
};

/// What stands in the names of these towers, and in no other of timm's.
const NAME_PART: &str = "_siglip_";

#[cfg(test)]
mod tests;

fn tower(name: &str) -> Option<&'static TimmTower> {
    // A tag behind a dot names pretrained weights.
    let name = name.split('.').next().unwrap_or_default();
    towers().find(|tower| tower.name == name)
}

fn towers() -> impl Iterator<Item = &'static TimmTower> {
    let towers = TOWERS.iter();
    #[cfg(test)]
    let towers = towers.chain(tests::TOWERS);
    towers
}

/// timm's name of a tower.
pub(super) fn name_of_tower(vit: &VitConfig) -> Option<&'static str> {
    let VitConfig {
        image_size,
        patch_size,
        transformer,
    } = vit;
    let is_same = |tower: &&TimmTower| {
        (tower.image_size, tower.patch_size) == (*image_size, *patch_size)
            && tower.transformer() == *transformer
    };
    towers().find(is_same).map(|tower| tower.name)
}

/// What `open_clip_config.json` says of a SigLIP; `None` of any other model.
pub(in crate::checkpoint) fn config(
    model: &Section<'_>,
    preprocess: Option<&Section<'_>>,
    path: &Path,
) -> Result<Option<OpenClipConfig>, CheckpointError> {
    let (Some(vision), Some(text)) = (
        model.section("vision_cfg", "vision_cfg.")?,
        model.section("text_cfg", "text_cfg.")?,
    ) else {
        return Ok(None);
    };
    let name = vision.text("timm_model_name", "")?;
    if !name.contains(NAME_PART) {
        return Ok(None);
    }
    let Some(tower) = tower(name) else {
        return Err(vision.unsupported("timm_model_name", &Value::from(name)));
    };
    model.refuse_unknown(&MODEL_KEYS)?;
    vision.refuse_unknown(&VISION_KEYS)?;
    text.refuse_unknown(&TEXT_KEYS)?;
    for (key, needed) in [("timm_pool", "map"), ("timm_proj", "none")] {
        vision.must_be(key, needed)?;
    }
    text.must_be("pool_type", "last")?;
    if !text.flag("no_causal_mask", false)? {
        return Err(text.unsupported("no_causal_mask", &Value::Bool(false)));
    }
    let tokenizer = named_tokenizer(&text)?;
    if tokenizer.strips_separator {
        return Err(text.unsupported("tokenizer_kwargs.strip_sep_token", &Value::Bool(true)));
    }
    let projection = text_projection(&text)?;
    if projection == TextProjection::Linear {
        return Err(text.unsupported("proj_bias", &Value::Bool(false)));
    }
    if model.get("init_logit_bias").is_none() {
        return Err(model.unsupported("init_logit_bias", &Value::Null));
    }
    let image_size = vision.square("image_size", 224)?;
    vision.must_equal("image_size", image_size, tower.image_size)?;
    model.must_equal("embed_dim", model.size("embed_dim", 0)?, tower.width)?;

    let text_width = text.size("width", TEXT_WIDTH)?;
    let architecture = ClipConfig {
        embed_dim: tower.width,
        vision: VisionConfig::Siglip(VitConfig {
            image_size: tower.image_size,
            patch_size: tower.patch_size,
            transformer: tower.transformer(),
        }),
        text: TextConfig {
            context_length: text.size("context_length", 77)?,
            vocab_size: text.size("vocab_size", 49_408)?,
            transformer: TransformerConfig {
                width: text_width,
                layers: text.size("layers", TEXT_LAYERS)?,
                heads: text.size("heads", TEXT_HEADS)?,
                mlp_width: mlp_width(&text, text_width)?,
                activation: text_activation(&text)?,
                layer_norm_epsilon: epsilon(&text)?,
            },
            architecture: TextArchitecture::Padded {
                padding_token: PADDING_TOKEN,
                read: TextRead::Last,
                projection,
            },
        },
    };
    Ok(Some(OpenClipConfig {
        preprocessing: preprocessing(preprocess, tower.image_size, path)?,
        layer_scale: LayerScale::default(),
        architecture,
        tokenizer,
        // Its parameters are placed with those of the text tower.
        timm: None,
        feature_token: FeatureToken::Unsaid,
    }))
}

/// Exact GELU, or the approximation by a hyperbolic tangent.
fn text_activation(text: &Section<'_>) -> Result<Activation, CheckpointError> {
    let Some(arguments) = text.section("act_kwargs", "text_cfg.act_kwargs.")? else {
        return Ok(Activation::Gelu);
    };
    arguments.refuse_unknown(&["approximate"])?;
    match arguments.text("approximate", "none")? {
        "none" => Ok(Activation::Gelu),
        "tanh" => Ok(Activation::GeluTanh),
        other => Err(arguments.unsupported("approximate", &Value::from(other))),
    }
}

/// A configuration without this section is one of open_clip's own, whose weights it knows by name and feeds with SigLIP's input.
fn preprocessing(
    section: Option<&Section<'_>>,
    image_size: usize,
    path: &Path,
) -> Result<Preprocessing, CheckpointError> {
    let siglip = Preprocessing::siglip(image_size);
    let Some(section) = section else {
        return Ok(siglip);
    };
    section.must_equal("size", section.square("size", image_size)?, image_size)?;
    section.refuse_unknown(&[
        "size",
        "mode",
        "mean",
        "std",
        "interpolation",
        "resize_mode",
        // Of padding to a square, which neither mode does.
        "fill_color",
    ])?;
    with_preprocess_cfg(siglip, section, path)
}

/// A directory, or a file beside a configuration, that was read.
pub(in crate::checkpoint) fn draft(
    weights: &Path,
    file: WeightsFile,
    config: OpenClipConfig,
    whole_directory: bool,
) -> Result<Draft, CheckpointError> {
    let directory = parent(weights);
    let mut architecture = config.architecture;
    let mut decisions = file.decisions;
    if !whole_directory {
        decisions.push(format!(
            "configuration: read from {OPEN_CLIP_CONFIG} beside the file"
        ));
    }
    if let VisionConfig::Siglip(vit) = &architecture.vision {
        decisions.push(format!(
            "activation: {} in the image tower, by its name in timm; {} in the text tower, by `act_kwargs` in \
             {OPEN_CLIP_CONFIG} (not there means exact GELU)",
            vit.transformer.activation.name(),
            architecture.text.transformer.activation.name()
        ));
    }
    let tokenizer = padded_tokenizer::for_open_clip(directory, &config.tokenizer)?;
    architecture.text.architecture = TextArchitecture::Padded {
        padding_token: tokenizer.padding_token,
        read: TextRead::Last,
        projection: architecture.text.architecture.projection(),
    };
    Ok(Draft {
        config: architecture,
        preprocessing: config.preprocessing,
        tokenizer: tokenizer.source,
        feature_token: FeatureToken::Unsaid,
        layer_scale: LayerScale::default(),
        timm: None,
        activation_source: ActivationSource::Configuration,
        kind: CheckpointKind::OpenClip,
        store: file.store,
        weights_path: weights.to_owned(),
        config_path: directory.join(OPEN_CLIP_CONFIG),
        decisions,
        warnings: Vec::new(),
    })
}
