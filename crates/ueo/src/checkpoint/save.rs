//! Writes a full checkpoint that transformers or open_clip, and this library, can read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::image::{CropRule, Interpolation, Preprocessing, ResizeRule};
use crate::text::{TextCleaning, TokenizerContent, TokenizerSource, Vocabulary};

use super::assemble::Recipe;
use super::entries::entries;
use super::error::WrongShape;
use super::hugging_face;
use super::infer::LAYER_NORM_EPSILON;
use super::parameters::parameters;
use super::write;
use super::{
    Activation, Checkpoint, CheckpointError, CheckpointKind, ClipConfig, TensorMismatch,
    TextArchitecture, TextProjection, TransformerConfig, VisionConfig, siglip, timm,
};

/// Tokens of OpenAI's vocabulary; the last two are `[SOS]` and `[EOS]`.
const OPENAI_VOCAB_SIZE: usize = 49_408;
/// transformers takes this `eos_token_id` as "the highest id of a row", which is CLIP's own rule for any vocabulary.
const HIGHEST_ID_IS_EOS: usize = 2;
/// Channels of the last ResNet stage, as a multiple of the stem's.
const RESNET_EXPANSION: usize = 32;
/// Files that say more about a tokenizer, copied when they are beside it.
const TOKENIZER_COMPANIONS: [&str; 5] = [
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
];

/// What [`save`] wrote.
#[derive(Clone, Debug)]
pub struct Saved {
    /// [`CheckpointKind::HuggingFace`] or [`CheckpointKind::OpenClip`].
    pub kind: CheckpointKind,
    /// The safetensors file.
    pub weights_path: PathBuf,
    /// What a user should know about the files, one sentence each.
    pub notes: Vec<String>,
}

/// A layout that a checkpoint can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// That of transformers; it has no modified ResNet and no tower of timm.
    HuggingFace,
    /// That of open_clip, with OpenAI's tensor names.
    OpenClip,
}

/// Writes a full checkpoint in f32 into `directory`, which is made when it does not exist.
///
/// A vision transformer and a SigLIP are written in Hugging Face's layout. What that layout cannot express (a modified ResNet, a
/// tower of timm, or a vocabulary without files that transformers could read) is written with OpenAI's tensor names, as an open_clip
/// directory. Each file appears completely or not at all.
///
/// # Errors
///
/// As [`save_as`].
pub fn save(directory: &Path, checkpoint: &Checkpoint) -> Result<Saved, CheckpointError> {
    let config = &checkpoint.config;
    let readable_vocabulary = checkpoint.tokenizer.vocabulary != Vocabulary::OpenAi
        || config.text.vocab_size == OPENAI_VOCAB_SIZE;
    let layout = match &config.vision {
        VisionConfig::Vit(_) | VisionConfig::Siglip(_) if readable_vocabulary => {
            Layout::HuggingFace
        }
        _ => Layout::OpenClip,
    };
    save_as(directory, checkpoint, layout)
}

/// Writes a full checkpoint in f32 in a layout into `directory`, which is made when it does not exist.
///
/// # Errors
///
/// [`CheckpointError::Tensors`] when the tensors are not those of the configuration, [`CheckpointError::Unsupported`] when
/// the layout cannot express the architecture or what is done to its inputs, [`CheckpointError::Io`] when a file cannot be
/// written.
pub fn save_as(
    directory: &Path,
    checkpoint: &Checkpoint,
    layout: Layout,
) -> Result<Saved, CheckpointError> {
    check_tensors(checkpoint, directory)?;
    crate::disk::create_directories(directory).map_err(CheckpointError::io("create", directory))?;
    match (layout, &checkpoint.config.vision) {
        (Layout::OpenClip, _) => save_open_clip(directory, checkpoint),
        (Layout::HuggingFace, VisionConfig::Vit(_) | VisionConfig::Siglip(_)) => {
            save_hugging_face(directory, checkpoint)
        }
        (Layout::HuggingFace, _) => Err(CheckpointError::unsupported(
            directory,
            "an image tower other than a vision transformer, in Hugging Face's layout,",
        )),
    }
}

