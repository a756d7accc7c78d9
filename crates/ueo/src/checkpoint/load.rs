//! Recognizes a checkpoint by its content and reads it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::image::Preprocessing;
use crate::text::TokenizerSource;

use super::assemble::assemble;
use super::digest::sha256_of_files;
use super::json::read_object;
use super::parameters::parameters;
use super::state_dict::{Origin, refuse_relatives, unwrap_names};
use super::store::TensorStore;
use super::validate::validate;
use super::weights_file::{self, WeightsFile};
use super::{
    Checkpoint, CheckpointError, CheckpointKind, ClipConfig, VisionConfig, hugging_face, open_clip,
    state_dict, tokenizer,
};

const HF_CONFIG: &str = "config.json";
const HF_WEIGHTS: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];
const HF_PREPROCESSING: [&str; 2] = ["preprocessor_config.json", "processor_config.json"];
const OPEN_CLIP_CONFIG: &str = "open_clip_config.json";
const OPEN_CLIP_WEIGHTS: [&str; 3] = [
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
];
/// A tensor that only transformers' layout has.
const HF_TENSOR: &str = "text_model.embeddings.token_embedding.weight";

/// Reads a checkpoint of any layout.
///
/// `path` is a Hugging Face directory, an open_clip directory, or a weights file (OpenAI's TorchScript archive, a state
/// dict in safetensors or PyTorch's formats). The kind is recognized by content. Pickles are parsed, never executed.
/// Tensors are read one at a time: the peak is one f32 copy of the model and one tensor.
///
/// # Errors
///
/// [`CheckpointError`], which names the file, what was expected and what was found.
pub fn load(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let metadata = fs::metadata(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => CheckpointError::NotFound {
            path: path.to_owned(),
        },
        _ => CheckpointError::io("read", path)(source),
    })?;
    let path = std::path::absolute(path).map_err(CheckpointError::io("read", path))?;
    let draft = if metadata.is_dir() {
        directory(&path)?
    } else {
        single_file(&path)?
    };
    draft.read(path)
}

/// A checkpoint whose tensors are still on disk.
struct Draft {
    config: ClipConfig,
    preprocessing: Preprocessing,
    tokenizer: TokenizerSource,
    kind: CheckpointKind,
    store: TensorStore,
    weights_path: PathBuf,
    decisions: Vec<String>,
}

impl Draft {
    fn read(self, path: PathBuf) -> Result<Checkpoint, CheckpointError> {
        validate(&self.config, &self.weights_path)?;
        let list = parameters(&self.config);
        let tensors = if self.kind == CheckpointKind::HuggingFace {
            let parameters = hugging_face::place(list);
            assemble(&self.store, &parameters, hugging_face::is_known_extra)?
        } else {
            let parameters = state_dict::place(list);
            assemble(&self.store, &parameters, state_dict::is_known_extra)?
        };
        Ok(Checkpoint {
            sha256: sha256_of_files(&self.store.files)?,
            config: self.config,
            preprocessing: self.preprocessing,
            tokenizer: self.tokenizer,
            tensors,
            kind: self.kind,
            path,
            weights_path: self.weights_path,
            decisions: self.decisions,
        })
    }
}

fn first_file(directory: &Path, names: &[&str]) -> Option<PathBuf> {
    names
        .iter()
        .map(|name| directory.join(name))
        .find(|path| path.is_file())
}

