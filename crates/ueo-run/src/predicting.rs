//! Predictions of a model on disk about images on disk.

use std::path::{Path, PathBuf};

use ueo::adapt::CallerError;
use ueo::data::{ClassList, DatasetOptions, LabelChoice, ParquetColumns};
use ueo::disk;
use ueo::evaluate::{Score, ScoreRule, ThresholdMethod};
use ueo::image::Preprocessing;
use ueo::session::{
    Cut, ImagePrediction, Images, Model, PredictedRows, PredictionSet, Question, Reporter,
    SessionError,
};

use super::RunError;
use super::feature_file::FeatureFile;
use super::features::FeatureKey;
use super::opening::OpenedModel;
use super::record::RunRecord;

/// What to predict and how.
#[derive(Clone, Debug)]
pub struct PredictRequest {
    /// Images: a directory, list file, tar shard, Parquet file or directory of these.
    pub images: PathBuf,
    /// Folder to which the paths of a list file are relative.
    pub image_root: Option<PathBuf>,
    /// Columns of Parquet files, where they are not the usual ones.
    pub columns: ParquetColumns,
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
        request.images_of(&model.preprocessing)
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
    let known = request.known_classes(opened)?;
    let images = request.labelled_by(&known, open_images(&opened.model)?, reporter);
    Ok(ueo::session::predict(
        &opened.model,
        &images,
        request.question(opened, known.names()),
        reporter,
    )?)
}

/// Predicts the classes of images row by row. The features are kept in the file `features`: where an earlier call with the
/// same images and model was stopped, this one goes on, and hands out all rows anew. The file is the caller's to remove when the rows
/// are safe.
///
/// # Errors
///
/// As [`predict`], and [`RunError::InUse`].
pub fn predict_rows(
    opened: &OpenedModel,
    request: &PredictRequest,
    features: &Path,
    row: &mut dyn FnMut(&ImagePrediction) -> Result<(), CallerError>,
    reporter: &mut dyn Reporter,
) -> Result<PredictedRows, RunError> {
    let known = request.known_classes(opened)?;
    let images = request.open_images(opened, &known, reporter)?;
    let mut store = FeatureFile::open(features, feature_key(opened, request, &images))?;
    let question = request.question(opened, known.names());
    let model = &opened.model;
    let made = ueo::session::predict_rows(model, &images, question, &mut store, row, reporter);
    drop(store);
    // The user may repair the images; they are to be looked at again.
    let in_vain = matches!(
        made,
        Err(SessionError::SkippedImages { .. } | SessionError::NoReadableImages { .. })
    );
    if in_vain {
        disk::remove_file(features).map_err(|source| RunError::io("remove", features, source))?;
    }
    Ok(made?)
}

/// What the features of a pass depend on.
fn feature_key(opened: &OpenedModel, request: &PredictRequest, images: &Images) -> FeatureKey {
    let model = &opened.model;
    let ids = (0..images.len()).map(|index| images.id(index));
    let key = FeatureKey::new(model, model.clip.precision(), &model.parameters, ids);
    let options = request.image_options();
    key.of_images_at(&request.images, &options, &model.preprocessing)
}

impl PredictRequest {
    /// How the images are opened.
    pub fn image_options(&self) -> DatasetOptions {
        DatasetOptions {
            image_root: self.image_root.clone(),
            columns: self.columns.clone(),
        }
    }

    /// The classes that were asked for, else the run's.
    pub(super) fn known_classes(&self, opened: &OpenedModel) -> Result<ClassList, RunError> {
        if let Some(classes) = &self.classes {
            return Ok(classes.clone());
        }
        let run = opened.run.as_ref().ok_or(RunError::NoClasses)?;
        let classes = ClassList::from_names(run.request.classes.clone());
        Ok(match &run.request.class_ids {
            Some(ids) => classes.with_ids(ids.clone()),
            None => classes,
        })
    }

    /// The images, with a word about what was not taken.
    pub(super) fn open_images(
        &self,
        opened: &OpenedModel,
        known: &ClassList,
        reporter: &mut dyn Reporter,
    ) -> Result<Images, RunError> {
        let images = self.images_of(&opened.model.preprocessing)?;
        Ok(self.labelled_by(known, images, reporter))
    }

    fn images_of(&self, preprocessing: &Preprocessing) -> Result<Images, RunError> {
        let options = self.image_options();
        Ok(Images::open(&self.images, options, preprocessing, 0)?)
    }

    fn labelled_by(
        &self,
        known: &ClassList,
        images: Images,
        reporter: &mut dyn Reporter,
    ) -> Images {
        let images = images
            .with_label_choice(self.labels)
            .with_class_ids(known.ids().map(<[String]>::to_vec));
        images.tell_left_out(reporter);
        images
    }

    /// What is asked, with all that the run decides where the caller did not.
    pub(super) fn question<'a>(&self, opened: &OpenedModel, classes: &'a [String]) -> Question<'a> {
        let run = opened.run.as_ref();
        let rule = score_rule(self, run);
        // A stored threshold belongs to the classes and the score that it was chosen with.
        let stored = run
            .filter(|run| run.request.classes == classes && run.request.score_rule() == rule)
            .and_then(|run| run.threshold);
        let method = run.map_or_else(ThresholdMethod::default, |run| run.request.threshold_method);
        Question {
            classes,
            rule,
            cut: match (self.threshold, stored) {
                (ThresholdRequest::At(value), _) => Cut::At(value),
                (ThresholdRequest::Choose(method), _) => Cut::Choose(method),
                (ThresholdRequest::Stored, Some(stored)) => Cut::Chosen(stored),
                (ThresholdRequest::Stored, None) => Cut::Choose(method),
            },
            top_k: self.top_k,
            strict: self.strict,
        }
    }
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
