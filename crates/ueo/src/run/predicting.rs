//! What a model says about images and texts.

use std::path::PathBuf;

use serde::Serialize;

use crate::evaluate::{Evaluation, Score, ScoreRule, Threshold, ThresholdMethod};
use crate::method::Method;
use crate::model::to_host;
use crate::text::Overlong;

use super::encode::encode_readable;
use super::images::ImageSet;
use super::model::LoadedModel;
use super::record::RunRecord;
use super::scoring::{Judge, Scorer};
use super::{Reporter, RunError, SkippedImage, Stage};

/// What to predict and how.
#[derive(Clone, Debug)]
pub struct PredictRequest {
    /// Images: a directory, list file, tar shard or directory of shards.
    pub images: PathBuf,
    /// Folder to which the paths of a list file are relative.
    pub image_root: Option<PathBuf>,
    /// Class names; `None` takes those that the run directory remembers.
    pub classes: Option<Vec<String>>,
    /// What the confidence is; `None` takes the run's, or the default for a plain checkpoint.
    pub score: Option<Score>,
    /// Temperature of the score; `None` takes the run's where the score is that of the run, else the score's own.
    pub score_temperature: Option<f64>,
    /// Threshold between known and unknown; `None` takes the run's, or chooses one from these images.
    pub threshold: Option<f64>,
    /// Classes to report per image, the best one included.
    pub top_k: usize,
    /// Whether unreadable images are errors.
    pub strict: bool,
}

/// What a model says about one image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImagePrediction {
    /// Path relative to the images' root.
    pub path: String,
    /// The most similar class, exactly as in the class list.
    pub label: String,
    /// What separates known from unknown images, by the score.
    pub confidence: f64,
    /// Whether the confidence reaches the threshold.
    pub known: bool,
    /// The most probable classes with their probabilities at the checkpoint's own logit scale, best first.
    pub top: Vec<(String, f64)>,
}

/// Predictions for a set of images.
#[derive(Clone, Debug)]
pub struct PredictionSet {
    /// One prediction per readable image, in order.
    pub images: Vec<ImagePrediction>,
    /// Inputs that were left out.
    pub skipped: Vec<SkippedImage>,
    /// The class names.
    pub classes: Vec<String>,
    /// Images with at least this confidence are known.
    pub threshold: f64,
    /// How the threshold came about, where it was chosen from images.
    pub chosen_threshold: Option<Threshold>,
    /// What the confidences are.
    pub rule: ScoreRule,
    /// Measurements, when the images have labels.
    pub evaluation: Option<Evaluation>,
}

/// Predicts the classes of images, and measures the predictions when the images have labels.
///
/// # Errors
///
/// [`RunError`].
pub fn predict(
    model: &LoadedModel,
    request: &PredictRequest,
    reporter: &mut dyn Reporter,
) -> Result<PredictionSet, RunError> {
    let run = model.run.as_ref();
    let classes = request
        .classes
        .clone()
        .or_else(|| run.map(|run| run.request.classes.clone()))
        .ok_or(RunError::NoClasses)?;
    let rule = score_rule(request, run);
    let method = run.map_or(Method::ZeroShot, |run| run.request.settings.method);
    let threshold_method =
        run.map_or_else(ThresholdMethod::default, |run| run.request.threshold_method);
    let scorer = Scorer::new(model, &classes, rule, threshold_method, request.strict)?;
    let classifier = model.classifier(&classes)?;
    let images = ImageSet::open(
        &request.images,
        request.image_root.as_deref(),
        &model.preprocessing,
        0,
    )?;
    let (encoded, skipped) = encode_readable(
        model,
        &model.parameters.affine,
        &images,
        request.strict,
        Stage::Inference,
        reporter,
    )?;

    let judge = Judge {
        scorer: &scorer,
        classifier: &classifier,
        method,
        parameters: &model.parameters,
    };
    let table = judge.table(&encoded)?;
    let predicted = scorer.predictions(&table)?;
    // A stored threshold belongs to the classes and the score that it was chosen with.
    let stored = run
        .filter(|run| run.request.classes == classes && run.request.score_rule() == rule)
        .and_then(|run| run.threshold);
    let (threshold, chosen_threshold) = match (request.threshold, stored) {
        (Some(value), _) => (value, None),
        (None, Some(stored)) => (stored.value, Some(stored)),
        (None, None) => {
            let chosen = judge.threshold(&predicted.confidences, reporter)?;
            (chosen.value, Some(chosen))
        }
    };
    let evaluation = images
        .labels(&classes)
        .map(|labels| scorer.evaluation(&predicted, &labels.of(&encoded.indices), threshold))
        .transpose()?;
    let images = encoded
        .indices
        .iter()
        .enumerate()
        .map(|(row, &index)| ImagePrediction {
            path: images.id(index).to_owned(),
            label: classes[predicted.classes[row]].clone(),
            confidence: predicted.confidences[row],
            known: predicted.confidences[row] >= threshold,
            top: table
                .scores()
                .top(row, request.top_k)
                .into_iter()
                .map(|(class, probability)| (classes[class].clone(), probability))
                .collect(),
        })
        .collect();
    Ok(PredictionSet {
        images,
        skipped,
        classes,
        threshold,
        chosen_threshold,
        rule,
        evaluation,
    })
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

/// Features by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// Image ids or texts, one per row.
    pub names: Vec<String>,
    /// `[names, embed_dim]`, row-major, with unit L2 norm.
    pub features: Vec<f32>,
    /// Width of the shared embedding space.
    pub embed_dim: usize,
    /// Images that were left out.
    pub skipped: Vec<SkippedImage>,
}

/// Normalized features of images.
///
/// # Errors
///
/// [`RunError`].
pub fn embed_images(
    model: &LoadedModel,
    images: &ImageSet,
    strict: bool,
    reporter: &mut dyn Reporter,
) -> Result<Embedding, RunError> {
    let affine = &model.parameters.affine;
    let (encoded, skipped) =
        encode_readable(model, affine, images, strict, Stage::Inference, reporter)?;
    let mut features = encoded.features;
    for row in features.chunks_exact_mut(encoded.embed_dim) {
        let norm = row
            .iter()
            .map(|x| f64::from(*x).powi(2))
            .sum::<f64>()
            .sqrt();
        row.iter_mut()
            .for_each(|x| *x = (f64::from(*x) / norm) as f32);
    }
    Ok(Embedding {
        names: encoded
            .indices
            .iter()
            .map(|&index| images.id(index).to_owned())
            .collect(),
        features,
        embed_dim: encoded.embed_dim,
        skipped,
    })
}

/// Normalized features of whole texts, without the learned context.
///
/// # Errors
///
/// [`RunError`], for example when a text is too long and `overlong` does not allow truncation.
pub fn embed_texts(
    model: &LoadedModel,
    texts: &[String],
    overlong: Overlong,
) -> Result<Embedding, RunError> {
    let features = model.text_features(texts, overlong)?;
    Ok(Embedding {
        names: texts.to_vec(),
        features: to_host(&features).data,
        embed_dim: model.base.config.embed_dim,
        skipped: Vec::new(),
    })
}