/// Refuses what no layout is written for.
fn refuse_unwritten(checkpoint: &Checkpoint, path: &Path) -> Result<(), CheckpointError> {
    let text = checkpoint.config.text.architecture;
    let vocabulary = &checkpoint.tokenizer.vocabulary;
    let feature = match (&checkpoint.config.vision, vocabulary) {
        (VisionConfig::ModularVit(_), _) => {
            "writing a checkpoint whose image tower is not CLIP's (as CLIPA, EVA and MobileCLIP have them)"
        }
        (VisionConfig::Siglip(_), _) if text.projection() != TextProjection::Affine => {
            "writing a SigLIP whose text tower has no projection"
        }
        (VisionConfig::Siglip(_), _) => return Ok(()),
        (_, Vocabulary::SentencePiece(_) | Vocabulary::WordPiece { .. }) => {
            "writing a checkpoint with another vocabulary than CLIP's kind"
        }
        _ if text != TextArchitecture::Causal => {
            "writing a checkpoint whose text tower is not CLIP's"
        }
        _ => return Ok(()),
    };
    Err(CheckpointError::unsupported(path, feature))
}

/// Writes what stands beside the weights in Hugging Face's layout into `directory`, which is made when it does not exist:
/// configuration, preprocessing, tokenizer. Returns what a user should know about the files, one sentence each.
///
/// Of an image tower that the layout has no words for the configuration names the input size alone, for programs that get the
/// tower itself from elsewhere.
///
/// # Errors
///
/// [`CheckpointError::Io`] when a file cannot be written, [`CheckpointError::Unsupported`] when the layout cannot express what is done
/// to the images of a SigLIP.
pub fn save_descriptions(
    directory: &Path,
    checkpoint: &Checkpoint,
) -> Result<Vec<String>, CheckpointError> {
    crate::disk::create_directories(directory).map_err(CheckpointError::io("create", directory))?;
    let preprocessing = &checkpoint.preprocessing;
    let (mut config, preprocessing) = match &checkpoint.config.vision {
        VisionConfig::Siglip(vit) => (
            siglip::save::hugging_face_config(&checkpoint.config, vit),
            siglip::save::hugging_face_preprocessing(preprocessing, directory)?,
        ),
        _ => (
            hugging_face_config(checkpoint)?,
            hugging_face_preprocessing(preprocessing),
        ),
    };
    let own = own_section(checkpoint);
    if !own.is_empty() {
        config[hugging_face::OWN_SECTION] = Value::Object(own);
    }
    write::json(&directory.join("config.json"), &config)?;
    write::json(&directory.join("preprocessor_config.json"), &preprocessing)?;
    let mut notes = copy_tokenizer(directory, &checkpoint.tokenizer)?;
    if let Some(name) = checkpoint.tokenizer.cleaning.open_clip_name()
        && checkpoint.tokenizer.vocabulary != Vocabulary::OpenAi
    {
        notes.push(format!(
            "texts: this program cleans them as open_clip does (`{name}`) before the tokenizer; transformers does not"
        ));
    }
    Ok(notes)
}

fn check_tensors(checkpoint: &Checkpoint, directory: &Path) -> Result<(), CheckpointError> {
    refuse_unwritten(checkpoint, directory)?;
    let mut mismatch = TensorMismatch::default();
    for (name, expected) in parameters(&checkpoint.config) {
        match checkpoint.tensors.get(&name) {
            None => mismatch.missing.push(name),
            Some(tensor) if tensor.shape != expected => mismatch.wrong_shape.push(WrongShape {
                name,
                expected,
                found: tensor.shape.clone(),
            }),
            Some(_) => {}
        }
    }
    if mismatch.is_empty() {
        return Ok(());
    }
    Err(CheckpointError::Tensors {
        path: directory.to_owned(),
        mismatch,
    })
}

/// What transformers expects in the header of a file of PyTorch tensors.
fn torch_metadata() -> BTreeMap<String, String> {
    BTreeMap::from([("format".to_owned(), "pt".to_owned())])
}

fn save_hugging_face(directory: &Path, checkpoint: &Checkpoint) -> Result<Saved, CheckpointError> {
    let entries = match checkpoint.config.vision {
        VisionConfig::Siglip(_) => siglip::save::hugging_face_entries(checkpoint),
        _ => entries(checkpoint, |name, _| hugging_face::recipe(name)),
    };
    let weights_path = directory.join("model.safetensors");
    write::safetensors(&weights_path, entries, &torch_metadata())?;
    let notes = save_descriptions(directory, checkpoint)?;
    Ok(Saved {
        kind: CheckpointKind::HuggingFace,
        weights_path,
        notes,
    })
}

