//! `ueo predict`: the class and confidence of each image, as a table.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};
use ueo::session::{ImagePrediction, PredictionSet};

use super::{Context, read_classes};
use crate::args::{ImageArgs, ModelArgs, ScoreArgs, positive_integer};
use crate::error::CliError;
use crate::exit::Ending;
use crate::output::{is_stdout, write_file};
use crate::tables;
use crate::target::check_file;
use crate::words::counted;

const AFTER_HELP: &str = "\
Columns of the .csv, keys of each line of the .jsonl:
  path        relative to --images, with / on every system
  label       the most similar class, exactly as in the class file
  confidence  what tells known from unknown images, by --score; higher is
              more probably known
  known       true where the confidence reaches the threshold; false says that
              the image probably shows none of the classes
With --top-k N also the most probable classes with their probabilities at the checkpoint's logit scale: probability, label_2, \
probability_2, and so on.

The threshold that `ueo adapt` stores was chosen without labels, by default where two Gaussians fitted to the logits of the \
confidences cross (`ueo adapt --help` has all methods). It belongs to the run's classes and score; with others, and \
for a plain checkpoint, it is chosen in the same way from the images at hand.

Examples:
  ueo predict --model run/ --images photos/ --output predictions.csv
  ueo predict --model run/ --images photos/ --top-k 5 --output predictions.jsonl
  ueo predict --model ViT-B-16.pt --classes classes.txt --images photos/ --output zero-shot.csv
  ueo predict --model run/ --images photos/ --output - | grep false

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
    check_file(
        &args.output,
        args.overwrite,
        &["csv", "jsonl"],
        ".csv or .jsonl",
    )?;
    let model = context.open_model(&args.model.model, args.model.base.as_deref())?;
    let classes = args
        .score
        .classes
        .as_deref()
        .map(read_classes)
        .transpose()?;
    let predicted = context.predict(&model, &args.images, &args.score, classes, args.top_k)?;
    let format = args.format.unwrap_or_else(|| Format::of(&args.output));
    write(&args.output, format, &predicted.images, args.top_k)?;
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

/// Column names of the probable classes beside the first: its probability, then the runners-up with theirs.
fn probable(top_k: usize) -> Vec<String> {
    if top_k < 2 {
        return Vec::new();
    }
    let runners_up =
        (2..=top_k).flat_map(|rank| [format!("label_{rank}"), format!("probability_{rank}")]);
    std::iter::once("probability".to_owned())
        .chain(runners_up)
        .collect()
}

fn write_csv(file: &mut dyn Write, images: &[ImagePrediction], top_k: usize) -> io::Result<()> {
    let mut table = csv::Writer::from_writer(file);
    // With fewer classes than asked for, there are fewer runners-up to name.
    let top_k = images.first().map_or(top_k, |image| image.top.len());
    let header = ["path", "label", "confidence", "known"].map(str::to_owned);
    table.write_record(header.into_iter().chain(probable(top_k)))?;
    for image in images {
        let best = [
            image.path.clone(),
            image.label.clone(),
            image.confidence.to_string(),
            image.known.to_string(),
        ];
        // The name of the first is the label already.
        let probable = image
            .top
            .iter()
            .flat_map(|(label, probability)| [label.clone(), probability.to_string()])
            .skip(1);
        let columns = if top_k < 2 { 0 } else { 2 * top_k - 1 };
        table.write_record(best.into_iter().chain(probable.take(columns)))?;
    }
    table.flush()
}

fn write_jsonl(file: &mut dyn Write, images: &[ImagePrediction], top_k: usize) -> io::Result<()> {
    for image in images {
        let mut line = Map::new();
        line.insert("path".to_owned(), image.path.clone().into());
        line.insert("label".to_owned(), image.label.clone().into());
        line.insert("confidence".to_owned(), image.confidence.into());
        line.insert("known".to_owned(), image.known.into());
        let values = image
            .top
            .iter()
            .flat_map(|(label, probability)| {
                [Value::from(label.as_str()), Value::from(*probability)]
            })
            .skip(1);
        line.extend(probable(top_k).into_iter().zip(values));
        writeln!(file, "{}", Value::Object(line))?;
    }
    Ok(())
}
