//! `ueo adapt`: from a checkpoint, class names and unlabeled images to a run directory.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use ueo::adapt::{Augmentation, Settings};
use ueo::evaluate::{Score, ScoreRule, ThresholdMethod};
use ueo::guard::Keep;
use ueo::method::{Method, TrainedPart};
use ueo::objective::{ConfidenceWeights, UnconfidentWeights};
use ueo_run::{AdaptReport, AdaptRequest, RunStatus, Start};

use super::{Context, absolute, quoted, read_classes, report};
use crate::args::{ByteSize, non_negative_number, positive_integer, positive_number, score_parser};
use crate::error::CliError;
use crate::exit::Ending;
use crate::interrupt::Interrupt;
use crate::reporter::ProgressReporter;
use crate::tables;

const USAGE: &str = "\
ueo adapt [OPTIONS] --model <PATH> --images <PATH> --classes <FILE> --output <DIR>
       ueo adapt --resume --output <DIR>";

const AFTER_HELP: &str = "\
What is trained: the four context vectors in front of each class name (\"a photo of a\" at first) and the scale and shift \
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
that it was adapted to, the first three without labels:
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
  ueo adapt --model ViT-B-16.pt --images photos/ --classes classes.txt --output run/
  ueo adapt --config settings.toml --images shards/ --output run/ --epochs 5
  ueo adapt --resume --output run/

Exit codes: 0 done, 1 done but some images were skipped (run.json lists them), 2 error, 130 interrupted and resumable.";

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

    /// Continue the unfinished run in --output, with the inputs and settings that it was started with
    ///
    /// The result is the same, byte for byte, as that of a run that was never interrupted.
    #[arg(long, conflicts_with_all = ["overwrite", "InputArgs", "OutputArgs", "TrainingArgs", "ThresholdArgs"])]
    pub resume: bool,

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
    /// CLIP checkpoint; its kind is recognized
    ///
    /// A Hugging Face directory (config.json, model.safetensors or pytorch_model.bin), an open_clip directory or file, or
    /// an OpenAI .pt archive or state dict.
    #[arg(long, value_name = "PATH", required_unless_present = "resume")]
    pub model: Option<PathBuf>,

    /// Unlabeled images: directory tree, list file or WebDataset .tar shards
    ///
    /// A directory is searched in all its levels. A list file has one `path` or `path label` per line. A directory of
    /// shards works like one shard. The order is by path, whatever the file system says.
    #[arg(long, value_name = "PATH", required_unless_present = "resume")]
    pub images: Option<PathBuf>,

    /// Directory that the paths of a list file are relative to [default: the list's own directory]
    #[arg(long, value_name = "DIR")]
    pub image_root: Option<PathBuf>,

    /// Text file (UTF-8) with the name of one known class per line
    #[arg(long, value_name = "FILE", required_unless_present = "resume")]
    pub classes: Option<PathBuf>,
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
    /// 3 bytes per pixel of an image. With --augmentation none only the test views are kept, with --reduce-images only the
    /// reduced images. It is said when not all images fit.
    #[arg(long, value_name = "SIZE", default_value = "2GiB")]
    pub image_cache: ByteSize,
}

/// How to train.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Training")]
pub struct TrainingArgs {
    /// What the images are used for
    #[arg(long, value_name = "NAME", default_value_t = Method::default(), value_parser = method_parser())]
    pub method: Method,

    /// Which parameters are trained [default: both, or those of the method's publication]
    #[arg(long, value_enum, value_name = "PART")]
    pub train: Option<TrainPart>,

    /// Passes over the images; 5 are enough for tens of thousands of images
    #[arg(long, value_name = "N", default_value_t = Settings::default().epochs, value_parser = positive_integer)]
    pub epochs: usize,

    /// Images per training step
    #[arg(long, value_name = "N", default_value_t = Settings::default().batch_size, value_parser = positive_integer)]
    pub batch_size: usize,

    /// Images in memory at once; the gradient stays that of the whole batch [default: the whole batch]
    #[arg(long, value_name = "N", value_parser = positive_integer)]
    pub micro_batch: Option<usize>,