fn hugging_face_config(checkpoint: &Checkpoint) -> Result<Value, CheckpointError> {
    let config = &checkpoint.config;
    let tower = |transformer: &TransformerConfig| {
        let mut tower = transformers_tower(transformer);
        tower["projection_dim"] = config.embed_dim.into();
        tower
    };
    let mut text = tower(&config.text.transformer);
    let vocab_size = config.text.vocab_size;
    text["model_type"] = "clip_text_model".into();
    text["max_position_embeddings"] = config.text.context_length.into();
    text["vocab_size"] = vocab_size.into();
    if vocab_size == OPENAI_VOCAB_SIZE {
        text["bos_token_id"] = (vocab_size - 2).into();
        text["eos_token_id"] = (vocab_size - 1).into();
    } else {
        text["bos_token_id"] = Value::Null;
        text["eos_token_id"] = eos_token_id(&checkpoint.tokenizer)?.into();
    }
    let mut vision = match &config.vision {
        VisionConfig::Vit(vit) => tower(&vit.transformer),
        _ => json!({"projection_dim": config.embed_dim}),
    };
    vision["model_type"] = "clip_vision_model".into();
    vision["image_size"] = config.vision.image_size().into();
    if let VisionConfig::Vit(vit) = &config.vision {
        vision["patch_size"] = vit.patch_size.into();
    }
    vision["num_channels"] = 3.into();
    Ok(json!({
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": config.embed_dim,
        "torch_dtype": "float32",
        "text_config": text,
        "vision_config": vision,
    }))
}

/// What transformers calls the sizes of a tower.
pub(super) fn transformers_tower(transformer: &TransformerConfig) -> Value {
    json!({
        "hidden_size": transformer.width,
        "intermediate_size": transformer.mlp_width,
        "num_hidden_layers": transformer.layers,
        "num_attention_heads": transformer.heads,
        "hidden_act": match transformer.activation {
            Activation::QuickGelu => "quick_gelu",
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_pytorch_tanh",
        },
        "layer_norm_eps": transformer.layer_norm_epsilon,
    })
}

/// The id at whose first place the text feature is read.
fn eos_token_id(tokenizer: &TokenizerSource) -> Result<usize, CheckpointError> {
    let content = TokenizerContent::read(tokenizer)?;
    Ok(match content.end_of_text() {
        Some(end) if content.highest_id() != Some(end) => end as usize,
        _ => HIGHEST_ID_IS_EOS,
    })
}

/// What transformers' layout has no key for, and what it does otherwise: only this library reads it.
fn own_section(checkpoint: &Checkpoint) -> Map<String, Value> {
    let mut own = Map::new();
    let source = &checkpoint.tokenizer;
    let is_usual = match (&source.vocabulary, source.cleaning) {
        (Vocabulary::OpenAi, cleaning) => cleaning == TextCleaning::Lower,
        // The class of the tokenizer says which of transformers' own it is.
        (Vocabulary::SentencePiece(_), cleaning) => cleaning.open_clip_name().is_none(),
        (_, cleaning) => cleaning == TextCleaning::None,
    };
    if !is_usual {
        own.insert("text_cleaning".to_owned(), json!(source.cleaning));
    }
    let crop_rule = checkpoint.preprocessing.crop_rule;
    if crop_rule != CropRule::Transformers {
        own.insert("crop_rule".to_owned(), json!(crop_rule));
    }
    own
}

fn hugging_face_preprocessing(preprocessing: &Preprocessing) -> Value {
    json!({
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": true,
        "do_resize": true,
        "size": match preprocessing.resize_rule {
            ResizeRule::Shortest => json!({"shortest_edge": preprocessing.resize}),
            ResizeRule::Squash => {
                json!({"height": preprocessing.resize, "width": preprocessing.resize})
            }
        },
        "resample": pillow_filter(preprocessing.interpolation),
        "do_center_crop": true,
        "crop_size": {"height": preprocessing.crop, "width": preprocessing.crop},
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": decimals(preprocessing.mean),
        "image_std": decimals(preprocessing.std),
    })
}

/// Pillow's number of a filter.
pub(super) fn pillow_filter(interpolation: Interpolation) -> u8 {
    match interpolation {
        Interpolation::Bicubic => 3,
        Interpolation::Bilinear => 2,
    }
}

