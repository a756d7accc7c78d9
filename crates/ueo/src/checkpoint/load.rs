//! Recognizes a checkpoint by its content and reads it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::image::{CropRule, Preprocessing};
use crate::quote;
use crate::text::Vocabulary;

use super::draft::{Draft, FeatureToken};
use super::json::read_object;
use super::open_clip::{LayerScale, OpenClipConfig};
use super::state_dict::{Origin, refuse_other_relatives, refuse_relatives, unwrap_names};
use super::store::TensorStore;
use super::tokenizer::OpenClipTokenizer;
use super::validate::validate;
use super::weights_file::{self, WeightsFile};
use super::{
    Activation, ActivationSource, Checkpoint, CheckpointError, CheckpointKind, ClipConfig,
    LoadOptions, TextArchitecture, VisionConfig, hub_cache, hugging_face, open_clip,
    padded_tokenizer, siglip, state_dict, tokenizer,
};

const HF_CONFIG: &str = "config.json";
const HF_WEIGHTS: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];
pub(super) const HF_PREPROCESSING: [&str; 2] =
    ["preprocessor_config.json", "processor_config.json"];
pub(super) const OPEN_CLIP_CONFIG: &str = "open_clip_config.json";
const OPEN_CLIP_WEIGHTS: [&str; 3] = [
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
];
/// Files that one checkpoint may be split into.
const MAX_SHARDS: usize = 1_000;
/// A tensor that only transformers' layout has.
const HF_TENSOR: &str = "text_model.embeddings.token_embedding.weight";

/// Reads a checkpoint of any layout.
///
/// `path` is a Hugging Face directory, an open_clip directory, either of them in a hub's cache (`models--OWNER--NAME`), or a weights file (OpenAI's TorchScript archive, a state
/// dict in safetensors or PyTorch's formats). The kind is recognized by content. Pickles are parsed, never executed.
/// Tensors are read one at a time: the peak is one f32 copy of the model and one tensor.
///
/// # Errors
///
/// [`CheckpointError`], which names the file, what was expected and what was found.
pub fn load(path: &Path) -> Result<Checkpoint, CheckpointError> {
    load_with(path, &LoadOptions::new())
}

/// As [`load`], with what the user knows better than the files.
///
/// # Errors
///
/// As [`load`].
pub fn load_with(path: &Path, options: &LoadOptions) -> Result<Checkpoint, CheckpointError> {
    let metadata = fs::metadata(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => CheckpointError::NotFound {
            path: path.to_owned(),
        },
        _ => CheckpointError::io("read", path)(source),
    })?;
    let path = std::path::absolute(path).map_err(CheckpointError::io("read", path))?;
    if !metadata.is_dir() {
        return single_file(&path)?.read(path, options);
    }
    match hub_cache::snapshot(&path)? {
        Some((snapshot, decision)) => {
            let mut draft = directory(&snapshot)?;
            draft.decisions.push(decision);
            draft.read(snapshot, options)
        }
        None => directory(&path)?.read(path, options),
    }
}

/// Reads a configuration file alone: whether [`load`] would take a checkpoint that it describes.
///
/// `path` is an `open_clip_config.json`, one of open_clip's bare model configurations, or a `config.json` of transformers.
///
/// # Errors
///
/// As [`load`], for everything that the configuration alone decides; it names the key.
pub fn check_configuration(path: &Path) -> Result<ClipConfig, CheckpointError> {
    let object = read_object(path)?;
    let of_open_clip = object.contains_key("vision_cfg") || object.contains_key("model_cfg");
    let config = match of_open_clip {
        true => open_clip::config(&object, path)?.architecture,
        false => hugging_face::read_config(&object, path)?.architecture,
    };
    validate(&config, path)?;
    Ok(config)
}

