//! What `ueo adapt` is told on the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, Id};
use ueo::adapt::Settings;
use ueo::evaluate::{Score, ThresholdMethod};

use crate::args::{
    ByteSize, ColumnArgs, DecodingArgs, KnowledgeArgs, NameArgs, positive_integer, positive_number,
};

const USAGE: &str = "\
ueo adapt [OPTIONS] --model <PATH> --images <PATH> --classes <FILE> \\
                 --output <DIR>
       ueo adapt --resume [--epochs <N>] --output <DIR>";

const AFTER_HELP: &str = "\
What is trained: the context vectors in front of each class name (the four words \"a photo of a\" at first, or those of \
--template) and the scale and shift \
of the image tower's normalization layers. Everything else stays as it is in the checkpoint.

The run directory:
  adapted.safetensors  the trained parameters, and nothing else
  run.json             checkpoint with SHA-256, classes, settings, threshold,
                       skipped images, measurements where labels exist
  metrics.jsonl        one line per training step
  epochs.jsonl         one line per epoch: what the predictions look like,
                       without labels; a collapse is noticed by them
  predictions.csv      what the model says about every image, before and after
  report.html          all of it as a page to look at
  state.safetensors    what --resume continues from

The threshold between known and unknown images is chosen from the confidences (--score) of the adapted model on the images \
that it was adapted to, the first four without labels:
  auto                 decides first whether there is a second group at all,
                       then where to cut, and which images a person should
                       look at (docs/decision.md); the default
  gaussian-mixture     two Gaussians on the confidences, or on their logits
                       where all lie between 0 and 1; the threshold is where
                       they cross. Falls back to otsu where the two cannot be
                       told apart
  otsu                 the split with the largest variance between its sides,
                       on the same axis
  target-rejection-rate=0.2
                       the 20 % of the images with the lowest confidence are
                       unknown
  target-known-acceptance=0.95
                       95 % of the images of known classes in
                       --threshold-images are accepted

Examples:
  ueo adapt --model ViT-B-16.pt --images photos/ --classes classes.txt \\
      --output run/
  ueo adapt --config settings.toml --images shards/ --output run/ --epochs 5
  ueo adapt --resume --output run/
  ueo adapt --resume --epochs 100 --output run/
  ueo adapt --model ViT-B-16.pt --images tiles/ --classes ids.txt \\
      --class-names names.csv --template \"a satellite photo of {}\" \\
      --output run/

Exit codes: 0 done, 1 done but some images were skipped (run.json lists them) or the report could not be written, 2 error, \
130 interrupted and resumable.";

/// Adapt a CLIP checkpoint to unlabeled images
///
/// Fine-tunes on your images without labels, so that your classes are recognized better and other images are told
/// apart. Labels that the images happen to have (folder names) are used only to report accuracy before and after.
#[derive(Clone, Debug, Args)]
#[command(override_usage = USAGE, after_long_help = AFTER_HELP)]
pub struct AdaptArgs {
    /// What is adapted to what.
    #[command(flatten)]
    pub inputs: InputArgs,

    /// Run directory to create
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,

    /// Replace a run directory that exists
    #[arg(long)]
    pub overwrite: bool,

    /// Continue what was begun last in --output, with the inputs and settings that it was started with
    ///
    /// The result is the same, byte for byte, as that of a run that was never interrupted. Inputs and settings need not be
    /// given again; given, they must agree with the run's, and a run is begun where none is yet. So a command that is
    /// started again as it was, by a scheduler for example, can always have --resume.
    ///
    /// With a larger --epochs than the run's it is extended: the learning rate starts anew where it had ended
    /// (--restart-after says the same of a new run).
    #[arg(long, conflicts_with = "overwrite")]
    pub resume: bool,

    /// Whether --epochs was given, which extends a run that is continued.
    #[arg(skip)]
    pub epochs_given: bool,

    /// With --resume: where the checkpoint is now, if it has moved
    #[arg(long, value_name = "PATH")]
    pub base: Option<PathBuf>,

    /// Do not write report.html; `ueo report` writes it later
    #[arg(long)]
    pub no_report: bool,

    /// What is written besides the result.
    #[command(flatten)]
    pub outputs: OutputArgs,

    /// How to train.
    #[command(flatten)]
    pub training: TrainingArgs,

    /// How to tell unknown images.
    #[command(flatten)]
    pub threshold: ThresholdArgs,
}

/// What is adapted to what. Each of the three is required, but not for `--resume`.
#[derive(Clone, Debug, Args)]
pub struct InputArgs {
    /// CLIP checkpoint or hf-hub:OWNER/NAME; its kind is recognized
    ///
    /// A Hugging Face directory (config.json, model.safetensors or pytorch_model.bin, or models--OWNER--NAME in a hub's
    /// cache), an open_clip directory or file, or an OpenAI .pt archive or state dict. hf-hub:OWNER/NAME[@REVISION] is
    /// a model of the Hugging Face Hub, fetched if it is not in the cache; `ueo models` lists names.
    #[arg(long, value_name = "PATH", required_unless_present = "resume")]
    pub model: Option<PathBuf>,

