//! Writes a SigLIP in the layouts that it is read in.

use std::path::Path;

use serde_json::{Value, json};

use crate::checkpoint::entries::entries;
use crate::checkpoint::save::{decimals, pillow_filter, transformer_section, transformers_tower};
use crate::checkpoint::write::Entry;
use crate::checkpoint::{
    Activation, Checkpoint, CheckpointError, ClipConfig, TextArchitecture, TransformerConfig,
    VitConfig,
};
use crate::image::{Preprocessing, ResizeRule};

use super::{TEXT_PREFIX, hugging_face_recipe, open_clip, open_clip_recipe};

/// The scale and the bias, which transformers keeps as vectors of length one.
const FACTORS: [&str; 2] = ["logit_scale", "logit_bias"];

/// All tensors with the names of transformers' `SiglipModel`.
pub(in crate::checkpoint) fn hugging_face_entries(checkpoint: &Checkpoint) -> Vec<Entry<'_>> {
    let mut entries = entries(checkpoint, |name, _| hugging_face_recipe(name));
    for entry in &mut entries {
        if FACTORS.contains(&&*entry.name) {
            entry.shape = vec![1];
        }
    }
    entries
}

/// All tensors with the names of open_clip's `CustomTextCLIP` and of timm's tower in it.
pub(in crate::checkpoint) fn open_clip_entries(checkpoint: &Checkpoint) -> Vec<Entry<'_>> {
    let mut entries = entries(checkpoint, open_clip_recipe);
    for entry in &mut entries {
        if !entry.name.starts_with("visual.") && !FACTORS.contains(&&*entry.name) {
            entry.name.insert_str(0, TEXT_PREFIX);
        }
    }
    entries
}

/// `config.json`.
pub(in crate::checkpoint) fn hugging_face_config(config: &ClipConfig, vit: &VitConfig) -> Value {
    let mut text = transformers_tower(&config.text.transformer);
    text["model_type"] = "siglip_text_model".into();
    text["projection_size"] = config.embed_dim.into();
    text["max_position_embeddings"] = config.text.context_length.into();
    text["vocab_size"] = config.text.vocab_size.into();
    if let TextArchitecture::Padded { padding_token, .. } = config.text.architecture {
        text["pad_token_id"] = padding_token.into();
    }
    let mut vision = transformers_tower(&vit.transformer);
    vision["model_type"] = "siglip_vision_model".into();
    vision["image_size"] = vit.image_size.into();
    vision["patch_size"] = vit.patch_size.into();
    vision["num_channels"] = 3.into();
    vision["vision_use_head"] = true.into();
    json!({
        "architectures": ["SiglipModel"],
        "model_type": "siglip",
        "torch_dtype": "float32",
        "text_config": text,
        "vision_config": vision,
    })
}

/// `preprocessor_config.json`.
///
/// # Errors
///
/// [`CheckpointError::Unsupported`] for a crop, which this processor does not do.
pub(in crate::checkpoint) fn hugging_face_preprocessing(
    preprocessing: &Preprocessing,
    path: &Path,
) -> Result<Value, CheckpointError> {
    let side = preprocessing.resize;
    if preprocessing.resize_rule != ResizeRule::Squash || side != preprocessing.crop {
        return Err(CheckpointError::unsupported(
            path,
            "a SigLIP that crops its images, in Hugging Face's layout,",
        ));
    }
    Ok(json!({
        "image_processor_type": "SiglipImageProcessor",
        "do_convert_rgb": true,
        "do_resize": true,
        "size": {"height": side, "width": side},
        "resample": pillow_filter(preprocessing.interpolation),
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": decimals(preprocessing.mean),
        "image_std": decimals(preprocessing.std),
    }))
}

/// The `model_cfg` of `open_clip_config.json`.
///
/// # Errors
///
/// [`CheckpointError::Unsupported`] for a tower that timm has under no name, and for an activation of the text tower that open_clip
/// has no words for.
pub(in crate::checkpoint) fn open_clip_model(
    config: &ClipConfig,
    vit: &VitConfig,
    path: &Path,
) -> Result<Value, CheckpointError> {
    let Some(tower) = open_clip::name_of_tower(vit) else {
        return Err(CheckpointError::unsupported(
            path,
            format!(
                "an image tower of {} blocks of width {} with {}, patches of {} and inputs of {} pixels, which timm has under no name, \
                 in open_clip's layout,",
                vit.transformer.layers,
                vit.transformer.width,
                vit.transformer.activation.name(),
                vit.patch_size,
                vit.image_size
            ),
        ));
    };
    Ok(json!({
        "embed_dim": config.embed_dim,
        "init_logit_bias": INITIAL_BIAS,
        "custom_text": true,
        "vision_cfg": {
            "image_size": vit.image_size,
            "timm_model_name": tower,
            "timm_model_pretrained": false,
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "text_cfg": text_section(&config.text.transformer, path)?,
    }))
}

/// What open_clip starts a training with; that there is one says that the model has a bias.
const INITIAL_BIAS: i32 = -10;

fn text_section(text: &TransformerConfig, path: &Path) -> Result<Value, CheckpointError> {
    let mut section = transformer_section(text);
    for key in ["no_causal_mask", "proj_bias"] {
        section[key] = true.into();
    }
    section["pool_type"] = "last".into();
    match text.activation {
        Activation::Gelu => {}
        Activation::GeluTanh => section["act_kwargs"] = json!({"approximate": "tanh"}),
        Activation::QuickGelu => {
            return Err(CheckpointError::unsupported(
                path,
                "QuickGELU in the text tower of a SigLIP, in open_clip's layout,",
            ));
        }
    }
    Ok(section)
}

#[cfg(test)]
mod tests;