/// The shortest decimal numbers that give these f32 values, instead of their many digits in f64.
pub(super) fn decimals(values: [f32; 3]) -> Vec<f64> {
    values
        .iter()
        .map(|value| value.to_string().parse().unwrap_or(f64::from(*value)))
        .collect()
}

/// Copies the tokenizer's files; returns notes about what could not be copied.
fn copy_tokenizer(
    directory: &Path,
    tokenizer: &TokenizerSource,
) -> Result<Vec<String>, CheckpointError> {
    let origin = match &tokenizer.vocabulary {
        Vocabulary::OpenAi => {
            return Ok(vec![
                "no tokenizer files are written: the vocabulary is OpenAI's (openai/clip-vit-base-patch32 has it for \
                 transformers)"
                    .to_owned(),
            ]);
        }
        Vocabulary::TokenizerJson(path)
        | Vocabulary::SentencePiece(path)
        | Vocabulary::WordPiece { path, .. } => {
            copy_once(path, &directory.join("tokenizer.json"))?;
            path.parent()
        }
        Vocabulary::VocabAndMerges { vocab, merges } => {
            copy_once(vocab, &directory.join("vocab.json"))?;
            copy_once(merges, &directory.join("merges.txt"))?;
            vocab.parent()
        }
    };
    for name in TOKENIZER_COMPANIONS {
        let Some(source) = origin.map(|origin| origin.join(name)) else {
            continue;
        };
        let target = directory.join(name);
        if source.is_file() && !target.exists() {
            copy_once(&source, &target)?;
        }
    }
    Ok(Vec::new())
}

/// Copies a file, unless it is already in its place.
fn copy_once(from: &Path, to: &Path) -> Result<(), CheckpointError> {
    let same = matches!((fs::canonicalize(from), fs::canonicalize(to)), (Ok(a), Ok(b)) if a == b);
    if same { Ok(()) } else { write::copy(from, to) }
}

fn save_open_clip(directory: &Path, checkpoint: &Checkpoint) -> Result<Saved, CheckpointError> {
    let config = open_clip_config(checkpoint, directory)?;
    let entries = match checkpoint.config.vision {
        VisionConfig::Siglip(_) => siglip::save::open_clip_entries(checkpoint),
        _ => entries(checkpoint, |name, _| Recipe::Copy(name.to_owned())),
    };
    let weights_path = directory.join("open_clip_model.safetensors");
    write::safetensors(&weights_path, entries, &torch_metadata())?;
    write::json(&directory.join("open_clip_config.json"), &config)?;
    let notes = match &checkpoint.tokenizer.vocabulary {
        Vocabulary::OpenAi => Vec::new(),
        _ => copy_tokenizer(directory, &checkpoint.tokenizer)?,
    };
    Ok(Saved {
        kind: CheckpointKind::OpenClip,
        weights_path,
        notes,
    })
}

fn open_clip_config(checkpoint: &Checkpoint, path: &Path) -> Result<Value, CheckpointError> {
    let config = &checkpoint.config;
    let mut model = open_clip_model(config, path)?;
    let text_cfg = &mut model["text_cfg"];
    text_cfg["heads"] = config.text.transformer.heads.into();
    text_cfg["context_length"] = config.text.context_length.into();
    text_cfg["vocab_size"] = config.text.vocab_size.into();
    name_tokenizer(text_cfg, &checkpoint.tokenizer, path)?;
    Ok(json!({
        "model_cfg": model,
        "preprocess_cfg": open_clip_preprocessing(&checkpoint.preprocessing, path)?,
    }))
}