    /// Initial learning rate of the context vectors (annealed to 0 along a cosine)
    #[arg(
        long, value_name = "RATE",
        default_value_t = Settings::default().context_learning_rate, value_parser = non_negative_number
    )]
    pub context_learning_rate: f64,

    /// Initial learning rate of the normalization layers' scale and shift
    #[arg(
        long, value_name = "RATE",
        default_value_t = Settings::default().affine_learning_rate, value_parser = non_negative_number
    )]
    pub affine_learning_rate: f64,

    /// Weight of the diversity term (marginal entropy) in the loss
    #[arg(
        long, value_name = "FACTOR",
        default_value_t = Settings::default().trade_off, value_parser = non_negative_number
    )]
    pub trade_off: f64,

    /// How much each image counts as probably known, for --method ueo
    #[arg(long, value_enum, value_name = "SOURCE", default_value = "zero-shot")]
    pub confidence_weights: WeightSource,

    /// t in the softmax(cosines / t) that gives the zero-shot weights; 0.01 makes them sharp
    #[arg(
        long, value_name = "T",
        default_value_t = Settings::default().weight_temperature, value_parser = positive_number
    )]
    pub weight_temperature: f64,

    /// How the weight of an image in the diversity term falls with its confidence weight w
    #[arg(long, value_enum, value_name = "FUNCTION", default_value = "inverse")]
    pub unconfident_weights: DecreasingFunction,

    /// Take the weights from the adapted model again before every epoch but the first
    ///
    /// Costs a pass over the images each time. Without this switch the weights stay those of the checkpoint.
    #[arg(long)]
    pub refresh_weights: bool,

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

    /// Random changes of the training images
    #[arg(long, value_enum, value_name = "KIND", default_value = "crop-flip")]
    pub augmentation: AugmentationKind,

    /// Reduce larger images to this shorter side once, before their random crops [default: crop the originals]
    ///
    /// Lets --image-cache hold large photographs for all epochs. The training pixels then differ a little from the
    /// published way; the images that are measured are always made of the originals. Twice the input size is a good choice.
    #[arg(long, value_name = "PIXELS", value_parser = positive_integer)]
    pub reduce_images: Option<usize>,

    /// Visit the images in the order of their paths in every epoch
    #[arg(long)]
    pub no_shuffle: bool,

    /// Seed of everything random
    #[arg(long, value_name = "SEED", default_value_t = Settings::default().seed)]
    pub seed: u64,

    /// Which epoch's parameters are the result
    ///
    /// Anything but `last` encodes all images once more after every epoch, without their labels; the checkpoint as it is
    /// counts as epoch 0. docs/guard.md says how well each choice did.
    #[arg(long, value_name = "CHOICE", default_value_t = Keep::Last, value_parser = keep_parser())]
    pub keep: Keep,
}

/// How to tell unknown images.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Unknown images")]
pub struct ThresholdArgs {
    /// What tells known from unknown images: the confidence
    #[arg(long, value_name = "SCORE", default_value_t = Score::default(), value_parser = score_parser())]
    pub score: Score,

    /// t in softmax(cosines / t) [default: 1 for msp, 0.01 for the others]
    #[arg(long, value_name = "T", value_parser = positive_number)]
    pub score_temperature: Option<f64>,

    /// How the threshold is chosen: gaussian-mixture, otsu, target-rejection-rate=FRACTION or
    /// target-known-acceptance=FRACTION
    #[arg(long, value_name = "METHOD", default_value = "gaussian-mixture")]
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

/// How much each image counts as probably known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WeightSource {
    /// Confidence of the checkpoint before training
    ZeroShot,
    /// All images alike: plain mutual-information maximization
    Uniform,
    /// True labels: an upper bound for experiments; needs --labels-for-oracle
    Oracle,
}

/// A decreasing function of the confidence weight w.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DecreasingFunction {
    /// 1 / w, the published one
    Inverse,
    /// 1 - w: images of which the checkpoint is sure do not count
    Complement,
    /// exp(-w), the flattest
    Exponential,
}

/// Random changes of the training images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AugmentationKind {
    /// Random resized crop (area 0.5 to 1) and horizontal flip
    CropFlip,
    /// Centre crop, as when predicting
    None,
}

/// Which parameters are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TrainPart {
    /// The context vectors of the prompt
    Context,
    /// Scale and shift of the image tower's normalization layers
    Affine,
    /// Both
    Both,
}

/// Accepts the names of the methods, and lists them in the help.
pub fn method_parser() -> impl TypedValueParser<Value = Method> {
    let names = Method::ALL
        .iter()
        .map(|method| PossibleValue::new(method.name()).help(method.about()));
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Method>())
}

/// Accepts the choices of the epoch to keep, and lists them in the help.
fn keep_parser() -> impl TypedValueParser<Value = Keep> {
    let choices = Keep::all().map(|keep| PossibleValue::new(keep.name()).help(keep.about()));
    PossibleValuesParser::new(choices).try_map(|name| name.parse::<Keep>())
}

impl TrainingArgs {
    /// The choices as the library takes them.
    pub fn settings(&self) -> Settings {
        Settings {
            method: self.method,
            train: self.train.map(|part| match part {
                TrainPart::Context => TrainedPart::Context,
                TrainPart::Affine => TrainedPart::Affine,
                TrainPart::Both => TrainedPart::Both,
            }),
            epochs: self.epochs,
            batch_size: self.batch_size,
            micro_batch: self.micro_batch,
            context_learning_rate: self.context_learning_rate,
            affine_learning_rate: self.affine_learning_rate,
            trade_off: self.trade_off,
            confidence_weights: match self.confidence_weights {
                WeightSource::ZeroShot => ConfidenceWeights::ZeroShot,
                WeightSource::Uniform => ConfidenceWeights::Uniform,
                WeightSource::Oracle => ConfidenceWeights::Oracle,
            },
            weight_temperature: self.weight_temperature,
            unconfident_weights: match self.unconfident_weights {
                DecreasingFunction::Inverse => UnconfidentWeights::Inverse,
                DecreasingFunction::Complement => UnconfidentWeights::Complement,
                DecreasingFunction::Exponential => UnconfidentWeights::Exponential,
            },
            refresh_weights: self.refresh_weights,
            augmentation: match self.augmentation {
                AugmentationKind::CropFlip => Augmentation::CropFlip,
                AugmentationKind::None => Augmentation::None,
            },
            reduce_images: self.reduce_images,
            shuffle: !self.no_shuffle,
            seed: self.seed,
            keep: self.keep,
        }
    }
}

