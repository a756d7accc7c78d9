//! What a model says about images and texts.

use serde::Serialize;

use crate::evaluate::{Evaluation, ScoreRule, Threshold, ThresholdMethod, Verdict};
use crate::model::to_host;
use crate::text::{Overlong, Template};

use super::adapting::names;
use super::encode::{ImageFeatures, encode_readable};
use super::images::Images;
use super::labels::Labels;
use super::model::Model;
use super::scoring::{Judge, Scorer, calibrated};
use super::{Reporter, SessionError, SkippedImage, Stage};

/// What is asked about images.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Names of the known classes.
    pub classes: &'a [String],
    /// What the confidence is.
    pub rule: ScoreRule,
    /// From which confidence on an image counts as known.
    pub cut: Cut,
    /// Classes to report per image, the best one included.
    pub top_k: usize,
    /// Whether unreadable images are errors.
    pub strict: bool,
}

impl<'a> Question<'a> {
    /// What the defaults ask: the default score, a threshold chosen from the images, and the best class alone.
    pub fn new(classes: &'a [String]) -> Self {
        Self {
            classes,
            rule: ScoreRule::default(),
            cut: Cut::Choose(ThresholdMethod::default()),
            top_k: 1,
            strict: false,
        }
    }
}

/// The confidence from which on an image counts as known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cut {
    /// A given one.
    At(f64),
    /// One that was chosen before, with how it came about.
    Chosen(Threshold),
    /// To be chosen from the confidences of the images themselves.
    Choose(ThresholdMethod),
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
    /// Whether a person should look.
    pub verdict: Verdict,
    /// The most probable classes with their probabilities at the checkpoint's own logit scale, best first.
    pub top: Vec<(String, f64)>,
    /// What it shows, when the images have labels.
    pub true_label: Option<TrueLabel>,
}

/// What an image shows according to its label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrueLabel {
    /// The class name for a known class, otherwise the label as the data set spells it.
    pub name: String,
    /// Index of the known class, `None` for an image of another class.
    pub class: Option<usize>,
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
    /// What the readable images show, when the images have labels.
    pub labels: Option<Labels>,
    /// Measurements, when the images have labels.
    pub evaluation: Option<Evaluation>,
}

impl Model {
    /// Names each image and decides whether it shows one of the classes, with [the defaults](Question::new).
    ///
    /// # Errors
    ///
    /// As [`predict`].
    pub fn predict(
        &self,
        images: &Images,
        classes: &[impl AsRef<str>],
    ) -> Result<PredictionSet, SessionError> {
        predict(self, images, Question::new(&names(classes)), &mut ())
    }

    /// Features of unit norm of images.
    ///
    /// # Errors
    ///
    /// As [`embed_images`].
    pub fn encode(&self, images: &Images) -> Result<Embedding, SessionError> {
        embed_images(self, images, false, &mut ())
    }
}

/// Predicts the classes of images, and measures the predictions when the images have labels.
///
/// # Errors
///
/// [`SessionError`].
pub fn predict(
    model: &Model,
    images: &Images,
    question: Question<'_>,
    reporter: &mut dyn Reporter,
) -> Result<PredictionSet, SessionError> {
    let (predictions, _) = predict_encoded(model, images, question, reporter)?;
    Ok(predictions)
}

/// [`predict`] with the features that the predictions were made of, one row per predicted image.
pub(super) fn predict_encoded(
    model: &Model,
    images: &Images,
    question: Question<'_>,
    reporter: &mut dyn Reporter,
) -> Result<(PredictionSet, ImageFeatures), SessionError> {
    let classes = question.classes;
    let threshold_method = match question.cut {
        Cut::Choose(method) => method,
        Cut::At(_) | Cut::Chosen(_) => ThresholdMethod::default(),
    };
    let scorer = Scorer::new(
        model,
        classes,
        question.rule,
        threshold_method,
        question.strict,
    )?;
    let classifier = model.classifier(classes)?;
    let (encoded, skipped) = encode_readable(
        model,
        &model.parameters.affine,
        images,
        question.strict,
        Stage::Inference,
        reporter,
    )?;
    images.tell_orientation(reporter);
    let judge = Judge {
        scorer: &scorer,
        classifier: &classifier,
        method: model.method,
        parameters: &model.parameters,
    };
    let table = judge.table(&encoded)?;
    let predicted = scorer.predictions(&table)?;
    let (threshold, chosen_threshold) = match question.cut {
        Cut::At(value) => (value, None),
        Cut::Chosen(stored) => (stored.value, Some(stored)),
        Cut::Choose(_) => {
            let chosen = judge.threshold(&table, &predicted.confidences, reporter)?;
            (chosen.value, Some(chosen))
        }
    };
    let labels = images.labels(classes, reporter)?.labels;
    let labels = labels.map(|labels| labels.of(&encoded.indices));
    let chosen_threshold = match (chosen_threshold, &labels) {
        (Some(chosen), Some(labels)) => Some(calibrated(chosen, &predicted, labels)?),
        (chosen, _) => chosen,
    };
    let evaluation = labels
        .as_ref()
        .map(|labels| scorer.evaluation(&predicted, labels, threshold))
        .transpose()?;
    let verdict = |confidence: f64| match &chosen_threshold {
        Some(chosen) => chosen.verdict(confidence),
        None if confidence >= threshold => Verdict::Accept,
        None => Verdict::Reject,
    };
    let rows = encoded.indices.iter().enumerate();
    let predictions = PredictionSet {
        images: rows
            .map(|(row, &index)| ImagePrediction {
                path: images.id(index).to_owned(),
                label: classes[predicted.classes[row]].clone(),
                confidence: predicted.confidences[row],
                known: predicted.confidences[row] >= threshold,
                verdict: verdict(predicted.confidences[row]),
                top: table
                    .scores()
                    .top(row, question.top_k)
                    .into_iter()
                    .map(|(class, probability)| (classes[class].clone(), probability))
                    .collect(),
                true_label: labels
                    .as_ref()
                    .and_then(|labels| labels.true_label(row, classes)),
            })
            .collect(),
        skipped,
        classes: classes.to_vec(),
        threshold,
        chosen_threshold,
        rule: question.rule,
        labels,
        evaluation,
    };
    Ok((predictions, encoded))
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
/// [`SessionError`].
pub fn embed_images(
    model: &Model,
    images: &Images,
    strict: bool,
    reporter: &mut dyn Reporter,
) -> Result<Embedding, SessionError> {
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

/// Normalized features of names: the mean over the sentences that they stand in, without the learned context.
///
/// # Errors
///
/// As [`embed_texts`].
pub fn embed_names(
    model: &Model,
    names: &[String],
    templates: &[Template],
    overlong: Overlong,
) -> Result<Embedding, SessionError> {
    let features = model.mean_text_features(
        names,
        |name| templates.iter().map(move |template| template.about(name)),
        overlong,
    )?;
    Ok(Embedding {
        names: names.to_vec(),
        features: to_host(&features).data,
        embed_dim: model.base.config.embed_dim,
        skipped: Vec::new(),
    })
}

/// Normalized features of whole texts, without the learned context.
///
/// # Errors
///
/// [`SessionError`], for example when a text is too long and `overlong` does not allow truncation.
pub fn embed_texts(
    model: &Model,
    texts: &[String],
    overlong: Overlong,
) -> Result<Embedding, SessionError> {
    let features = model.text_features(texts, overlong)?;
    Ok(Embedding {
        names: texts.to_vec(),
        features: to_host(&features).data,
        embed_dim: model.base.config.embed_dim,
        skipped: Vec::new(),
    })
}
