//! `ueo evaluate`: how well a model recognizes known classes and rejects unknown images.

use std::path::PathBuf;

use clap::Args;
use ueo::session::SessionError;

use super::Context;
use crate::args::{ImageArgs, ModelArgs, ScoreArgs};
use crate::error::CliError;
use crate::exit::Ending;
use crate::output::write_file;
use crate::tables;
use crate::target::check_file;

const AFTER_HELP: &str = "\
Labels are the first folder level of a directory, the second column of a list file or the `.cls` / `.json` entry of a \
shard. A label that is none of the classes (underscores count as spaces) makes an unknown image.

All rates are fractions between 0 and 1:
  overall_accuracy        correct known images over known images, none rejected
  per_class_accuracy      mean recall over the classes that occur
  per_class               recall of each class
  auroc                   of the confidence; known images are the positives
  fpr_at_95_tpr           unknown images that pass where 95 % of the known ones
                          do (known images are the positives, as in MCM)
  fpr_at_95_tpr_unknown_positive
                          known images that are rejected where 95 % of the
                          unknown ones are (as in OpenOOD)
  aupr_known              average precision, known images are the positives
  aupr_unknown            average precision, unknown images are the positives
  harmonic_mean_accuracy_auroc
                          of per_class_accuracy and auroc
  h_score                 harmonic mean of known accuracy and unknown recall,
                          both at the threshold
  oscr                    open-set classification rate
  expected_calibration_error
                          of the probability of the predicted class at the
                          checkpoint's logit scale, over known images, in
                          calibration_bins bins of equal width
  confusions              the 20 most frequent pairs of known classes
  intervals               95 % bootstrap intervals over classes
What needs images that are not there (auroc without unknown images) is null.

Examples:
  ueo evaluate --model run/ --images labelled/ --output evaluation.json
  ueo evaluate --model ViT-B-16.pt --classes classes.txt --images test.txt --image-root data/

Exit codes: 0 done, 1 done but some images were skipped, 2 error, 130 interrupted.";

/// Measure a model on labelled images
///
/// Prints a table and, with --output, writes the measurements as JSON.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct EvaluateArgs {
    /// What is measured.
    #[command(flatten)]
    pub model: ModelArgs,

    /// Labelled images.
    #[command(flatten)]
    pub images: ImageArgs,

    /// Measurements to write (.json)
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Replace the output if it exists
    #[arg(long)]
    pub overwrite: bool,

    /// How images are scored.
    #[command(flatten)]
    pub score: ScoreArgs,
}

/// Measures, shows a table and writes the measurements.
///
/// # Errors
///
/// [`CliError`], for example when the images have no labels.
pub fn run(args: &EvaluateArgs, context: &Context) -> Result<Ending, CliError> {
    if let Some(output) = &args.output {
        check_file(output, args.overwrite, &["json"], ".json")?;
    }
    let model = context.open_model(&args.model)?;
    let predicted = context.predict(&model, &args.images, &args.score, 1)?;
    let evaluation = predicted.evaluation.ok_or_else(|| SessionError::NoLabels {
        path: args.images.images.clone(),
        needed_for: "`ueo evaluate`",
    })?;

    let printer = context.printer;
    let title = if model.run.is_some() {
        "adapted"
    } else {
        "zero-shot"
    };
    printer
        .data(tables::measurements(&[(title, &evaluation)]))
        .map_err(CliError::Stdout)?;
    printer.message(format_args!(
        "{} known and {} unknown images, {} classes, threshold {:.6}",
        evaluation.n_known,
        evaluation.n_unknown,
        predicted.classes.len(),
        predicted.threshold
    ));
    if let Some(output) = &args.output {
        let json = serde_json::to_string_pretty(&evaluation)?;
        write_file(output, |file| writeln!(file, "{json}"))?;
    }
    Ok(context.list_skipped(&predicted.skipped))
}
