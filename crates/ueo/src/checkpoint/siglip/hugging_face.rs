//! SigLIP in Hugging Face's layout: `config.json` with the model type `siglip`, and `SiglipImageProcessor`.

use std::path::Path;

use serde_json::{Map, Value};

use crate::checkpoint::draft::{Draft, FeatureToken};
use crate::checkpoint::hugging_face::{processor, tower, with_pixel_values};
use crate::checkpoint::json::{Section, read_object};
use crate::checkpoint::load::{HF_PREPROCESSING, first_file, parent};
use crate::checkpoint::open_clip::LayerScale;
use crate::checkpoint::validate::check_pixel_values;
use crate::checkpoint::weights_file::WeightsFile;
use crate::checkpoint::{
    Activation, ActivationSource, CheckpointError, CheckpointKind, ClipConfig, TextArchitecture,
    TextConfig, TransformerConfig, VisionConfig, VitConfig, padded_tokenizer,
};
use crate::image::Preprocessing;
use crate::text::TextCleaning;

/// Defaults of transformers' `SiglipTextConfig` and `SiglipVisionConfig`, which are those of ViT-B/16: what a key that is not there
/// means.
const WIDTH: usize = 768;
const MLP_WIDTH: usize = 3072;
const HEADS: usize = 12;
const LAYERS: usize = 12;
const LAYER_NORM_EPSILON: f64 = 1e-6;
const IMAGE_SIZE: usize = 224;
const PATCH_SIZE: usize = 16;
const CONTEXT_LENGTH: usize = 64;
const VOCAB_SIZE: usize = 32_000;
const PADDING_TOKEN: usize = 1;
/// transformers' class, its variants by back end, and its former name.
const PROCESSORS: [&str; 4] = [
    "SiglipImageProcessor",
    "SiglipImageProcessorFast",
    "SiglipImageProcessorPil",
    "SiglipFeatureExtractor",
];
/// Keys of a processor that are read here or that say nothing about pixels.
const PROCESSOR_KEYS: [&str; 17] = [
    "image_processor_type",
    "feature_extractor_type",
    "processor_class",
    "do_resize",
    "size",
    "resample",
    "do_rescale",
    "rescale_factor",
    "do_normalize",
    "image_mean",
    "image_std",
    "do_convert_rgb",
    "data_format",
    "input_data_format",
    "default_to_square",
    "return_tensors",
    "device",
];

/// Reads the architecture from `config.json`.
pub(in crate::checkpoint) fn architecture(
    config: &Map<String, Value>,
    path: &Path,
) -> Result<ClipConfig, CheckpointError> {
    let root = Section::new(config, path, "");
    let (text, vision) = (tower(&root, "text_config")?, tower(&root, "vision_config")?);
    let text = Section::new(&text, path, "text_config.");
    let vision = Section::new(&vision, path, "vision_config.");
    if vision.size("num_channels", 3)? != 3 {
        return Err(CheckpointError::unsupported(
            path,
            "an image with other than 3 channels",
        ));
    }
    if !vision.flag("vision_use_head", true)? {
        return Err(vision.unsupported("vision_use_head", &Value::Bool(false)));
    }
    if let Some(value) = vision.get("num_patches") {
        return Err(vision.unsupported("num_patches", value));
    }
    let image = transformer(&vision)?;
    let text_transformer = transformer(&text)?;
    // Image features have the width of their tower, so text features must have it too.
    let projected = text.size("projection_size", text_transformer.width)?;
    if projected != image.width {
        return Err(CheckpointError::malformed(
            path,
            format!("text features of the image tower's width {}", image.width),
            projected.to_string(),
        ));
    }
    let padding_token = text.number("pad_token_id", PADDING_TOKEN as f64)?;
    Ok(ClipConfig {
        embed_dim: projected,
        vision: VisionConfig::Siglip(VitConfig {
            image_size: vision.square("image_size", IMAGE_SIZE)?,
            patch_size: vision.square("patch_size", PATCH_SIZE)?,
            transformer: image,
        }),
        text: TextConfig {
            context_length: text.size("max_position_embeddings", CONTEXT_LENGTH)?,
            vocab_size: text.size("vocab_size", VOCAB_SIZE)?,
            transformer: text_transformer,
            architecture: TextArchitecture::siglip(padding_token as u32),
        },
    })
}