    /// Unlabeled images: directory tree, list file, WebDataset .tar shards or .parquet files
    ///
    /// A directory is searched in all its levels. A list file has one `path` or `path label` per line. A directory of
    /// shards or of .parquet files works like one. The order is by path, whatever the file system says.
    #[arg(long, value_name = "PATH", required_unless_present = "resume")]
    pub images: Option<PathBuf>,

    /// Directory that the paths of a list file are relative to [default: the list's own directory]
    #[arg(long, value_name = "DIR")]
    pub image_root: Option<PathBuf>,

    /// Columns of Parquet files.
    #[command(flatten)]
    pub columns: ColumnArgs,

    /// Text file (UTF-8) with the name of one known class per line; a table `id,name` (.csv) or JSON works too
    #[arg(long, value_name = "FILE", required_unless_present = "resume")]
    pub classes: Option<PathBuf>,

    /// What the checkpoint does not say about itself.
    #[command(flatten)]
    pub knowledge: KnowledgeArgs,

    /// How images are read.
    #[command(flatten)]
    pub decoding: DecodingArgs,

    /// What names and labels mean.
    #[command(flatten)]
    pub names: NameArgs,
}

/// What is written besides the result, and what may be kept in memory.
#[derive(Clone, Debug, Args)]
pub struct OutputArgs {
    /// Also write a full adapted checkpoint that other programs can load, into the run directory
    ///
    /// In Hugging Face layout for a vision transformer, else with OpenAI's tensor names; always safetensors.
    #[arg(long)]
    pub standalone: bool,

    /// Also write the records of all steps and epochs as an event file that TensorBoard shows, into the run directory
    #[arg(long)]
    pub tensorboard: bool,

    /// Training steps between two points that --resume can continue from
    #[arg(long, value_name = "STEPS", default_value_t = 50, value_parser = positive_integer)]
    pub checkpoint_every: usize,

    /// Memory for decoded images, so that later epochs need not decode them again; 0 for none
    ///
    /// 3 bytes per pixel of an image. As much again may be used for what is computed once (--train-blocks, --train context); what has no room
    /// there goes to a temporary file in the run directory. With --augmentation none only the test views are kept, with --reduce-images only the
    /// reduced images. It is said when not all images fit.
    #[arg(long, value_name = "SIZE", default_value = "2GiB")]
    pub image_cache: ByteSize,
}

/// How to train.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Training")]
pub struct TrainingArgs {
    /// What the library can be told about an adaptation.
    #[command(flatten)]
    pub settings: Settings,

    /// Where the true labels for --method ueo-oracle or --confidence-weights oracle come from
    ///
    /// `images` takes those of --images themselves; a path names the same images with labels, for example a list file of
    /// `path label` lines. Without this option labels never touch training.
    #[arg(
        long,
        value_name = "images|PATH",
        required_if_eq_any([("confidence_weights", "oracle"), ("method", "ueo-oracle")])
    )]
    pub labels_for_oracle: Option<OracleLabels>,
}

/// How to tell unknown images.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Unknown images")]
pub struct ThresholdArgs {
    /// What tells known from unknown images: the confidence
    #[arg(long, value_enum, value_name = "SCORE", default_value_t)]
    pub score: Score,

    /// t in softmax(cosines / t) [default: 1 for msp, 0.01 for the others]
    #[arg(long, value_name = "T", value_parser = positive_number)]
    pub score_temperature: Option<f64>,

    /// How the threshold is chosen: auto, gaussian-mixture, otsu, target-rejection-rate=FRACTION or
    /// target-known-acceptance=FRACTION
    #[arg(long, value_name = "METHOD", default_value_t)]
    pub threshold: ThresholdMethod,

    /// Labelled images for `--threshold target-known-acceptance`: those of known classes are measured
    #[arg(long, value_name = "PATH")]
    pub threshold_images: Option<PathBuf>,
}

/// Where true labels come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OracleLabels {
    /// The images that are adapted to.
    Images,
    /// The same images with labels.
    Path(PathBuf),
}

impl From<OsString> for OracleLabels {
    fn from(value: OsString) -> Self {
        if value == "images" {
            Self::Images
        } else {
            Self::Path(value.into())
        }
    }
}

/// Options that say which run is meant. All others say what it is to be, which is said in full or not at all.
const WHICH_RUN: [&str; 5] = ["output", "overwrite", "resume", "base", "no_report"];

/// The setting that may be given alone: it extends a run.
const EPOCHS: &str = "epochs";

/// Lets the parser refuse a part of a run's inputs and settings: a run that is continued has all of them already.
pub fn inputs_go_together(command: Command) -> Command {
    let others: Vec<Id> = command
        .get_arguments()
        .map(Arg::get_id)
        .filter(|id| !WHICH_RUN.contains(&id.as_str()) && id.as_str() != EPOCHS)
        .cloned()
        .collect();
    others.into_iter().fold(command, |command, id| {
        command.mut_arg(id, |option| {
            option.requires_all(["model", "images", "classes"])
        })
    })
}

impl AdaptArgs {
    /// Remembers what only the parser knows.
    pub fn note_what_was_given(&mut self, given: &ArgMatches) {
        self.epochs_given = given.value_source(EPOCHS) == Some(ValueSource::CommandLine);
    }
}
