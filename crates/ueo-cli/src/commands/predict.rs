//! `ueo predict`: the class and confidence of each image, as a table.

use std::path::PathBuf;

use clap::Args;

use crate::args::{ImageArgs, ModelArgs, ScoreArgs, positive_integer};

const AFTER_HELP: &str = "\
Columns of predictions.csv (keys of each line of predictions.jsonl):
  path        relative to --images, with / on every system
  label       the most similar class, exactly as in the class file
  confidence  maximum softmax probability of cosines / --score-temperature
  known       true where the confidence reaches the threshold, else false: probably none of the classes
With --top-k N also the runners-up: label_2, confidence_2, and so on.

The threshold that `ueo adapt` stores was chosen without labels, by default where two Gaussians fitted to the logits of
the confidences cross (`ueo adapt --help` has all methods). It belongs to the run's classes and temperature; with others,
and for a plain checkpoint, it is chosen in the same way from the images at hand.

Examples:
  ueo predict --model run/ --images photos/ --output predictions.csv
  ueo predict --model run/ --images photos/ --classes others.txt --top-k 5 --output predictions.jsonl
  ueo predict --model ViT-B-16.pt --classes classes.txt --images photos/ --output zero-shot.csv

Exit codes: 0 done, 1 done but some images were skipped, 2 error.";

/// Predict the class of each image, and whether it is known
///
/// Accepts a run directory or, for zero-shot predictions, a plain checkpoint with --classes.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct PredictArgs {
    /// What predicts.
    #[command(flatten)]
    pub model: ModelArgs,

    /// What it looks at.
    #[command(flatten)]
    pub images: ImageArgs,

    /// Table to write: .csv or .jsonl
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,

    /// Replace the output if it exists
    #[arg(long)]
    pub overwrite: bool,

    /// Classes to list per image, most similar first
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive_integer)]
    pub top_k: usize,

    /// How images are scored.
    #[command(flatten)]
    pub score: ScoreArgs,
}