fn directory(path: &Path) -> Result<Draft, CheckpointError> {
    let hf_config = path.join(HF_CONFIG);
    let open_clip_config = path.join(OPEN_CLIP_CONFIG);
    let hf_weights = first_file(path, &HF_WEIGHTS);
    let open_clip_weights = first_file(path, &OPEN_CLIP_WEIGHTS);
    match (hf_config.is_file(), hf_weights) {
        (true, Some(weights)) => {
            // Repositories of open_clip's authors often hold the model in both layouts.
            let also_open_clip = open_clip_config.is_file() && open_clip_weights.is_some();
            if !also_open_clip || hugging_face::is_clip(&read_object(&hf_config)?) {
                let mut draft = hugging_face_draft(&weights, open_weights(&weights)?)?;
                if also_open_clip {
                    draft.decisions.push(
                        "layout: Hugging Face, although the directory also holds the model in open_clip's layout"
                            .to_owned(),
                    );
                }
                return Ok(draft);
            }
        }
        (true, None) if open_clip_weights.is_none() => {
            return Err(unrecognized(path, &format!("{HF_CONFIG} without weights"))?);
        }
        _ => {}
    }
    match (open_clip_config.is_file(), open_clip_weights) {
        (true, Some(weights)) => open_clip_draft(&weights, weights_file::open(&weights)?, true),
        (false, Some(weights)) => single_file(&weights),
        (true, None) => Err(unrecognized(
            path,
            &format!("{OPEN_CLIP_CONFIG} without weights"),
        )?),
        (false, None) => Err(unrecognized(path, "")?),
    }
}

/// The error for a directory that is no checkpoint; `found` says what was found, or the first entries are listed.
fn unrecognized(path: &Path, found: &str) -> Result<CheckpointError, CheckpointError> {
    let found = if found.is_empty() {
        let mut names: Vec<String> = fs::read_dir(path)
            .map_err(CheckpointError::io("read", path))?
            .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
            .collect();
        names.sort();
        let count = names.len();
        names.truncate(5);
        match count {
            0 => "an empty directory".to_owned(),
            1..=5 => names.join(", "),
            _ => format!("{count} entries ({}, ...)", names.join(", ")),
        }
    } else {
        found.to_owned()
    };
    Ok(CheckpointError::Unrecognized {
        path: path.to_owned(),
        expected: format!(
            "{HF_CONFIG} with {} or {}, or {OPEN_CLIP_CONFIG} with {} or {}",
            HF_WEIGHTS[0], HF_WEIGHTS[2], OPEN_CLIP_WEIGHTS[0], OPEN_CLIP_WEIGHTS[2]
        ),
        found,
    })
}

