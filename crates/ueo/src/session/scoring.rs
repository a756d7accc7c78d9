//! How the images of a job are judged: class, confidence, threshold, measurements.

use std::path::Path;

use crate::adapt::TrainedParameters;
use crate::data::DatasetOptions;
use crate::evaluate::{
    ClassIntervals, CosinesOf, EvaluateError, Evaluation, GroupTest, Predictions, Reference,
    ScoreRule, Scores, Threshold, ThresholdMethod, choose_threshold, decide, evaluate,
    left_out_confidences, predictions, threshold_accepting,
};
use crate::method::Method;

use super::encode::{ImageFeatures, encode_readable};
use super::images::Images;
use super::labels::{LabelledPredictions, Labels};
use super::model::{Classifier, Model};
use super::negative_labels::NegativeLabels;
use super::{Reporter, SessionError, Stage};

/// Class scores of images, and their cosines to negative labels where the score needs them.
pub struct ScoreTable {
    class_scores: Vec<f32>,
    negative_cosines: Vec<f32>,
    classes: usize,
    logit_scale: f64,
    logit_bias: Option<f64>,
    /// For the decision whether there is a second group; empty where nothing asks for it.
    centred_cosines: Vec<f32>,
}

impl ScoreTable {
    /// What scores and metrics read.
    pub fn scores(&self) -> Scores<'_> {
        Scores {
            cosine_logits: &self.class_scores,
            classes: self.classes,
            logit_scale: self.logit_scale,
            logit_bias: self.logit_bias,
            negative_cosines: &self.negative_cosines,
        }
    }
}

/// A score and a threshold method with what they need beside the images that are judged.
pub struct Scorer<'a> {
    model: &'a Model,
    classes: &'a [String],
    rule: ScoreRule,
    threshold_method: ThresholdMethod,
    negative_labels: Option<NegativeLabels>,
    known_images: Option<KnownImages>,
    strict: bool,
}

/// Labelled images that `target-known-acceptance` is measured on.
struct KnownImages {
    images: Images,
    labels: Labels,
}

impl<'a> Scorer<'a> {
    /// Chooses negative labels where the score needs them.
    ///
    /// # Errors
    ///
    /// When the score needs what the model does not have.
    pub fn new(
        model: &'a Model,
        classes: &'a [String],
        rule: ScoreRule,
        threshold_method: ThresholdMethod,
        strict: bool,
    ) -> Result<Self, SessionError> {
        if rule.score.needs_logit_bias() && model.clip.logit_bias().is_none() {
            return Err(EvaluateError::NoLogitBias.into());
        }
        let negative_labels = match rule.score.needs_negative_labels() {
            true => Some(NegativeLabels::choose(model, classes)?),
            false => None,
        };
        Ok(Self {
            model,
            classes,
            rule,
            threshold_method,
            negative_labels,
            known_images: None,
            strict,
        })
    }

    /// With labelled images for a threshold that needs some; their labels may be ids of the classes.
    pub fn with_known_images(
        mut self,
        path: Option<&Path>,
        options: &DatasetOptions,
        class_ids: Option<&[String]>,
    ) -> Result<Self, SessionError> {
        let needed = matches!(
            self.threshold_method,
            ThresholdMethod::TargetKnownAcceptance(_)
        );
        match path {
            Some(path) => {
                let images = Images::open(path, options.clone(), &self.model.preprocessing, 0)?;
                let images = images.with_class_ids(class_ids.map(<[String]>::to_vec));
                let labels = images.labels(self.classes, &mut ())?.labels;
                let labels = labels.ok_or_else(|| SessionError::NoLabels {
                    path: path.to_owned(),
                    needed_for: "the threshold target-known-acceptance",
                })?;
                self.known_images = Some(KnownImages { images, labels });
            }
            None if needed => {
                return Err(EvaluateError::NoKnownImages {
                    method: self.threshold_method.to_string(),
                }
                .into());
            }
            None => {}
        }
        Ok(self)
    }

    /// Classes and confidences.
    pub fn predictions(&self, table: &ScoreTable) -> Result<Predictions, SessionError> {
        Ok(predictions(table.scores(), self.rule)?)
    }

    /// The measurements of labelled images, with intervals over their classes.
    pub fn evaluation(
        &self,
        predictions: &Predictions,
        labels: &Labels,
        threshold: f64,
    ) -> Result<Evaluation, SessionError> {
        let LabelledPredictions {
            predictions,
            classes,
            unknown_classes,
        } = labels.labelled(predictions);
        let mut evaluation = evaluate(&predictions, &classes, self.classes, Some(threshold))?;
        evaluation.intervals = Some(ClassIntervals::of(
            &predictions,
            &classes,
            Some(&unknown_classes),
            self.classes.len(),
        )?);
        Ok(evaluation)
    }
}

/// The threshold with the errors of its review band among labelled images, as far as these tell.
///
/// # Errors
///
/// If a confidence is not finite.
pub fn calibrated(
    threshold: Threshold,
    predictions: &Predictions,
    labels: &Labels,
) -> Result<Threshold, SessionError> {
    let LabelledPredictions {
        predictions,
        classes,
        ..
    } = labels.labelled(predictions);
    let of = |known: bool| -> Vec<f64> {
        let images = predictions.confidences.iter().zip(&classes);
        images
            .filter(|(_, class)| class.is_some() == known)
            .map(|(confidence, _)| *confidence)
            .collect()
    };
    let review = match threshold.review {
        Some(review) => Some(review.calibrated(&of(true), &of(false))?),
        None => None,
    };
    Ok(Threshold {
        review,
        ..threshold
    })
}

