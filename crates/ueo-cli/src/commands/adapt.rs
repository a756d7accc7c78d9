//! `ueo adapt`: from a checkpoint, class names and unlabeled images to a run directory.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, Id};
use ueo::adapt::Settings;
use ueo::evaluate::{
    ClassIntervals, Groups, Interval, Score, ScoreRule, Threshold, ThresholdMethod,
};
use ueo::guard::Keep;
use ueo_run::{AdaptReport, AdaptRequest, ImageResult, RunDirectory, RunError, RunStatus, Start};

use super::{Context, absolute, class_ids, nearby, read_classes, report};
use crate::args::{
    ByteSize, ColumnArgs, DecodingArgs, KnowledgeArgs, NameArgs, positive_integer, positive_number,
};
use crate::error::CliError;
use crate::exit::Ending;
use crate::hints::guard;
use crate::hub;
use crate::interrupt::Interrupt;
use crate::reporter::ProgressReporter;
use crate::tables;
use crate::words::{against_noise, counted, percent, points, quoted};

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

/// Adapts, or continues.
///
/// # Errors
///
/// [`CliError`]; what was done until then can be resumed.
pub fn run(args: &AdaptArgs, context: &Context) -> Result<Ending, CliError> {
    if args.base.is_some() && !args.resume {
        return Err(CliError::BaseWithoutResume);
    }
    let start = match args.request(context)?.map(Box::new) {
        Some(request) if !args.resume => Start::New {
            request,
            overwrite: args.overwrite,
        },
        request => {
            let base = args.base.as_deref();
            let base = base.map(|base| hub::resolve(base, context.printer));
            Start::Resume {
                request,
                base: base.transpose()?.map(Cow::into_owned),
                epochs: match args.epochs_given {
                    true => args.training.settings.epochs.given(),
                    false => None,
                },
            }
        }
    };
    if let Start::Resume {
        epochs: Some(epochs),
        ..
    } = start
        && context.writes()
    {
        say_what_is_extended(&args.output, epochs, context)?;
    }
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
    let exchange = Arc::clone(&context.exchange);
    let device = &context.device;
    let adapted = ueo_run::adapt_together(start, output, device, exchange, &mut reporter);
    reporter.finish();
    let report = match adapted.map_err(CliError::from) {
        Err(error) if error.is_interruption() => {
            context.printer.message(&error);
            return Ok(say_how_to_go_on(output, context));
        }
        adapted => adapted?,
    };
    let mut ending = context.list_skipped(&report.record.images.skipped);
    if report.record.status == RunStatus::Incomplete {
        context.printer.message(format_args!(
            "stopped after step {} of {}",
            report.steps_done, report.record.total_steps
        ));
        return Ok(say_how_to_go_on(output, context));
    }
    if !context.writes() {
        return Ok(ending);
    }
    let written = with_report.then(|| report::write(output, None, context));
    let report_path = match written {
        // Images that have gone since the last pass are in the report; the adaptation itself is complete.
        Some(Ok((path, _))) => Some(path),
        Some(Err(error)) => {
            context.printer.warning(format_args!(
                "the run is finished, but its report cannot be written: {}",
                with_causes(&error)
            ));
            ending = Ending::SomeInputsFailed;
            None
        }
        None => None,
    };
    Summary::new(&report, output)?.show(report_path.as_deref(), context)?;
    Ok(ending)
}

/// Says what more epochs mean for a run that is there.
fn say_what_is_extended(output: &Path, epochs: usize, context: &Context) -> Result<(), CliError> {
    if !RunDirectory::recognizes(output) {
        return Ok(());
    }
    let record = RunDirectory::open(output)?.read_record()?;
    let begun = record.epoch_count();
    if begun < epochs && record.request.settings.method.trains() {
        context.printer.message(format_args!(
            "extending the run from {begun} to {epochs} epochs; the learning rate starts anew"
        ));
    }
    Ok(())
}

fn say_how_to_go_on(output: &Path, context: &Context) -> Ending {
    context.printer.message(format_args!(
        "to continue:\n  ueo adapt --resume --output {}",
        quoted(output)
    ));
    Ending::Interrupted
}

/// Whether some of the images seem to show none of the classes.
fn has_second_group(threshold: &Threshold) -> bool {
    let finding = threshold.finding.as_ref();
    finding.is_some_and(|finding| finding.groups() == Groups::Two)
}

/// An error with what caused it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// What a user wants to know at the end: what changed and whether that means something, and what to do next.
struct Summary<'a> {
    report: &'a AdaptReport,
    output: &'a Path,
    images: Vec<ImageResult>,
    /// Adapted minus zero-shot, where the images have labels.
    changes: Option<ClassIntervals>,
}

impl<'a> Summary<'a> {
    fn new(report: &'a AdaptReport, output: &'a Path) -> Result<Self, CliError> {
        let classes = &report.record.request.classes;
        let images = RunDirectory::open(output)?.read_predictions(classes)?;
        let changes = ueo_run::changes(&images, classes).map_err(RunError::from)?;
        Ok(Self {
            report,
            output,
            images,
            changes,
        })
    }

