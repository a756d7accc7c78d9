//! How the images of a run are judged, before the adaptation and after it.

use sha2::{Digest, Sha256};
use ueo::adapt::TrainedParameters;
use ueo::evaluate::{Evaluation, Scores, Threshold};
use ueo::guard::{Scoring, Signs, signs_of};
use ueo::session::{
    Classifier, Images, Judge, Labels, Model, Reporter, ScoreTable, Scorer, SessionError, Stage,
    Subset, calibrated, encode_images_keeping,
};

use super::RunError;
use super::features::FeatureKey;
use super::predictions::Answer;
use super::record::AdaptRequest;
use super::together::RankDirectory;

/// What stays the same from the first pass to the last.
pub struct Job<'a> {
    /// What was asked for.
    pub request: &'a AdaptRequest,
    /// The checkpoint that is adapted.
    pub model: &'a Model,
    /// The score and the threshold method.
    pub scorer: Scorer<'a>,
}

impl<'a> Job<'a> {
    /// Chooses what the score and the threshold need.
    pub fn new(request: &'a AdaptRequest, model: &'a Model) -> Result<Self, RunError> {
        let scorer = Scorer::new(
            model,
            &request.classes,
            request.score_rule(),
            request.threshold_method,
            request.strict,
        )?;
        let known_images = request.threshold_images.as_deref();
        let scorer = scorer.with_known_images(
            known_images,
            &request.image_options(),
            request.class_ids.as_deref(),
        )?;
        Ok(Self {
            request,
            model,
            scorer,
        })
    }

    /// How the predictions of the run are scored while they are watched.
    pub fn scoring(&self) -> Scoring {
        Scoring::watching(
            self.model.clip.logit_scale(),
            self.request.score_rule(),
            self.request.threshold_method,
        )
    }
}

/// What a model says about the images of a run.
pub struct Measured {
    /// Class and confidence of each image.
    pub answers: Vec<Answer>,
    /// What the predictions look like without labels.
    pub signs: Signs,
    /// Where known images begin.
    pub threshold: Threshold,
    /// Measurements, when the images have labels.
    pub evaluation: Option<Evaluation>,
}

/// The images that were adapted to.
pub struct AdaptedTo<'a> {
    /// Their pixels.
    pub images: &'a Subset<'a>,
    /// Their paths.
    pub ids: Vec<&'a str>,
    /// What they show, where they have labels.
    pub labels: Option<&'a Labels>,
    /// What the checkpoint predicts for each.
    pub zero_shot_classes: &'a [usize],
}

/// A pass over the adapted images with the adapted model, from where an earlier one ended. What is trained may be the text
/// tower's alone: then the features are those of the zero-shot pass. A method that centres finds the means here.
pub fn measure(
    job: &Job<'_>,
    directory: &RankDirectory,
    parameters: &mut TrainedParameters,
    adapted_to: &AdaptedTo<'_>,
    reporter: &mut dyn Reporter,
) -> Result<Measured, RunError> {
    let &AdaptedTo {
        images,
        ref ids,
        labels,
        zero_shot_classes,
    } = adapted_to;
    let Job {
        request,
        model,
        scorer,
    } = job;
    let method = request.settings.method;
    let ids = ids.iter().copied();
    let options = request.image_options();
    let key = FeatureKey::new(model, request.precision, parameters, ids).of_images_at(
        &request.images,
        &options,
        &model.preprocessing,
    );
    let encoded = encode_images_keeping(
        &mut directory.features(&key)?,
        model,
        &parameters.affine,
        images,
        Stage::Adapted,
        reporter,
    )?;
    if let Some(failure) = encoded.failures.first() {
        let reason = failure.reason.clone();
        return Err(SessionError::ImageLost { reason }.into());
    }
    let mut classifier = Classifier::of_method(model, method, &request.classes, parameters)?;
    if method.centres() {
        let centring = encoded.centring(&model.clip, &classifier);
        classifier = classifier.centred(centring.clone());
        parameters.centring = Some(centring);
    }
    let judge = Judge {
        scorer,
        classifier: &classifier,
        method,
        parameters,
    };
    let table = judge.table(&encoded)?;
    let watching = job.scoring();
    judge_images(
        &judge,
        &table,
        &watching,
        labels,
        zero_shot_classes,
        reporter,
    )
}

/// What a model says about a set of images, the threshold and, with labels, the measurements.
pub fn judge_images(
    judge: &Judge<'_>,
    table: &ScoreTable,
    watching: &Scoring,
    labels: Option<&Labels>,
    zero_shot_classes: &[usize],
    reporter: &mut dyn Reporter,
) -> Result<Measured, RunError> {
    let (scores, scorer) = (table.scores(), judge.scorer);
    let predictions = scorer.predictions(table)?;
    let mut threshold = judge.threshold(table, &predictions.confidences, reporter)?;
    if let Some(labels) = labels {
        threshold = calibrated(threshold, &predictions, labels)?;
    }
    let Scores {
        cosine_logits,
        classes,
        ..
    } = scores;
    Ok(Measured {
        signs: signs_of(cosine_logits, classes, zero_shot_classes, watching)?,
        answers: Answer::all(scores, &predictions),
        evaluation: labels
            .map(|labels| scorer.evaluation(&predictions, labels, threshold.value))
            .transpose()?,
        threshold,
    })
}

/// SHA-256 over the ids of some images, one per line.
pub fn fingerprint(images: &Images, used: &[usize]) -> String {
    let mut hasher = Sha256::new();
    for &index in used {
        hasher.update(images.id(index).as_bytes());
        hasher.update(b"\n");
    }
    hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