/// The `model_cfg` of a CLIP, less what its text tower has in common with a SigLIP's.
fn open_clip_model(config: &ClipConfig, path: &Path) -> Result<Value, CheckpointError> {
    let text = &config.text.transformer;
    let mut vision_cfg = match &config.vision {
        VisionConfig::Vit(vit) => {
            let vision = &vit.transformer;
            // One flag serves both towers.
            if vision.activation != text.activation {
                return Err(CheckpointError::unsupported(
                    path,
                    "another activation in the image tower than in the text tower, in open_clip's layout,",
                ));
            }
            let mut section = transformer_section(vision);
            section["head_width"] = (vision.width / vision.heads).into();
            section["patch_size"] = vit.patch_size.into();
            section
        }
        VisionConfig::ModularVit(_) => unreachable!("refused before"),
        VisionConfig::ConvNext(_) | VisionConfig::ViTamin(_) => timm::section(&config.vision)
            .ok_or_else(|| {
                CheckpointError::unsupported(path, "an image tower that timm has no name for")
            })?,
        VisionConfig::ResNet(resnet) => json!({
            "layers": resnet.layers,
            "width": resnet.width,
            "head_width": resnet.width * RESNET_EXPANSION / resnet.heads,
        }),
        VisionConfig::Siglip(vit) => return siglip::save::open_clip_model(config, vit, path),
    };
    vision_cfg["image_size"] = config.vision.image_size().into();
    Ok(json!({
        "embed_dim": config.embed_dim,
        "quick_gelu": text.activation == Activation::QuickGelu,
        "vision_cfg": vision_cfg,
        "text_cfg": transformer_section(text),
    }))
}

/// Says which tokenizer belongs to the text tower and how texts are cleaned before it.
fn name_tokenizer(
    text_cfg: &mut Value,
    source: &TokenizerSource,
    path: &Path,
) -> Result<(), CheckpointError> {
    let usual = if source.vocabulary == Vocabulary::OpenAi {
        TextCleaning::Lower
    } else {
        // open_clip then reads the tokenizer's files of the directory itself.
        text_cfg["hf_tokenizer_name"] = "tokenizer.json".into();
        TextCleaning::Whitespace
    };
    if source.cleaning != usual {
        let Some(name) = source.cleaning.open_clip_name() else {
            return Err(CheckpointError::unsupported(
                path,
                "a tokenizer without text cleaning, in open_clip's layout,",
            ));
        };
        text_cfg["tokenizer_kwargs"] = json!({"clean": name});
    }
    Ok(())
}

/// The `preprocess_cfg` of `open_clip_config.json`.
fn open_clip_preprocessing(
    preprocessing: &Preprocessing,
    path: &Path,
) -> Result<Value, CheckpointError> {
    if preprocessing.crop_rule != CropRule::Torchvision {
        return Err(CheckpointError::unsupported(
            path,
            "transformers' centre crop, in open_clip's layout,",
        ));
    }
    if preprocessing.resize != preprocessing.crop {
        return Err(CheckpointError::unsupported(
            path,
            format!(
                "resizing to {} before a crop of {}, in open_clip's layout,",
                preprocessing.resize, preprocessing.crop
            ),
        ));
    }
    Ok(json!({
        "mean": decimals(preprocessing.mean),
        "std": decimals(preprocessing.std),
        "interpolation": match preprocessing.interpolation {
            Interpolation::Bicubic => "bicubic",
            Interpolation::Bilinear => "bilinear",
        },
        "resize_mode": match preprocessing.resize_rule {
            ResizeRule::Shortest => "shortest",
            ResizeRule::Squash => "squash",
        },
    }))
}

pub(super) fn transformer_section(config: &TransformerConfig) -> Value {
    let mut section = json!({
        "width": config.width,
        "layers": config.layers,
        "mlp_ratio": mlp_ratio(config.width, config.mlp_width),
    });
    if config.layer_norm_epsilon != LAYER_NORM_EPSILON {
        section["norm_kwargs"] = json!({"eps": config.layer_norm_epsilon});
    }
    section
}

/// The ratio for which open_clip's `int(width * ratio)` gives `mlp_width`.
fn mlp_ratio(width: usize, mlp_width: usize) -> f64 {
    let ratio = mlp_width as f64 / width as f64;
    if (width as f64 * ratio) as usize == mlp_width {
        ratio
    } else {
        ratio.next_up()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mlp_ratio_survives_truncation() {
        for width in 1..200 {
            for mlp_width in 1..600 {
                let ratio = mlp_ratio(width, mlp_width);
                assert_eq!(
                    (width as f64 * ratio) as usize,
                    mlp_width,
                    "{width} {mlp_width}"
                );
            }
        }
    }

    #[test]
    fn means_are_written_short_and_read_back_equal() {
        let clip = Preprocessing::clip(224);
        for (decimal, value) in decimals(clip.mean).into_iter().zip(clip.mean) {
            assert_eq!(decimal as f32, value);
            assert!(decimal.to_string().len() <= "0.48145466".len(), "{decimal}");
        }
    }
}