fn single_file(path: &Path) -> Result<Draft, CheckpointError> {
    let mut file = weights_file::open(path)?;
    let directory = parent(path);
    let custom_text = unwrap_names(&mut file.store);
    if file.store.tensors.contains_key(HF_TENSOR) {
        if directory.join(HF_CONFIG).is_file() {
            return hugging_face_draft(path, file.store);
        }
        return Err(CheckpointError::Unrecognized {
            path: path.to_owned(),
            expected: format!("{HF_CONFIG} beside weights with Hugging Face's names"),
            found: "no such file".to_owned(),
        });
    }
    if !file.script && directory.join(OPEN_CLIP_CONFIG).is_file() {
        return open_clip_draft(path, file, false);
    }
    let shapes = file.store.shapes();
    refuse_relatives(&shapes, path)?;
    let origin = Origin {
        script: file.script,
        training_checkpoint: file.training_checkpoint,
        custom_text,
        open_clip_name: path
            .file_name()
            .is_some_and(|name| OPEN_CLIP_WEIGHTS.iter().any(|known| name == *known)),
    };
    let (config, mut decisions) = state_dict::architecture(&shapes, origin, path)?;
    let tokenizer =
        tokenizer::for_openai_names(directory, config.text.vocab_size, false, &mut decisions);
    decisions.push(
        "preprocessing: CLIP's own mean and deviation, because the file does not say".to_owned(),
    );
    Ok(Draft {
        preprocessing: Preprocessing::clip(config.vision.image_size()),
        config,
        tokenizer,
        kind: match origin {
            Origin { script: true, .. } => CheckpointKind::OpenAiTorchScript,
            Origin {
                training_checkpoint: true,
                ..
            }
            | Origin {
                custom_text: true, ..
            }
            | Origin {
                open_clip_name: true,
                ..
            } => CheckpointKind::OpenClip,
            _ => CheckpointKind::StateDict,
        },
        store: file.store,
        weights_path: path.to_owned(),
        decisions,
    })
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// Lists a weights file, or all shards that an index names.
fn open_weights(path: &Path) -> Result<TensorStore, CheckpointError> {
    if path.extension().is_none_or(|extension| extension != "json") {
        let mut store = weights_file::open(path)?.store;
        unwrap_names(&mut store);
        return Ok(store);
    }
    let index = read_object(path)?;
    let Some(Value::Object(map)) = index.get("weight_map") else {
        return Err(CheckpointError::malformed(
            path,
            "an object `weight_map`",
            "none",
        ));
    };
    let mut shards: Vec<&str> = Vec::new();
    for shard in map.values() {
        match shard.as_str() {
            // A shard is a file of the same directory; anything else could name any file of the machine.
            Some(name) if Path::new(name).file_name().is_some_and(|file| file == name) => {
                shards.push(name);
            }
            _ => {
                return Err(CheckpointError::malformed(
                    path,
                    "names of files in the same directory",
                    shard.to_string(),
                ));
            }
        }
    }
    shards.sort_unstable();
    shards.dedup();
    let mut store = TensorStore::default();
    for shard in shards {
        store.append(weights_file::open(&parent(path).join(shard))?.store);
    }
    Ok(store)
}

fn hugging_face_draft(weights: &Path, store: TensorStore) -> Result<Draft, CheckpointError> {
    let directory = parent(weights);
    let config_path = directory.join(HF_CONFIG);
    let config = hugging_face::architecture(&read_object(&config_path)?, &config_path)?;
    let mut decisions = Vec::new();
    let image_size = config.vision.image_size();
    let preprocessing = match first_file(directory, &HF_PREPROCESSING) {
        Some(path) => {
            let preprocessing = hugging_face::preprocessing(&path)?;
            if preprocessing.crop != image_size {
                return Err(CheckpointError::malformed(
                    &path,
                    format!("the crop size {image_size} of the image tower"),
                    preprocessing.crop.to_string(),
                ));
            }
            preprocessing
        }
        None => {
            decisions.push(format!(
                "preprocessing: CLIP's own mean and deviation, because the directory has no {}",
                HF_PREPROCESSING[0]
            ));
            Preprocessing::clip(image_size)
        }
    };
    let tokenizer = tokenizer::for_hugging_face(directory, config.text.vocab_size, &mut decisions)?;
    Ok(Draft {
        config,
        preprocessing,
        tokenizer,
        kind: CheckpointKind::HuggingFace,
        store,
        weights_path: weights.to_owned(),
        decisions,
    })
}

/// `whole_directory` says that the user named the directory, so its configuration is no surprise.
fn open_clip_draft(
    weights: &Path,
    file: WeightsFile,
    whole_directory: bool,
) -> Result<Draft, CheckpointError> {
    let directory = parent(weights);
    let config_path = directory.join(OPEN_CLIP_CONFIG);
    let config = open_clip::read_config(&config_path)?;
    let mut store = file.store;
    unwrap_names(&mut store);
    refuse_relatives(&store.shapes(), weights)?;
    let mut decisions = Vec::new();
    if !whole_directory {
        decisions.push(format!(
            "configuration: read from {OPEN_CLIP_CONFIG} beside the file"
        ));
    }
    let architecture = config.architecture;
    let activation = match &architecture.vision {
        VisionConfig::Vit(vit) => vit.transformer.activation,
        VisionConfig::ResNet(_) => architecture.text.transformer.activation,
    };
    decisions.push(format!(
        "activation: {}, by `quick_gelu` in {OPEN_CLIP_CONFIG} (not there means false)",
        activation.name()
    ));
    let tokenizer = tokenizer::for_openai_names(
        directory,
        architecture.text.vocab_size,
        config.own_tokenizer,
        &mut decisions,
    );
    Ok(Draft {
        config: architecture,
        preprocessing: config.preprocessing,
        tokenizer,
        kind: CheckpointKind::OpenClip,
        store,
        weights_path: weights.to_owned(),
        decisions,
    })
}
