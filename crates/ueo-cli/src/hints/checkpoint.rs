//! Checkpoints that cannot be read or written.

use std::path::{Component, Path};

use ueo::checkpoint::CheckpointError;
use ueo_hub::{ModelName, PREFIX, known_models};

use super::Hint;

/// The repository of the hub that a path, which is not there, may mean: one that `ueo models` lists, or anything written as
/// `OWNER/NAME` where there is no folder OWNER.
fn of_hub(path: &Path) -> Option<String> {
    let mut known = known_models().into_iter();
    if let Some(model) = known.find(|model| path.ends_with(model.repository)) {
        return Some(model.repository.to_owned());
    }
    let here = std::env::current_dir().ok();
    let below = here.and_then(|here| path.strip_prefix(here).ok());
    let path = below.unwrap_or(path);
    let parts: Vec<Component> = path.components().collect();
    match parts.as_slice() {
        [Component::Normal(owner), Component::Normal(_)] if !Path::new(owner).exists() => {
            let text = path.to_str()?;
            let name: ModelName = format!("{PREFIX}{text}").parse().ok()?;
            Some(name.repository())
        }
        _ => None,
    }
}

impl Hint for CheckpointError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotFound { path } => match of_hub(path) {
                Some(name) => {
                    return Some(format!(
                        "a model of the Hugging Face Hub is named `--model {PREFIX}{name}`, which fetches it the first time"
                    ));
                }
                None => {
                    "check the spelling of the path. To begin with: `--model hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K` fetches \
                 a checkpoint, and `ueo models` lists others"
                }
            },
            Self::Io { .. } => {
                "check that the path exists, that you may access it and that the disk is not full"
            }
            Self::Unrecognized { .. } => {
                "name the directory that holds the configuration and the weights together, or a single weights file"
            }
            Self::Malformed { .. } => {
                "an interrupted download or copy leaves such files; fetch the checkpoint again from its source"
            }
            Self::ForbiddenPickle { .. } => {
                "if you trust the file, load it in Python and save only its tensors: \
                 safetensors.torch.save_file(model.state_dict(), \"model.safetensors\")"
            }
            Self::NotClip { .. } => {
                "name a CLIP checkpoint: OpenAI's .pt file, or a Hugging Face or open_clip directory"
            }
            Self::Unsupported { .. } => {
                "use another model: `ueo models` lists some, and docs/models.md says which architectures are read"
            }
            Self::TooLarge { .. } => {
                "if the file is sound, load it in Python and save only the model's tensors: \
                 safetensors.torch.save_file(model.state_dict(), \"model.safetensors\")"
            }
            Self::SeveralModels { .. } => {
                "save the model that you mean alone: torch.save(torch.load(file)[key], \"model.pt\")"
            }
            Self::BadValue { .. } => {
                "correct the value, or fetch the checkpoint again from its source; a training run that diverged leaves \
                 such weights"
            }
            Self::Tokenizer(error) => return error.hint(),
            Self::Tensors { .. } => {
                "weights and configuration must belong to the same model, and other parameters (adapters, heads) \
                 must be merged or removed first"
            }
            Self::AdaptedMismatch { .. } => {
                "use the base checkpoint that the adaptation started from (run.json names it)"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
