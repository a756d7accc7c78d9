//! Predictions of a model on disk about images on disk.

use std::path::PathBuf;

use ueo::data::{ClassList, LabelChoice};
use ueo::evaluate::{Score, ScoreRule, ThresholdMethod};
use ueo::session::{Cut, Images, Model, PredictionSet, Question, Reporter};

use super::RunError;
use super::opening::OpenedModel;
use super::record::RunRecord;

/// What to predict and how.
#[derive(Clone, Debug)]
pub struct PredictRequest {
    /// Images: a directory, list file, tar shard or directory of shards.
    pub images: PathBuf,
    /// Folder to which the paths of a list file are relative.
    pub image_root: Option<PathBuf>,
    /// Classes; `None` takes those that the run directory remembers.
    pub classes: Option<ClassList>,
    /// Where labels to measure by come from.
    pub labels: LabelChoice,
    /// What the confidence is; `None` takes the run's, or the default for a plain checkpoint.
    pub score: Option<Score>,
    /// Temperature of the score; `None` takes the run's where the score is that of the run, else the score's own.
    pub score_temperature: Option<f64>,
    /// Threshold between known and unknown.
    pub threshold: ThresholdRequest,
    /// Classes to report per image, the best one included.
    pub top_k: usize,
    /// Whether unreadable images are errors.
    pub strict: bool,
}

/// Where the threshold between known and unknown comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ThresholdRequest {
    /// The run; where it has none for these classes and this score, the images at hand, in the run's way.
    Stored,
    /// The caller.
    At(f64),
    /// The confidences of the images at hand.
    Choose(ThresholdMethod),
}

/// Predicts the classes of images, and measures the predictions when the images have labels.
///
/// # Errors
///
/// [`RunError`].
pub fn predict(
    opened: &OpenedModel,
    request: &PredictRequest,
    reporter: &mut dyn Reporter,
) -> Result<PredictionSet, RunError> {
    predict_for(opened, request, reporter, |model| {
        let root = request.image_root.as_deref();
        Ok(Images::open(
            &request.images,
            root,
            &model.preprocessing,
            0,
        )?)
    })
}

/// [`predict`] for images that the caller opens, whatever the request says about where they are.
///
/// # Errors
///
/// As [`predict`].
pub fn predict_for(
    opened: &OpenedModel,
    request: &PredictRequest,
    reporter: &mut dyn Reporter,
    open_images: impl FnOnce(&Model) -> Result<Images, RunError>,
) -> Result<PredictionSet, RunError> {
    let run = opened.run.as_ref();
    let (classes, class_ids) = match (&request.classes, run) {
        (Some(list), _) => (list.names().to_vec(), list.ids().map(<[String]>::to_vec)),
        (None, Some(run)) => (run.request.classes.clone(), run.request.class_ids.clone()),
        (None, None) => return Err(RunError::NoClasses),
    };
    let rule = score_rule(request, run);
    // A stored threshold belongs to the classes and the score that it was chosen with.
    let stored = run
        .filter(|run| run.request.classes == classes && run.request.score_rule() == rule)
        .and_then(|run| run.threshold);
    let method = run.map_or_else(ThresholdMethod::default, |run| run.request.threshold_method);
    let images = open_images(&opened.model)?
        .with_label_choice(request.labels)
        .with_class_ids(class_ids);
    images.tell_left_out(reporter);
    let question = Question {
        classes: &classes,
        rule,
        cut: match (request.threshold, stored) {
            (ThresholdRequest::At(value), _) => Cut::At(value),
            (ThresholdRequest::Choose(method), _) => Cut::Choose(method),
            (ThresholdRequest::Stored, Some(stored)) => Cut::Chosen(stored),
            (ThresholdRequest::Stored, None) => Cut::Choose(method),
        },
        top_k: request.top_k,
        strict: request.strict,
    };
    Ok(ueo::session::predict(
        &opened.model,
        &images,
        question,
        reporter,
    )?)
}

/// The score that was asked for, else the run's.
fn score_rule(request: &PredictRequest, run: Option<&RunRecord>) -> ScoreRule {
    let of_run = run.map(|run| run.request.score_rule());
    let score = request
        .score
        .or(of_run.map(|rule| rule.score))
        .unwrap_or_default();
    let temperature = of_run
        .filter(|rule| rule.score == score)
        .map(|rule| rule.temperature);
    ScoreRule::new(score, request.score_temperature.or(temperature))
}