pub(super) fn first_file(directory: &Path, names: &[&str]) -> Option<PathBuf> {
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
            if !also_open_clip || hugging_face::is_known(&read_object(&hf_config)?) {
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
        (true, Some(weights)) => open_clip_draft(&weights, open_unwrapped(&weights)?, true),
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
        let names: Vec<String> = names
            .iter()
            .map(|name| quote::name(name).to_string())
            .collect();
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

/// A weights file whose tensors have the names that they have in the model itself.
struct Unwrapped {
    file: WeightsFile,
    /// Whether it was open_clip's `CustomTextCLIP`.
    custom_text: bool,
}

fn open_unwrapped(path: &Path) -> Result<Unwrapped, CheckpointError> {
    let mut file = weights_file::open(path)?;
    let custom_text = unwrap_names(&mut file.store, &mut file.decisions)?;
    Ok(Unwrapped { file, custom_text })
}

fn single_file(path: &Path) -> Result<Draft, CheckpointError> {
    let unwrapped = open_unwrapped(path)?;
    let directory = parent(path);
    let file = &unwrapped.file;
    if file.store.tensors.contains_key(HF_TENSOR) {
        if directory.join(HF_CONFIG).is_file() {
            return hugging_face_draft(path, unwrapped.file);
        }
        return Err(CheckpointError::unrecognized(
            path,
            format!("{HF_CONFIG} beside weights with Hugging Face's names"),
            "no such file",
        ));
    }
    if !file.script && directory.join(OPEN_CLIP_CONFIG).is_file() {
        return open_clip_draft(path, unwrapped, false);
    }
    state_dict_draft(path, unwrapped)
}

/// A file that stands alone: the architecture follows from the shapes, everything else from conventions.
fn state_dict_draft(path: &Path, unwrapped: Unwrapped) -> Result<Draft, CheckpointError> {
    let Unwrapped { file, custom_text } = unwrapped;
    let shapes = file.store.shapes();
    refuse_relatives(&shapes, path)?;
    let open_clip_name = path
        .file_name()
        .is_some_and(|name| OPEN_CLIP_WEIGHTS.iter().any(|known| name == *known));
    let origin = Origin {
        script: file.script,
        training_checkpoint: file.training_checkpoint,
        custom_text,
        open_clip_name,
    };
    let (config, activation_source, said) = state_dict::architecture(&shapes, origin, path)?;
    let mut decisions = file.decisions;
    decisions.extend(said);
    let mut warnings = Vec::new();
    let tokenizer = tokenizer::for_openai_names(
        parent(path),
        config.text.vocab_size,
        &OpenClipTokenizer::default(),
        &mut decisions,
        &mut warnings,
    )?;
    decisions.push(
        "preprocessing: CLIP's own mean and deviation, because the file does not say".to_owned(),
    );
    let kind = if origin.script {
        CheckpointKind::OpenAiTorchScript
    } else if origin.training_checkpoint || custom_text || open_clip_name {
        CheckpointKind::OpenClip
    } else {
        CheckpointKind::StateDict
    };
    Ok(Draft {
        layer_scale: LayerScale::default(),
        timm: None,
        preprocessing: Preprocessing::clip(config.vision.image_size()),
        config,
        tokenizer,
        feature_token: FeatureToken::HighestId,
        activation_source,
        kind,
        store: file.store,
        weights_path: path.to_owned(),
        config_path: path.to_owned(),
        decisions,
        warnings,
    })
}

pub(super) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// Lists a weights file, or all shards that an index names.
fn open_weights(path: &Path) -> Result<WeightsFile, CheckpointError> {
    if path.extension().is_none_or(|extension| extension != "json") {
        return Ok(open_unwrapped(path)?.file);
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
                    quote::name(&shard.to_string()).to_string(),
                ));
            }
        }
    }
    shards.sort_unstable();
    shards.dedup();
    if shards.len() > MAX_SHARDS {
        return Err(CheckpointError::too_large(
            path,
            format!("{MAX_SHARDS} shards"),
        ));
    }
    let mut file = WeightsFile {
        store: TensorStore::default(),
        script: false,
        training_checkpoint: false,
        decisions: Vec::new(),
    };
    for shard in shards {
        file.store
            .append(weights_file::open(&parent(path).join(shard))?.store);
    }
    Ok(file)
}

fn hugging_face_draft(weights: &Path, file: WeightsFile) -> Result<Draft, CheckpointError> {
    let directory = parent(weights);
    let config_path = directory.join(HF_CONFIG);
    let config = hugging_face::read_config(&read_object(&config_path)?, &config_path)?;
    let architecture = config.architecture;
    if let VisionConfig::Siglip(_) = architecture.vision {
        return siglip::hugging_face::draft(weights, file, architecture, config.cleaning);
    }
    let mut decisions = file.decisions;
    let image_size = architecture.vision.image_size();
    let mut preprocessing = match first_file(directory, &HF_PREPROCESSING) {
        Some(path) => {
            let preprocessing = hugging_face::read_preprocessing(&path)?;
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
            Preprocessing {
                crop_rule: CropRule::Transformers,
                ..Preprocessing::clip(image_size)
            }
        }
    };
    if let Some(crop_rule) = config.crop_rule {
        preprocessing.crop_rule = crop_rule;
    }
    let tokenizer = tokenizer::for_hugging_face(
        directory,
        architecture.text.vocab_size,
        config.cleaning,
        &mut decisions,
    )?;
    Ok(Draft {
        layer_scale: LayerScale::default(),
        timm: None,
        config: architecture,
        preprocessing,
        tokenizer,
        feature_token: config.feature_token,
        activation_source: ActivationSource::Configuration,
        kind: CheckpointKind::HuggingFace,
        store: file.store,
        weights_path: weights.to_owned(),
        config_path,
        decisions,
        warnings: Vec::new(),
    })
}

