//! Reads CLIP and SigLIP checkpoints of three ecosystems into one configuration and one set of named tensors.
//!
//! Nothing after this module knows where a checkpoint came from: tensors carry OpenAI's names and layouts
//! (`visual.transformer.resblocks.0.attn.in_proj_weight` is `[3 * width, width]`,
//! `visual.proj` and `text_projection` are `[width, embed_dim]`).

mod adapted;
mod assemble;
mod config;
mod digest;
mod draft;
mod entries;
mod error;
pub mod fuzzing;
mod hub_cache;
mod hugging_face;
mod infer;
mod json;
mod load;
mod open_clip;
mod padded_tokenizer;
mod parameters;
mod pickle;
mod positions;
mod safetensors_file;
mod save;
mod saved_object;
mod siglip;
mod state_dict;
mod store;
mod timm;
mod tokenizer;
mod torch_file;
mod validate;
mod weights_file;
mod wrapper;
mod write;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::image::Preprocessing;
use crate::tensor::TensorMap;
use crate::text::TokenizerSource;

pub use adapted::Adapted;
pub use config::{
    Activation, ClassToken, ClipConfig, ConvNextConfig, FeatureHead, ModularVitConfig, Pooling,
    ResNetConfig, Rotary, RotaryOrder, Stem, TextArchitecture, TextConfig, TextProjection,
    TextRead, TransformerConfig, ViTaminConfig, VisionConfig, VitBlocks, VitConfig,
};
pub use digest::sha256_of_file;
pub use error::{CheckpointError, TensorMismatch, WrongShape};
pub use load::{check_configuration, load, load_with};
pub use save::{Layout, Saved, save, save_as, save_descriptions};
pub use write::save_tensors;

/// Where a checkpoint came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckpointKind {
    /// OpenAI's TorchScript archive.
    OpenAiTorchScript,
    /// A plain state dict with OpenAI's names (`.pt`, `.bin`, `.safetensors`).
    StateDict,
    /// A Hugging Face directory.
    HuggingFace,
    /// An open_clip directory or file.
    OpenClip,
}

/// A CLIP checkpoint in memory.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Architecture of both towers.
    pub config: ClipConfig,
    /// Size, crop, mean and standard deviation of the image input.
    pub preprocessing: Preprocessing,
    /// Which vocabulary the text tower was trained with, and what happens to texts before it.
    pub tokenizer: TokenizerSource,
    /// All weights, complete and of the right shapes for `config`.
    pub tensors: TensorMap,
    /// The layout it was read from.
    pub kind: CheckpointKind,
    /// The path that the user named (made absolute).
    pub path: PathBuf,
    /// The file that holds the weights.
    pub weights_path: PathBuf,
    /// SHA-256 of the weights file, lowercase hexadecimal.
    pub sha256: String,
    /// SHA-256 of everything that results depend on: configuration, preprocessing, tokenizer and weights, in the canonical
    /// form that `digest.rs` describes. An edited activation or exchanged token ids change it, moving files does not.
    pub content_sha256: String,
    /// How the activation is known.
    pub activation_source: ActivationSource,
    /// How ambiguous facts were decided (for example the activation), one sentence each, for `inspect` and `run.json`.
    pub decisions: Vec<String>,
    /// What a user should know before trusting results (an activation or a tokenizer that was assumed), one sentence each,
    /// for every command to show.
    pub warnings: Vec<String>,
}

/// How the activation of a checkpoint is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActivationSource {
    /// A configuration file says it.
    Configuration,
    /// Only one package distributes such files, and all of them with one activation.
    Distribution,
    /// A guess by what is usual; the file does not say.
    Assumed,
    /// [`LoadOptions::activation`].
    Requested,
}

/// What a user knows about a checkpoint better than its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadOptions {
    /// The activation of both towers, in place of what the files say or leave open.
    pub activation: Option<Activation>,
}

impl LoadOptions {
    /// Nothing but what the files say.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes this activation, whatever the files say; `None` leaves it to them.
    #[must_use]
    pub fn activation(mut self, activation: Option<Activation>) -> Self {
        self.activation = activation;
        self
    }
}
