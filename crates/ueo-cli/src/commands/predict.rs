//! `ueo predict`: the class and confidence of each image, as a table.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};
use ueo::csv_cell;
use ueo::evaluate::Verdict;
use ueo::session::{ImagePrediction, PredictionSet};

use super::{Context, read_classes};
use crate::args::{ImageArgs, ModelArgs, NameArgs, ScoreArgs, positive_integer};
use crate::error::CliError;
use crate::exit::Ending;
use crate::output::{is_stdout, write_file};
use crate::tables;
use crate::target::check_file;
use crate::words::counted;

const AFTER_HELP: &str = "\
Columns of the .csv, keys of each line of the .jsonl; those of run/predictions.csv mean the same:
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

    /// Table to write: .csv or .jsonl, or `-` for stdout
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

/// Formats of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A header and a line per image
    Csv,
    /// A JSON object per image
    Jsonl,
}

impl Format {
    fn of(path: &Path) -> Self {
        match path.extension() {
            Some(extension) if extension == "jsonl" => Self::Jsonl,
            _ => Self::Csv,
        }
    }
}

/// Predicts and writes the table.
///
/// # Errors
///
/// [`CliError`]; the output is then not touched.
pub fn run(args: &PredictArgs, context: &Context) -> Result<Ending, CliError> {
    if context.writes() {
        let extensions = &["csv", "jsonl"];
        check_file(&args.output, args.overwrite, extensions, ".csv or .jsonl")?;
    }
    let names = &args.names;
    let templates = &names.prompt.templates;
    let model = args.model.open(templates, args.images.decoding, context)?;
    let classes = args.score.classes.as_deref();
    let classes = classes
        .map(|path| read_classes(path, names.class_names.as_deref(), context))
        .transpose()?;
    let (images, score) = (&args.images, &args.score);
    let predicted = context.predict(&model, images, score, names.labels, classes, args.top_k)?;
    let format = args.format.unwrap_or_else(|| Format::of(&args.output));
    if context.writes() {
        write(&args.output, format, &predicted.images, args.top_k)?;
    }
    summarize(&predicted, &args.output, context);
    Ok(context.list_skipped(&predicted.skipped))
}

fn summarize(predicted: &PredictionSet, output: &Path, context: &Context) {
    let images = predicted.images.len();
    let known = predicted.images.iter().filter(|image| image.known).count();
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

fn write(
    path: &Path,
    format: Format,
    images: &[ImagePrediction],
    top_k: usize,
) -> Result<(), CliError> {
    write_file(path, |file| match format {
        Format::Csv => write_csv(file, images, top_k),
        Format::Jsonl => write_jsonl(file, images, top_k),
    })
}

/// Column names of the classes after the first, each with its probability.
fn runners_up(top_k: usize) -> impl Iterator<Item = String> {
    (2..=top_k).flat_map(|rank| [format!("predicted_{rank}"), format!("probability_{rank}")])
}

/// The word for a decision, and for what the right one would be.
fn decision(known: bool) -> &'static str {
    if known { "known" } else { "unknown" }
}

/// The word for what to do with an image.
fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "accept",
        Verdict::Review => "review",
        Verdict::Reject => "reject",
    }
}

fn write_csv(file: &mut dyn Write, images: &[ImagePrediction], top_k: usize) -> io::Result<()> {
    let mut table = csv::Writer::from_writer(file);
    // With fewer classes than asked for, there are fewer runners-up to name.
    let top_k = images.first().map_or(top_k, |image| image.top.len());
    let first = [
        "path",
        "predicted",
        "confidence",
        "decision",
        "verdict",
        "probability",
    ];
    let last = ["true_label", "true_decision"].map(str::to_owned);
    let header = first.map(str::to_owned).into_iter();
    table.write_record(header.chain(runners_up(top_k)).chain(last))?;
    for image in images {
        let (label, truth) = match &image.true_label {
            Some(label) => (label.name.clone(), decision(label.class.is_some())),
            None => (String::new(), ""),
        };
        let first = [
            csv_cell(&image.path).into_owned(),
            csv_cell(&image.label).into_owned(),
            image.confidence.to_string(),
            decision(image.known).to_owned(),
            verdict(image.verdict).to_owned(),
        ];
        // The name of the first is there already; its probability follows the verdict.
        let probable = image
            .top
            .iter()
            .flat_map(|(label, probability)| {
                [csv_cell(label).into_owned(), probability.to_string()]
            })
            .skip(1);
        let last = [csv_cell(&label).into_owned(), truth.to_owned()];
        table.write_record(first.into_iter().chain(probable).chain(last))?;
    }
    table.flush()
}

fn write_jsonl(file: &mut dyn Write, images: &[ImagePrediction], top_k: usize) -> io::Result<()> {
    for image in images {
        let mut line = Map::new();
        let mut put = |name: &str, value: Value| {
            line.insert(name.to_owned(), value);
        };
        put("path", image.path.as_str().into());
        put("predicted", image.label.as_str().into());
        put("confidence", image.confidence.into());
        put("decision", decision(image.known).into());
        put("verdict", verdict(image.verdict).into());
        let mut probable = image
            .top
            .iter()
            .flat_map(|(label, probability)| {
                [Value::from(label.as_str()), Value::from(*probability)]
            })
            .skip(1);
        put("probability", probable.next().unwrap_or_default());
        for (name, value) in runners_up(top_k).zip(probable) {
            put(&name, value);
        }
        let label = image.true_label.as_ref();
        let truth = label.map(|label| decision(label.class.is_some()));
        put("true_label", label.map(|label| label.name.as_str()).into());
        put("true_decision", truth.into());
        writeln!(file, "{}", Value::Object(line))?;
    }
    Ok(())
}