fn transformer(section: &Section<'_>) -> Result<TransformerConfig, CheckpointError> {
    let activation = match section.text("hidden_act", "gelu_pytorch_tanh")? {
        "gelu_pytorch_tanh" => Activation::GeluTanh,
        "gelu" => Activation::Gelu,
        "quick_gelu" => Activation::QuickGelu,
        other => return Err(section.unsupported("hidden_act", &Value::from(other))),
    };
    Ok(TransformerConfig {
        width: section.size("hidden_size", WIDTH)?,
        layers: section.size("num_hidden_layers", LAYERS)?,
        heads: section.size("num_attention_heads", HEADS)?,
        mlp_width: section.size("intermediate_size", MLP_WIDTH)?,
        activation,
        layer_norm_epsilon: section.number("layer_norm_eps", LAYER_NORM_EPSILON)?,
    })
}

/// Reads `preprocessor_config.json` (or the `image_processor` of a `processor_config.json`): the whole image resized to a square.
fn preprocessing(
    object: &Map<String, Value>,
    image_size: usize,
    path: &Path,
) -> Result<Preprocessing, CheckpointError> {
    let section = processor(object, path, &PROCESSORS)?;
    section.refuse_unknown(&PROCESSOR_KEYS)?;
    if !section.flag("do_resize", true)? {
        return Err(section.unsupported("do_resize", &Value::Bool(false)));
    }
    let size = match section.get("size") {
        None => IMAGE_SIZE as u64,
        Some(value) => {
            let side = |axis: &str| value[axis].as_u64();
            match (side("height"), side("width"), value.as_u64()) {
                (Some(height), Some(width), None) if height == width => height,
                (None, None, Some(side)) => side,
                _ => return Err(section.unsupported("size", value)),
            }
        }
    };
    if size != image_size as u64 {
        return Err(CheckpointError::malformed(
            path,
            format!("the input size {image_size} of the image tower"),
            size.to_string(),
        ));
    }
    let preprocessing = with_pixel_values(&section, Preprocessing::siglip(image_size))?;
    check_pixel_values(&preprocessing, path)?;
    Ok(preprocessing)
}

/// A directory whose configuration was read, with the cleaning of texts that a checkpoint of this library names.
pub(in crate::checkpoint) fn draft(
    weights: &Path,
    file: WeightsFile,
    mut architecture: ClipConfig,
    cleaning: Option<TextCleaning>,
) -> Result<Draft, CheckpointError> {
    let directory = parent(weights);
    let mut decisions = file.decisions;
    let image_size = architecture.vision.image_size();
    let preprocessing = match first_file(directory, &HF_PREPROCESSING) {
        Some(path) => preprocessing(&read_object(&path)?, image_size, &path)?,
        None => {
            decisions.push(format!(
                "preprocessing: SigLIP's own (a square, mean and deviation 0.5), because the directory has no {}",
                HF_PREPROCESSING[0]
            ));
            Preprocessing::siglip(image_size)
        }
    };
    let mut tokenizer = padded_tokenizer::for_hugging_face(directory)?;
    if let Some(cleaning) = cleaning {
        tokenizer.source.cleaning = cleaning;
    }
    architecture.text.architecture = TextArchitecture::siglip(tokenizer.padding_token);
    Ok(Draft {
        config: architecture,
        preprocessing,
        tokenizer: tokenizer.source,
        feature_token: FeatureToken::Unsaid,
        layer_scale: LayerScale::default(),
        timm: None,
        activation_source: ActivationSource::Configuration,
        kind: CheckpointKind::HuggingFace,
        store: file.store,
        weights_path: weights.to_owned(),
        config_path: directory.join("config.json"),
        decisions,
        warnings: Vec::new(),
    })
}
