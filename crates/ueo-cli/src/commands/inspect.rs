//! `ueo inspect`: what a checkpoint or run directory is, before anything is done with it.

use clap::Args;

use crate::args::ModelArgs;

const AFTER_HELP: &str = "\
Shown are the layout it was read from, both towers, QuickGELU or GELU, the preprocessing, the logit scale, the SHA-256 of
the weights and how ambiguous facts were decided; of a run directory also its base checkpoint, classes, settings and
threshold. All tensors are checked for completeness and shape, so exit code 0 means that the other commands can load it.

Examples:
  ueo inspect --model ViT-B-16.pt
  ueo inspect --model clip-vit-base-patch16/ --json > model.json

Exit codes: 0 it can be used, 2 it cannot.";

/// Show what a checkpoint or run directory contains
///
/// Reads the whole checkpoint and says what it is and how the other commands will use it.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct InspectArgs {
    /// What to look at.
    #[command(flatten)]
    pub model: ModelArgs,

    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}
