//! `ueo evaluate`: how well a model recognizes known classes and rejects unknown images.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use ueo::data::ClassList;
use ueo::evaluate::{ClassIntervals, Evaluation, Predictions};
use ueo::session::{PredictionSet, SessionError};
use ueo::text::Template;
use ueo_run::{AdaptRequest, RunDirectory};

use super::{Context, read_classes, refuse_for_runs};
use crate::args::{ImageArgs, KnowledgeArgs, NameArgs, ScoreArgs};
use crate::error::CliError;
use crate::exit::Ending;
use crate::output::{is_stdout, write_file};
use crate::tables;
use crate::target::{Input, check_file, check_harmless};
use crate::words::counted;

const AFTER_HELP: &str = "\
Labels are the second column of a list file, the `.cls` / `.json` entry of a shard, or the outermost folder level of which \
at least half are classes (or which holds half of the classes). Case, Unicode's form, `_` and `-` make no difference, and ids \
of --classes or --class-names are names too. A label that is none of the classes makes an unknown image. Folders that \
seem to mean something else (dates, cameras) are no labels, unless --labels folders says so.

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

With several models the table shows them side by side. Of two, the last column says how much the second differs from the \
first, with a 95 % interval over classes: one that holds 0 is no more than noise. The JSON is then a list of models.

Examples:
  ueo evaluate --model run/ --images labelled/ --output evaluation.json
  ueo evaluate --model ViT-B-16.pt --classes classes.txt --images test.txt --image-root data/
  ueo evaluate ViT-B-16.pt run/ --images labelled/

Exit codes: 0 done, 1 done but some images were skipped, 2 error, 130 interrupted.";

/// Measure models on labelled images
///
/// Prints a table and, with --output, writes the measurements as JSON.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct EvaluateArgs {
    /// CLIP checkpoints or run directories; several are shown side by side
    #[arg(value_name = "MODEL", required_unless_present = "model")]
    pub models: Vec<PathBuf>,

    /// The same by name; may be given several times
    #[arg(long, value_name = "PATH")]
    pub model: Vec<PathBuf>,

    /// Base checkpoint of the run directories, where it has moved since
    ///
    /// Its SHA-256 must still be the one in run.json.
    #[arg(long, value_name = "PATH")]
    pub base: Option<PathBuf>,

    /// What the checkpoints do not say about themselves.
    #[command(flatten)]
    pub knowledge: KnowledgeArgs,

    /// Labelled images.
    #[command(flatten)]
    pub images: ImageArgs,

    /// Measurements to write (.json), or `-` for stdout in place of the table
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Replace the output if it exists
    #[arg(long)]
    pub overwrite: bool,

    /// How images are scored.
    #[command(flatten)]
    pub score: ScoreArgs,

    /// What names and labels mean.
    #[command(flatten)]
    pub names: NameArgs,
}

/// What all models of a command are asked about, and how the plain checkpoints among them are asked.
struct Asked {
    classes: Option<ClassList>,
    templates: Vec<Template>,
}

/// One of the models with what it was measured to be.
struct Measured {
    path: PathBuf,
    title: String,
    predicted: PredictionSet,
    evaluation: Evaluation,
}

/// What the JSON says about one of several models.
#[derive(Serialize)]
struct ModelEvaluation<'a> {
    model: &'a Path,
    evaluation: &'a Evaluation,
}

/// Measures, shows a table and writes the measurements.
///
/// # Errors
///
/// [`CliError`], for example when the images have no labels.
pub fn run(args: &EvaluateArgs, context: &Context) -> Result<Ending, CliError> {
    if let Some(output) = args.output.as_ref().filter(|_| context.writes()) {
        check_file(output, args.overwrite, &["json"], ".json")?;
        check_harmless(output, &inputs(args))?;
    }
    let paths: Vec<&PathBuf> = args.model.iter().chain(&args.models).collect();
    let all_are_runs = paths.iter().all(|path| RunDirectory::recognizes(path));
    if let (true, [run, ..]) = (all_are_runs, paths.as_slice()) {
        refuse_for_runs(run, args.knowledge, &args.names.prompt.templates)?;
    }
    let names = &args.names;
    let given = args.score.classes.as_deref();
    let given = given.map(|path| read_classes(path, names.class_names.as_deref(), context));
    let mut asked = asked_of_runs(&paths, given.transpose()?)?;
    if !names.prompt.templates.is_empty() {
        asked.templates.clone_from(&names.prompt.templates);
    }
    let measured = paths
        .iter()
        .map(|path| measure(args, path, &asked, paths.len() > 1, context))
        .collect::<Result<Vec<Measured>, CliError>>()?;
    if let Some(output) = args.output.as_ref().filter(|_| context.writes()) {
        let json = match measured.as_slice() {
            [one] => serde_json::to_string_pretty(&one.evaluation)?,
            several => serde_json::to_string_pretty(&described(several))?,
        };
        write_file(output, |file| writeln!(file, "{json}"))?;
    }
    show(&measured, args.output.as_deref(), context)?;
    // The images are the same for all, and so are those that cannot be read.
    let skipped = measured.first().map(|first| &first.predicted.skipped);
    Ok(skipped.map_or(Ending::Complete, |skipped| context.list_skipped(skipped)))
}

/// What the command reads.
fn inputs(args: &EvaluateArgs) -> Vec<Input> {
    let models = args.model.iter().chain(&args.models);
    let models = models.flat_map(|model| Input::of_model(model, args.base.as_deref()));
    let files = [&args.score.classes, &args.names.class_names];
    let files = files.into_iter().flatten().cloned().map(Input::File);
    let images = Input::Images(args.images.images.clone());
    models.chain(files).chain([images]).collect()
}

