//! `ueo export`: a finished run in the formats of other programs.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use ueo_export::{ExportRequest, Format, OnnxOptions, WeightFormat, export};

use super::Context;
use crate::error::CliError;
use crate::exit::Ending;
use crate::output::is_stdout;
use crate::target::{TargetError, check_file};
use crate::words::counted;

const AFTER_HELP: &str = "\
--to onnx writes one graph. In goes `pixels`, float [batch, 3, size, size] in RGB, 0 to 1, resized and cropped; normalization is inside. \
With --preprocess it is `image`, uint8 [batch, height, width, 3], as decoders give it, and resizing and cropping are inside too. \
Out come `label` (an index), `probabilities`, `confidence`, `known`, `verdict` (an index) and `cosines`. Class names, verdicts, score, \
threshold, preprocessing and settings are in the metadata.

The other formats write a directory: the weights, classifier.safetensors (class embeddings with the learned prompt; names, score and \
threshold in its metadata) and a model card. docs/export.md has programs that use them.

Examples:
  ueo export run/ --to onnx --output model.onnx
  ueo export run/ --to onnx --preprocess --weights f16 --output model.onnx
  ueo export run/ --to onnx-encoder --output web/
  ueo export run/ --to open_clip --output clip/

Exit codes: 0 done, 2 error.";

/// Write a run for other programs: ONNX, open_clip, transformers
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct ExportArgs {
    /// Run directory of a finished adaptation
    #[arg(value_name = "RUN")]
    pub run: PathBuf,

    /// What for
    #[arg(long, value_name = "FORMAT", value_parser = formats())]
    pub to: Format,

    /// File (.onnx) or, for the other formats, directory to write
    #[arg(long, value_name = "PATH")]
    pub output: PathBuf,

    /// Replace an earlier export
    #[arg(long)]
    pub overwrite: bool,

    /// Base checkpoint of the run, where it has moved since
    ///
    /// Its SHA-256 must still be the one in run.json.
    #[arg(long, value_name = "PATH")]
    pub base: Option<PathBuf>,

    /// Put resizing and cropping into the graph too (--to onnx)
    #[arg(long)]
    pub preprocess: bool,

    /// Number format of the weights in ONNX files; computing is in f32 with all
    #[arg(long, value_name = "FORMAT", default_value = "f32", value_parser = weight_formats())]
    pub weights: WeightFormat,
}

fn formats() -> impl TypedValueParser<Value = Format> {
    let value = |format: Format| PossibleValue::new(format.name()).help(format.about());
    PossibleValuesParser::new(Format::ALL.map(value)).map(|name| {
        let found = Format::ALL.into_iter().find(|format| format.name() == name);
        found.unwrap_or(Format::Onnx)
    })
}

fn weight_formats() -> impl TypedValueParser<Value = WeightFormat> {
    let value = |format: WeightFormat| PossibleValue::new(format.name()).help(format.about());
    PossibleValuesParser::new(WeightFormat::ALL.map(value)).map(|name| {
        let mut formats = WeightFormat::ALL.into_iter();
        let found = formats.find(|format| format.name() == name);
        found.unwrap_or_default()
    })
}

/// Writes the export.
///
/// # Errors
///
/// [`CliError::Export`] and [`CliError::Target`]; what was in the output's place is then still there.
pub fn run(args: &ExportArgs, context: &Context) -> Result<Ending, CliError> {
    if !args.to.is_directory() {
        let expected = ".onnx";
        if is_stdout(&args.output) {
            let path = args.output.clone();
            return Err(TargetError::Extension { path, expected }.into());
        }
        check_file(&args.output, args.overwrite, &["onnx"], expected)?;
    }
    let request = ExportRequest {
        base: args.base.clone(),
        onnx: OnnxOptions {
            weights: args.weights,
            preprocess: args.preprocess,
            ..OnnxOptions::default()
        },
        overwrite: args.overwrite,
        ..ExportRequest::new(&args.run, args.to, &args.output)
    };
    let exported = export(&request, &context.device)?;
    let printer = context.printer;
    for file in &exported.files {
        printer.detail(format_args!("  {}", file.display()));
    }
    for note in &exported.notes {
        printer.message(format_args!("note: {note}"));
    }
    let files = match args.to.is_directory() {
        true => format!("{} in ", counted(exported.files.len(), "file")),
        false => String::new(),
    };
    printer.message(format_args!(
        "{}: {files}{}",
        args.to.name(),
        args.output.display()
    ));
    Ok(Ending::Complete)
}