/// A model at one point of its adaptation, as it judges images.
pub struct Judge<'a> {
    /// What the images are scored with.
    pub scorer: &'a Scorer<'a>,
    /// The classifier of `method` over `parameters`.
    pub classifier: &'a Classifier,
    /// The method that the parameters come from.
    pub method: Method,
    /// The parameters at this point.
    pub parameters: &'a TrainedParameters,
}

impl Judge<'_> {
    /// The classifier of negative labels, where the score needs them.
    pub(super) fn negative_classifier(&self) -> Result<Option<Classifier>, SessionError> {
        let labels = self.scorer.negative_labels.as_ref();
        labels
            .map(|labels| labels.classifier(self.scorer.model, self.method, self.parameters))
            .transpose()
    }

    /// [`Self::table`] of some of the images, without what only all of them tell.
    pub(super) fn table_of_part(
        &self,
        encoded: &ImageFeatures,
        negative: Option<&Classifier>,
    ) -> ScoreTable {
        let Scorer { model, classes, .. } = self.scorer;
        ScoreTable {
            class_scores: encoded.class_scores(&model.clip, self.classifier),
            negative_cosines: negative.map_or_else(Vec::new, |classifier| {
                encoded.class_scores(&model.clip, classifier)
            }),
            classes: classes.len(),
            logit_scale: model.clip.logit_scale(),
            logit_bias: model.clip.logit_bias(),
            centred_cosines: Vec::new(),
        }
    }

    /// Whose cosines tell whether there is a second group.
    pub(super) fn cosines_of(&self) -> CosinesOf {
        match self.method.trains() {
            true => CosinesOf::Adapted,
            false => CosinesOf::ZeroShot,
        }
    }

    /// The scores of images.
    pub fn table(&self, encoded: &ImageFeatures) -> Result<ScoreTable, SessionError> {
        let Scorer { model, classes, .. } = self.scorer;
        let negative_cosines = match &self.scorer.negative_labels {
            Some(labels) => labels.cosines(model, self.method, self.parameters, encoded)?,
            None => Vec::new(),
        };
        Ok(ScoreTable {
            class_scores: encoded.class_scores(&model.clip, self.classifier),
            negative_cosines,
            classes: classes.len(),
            logit_scale: model.clip.logit_scale(),
            logit_bias: model.clip.logit_bias(),
            centred_cosines: match self.scorer.threshold_method {
                ThresholdMethod::Auto => self.centred_cosines(encoded),
                _ => Vec::new(),
            },
        })
    }

    /// Half-centred cosines, by the means of these images themselves, `[images, classes]`, row-major.
    fn centred_cosines(&self, encoded: &ImageFeatures) -> Vec<f32> {
        let pass = encoded.zero_shot(&self.scorer.model.clip, self.classifier);
        let centring = encoded.centring(&self.scorer.model.clip, self.classifier);
        centring.cosines(&pass.image_features, &pass.text_features)
    }

    /// The threshold of [`ThresholdMethod::Auto`].
    fn decision(&self, table: &ScoreTable, confidences: &[f64]) -> Result<Threshold, SessionError> {
        let model = self.cosines_of();
        let left_out = left_out_confidences(table.scores(), self.scorer.rule)?;
        let reference = Reference {
            left_out: &left_out,
            group_test: GroupTest::of(&table.centred_cosines, table.classes, model)?,
            axis: self.scorer.rule.score.axis(),
        };
        Ok(decide(confidences, reference)?)
    }

    /// The threshold between known and unknown for these confidences; labelled images are encoded with the same parameters.
    pub fn threshold(
        &self,
        table: &ScoreTable,
        confidences: &[f64],
        reporter: &mut dyn Reporter,
    ) -> Result<Threshold, SessionError> {
        let scorer = self.scorer;
        let (acceptance, known) = match (scorer.threshold_method, &scorer.known_images) {
            (ThresholdMethod::TargetKnownAcceptance(acceptance), Some(known)) => {
                (acceptance, known)
            }
            // One class has no second best, and one group no more to tell.
            (ThresholdMethod::Auto, _) if table.classes > 1 => {
                return self.decision(table, confidences);
            }
            (method, _) => {
                let axis = scorer.rule.score.axis();
                return Ok(choose_threshold(confidences, method, axis)?);
            }
        };
        let (encoded, _) = encode_readable(
            scorer.model,
            &self.parameters.affine,
            &known.images,
            scorer.strict,
            Stage::Threshold,
            reporter,
        )?;
        let table = self.table(&encoded)?;
        let predicted = scorer.predictions(&table)?;
        let labels = known.labels.of(&encoded.indices);
        let accepted: Vec<f64> = predicted
            .confidences
            .iter()
            .enumerate()
            .filter_map(|(row, confidence)| labels.class(row).map(|_| *confidence))
            .collect();
        Ok(threshold_accepting(&accepted, acceptance, confidences)?)
    }
}
