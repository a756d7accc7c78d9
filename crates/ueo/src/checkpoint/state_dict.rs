//! A weights file with OpenAI's names and no configuration beside it: OpenAI's own release and what trainers save.

use std::path::Path;

use super::assemble::{Parameter, Recipe};
use super::infer::{Shapes, infer, is_open_clip_size};
use super::store::TensorStore;
use super::{Activation, ActivationSource, CheckpointError, ClipConfig, wrapper};

/// Where open_clip's `CustomTextCLIP` keeps the text tower, whose tensors OpenAI has at the top.
const CUSTOM_TEXT: &str = "text.";
/// Integers that OpenAI's archive holds beside the weights, as buffers.
const OPENAI_SCALARS: [&str; 3] = ["input_resolution", "context_length", "vocab_size"];

/// What the names of a tower of timm's begin with.
const TIMM_TOWER: &str = "visual.trunk.";

/// Brings the names of a state dict to OpenAI's; says whether it was open_clip's `CustomTextCLIP`.
pub(super) fn unwrap_names(
    store: &mut TensorStore,
    decisions: &mut Vec<String>,
) -> Result<bool, CheckpointError> {
    wrapper::unwrap(store, decisions)?;
    let custom_text = store.tensors.contains_key("text.token_embedding.weight");
    if custom_text {
        store.rename(|name| name.strip_prefix(CUSTOM_TEXT).unwrap_or(name).to_owned());
    }
    Ok(custom_text)
}

/// Places every parameter under its own name.
pub(super) fn place(parameters: Vec<(String, Vec<usize>)>) -> Vec<Parameter> {
    parameters
        .into_iter()
        .map(|(name, shape)| Parameter {
            recipe: Recipe::Copy(name.clone()),
            name,
            shape,
        })
        .collect()
}

/// Tensors that are no parameters: the archive's integers, the causal mask, the BatchNorms' step counters.
pub(super) fn is_known_extra(name: &str) -> bool {
    OPENAI_SCALARS.contains(&name)
        || name == "attn_mask"
        || name.ends_with(".attn_mask")
        || name.ends_with(".num_batches_tracked")
}

/// Refuses relatives of CLIP by the names of their tensors.
pub(super) fn refuse_relatives(shapes: &Shapes, path: &Path) -> Result<(), CheckpointError> {
    refuse_signs(shapes, path, |_| true)
}

/// As [`refuse_relatives`], of a file whose configuration names an image tower of timm's.
pub(super) fn refuse_other_relatives(shapes: &Shapes, path: &Path) -> Result<(), CheckpointError> {
    refuse_signs(shapes, path, |sign| sign != TIMM_TOWER)
}

fn refuse_signs(
    shapes: &Shapes,
    path: &Path,
    is_relative: impl Fn(&str) -> bool,
) -> Result<(), CheckpointError> {
    let signs = [
        (
            "logit_bias",
            "a model trained with the sigmoid loss (SigLIP: `logit_bias`)",
        ),
        (
            "text_decoder.",
            "a model with a text decoder (CoCa: `text_decoder`)",
        ),
        (
            TIMM_TOWER,
            "an image tower of timm (`visual.trunk`) without the open_clip_config.json that names it",
        ),
        (
            "visual.attn_pool.",
            "attentional pooling (`visual.attn_pool`)",
        ),
        (
            "text.transformer.embeddings.",
            "a text tower of Hugging Face (`text.transformer.embeddings`)",
        ),
    ];
    for (sign, feature) in signs {
        if is_relative(sign) && shapes.keys().any(|name| name.starts_with(sign)) {
            return Err(CheckpointError::unsupported(path, feature));
        }
    }
    Ok(())
}

/// What is known about a state dict beside its tensors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    /// OpenAI's way of distribution.
    pub script: bool,
    /// The dictionary of a trainer around it.
    pub training_checkpoint: bool,
    /// `CustomTextCLIP` of open_clip.
    pub custom_text: bool,
    /// A file name that open_clip gives.
    pub open_clip_name: bool,
}

/// Infers the architecture from shapes and decides the activation, with the reason in one sentence each.
pub(super) fn architecture(
    shapes: &Shapes,
    origin: Origin,
    path: &Path,
) -> Result<(ClipConfig, ActivationSource, Vec<String>), CheckpointError> {
    const REMEDY: &str = "an open_clip_config.json beside the file overrides this";
    let draft = infer(shapes, Activation::QuickGelu, path)?;
    let (activation, reason) = if origin.script {
        (
            Activation::QuickGelu,
            "QuickGELU, because the file is a TorchScript archive, which is how OpenAI distributes its models"
                .to_owned(),
        )
    } else if origin.custom_text || origin.open_clip_name {
        (
            Activation::Gelu,
            format!(
                "exact GELU, open_clip's default, because the file is open_clip's and no configuration is beside it; \
                 {REMEDY}"
            ),
        )
    } else if is_open_clip_size(&draft.vision) {
        (
            Activation::Gelu,
            format!(
                "exact GELU, because only open_clip trained a model of this size, with its default activation; {REMEDY}"
            ),
        )
    } else if origin.training_checkpoint {
        (
            Activation::Gelu,
            format!(
                "exact GELU, open_clip's default, because the file is a trainer's checkpoint (weights inside a \
                 dictionary), as open_clip writes it; {REMEDY}"
            ),
        )
    } else {
        (
            Activation::QuickGelu,
            format!(
                "QuickGELU, because the file is a plain state dict with OpenAI's names and OpenAI's own loader takes \
                 QuickGELU for it; the file itself does not say; {REMEDY}"
            ),
        )
    };
    // Archives and sizes are known to belong to one package; all else is a guess that can be wrong.
    let source = if origin.script || is_open_clip_size(&draft.vision) {
        ActivationSource::Distribution
    } else {
        ActivationSource::Assumed
    };
    let config = infer(shapes, activation, path)?;
    let decisions = vec![
        "architecture: inferred from the shapes of the tensors by OpenAI's rules (heads of 64 channels, except in the \
         sizes that only open_clip trained)"
            .to_owned(),
        format!("activation: {reason}"),
    ];
    Ok((config, source, decisions))
}
