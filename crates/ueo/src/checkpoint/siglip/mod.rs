//! SigLIP and SigLIP 2 of fixed resolution: transformers' `SiglipModel`, and open_clip's `CustomTextCLIP` with an image tower of timm.

pub(super) mod hugging_face;
pub(super) mod open_clip;
pub(super) mod save;

use std::path::Path;

use serde_json::{Map, Value};

use super::assemble::{Parameter, Recipe};
use super::{CheckpointError, CheckpointKind, hugging_face as clip, timm};

/// What open_clip puts in front of the text tower's names.
const TEXT_PREFIX: &str = "text.";

/// Whether `config.json` of transformers describes a SigLIP of fixed resolution. SigLIP 2 has the same type there.
pub(super) fn is_siglip(config: &Map<String, Value>) -> bool {
    names(config, "siglip", "SiglipModel")
}

/// Refuses SigLIP 2 of variable resolution by name.
pub(super) fn refuse_naflex(
    config: &Map<String, Value>,
    path: &Path,
) -> Result<(), CheckpointError> {
    if names(config, "siglip2", "Siglip2Model") {
        return Err(CheckpointError::unsupported(
            path,
            "an image input of variable shape (NaFlex: the model type \"siglip2\"; SigLIP 2 of fixed resolution has the \
             type \"siglip\")",
        ));
    }
    Ok(())
}

fn names(config: &Map<String, Value>, model_type: &str, architecture: &str) -> bool {
    config
        .get("model_type")
        .is_some_and(|kind| kind == model_type)
        || config
            .get("architectures")
            .and_then(Value::as_array)
            .is_some_and(|list| list.iter().any(|item| item == architecture))
}

/// Places every parameter of an OpenAI-named list in the names of a layout.
pub(super) fn place(parameters: Vec<(String, Vec<usize>)>, kind: CheckpointKind) -> Vec<Parameter> {
    parameters
        .into_iter()
        .map(|(name, shape)| {
            let recipe = match kind {
                CheckpointKind::HuggingFace => hugging_face_recipe(&name),
                _ => open_clip_recipe(&name, &shape),
            };
            Parameter {
                name,
                shape,
                recipe,
            }
        })
        .collect()
}

/// Where transformers keeps a parameter. Spellings are upstream's.
fn hugging_face_recipe(name: &str) -> Recipe {
    let renamed = match name {
        "logit_bias" => name.to_owned(),
        "text_projection" => return Recipe::Transpose("text_model.head.weight".to_owned()),
        "text_projection_bias" => "text_model.head.bias".to_owned(),
        "visual.conv1.bias" => "vision_model.embeddings.patch_embedding.bias".to_owned(),
        _ => match name.strip_prefix("visual.attn_pool.") {
            None => return clip::recipe(name),
            Some(part) => {
                let part = part
                    .replace("in_proj_", "attention.in_proj_")
                    .replace("out_proj.", "attention.out_proj.")
                    .replace("ln.", "layernorm.")
                    .replace("c_fc.", "fc1.")
                    .replace("c_proj.", "fc2.");
                format!("vision_model.head.{part}")
            }
        },
    };
    Recipe::Copy(renamed)
}

/// Where open_clip keeps a parameter, the text tower's without their prefix. Spellings are timm's.
fn open_clip_recipe(name: &str, shape: &[usize]) -> Recipe {
    const TRUNK: &str = "visual.trunk";
    match name {
        "text_projection" => return Recipe::Transpose("text_projection.weight".to_owned()),
        "text_projection_bias" => return Recipe::Copy("text_projection.bias".to_owned()),
        "visual.positional_embedding" => {
            return Recipe::Reshape(format!("{TRUNK}.pos_embed"), [&[1], shape].concat());
        }
        _ => {}
    }
    let Some(name) = name.strip_prefix("visual.") else {
        return Recipe::Copy(name.to_owned());
    };
    if let Some(part) = name.strip_prefix("attn_pool.") {
        return timm::pooling_recipe(part, shape);
    }
    let renamed = name
        .replace("c_fc.", "fc1.")
        .replace("c_proj.", "fc2.")
        .replace("conv1.", "patch_embed.proj.")
        .replace("ln_post.", "norm.")
        .replace("transformer.resblocks.", "blocks.")
        .replace("attn.in_proj_", "attn.qkv.")
        .replace("attn.out_proj.", "attn.proj.")
        .replace("ln_1.", "norm1.")
        .replace("ln_2.", "norm2.");
    Recipe::Copy(format!("{TRUNK}.{renamed}"))
}