    fn show(&self, report_path: Option<&Path>, context: &Context) -> Result<(), CliError> {
        let (printer, record) = (context.printer, &self.report.record);
        self.show_details(context)?;
        for warning in &record.warnings {
            printer.warning(warning);
            if warning.concerns_result == Some(true) {
                printer.hint(guard::hint());
            }
        }
        for line in self.changed() {
            printer.message(line);
        }
        if let Some(threshold) = &record.threshold {
            let below = |image: &&ImageResult| {
                let adapted = image.adapted.as_ref();
                adapted.is_some_and(|adapted| adapted.confidence < threshold.value)
            };
            let found = threshold
                .groups_in_words()
                .map_or_else(String::new, |words| format!(": {words}"));
            printer.message(format_args!(
                "rejected  {} of {} as unknown ({:.1} %){found}",
                self.images.iter().filter(below).count(),
                counted(self.images.len(), "image"),
                100.0 * threshold.rejected_fraction,
            ));
        }
        match report_path {
            Some(path) => printer.message(format_args!("report    {}", path.display())),
            None => printer.message(format_args!(
                "report    none yet: ueo report {}",
                quoted(self.output)
            )),
        }
        printer.message(format_args!("next      {}", self.next_command()));
        if record.threshold.as_ref().is_some_and(has_second_group) {
            printer.message(format_args!(
                "or        {}, for what the rejected images show",
                self.discover_command()
            ));
        }
        Ok(())
    }

    /// The whole story, for `--verbose`.
    fn show_details(&self, context: &Context) -> Result<(), CliError> {
        let (printer, record) = (context.printer, &self.report.record);
        printer.detail(format_args!(
            "adapted {} to {} in {} ({:.1} s): {}",
            counted(record.trained_parameters, "parameter"),
            counted(record.images.used, "image"),
            counted(record.total_steps, "step"),
            record.adaptation_secs,
            self.output.display()
        ));
        if let Some(threshold) = &record.threshold {
            printer.detail(format_args!("threshold: {}", tables::threshold(threshold)));
        }
        let settings = &record.request.settings;
        if let (Some(kept), Keep::BestBy(_)) = (record.kept_epoch, settings.keep) {
            printer.detail(format_args!(
                "kept the parameters after epoch {kept} of {} ({})",
                record.epoch_count(),
                settings.keep
            ));
        }
        if let (true, Some(before), Some(after)) =
            (printer.is_verbose(), &record.zero_shot, &record.adapted)
        {
            let columns = [("zero-shot", before), ("adapted", after)];
            let table = tables::measurements(&columns, self.changes.as_ref());
            printer.data(table).map_err(CliError::Stdout)?;
        }
        Ok(())
    }

    /// Accuracy and AUROC before and after, or how many images changed their class where no label can tell what is right.
    fn changed(&self) -> Vec<String> {
        let record = &self.report.record;
        let (Some(before), Some(after)) = (&record.zero_shot, &record.adapted) else {
            let moved = self.images.iter().filter(|image| {
                let adapted = image.adapted.as_ref();
                adapted.is_some_and(|adapted| adapted.class != image.zero_shot.class)
            });
            return vec![format!(
                "changed   the class of {} of {}, unjudged without labels",
                moved.count(),
                counted(self.images.len(), "image")
            )];
        };
        let change = |of: fn(&ClassIntervals) -> Option<Interval>| of(self.changes.as_ref()?);
        let line = |name, before: Option<f64>, after: Option<f64>, change: Option<Interval>| {
            let (from, to) = (before?, after?);
            let verdict = change.map(|change| format!(": {}", against_noise(change)));
            Some(format!(
                "{name} {} to {}, {}{}",
                percent(Some(from)),
                percent(Some(to)),
                points(to - from, change),
                verdict.unwrap_or_default()
            ))
        };
        let accuracy = line(
            "accuracy ",
            before.per_class_accuracy,
            after.per_class_accuracy,
            change(|changes| changes.per_class_accuracy),
        );
        let auroc = line(
            "AUROC    ",
            before.auroc,
            after.auroc,
            change(|changes| changes.auroc),
        );
        accuracy.into_iter().chain(auroc).collect()
    }

    /// What to type next.
    fn next_command(&self) -> String {
        let (run, images) = (quoted(self.output), self.images_arguments());
        format!("ueo predict --model {run} {images} --output predictions.csv")
    }

    /// What to type to learn which names the class list lacks.
    fn discover_command(&self) -> String {
        let (run, images) = (quoted(self.output), self.images_arguments());
        format!("ueo discover {run} {images}")
    }

    /// The images of the run, as a command takes them.
    fn images_arguments(&self) -> String {
        let request = &self.report.record.request;
        let mut arguments = format!("--images {}", quoted(nearby(&request.images)));
        if let Some(root) = &request.image_root {
            arguments += &format!(" --image-root {}", quoted(nearby(root)));
        }
        if let Some(column) = &request.columns.image {
            arguments += &format!(" --image-column {}", quoted(Path::new(column)));
        }
        arguments
    }
}

impl AdaptArgs {
    /// Remembers what only the parser knows.
    pub fn note_what_was_given(&mut self, given: &ArgMatches) {
        self.epochs_given = given.value_source(EPOCHS) == Some(ValueSource::CommandLine);
    }

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
        let mut settings = self.training.settings.clone();
        settings
            .templates
            .clone_from(&inputs.names.prompt.templates);
        settings.validate().map_err(RunError::from)?;
        let classes = read_classes(classes, inputs.names.class_names.as_deref(), context)?;
        let threshold_images = self.threshold.threshold_images.as_deref();
        let threshold_images = threshold_images.map(absolute).transpose()?;
        let rule = ScoreRule::new(self.threshold.score, self.threshold.score_temperature);
        // Last, because it may take long.
        let model = hub::resolve(model, context.printer)?;
        Ok(Some(AdaptRequest {
            model: absolute(&model)?,
            images: absolute(images)?,
            image_root: inputs.image_root.as_deref().map(absolute).transpose()?,
            columns: inputs.columns.columns(),
            classes: classes.names().to_vec(),
            class_ids: class_ids(&classes),
            labels: inputs.names.labels,
            oracle_labels,
            settings,
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
            activation: inputs.knowledge.activation,
            exif_orientation: inputs.decoding.exif_orientation.unwrap_or_default(),
        }))
    }
}
