//! Reads CLIP checkpoints of three ecosystems into one configuration and one set of named tensors.
//!
//! Nothing after this module knows where a checkpoint came from: tensors carry OpenAI's names and layouts
//! (`visual.transformer.resblocks.0.attn.in_proj_weight` is `[3 * width, width]`,
//! `visual.proj` and `text_projection` are `[width, embed_dim]`).

mod adapted;
mod assemble;
mod config;
mod digest;
mod error;
mod hugging_face;
mod infer;
mod json;
mod load;
mod open_clip;
mod parameters;
mod pickle;
mod safetensors_file;
mod save;
mod state_dict;
mod store;
mod tokenizer;
mod torch_file;
mod validate;
mod weights_file;
mod write;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::image::Preprocessing;
use crate::tensor::TensorMap;
use crate::text::TokenizerSource;

pub use adapted::Adapted;
pub use config::{
    Activation, ClipConfig, ResNetConfig, TextConfig, TransformerConfig, VisionConfig, VitConfig,
};
pub use digest::sha256_of_file;
pub use error::{CheckpointError, TensorMismatch, WrongShape};
pub use load::load;
pub use save::{Saved, save};

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
    /// Which vocabulary the text tower was trained with.
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
    /// How ambiguous facts were decided (for example the activation), one sentence each, for `inspect` and `run.json`.
    pub decisions: Vec<String>,
}
