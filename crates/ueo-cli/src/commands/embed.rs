//! `ueo embed`: features of images and texts, for other programs.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use crate::args::ModelArgs;

const AFTER_HELP: &str = "\
The output is a safetensors file with f32 tensors of unit L2 norm per row:
  image_features  [images, embed_dim], and their paths as a JSON list under `paths` in the file's metadata
  text_features   [texts, embed_dim], and the lines as a JSON list under `texts`
Texts are encoded as they are, without a prompt around them; the adapted context vectors do not take part.

Examples:
  ueo embed --model run/ --images photos/ --output features.safetensors
  ueo embed --model run/ --texts captions.txt --output texts.safetensors

Exit codes: 0 done, 1 done but some images were skipped, 2 error.";

/// Write image and text features
#[derive(Clone, Debug, Args)]
#[command(
    after_long_help = AFTER_HELP,
    group = ArgGroup::new("input").args(["images", "texts"]).required(true).multiple(true)
)]
pub struct EmbedArgs {
    /// What encodes.
    #[command(flatten)]
    pub model: ModelArgs,

    /// Images to encode: directory tree, list file or WebDataset .tar shards
    #[arg(long, value_name = "PATH")]
    pub images: Option<PathBuf>,

    /// Texts to encode: a text file (UTF-8) with one per line
    #[arg(long, value_name = "FILE")]
    pub texts: Option<PathBuf>,

    /// Directory that the paths of a list file are relative to [default: the list's own directory]
    #[arg(long, value_name = "DIR", requires = "images")]
    pub image_root: Option<PathBuf>,

    /// Shorten texts that are too long for the model instead of refusing them
    #[arg(long, requires = "texts")]
    pub truncate: bool,

    /// Features to write (.safetensors)
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,

    /// Replace the output if it exists
    #[arg(long)]
    pub overwrite: bool,
}
