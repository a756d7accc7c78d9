//! `ueo demo`: the whole way on a model and images inside the program.

use std::path::PathBuf;

use clap::Args;

const AFTER_HELP: &str = "\
The same code as `ueo adapt` runs on an embedded model and embedded images, some of them of unknown classes. The run \
directory that it writes works like any other; model, images and classes are put beside it:
  ueo demo
  ueo inspect --model ueo-demo
  ueo predict --model ueo-demo --images ueo-demo-input/images --output predictions.csv

Exit codes: 0 done, 2 error, 130 interrupted.";

/// Adapt an embedded model to embedded images, to see what ueo does
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct DemoArgs {
    /// Run directory to create
    #[arg(long, value_name = "DIR", default_value = "ueo-demo")]
    pub output: PathBuf,

    /// Replace a run directory that exists
    #[arg(long)]
    pub overwrite: bool,
}