/// What the run directories among the models were asked: plain checkpoints beside them are measured on the same classes, in the
/// templates of the first. `classes` that are given count for all.
fn asked_of_runs(paths: &[&PathBuf], classes: Option<ClassList>) -> Result<Asked, CliError> {
    let mut first: Option<(&Path, AdaptRequest)> = None;
    for path in paths.iter().filter(|path| RunDirectory::recognizes(path)) {
        let request = RunDirectory::open(path)?.read_record()?.request;
        match &first {
            Some((other, expected)) if classes.is_none() && expected.classes != request.classes => {
                return Err(CliError::DifferentClasses {
                    first: (*other).to_owned(),
                    other: (*path).clone(),
                });
            }
            Some(_) => {}
            None => first = Some((path, request)),
        }
    }
    let Some((_, request)) = first else {
        let templates = Vec::new();
        return Ok(Asked { classes, templates });
    };
    let of_run = || {
        let list = ClassList::from_names(request.classes);
        match request.class_ids {
            Some(ids) => list.with_ids(ids),
            None => list,
        }
    };
    Ok(Asked {
        classes: Some(classes.unwrap_or_else(of_run)),
        templates: request.settings.templates,
    })
}

fn measure(
    args: &EvaluateArgs,
    path: &Path,
    asked: &Asked,
    by_name: bool,
    context: &Context,
) -> Result<Measured, CliError> {
    let is_run = RunDirectory::recognizes(path);
    let base = args.base.as_deref().filter(|_| is_run);
    // What a checkpoint does not say, a run knows.
    let (knowledge, templates) = match is_run {
        true => (KnowledgeArgs { activation: None }, [].as_slice()),
        false => (args.knowledge, asked.templates.as_slice()),
    };
    let model = context.open_model(path, base, knowledge, templates, args.images.decoding)?;
    let (labels, classes) = (args.names.labels, asked.classes.clone());
    let mut predicted = context.predict(&model, &args.images, &args.score, labels, classes, 1)?;
    let evaluation = predicted
        .evaluation
        .take()
        .ok_or_else(|| SessionError::NoLabels {
            path: args.images.images.clone(),
            needed_for: "`ueo evaluate`",
        })?;
    let title = match (by_name, path.file_name(), is_run) {
        (true, Some(name), _) => name.to_string_lossy().into_owned(),
        (true, None, _) => path.display().to_string(),
        (false, _, true) => "adapted".to_owned(),
        (false, _, false) => "zero-shot".to_owned(),
    };
    Ok(Measured {
        path: path.to_owned(),
        title,
        predicted,
        evaluation,
    })
}

fn described(measured: &[Measured]) -> Vec<ModelEvaluation<'_>> {
    let models = measured.iter();
    models
        .map(|one| ModelEvaluation {
            model: &one.path,
            evaluation: &one.evaluation,
        })
        .collect()
}

fn show(measured: &[Measured], output: Option<&Path>, context: &Context) -> Result<(), CliError> {
    let printer = context.printer;
    let with_table = !output.is_some_and(is_stdout);
    if with_table {
        let columns: Vec<(&str, &Evaluation)> = measured
            .iter()
            .map(|one| (one.title.as_str(), &one.evaluation))
            .collect();
        let changes = match measured {
            [before, after] => changes(&before.predicted, &after.predicted)?,
            _ => None,
        };
        let table = tables::measurements(&columns, changes.as_ref());
        printer.data(table).map_err(CliError::Stdout)?;
    }
    for one in measured {
        let of = match measured {
            [_] => String::new(),
            _ => format!("{}: ", one.title),
        };
        let counts = format!(
            "{of}{} known and {} unknown images, {}, threshold {:.6}",
            one.evaluation.n_known,
            one.evaluation.n_unknown,
            counted(one.predicted.classes.len(), "class"),
            one.predicted.threshold
        );
        // What the table is about stands where the table stands.
        match with_table {
            true => printer.data(counts).map_err(CliError::Stdout)?,
            false => printer.message(counts),
        }
    }
    Ok(())
}

/// How much the second of two models differs from the first on the same images.
fn changes(
    before: &PredictionSet,
    after: &PredictionSet,
) -> Result<Option<ClassIntervals>, CliError> {
    let paths = |set: &PredictionSet| -> Vec<String> {
        set.images.iter().map(|image| image.path.clone()).collect()
    };
    let Some(labels) = &before.labels else {
        return Ok(None);
    };
    if before.classes != after.classes || paths(before) != paths(after) {
        return Ok(None);
    }
    let before_labelled = labels.labelled(&predictions(before));
    let after_labelled = labels.labelled(&predictions(after));
    let changes = ClassIntervals::of_change(
        &before_labelled.predictions,
        &after_labelled.predictions,
        &before_labelled.classes,
        Some(&before_labelled.unknown_classes),
        before.classes.len(),
    );
    Ok(Some(changes.map_err(SessionError::from)?))
}

fn predictions(set: &PredictionSet) -> Predictions {
    let position: HashMap<&str, usize> = set.classes.iter().map(String::as_str).zip(0..).collect();
    let images = set.images.iter();
    Predictions {
        classes: images.map(|image| position[image.label.as_str()]).collect(),
        confidences: set.images.iter().map(|image| image.confidence).collect(),
        ..Predictions::default()
    }
}
