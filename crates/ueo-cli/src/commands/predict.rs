//! `ueo predict`: the class and confidence of each image, as a table.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use clap::Args;
use ueo::adapt::CallerError;
use ueo::disk::{self, HIDDEN_PREFIX};
use ueo::session::{ImagePrediction, PredictedRows};
use ueo_run::{RunError, predict_rows};

use super::{Context, read_classes};
use crate::args::{ImageArgs, ModelArgs, NameArgs, ScoreArgs, positive_integer};
use crate::error::CliError;
use crate::exit::Ending;
use crate::interrupt::Interrupt;
use crate::output::is_stdout;
use crate::prediction_table::{Format, PredictionTable};
use crate::reporter::ProgressReporter;
use crate::tables;
use crate::target::{Input, check_file, check_harmless, directory_of};
use crate::words::counted;

/// Rows after which those who watch the table see them: a batch.
const ROWS_PER_FLUSH: usize = 32;

const AFTER_HELP: &str = "\
Columns of the .csv and the .parquet, keys of each line of the .jsonl; those of run/predictions.csv mean the same:
  path           relative to --images, with / on every system
  predicted      the most similar class, exactly as in the class file
  confidence     what tells known from unknown images, by --score; higher is
                 more probably known
  decision       known where the confidence reaches the threshold; unknown says
                 that the image probably shows none of the classes
  verdict        accept, reject, or review: a person should look
  probability    of the predicted class, at the checkpoint's logit scale
  true_label     what the image shows, where the images have labels
  true_decision  known where that is one of the classes, else unknown
With --top-k N, the next classes stand after the probability: predicted_2, probability_2, and so on. docs/files.md has units \
and ranges. In a .csv, a text that a spreadsheet would run as a formula has an apostrophe in front.

The threshold that `ueo adapt` stores was chosen without labels, by default after looking whether there is a second group of images \
at all (`ueo adapt --help` has all methods). It belongs to the run's classes and score; with others, and \
for a plain checkpoint, it is chosen in the same way from the images at hand.

Examples:
  ueo predict --model run/ --images photos/ --output predictions.csv
  ueo predict --model run/ --images photos/ --top-k 5 --output predictions.jsonl
  ueo predict --model ViT-B-16.pt --classes classes.txt --images photos/ --output zero-shot.csv
  ueo predict --model run/ --images photos/ --output - | grep unknown

Exit codes: 0 done, 1 done but some images were skipped, 2 error, 130 interrupted.";

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

    /// Table to write: .csv, .jsonl or .parquet, or `-` for stdout
    ///
    /// Rows are written as they come, under the name with `.partial` behind it, where the threshold is known before. The same
    /// command goes on where one was stopped.
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,

    /// Format of the table [default: by the ending, and csv on stdout]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<Format>,

    /// Replace the output if it exists
    #[arg(long)]
    pub overwrite: bool,

    /// Classes to list per image, most similar first
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive_integer)]
    pub top_k: usize,

    /// How images are scored.
    #[command(flatten)]
    pub score: ScoreArgs,

    /// What names and labels mean.
    #[command(flatten)]
    pub names: NameArgs,
}

/// Predicts and writes the table as the rows come.
///
/// # Errors
///
/// [`CliError`]; the output is then not touched. What was computed is kept beside it where the same command can go on from there.
pub fn run(args: &PredictArgs, context: &Context) -> Result<Ending, CliError> {
    let output = &args.output;
    if context.writes() {
        let extensions = &["csv", "jsonl", "parquet"];
        let expected = ".csv, .jsonl or .parquet";
        check_file(output, args.overwrite, extensions, expected)?;
        check_harmless(output, &inputs(args))?;
    }
    let names = &args.names;
    let templates = &names.prompt.templates;
    let model = args.model.open(templates, args.images.decoding, context)?;
    let classes = args.score.classes.as_deref();
    let classes = classes
        .map(|path| read_classes(path, names.class_names.as_deref(), context))
        .transpose()?;
    let (images, score) = (&args.images, &args.score);
    let request = context.request(images, score, names.labels, classes, args.top_k);
    let format = args.format.unwrap_or_else(|| Format::of(output));
    let io = |source| match is_stdout(output) {
        true => CliError::Stdout(source),
        false => CliError::Write {
            path: output.clone(),
            source,
        },
    };
    // What goes to a pipe cannot be taken back, so there is nothing to go on from.
    let nowhere = tempfile::tempdir().map_err(io)?;
    let is_file = !is_stdout(output) && output.metadata().map_or(true, |m| m.is_file());
    let is_resumable = is_file && context.writes();
    let features = match is_resumable {
        true => features_path(output),
        false => nowhere.path().join("features"),
    };
    let mut table: Option<PredictionTable> = None;
    let mut rows = 0;
    let mut write = |row: &ImagePrediction| -> Result<(), CallerError> {
        let table = match &mut table {
            Some(table) => table,
            none => none.insert(PredictionTable::create(output, format)?),
        };
        table.write(row)?;
        rows += 1;
        if rows % ROWS_PER_FLUSH == 0 {
            table.flush()?;
        }
        Ok(())
    };
    let interrupt = Interrupt::listen(context.printer)?;
    let mut reporter = ProgressReporter::interruptible(context.printer, interrupt);
    let predicted = predict_rows(&model, &request, &features, &mut write, &mut reporter);
    reporter.finish();
    let predicted = match predicted {
        Ok(predicted) => predicted,
        // A reader that has seen enough and closed the pipe is no error.
        Err(error) if is_stdout(output) && is_broken_pipe(&error) => return Ok(Ending::Complete),
        Err(error) => {
            let error = CliError::from(error);
            if is_resumable && error.is_interruption() {
                let path = features.display();
                context.printer.message(format_args!(
                    "the same command goes on from there; what it needs is in {path}"
                ));
            }
            return Err(error);
        }
    };
    if let Some(table) = table {
        match table.finish() {
            Err(error) if is_stdout(output) && error.kind() == ErrorKind::BrokenPipe => {}
            finished => finished.map_err(io)?,
        }
    }
    if is_resumable {
        disk::remove_file(&features).map_err(io)?;
    }
    summarize(&predicted, output, context);
    Ok(context.list_skipped(&predicted.skipped))
}

/// What the command reads.
fn inputs(args: &PredictArgs) -> Vec<Input> {
    let mut inputs = Input::of_model(&args.model.model, args.model.base.as_deref());
    inputs.push(Input::Images(args.images.images.clone()));
    let files = [&args.score.classes, &args.names.class_names];
    inputs.extend(files.into_iter().flatten().cloned().map(Input::File));
    inputs
}

/// Where the features of a pass are kept that is not over.
fn features_path(output: &Path) -> PathBuf {
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    directory_of(output).join(format!("{HIDDEN_PREFIX}{name}.features"))
}

/// Whether the end of an error's causes is a pipe that its reader has closed.
fn is_broken_pipe(error: &RunError) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let error_of = error.downcast_ref::<io::Error>();
        if error_of.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn summarize(predicted: &PredictedRows, output: &Path, context: &Context) {
    let (images, known) = (predicted.images, predicted.known);
    context.printer.message(format_args!(
        "{}, {known} known and {} unknown at a confidence of {:.6}{}",
        counted(images, "image"),
        images - known,
        predicted.threshold,
        match is_stdout(output) {
            true => String::new(),
            false => format!(": {}", output.display()),
        }
    ));
    if let Some(threshold) = &predicted.chosen_threshold {
        context
            .printer
            .detail(format_args!("threshold: {}", tables::threshold(threshold)));
    }
}