/// Adapts, or continues.
///
/// # Errors
///
/// [`CliError`]; what was done until then can be resumed.
pub fn run(args: &AdaptArgs, context: &Context) -> Result<Ending, CliError> {
    if args.base.is_some() && !args.resume {
        return Err(CliError::BaseWithoutResume);
    }
    let start = match args.request(context)? {
        Some(request) => Start::New {
            request: Box::new(request),
            overwrite: args.overwrite,
        },
        None => Start::Resume {
            base: args.base.clone(),
        },
    };
    adapt(start, &args.output, !args.no_report, context)
}

/// The part that `adapt` and `demo` have in common.
///
/// # Errors
///
/// [`CliError::Run`] and [`CliError::Interrupt`].
pub fn adapt(
    start: Start,
    output: &Path,
    with_report: bool,
    context: &Context,
) -> Result<Ending, CliError> {
    let interrupt = Interrupt::listen(context.printer)?;
    let mut reporter = ProgressReporter::interruptible(context.printer, interrupt);
    let adapted = ueo_run::adapt(start, output, &context.device, &mut reporter);
    reporter.finish();
    let report = adapted?;
    let ending = context.list_skipped(&report.record.images.skipped);
    if report.record.status == RunStatus::Incomplete {
        let printer = context.printer;
        printer.message(format_args!(
            "stopped after step {} of {}; to continue:",
            report.steps_done, report.record.total_steps
        ));
        printer.message(format_args!(
            "  ueo adapt --resume --output {}",
            quoted(output)
        ));
        return Ok(Ending::Interrupted);
    }
    summarize(&report, output, context)?;
    if with_report {
        // Images that have gone since the last pass are in the report; the adaptation itself is complete.
        report::write(output, None, context)?;
    }
    Ok(ending)
}

fn summarize(report: &AdaptReport, output: &Path, context: &Context) -> Result<(), CliError> {
    let (printer, record) = (context.printer, &report.record);
    printer.message(format_args!(
        "adapted {} parameters to {} images in {} steps ({:.1} s): {}",
        record.trained_parameters,
        record.images.used,
        record.total_steps,
        record.adaptation_secs,
        output.display()
    ));
    if let Some(threshold) = &record.threshold {
        printer.message(format_args!("threshold: {}", tables::threshold(threshold)));
    }
    let settings = &record.request.settings;
    if let (Some(kept), Keep::BestBy(_)) = (record.kept_epoch, settings.keep) {
        printer.message(format_args!(
            "kept the parameters after epoch {kept} of {} ({})",
            settings.epochs, settings.keep
        ));
    }
    for warning in &record.warnings {
        printer.warning(warning);
        if warning.concerns_result == Some(true) {
            printer.hint(warning.hint());
        }
    }
    if let (Some(before), Some(after)) = (&record.zero_shot, &record.adapted) {
        printer.message(format_args!(
            "the images have labels ({} known, {} unknown), which were used for this table only:",
            after.n_known, after.n_unknown
        ));
        let table = tables::measurements(&[("zero-shot", before), ("adapted", after)]);
        printer.data(table).map_err(CliError::Stdout)?;
    }
    Ok(())
}

impl AdaptArgs {
    /// Everything resolved, or `None` where an earlier run is continued.
    fn request(&self, context: &Context) -> Result<Option<AdaptRequest>, CliError> {
        let inputs = &self.inputs;
        let (Some(model), Some(images), Some(classes)) =
            (&inputs.model, &inputs.images, &inputs.classes)
        else {
            return Ok(None);
        };
        let oracle_labels = match &self.training.labels_for_oracle {
            Some(OracleLabels::Path(path)) => Some(absolute(path)?),
            Some(OracleLabels::Images) | None => None,
        };
        let threshold_images = self.threshold.threshold_images.as_deref();
        let threshold_images = threshold_images.map(absolute).transpose()?;
        let rule = ScoreRule::new(self.threshold.score, self.threshold.score_temperature);
        Ok(Some(AdaptRequest {
            model: absolute(model)?,
            images: absolute(images)?,
            image_root: inputs.image_root.as_deref().map(absolute).transpose()?,
            classes: read_classes(classes)?,
            oracle_labels,
            settings: self.training.settings(),
            score: rule.score,
            score_temperature: rule.temperature,
            threshold_method: self.threshold.threshold,
            threshold_images,
            tensorboard: self.outputs.tensorboard,
            standalone: self.outputs.standalone,
            checkpoint_every: self.outputs.checkpoint_every,
            image_cache_bytes: self.outputs.image_cache.0,
            strict: context.strict,
            threads: context.threads,
            device: context.device.name().to_owned(),
            precision: context.precision.unwrap_or_default(),
        }))
    }
}
