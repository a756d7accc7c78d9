//! Image towers that open_clip takes from timm: what a name there stands for, and where timm keeps each parameter.
//!
//! A family of towers is a file with one function, which [`FAMILIES`] lists.

pub(super) mod convnext;
mod eva;
mod vit;
pub(super) mod vitamin;

use serde_json::{Value, json};

use super::assemble::{Parameter, Recipe};
use super::json::Section;
use super::parameters::List;
use super::{CheckpointError, FeatureHead, VisionConfig};

/// Where timm keeps a parameter of the image tower (`visual.` and what follows, and its shape) in a file of open_clip's.
pub(super) type Recipes = fn(&str, &[usize]) -> Recipe;

/// An image tower that was found by its name.
pub(super) struct TimmTower {
    pub vision: VisionConfig,
    pub recipes: Recipes,
}

/// Says what a name stands for, and checks the other keys of `vision_cfg`; `None` when it knows no such name.
type Family = fn(&str, &Section<'_>) -> Result<Option<TimmTower>, CheckpointError>;

const FAMILIES: [Family; 4] = [vit::tower, eva::tower, convnext::tower, vitamin::tower];

/// open_clip's input size where a configuration names none.
const IMAGE_SIZE: usize = 224;

/// Where open_clip keeps a tower of timm's.
const TRUNK: &str = "visual.trunk";
/// Keys of `vision_cfg` that are read here, or change nothing in a model that open_clip itself does not train.
const VISION_KEYS: [&str; 9] = [
    "image_size",
    "timm_model_name",
    "timm_model_pretrained",
    "timm_pool",
    "timm_proj",
    "timm_proj_bias",
    "timm_drop",
    "timm_drop_path",
    "patch_dropout",
];

/// The tower that `vision_cfg` names; `None` where it names none of timm's.
pub(super) fn tower(vision: &Section<'_>) -> Result<Option<TimmTower>, CheckpointError> {
    let full_name = vision.text("timm_model_name", "")?;
    if full_name.is_empty() {
        return Ok(None);
    }
    // A tag behind a dot names pretrained weights.
    let name = full_name.split('.').next().unwrap_or_default();
    for family in FAMILIES {
        if let Some(tower) = family(name, vision)? {
            vision.refuse_unknown(&VISION_KEYS)?;
            let image_size = tower.vision.image_size();
            let found = vision.square("image_size", image_size)?;
            vision.must_equal("image_size", found, image_size)?;
            return Ok(Some(tower));
        }
    }
    Err(vision.unsupported("timm_model_name", &Value::from(full_name)))
}

/// Lets the parameters of the image tower be read where timm keeps them.
pub(super) fn place(parameters: &mut [Parameter], recipes: Recipes) {
    for parameter in parameters {
        if let Some(name) = parameter.name.strip_prefix("visual.") {
            parameter.recipe = recipes(name, &parameter.shape);
        }
    }
}

/// Where timm keeps a parameter of its attention pooling: the query's weights stand alone, those of keys and values together.
pub(super) fn pooling_recipe(part: &str, shape: &[usize]) -> Recipe {
    let head = format!("{TRUNK}.attn_pool");
    if let Some(kind) = part.strip_prefix("in_proj_") {
        let width = shape[0] / 3;
        return Recipe::Concatenate(vec![
            (format!("{head}.q.{kind}"), width),
            (format!("{head}.kv.{kind}"), 2 * width),
        ]);
    }
    let part = part
        .replace("probe", "latent")
        .replace("out_proj.", "proj.")
        .replace("ln.", "norm.")
        .replace("c_fc.", "fc1.")
        .replace("c_proj.", "fc2.");
    Recipe::Copy(format!("{head}.{part}"))
}

/// Where a tower keeps its parameters whose names here are timm's.
fn own_names(name: &str, _shape: &[usize]) -> Recipe {
    Recipe::Copy(format!("visual.{name}"))
}

/// What open_clip puts behind a tower that pools by the mean, which is what ConvNeXt and ViTamin do where nothing is said.
fn averaged_head(vision: &Section<'_>) -> Result<FeatureHead, CheckpointError> {
    let pool = vision.text("timm_pool", "avg")?;
    if !["", "avg"].contains(&pool) {
        return Err(vision.unsupported("timm_pool", &Value::from(pool)));
    }
    let bias = vision.flag("timm_proj_bias", false)?;
    match vision.text("timm_proj", "linear")? {
        "linear" => Ok(FeatureHead::Linear { bias }),
        "mlp" => Ok(FeatureHead::Perceptron { bias }),
        other => Err(vision.unsupported("timm_proj", &Value::from(other))),
    }
}

/// What `vision_cfg` says of a tower with timm's names, but for the size of its input; `None` of one that timm has no name for.
pub(super) fn section(vision: &VisionConfig) -> Option<Value> {
    let (name, head) = match vision {
        VisionConfig::ConvNext(config) => (convnext::name(config)?, config.head),
        VisionConfig::ViTamin(config) => (vitamin::name(config)?, config.head),
        _ => return None,
    };
    let (projection, bias) = match head {
        FeatureHead::Linear { bias } => ("linear", bias),
        FeatureHead::Perceptron { bias } => ("mlp", bias),
    };
    Some(json!({
        "timm_model_name": name,
        "timm_model_pretrained": false,
        "timm_pool": "",
        "timm_proj": projection,
        "timm_proj_bias": bias,
    }))
}

/// The tensors of a head behind `width` channels.
fn head_parameters(head: FeatureHead, width: usize, embed_dim: usize, list: &mut List) {
    let (name, inputs, bias) = match head {
        FeatureHead::Linear { bias } => ("visual.head.proj", width, bias),
        FeatureHead::Perceptron { bias } => {
            list.linear("visual.head.mlp.fc1", 2 * embed_dim, width);
            ("visual.head.mlp.fc2", 2 * embed_dim, bias)
        }
    };
    list.add(format!("{name}.weight"), [embed_dim, inputs]);
    if bias {
        list.add(format!("{name}.bias"), [embed_dim]);
    }
}

#[cfg(test)]
mod tests;
