//! `ueo run`: what can be done to a run directory itself.

use std::borrow::Cow;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use ueo_run::{NewPlaces, move_run};

use super::Context;
use crate::error::CliError;
use crate::exit::Ending;
use crate::hub;

const AFTER_HELP: &str = "\
A run remembers where its checkpoint and its images are. Where they have moved, say so once, instead of --base in every \
command:
  ueo run move run/ --base /models/ViT-B-16.pt
  ueo run move run/ --images /data/photos

The checkpoint must have the SHA-256 that run.json holds, and the images the same names.

Exit codes: 0 done, 2 error: nothing was changed.";

/// Change what a run directory remembers
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// What to change.
    #[command(subcommand)]
    pub command: RunCommand,
}

/// One variant per change.
#[derive(Clone, Debug, Subcommand)]
pub enum RunCommand {
    Move(MoveArgs),
}

/// Say where the checkpoint and the images of a run are now
#[derive(Clone, Debug, Args)]
#[command(
    after_long_help = AFTER_HELP,
    group = ArgGroup::new("place").args(["base", "images"]).required(true).multiple(true)
)]
pub struct MoveArgs {
    /// Run directory
    #[arg(value_name = "RUN")]
    pub run: PathBuf,

    /// Where its checkpoint is now
    #[arg(long, value_name = "PATH")]
    pub base: Option<PathBuf>,

    /// Where its images are now
    #[arg(long, value_name = "PATH")]
    pub images: Option<PathBuf>,

    /// Directory that the paths of a list file are relative to [default: the list's own directory]
    #[arg(long, value_name = "DIR", requires = "images")]
    pub image_root: Option<PathBuf>,
}

/// Changes the run.
///
/// # Errors
///
/// [`CliError::Run`] and [`CliError::Hub`]; the run is then as it was.
pub fn run(args: &RunArgs, context: &Context) -> Result<Ending, CliError> {
    let RunCommand::Move(args) = &args.command;
    let base = args.base.as_deref();
    let base = base
        .map(|base| hub::resolve(base, context.printer))
        .transpose()?;
    let places = NewPlaces {
        base: base.map(Cow::into_owned),
        images: args.images.clone(),
        image_root: args.image_root.clone(),
    };
    let record = move_run(&args.run, &places)?;
    let printer = context.printer;
    printer.message(format_args!("checkpoint: {}", record.base.path.display()));
    printer.message(format_args!("images: {}", record.request.images.display()));
    Ok(Ending::Complete)
}