/// `whole_directory` says that the user named the directory, so its configuration is no surprise.
fn open_clip_draft(
    weights: &Path,
    unwrapped: Unwrapped,
    whole_directory: bool,
) -> Result<Draft, CheckpointError> {
    let directory = parent(weights);
    let config_path = directory.join(OPEN_CLIP_CONFIG);
    let config = open_clip::read_config(&config_path)?;
    if let VisionConfig::Siglip(_) = config.architecture.vision {
        return siglip::open_clip::draft(weights, unwrapped.file, config, whole_directory);
    }
    let WeightsFile {
        store,
        mut decisions,
        ..
    } = unwrapped.file;
    match config.timm {
        Some(_) => refuse_other_relatives(&store.shapes(), weights)?,
        None => refuse_relatives(&store.shapes(), weights)?,
    }
    if !whole_directory {
        decisions.push(format!(
            "configuration: read from {OPEN_CLIP_CONFIG} beside the file"
        ));
    }
    let names_other_vocabulary = names_other_vocabulary(&config);
    let mut architecture = config.architecture;
    let activation = architecture.text.transformer.activation;
    decisions.push(match &architecture.vision {
        VisionConfig::ModularVit(modular) if config.timm.is_some() => format!(
            "activation: {} in the image tower, by its name in timm; {} in the text tower, by `quick_gelu` in \
             {OPEN_CLIP_CONFIG} (not there means false)",
            modular.vit.transformer.activation.name(),
            activation.name()
        ),
        VisionConfig::ConvNext(_) | VisionConfig::ViTamin(_) => format!(
            "activation: {} in the image tower, which is timm's; {} in the text tower, by `quick_gelu` in \
             {OPEN_CLIP_CONFIG} (not there means false)",
            Activation::Gelu.name(),
            activation.name()
        ),
        _ => format!(
            "activation: {}, by `quick_gelu` in {OPEN_CLIP_CONFIG} (not there means false)",
            activation.name()
        ),
    });
    if config.layer_scale != LayerScale::default() {
        decisions.push("layer scale: multiplied into the matrices that it follows".to_owned());
    }
    let mut warnings = Vec::new();
    let tokenizer = if names_other_vocabulary {
        let tokenizer = padded_tokenizer::for_open_clip(directory, &config.tokenizer)?;
        if let TextArchitecture::Padded { padding_token, .. } = &mut architecture.text.architecture
        {
            *padding_token = tokenizer.padding_token;
        }
        tokenizer.source
    } else {
        let source = tokenizer::for_openai_names(
            directory,
            architecture.text.vocab_size,
            &config.tokenizer,
            &mut decisions,
            &mut warnings,
        )?;
        let pads_with_zero =
            source.vocabulary == Vocabulary::OpenAi && config.tokenizer.name.is_none();
        if architecture.text.architecture != TextArchitecture::Causal && !pads_with_zero {
            // The owner's tokenizer would pad with a token that is not known here.
            return Err(CheckpointError::unsupported(
                &config_path,
                "`text_cfg.no_causal_mask`: true, with a tokenizer in files and `pool_type` argmax,",
            ));
        }
        source
    };
    Ok(Draft {
        layer_scale: config.layer_scale,
        timm: config.timm,
        config: architecture,
        preprocessing: config.preprocessing,
        tokenizer,
        feature_token: config.feature_token,
        activation_source: ActivationSource::Configuration,
        kind: CheckpointKind::OpenClip,
        store,
        weights_path: weights.to_owned(),
        config_path,
        decisions,
        warnings,
    })
}

/// Whether a tokenizer is named whose vocabulary is not of CLIP's kind: a text tower that reads its feature elsewhere than at the
/// highest id was trained with another.
fn names_other_vocabulary(config: &OpenClipConfig) -> bool {
    config.tokenizer.name.is_some() && config.feature_token != FeatureToken::HighestId
}
