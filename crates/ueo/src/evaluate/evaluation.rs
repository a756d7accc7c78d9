//! The measurements of one labelled set of images, as `evaluation.json` holds them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::rates::{auroc, average_precision, fpr_at_95_tpr, harmonic_mean, oscr};
use super::{
    BootstrapSettings, CALIBRATION_BINS, ClassMeasure, ClassStatistics, EvaluateError, Interval,
    Predictions, Replicated, ScoredClasses, expected_calibration_error, reliability_bins,
};

/// Pairs of confused classes that an evaluation lists.
const LISTED_CONFUSIONS: usize = 20;

/// All measurements of one labelled set. Rates are fractions between 0 and 1; `null` in JSON means undefined: there
/// are no known images, no unknown images, or no threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Correct known images over all known images, without rejection.
    pub overall_accuracy: Option<f64>,
    /// Mean recall over the known classes that occur, without rejection.
    pub per_class_accuracy: Option<f64>,
    /// Recall by class name, `null` for classes without images.
    pub per_class: BTreeMap<String, Option<f64>>,
    /// Area under the ROC curve of the confidence, positives are known images.
    pub auroc: Option<f64>,
    /// Share of unknown images that pass for known at the threshold which 95 % of the known images pass.
    pub fpr_at_95_tpr: Option<f64>,
    /// The positive class of `fpr_at_95_tpr`.
    pub fpr_at_95_tpr_convention: FprConvention,
    /// The other convention (OpenOOD): share of known images rejected where 95 % of the unknown images are.
    pub fpr_at_95_tpr_unknown_positive: Option<f64>,
    /// Average precision of the confidence, positives are known images.
    pub aupr_known: Option<f64>,
    /// Average precision of the negated confidence, positives are unknown images.
    pub aupr_unknown: Option<f64>,
    /// Harmonic mean of `per_class_accuracy` and `auroc`; not the H-score.
    pub harmonic_mean_accuracy_auroc: Option<f64>,
    /// Harmonic mean of `known_accuracy_at_threshold` and `unknown_recall_at_threshold` (H-score, HOS).
    pub h_score: Option<f64>,
    /// Open-set classification rate.
    pub oscr: Option<f64>,
    /// Images with at least this confidence count as known.
    pub threshold: Option<f64>,
    /// Mean recall over the known classes that occur, where a rejected image is wrong.
    pub known_accuracy_at_threshold: Option<f64>,
    /// Share of unknown images that are rejected.
    pub unknown_recall_at_threshold: Option<f64>,
    /// Expected calibration error of the probability of the predicted class, over known images, in `calibration_bins` bins of
    /// equal width (Guo et al. 2017). Probabilities are those at the model's own logit scale, whatever the score is.
    #[serde(default)]
    pub expected_calibration_error: Option<f64>,
    /// Bins of `expected_calibration_error`.
    #[serde(default)]
    pub calibration_bins: usize,
    /// The most frequent confusions of known classes, most frequent first; at most 20.
    #[serde(default)]
    pub confusions: Vec<Confusion>,
    /// How far accuracy and AUROC depend on the classes of the test, where it was asked for.
    #[serde(default)]
    pub intervals: Option<ClassIntervals>,
    /// Images of known classes.
    pub n_known: usize,
    /// Images of other classes.
    pub n_unknown: usize,
}

/// A known class that is taken for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// What the images show.
    pub class: String,
    /// What they are taken for, without rejection.
    pub predicted: String,
    /// How many there are.
    pub images: usize,
}

/// Percentile bootstrap intervals over classes, known and unknown ones drawn apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassIntervals {
    /// That of `per_class_accuracy`.
    pub per_class_accuracy: Option<Interval>,
    /// That of `auroc`.
    pub auroc: Option<Interval>,
    /// Draws, level and seed.
    pub settings: BootstrapSettings,
}

impl ClassIntervals {
    /// The intervals of one labelled set, at the default settings.
    ///
    /// `unknown_classes` tells unknown images apart as in [`ScoredClasses::group`].
    ///
    /// # Errors
    ///
    /// As [`ScoredClasses::group`].
    pub fn of(
        predictions: &Predictions,
        labels: &[Option<usize>],
        unknown_classes: Option<&[usize]>,
        classes: usize,
    ) -> Result<Self, EvaluateError> {
        let statistics = statistics(predictions, labels, unknown_classes, classes)?;
        Self::measured(|measure, settings| Replicated::new(&statistics, measure, settings))
    }

    /// The intervals of how much larger the measurements of `after` are than those of `before`, which say something about the
    /// same images: what makes a class hard for both cancels.
    ///
    /// # Errors
    ///
    /// As [`ScoredClasses::group`].
    pub fn of_change(
        before: &Predictions,
        after: &Predictions,
        labels: &[Option<usize>],
        unknown_classes: Option<&[usize]>,
        classes: usize,
    ) -> Result<Self, EvaluateError> {
        let before = statistics(before, labels, unknown_classes, classes)?;
        let after = statistics(after, labels, unknown_classes, classes)?;
        Self::measured(|measure, settings| {
            let after = Replicated::new(&after, measure, settings)?;
            Ok(after.minus(&Replicated::new(&before, measure, settings)?))
        })
    }

    fn measured(
        replicated: impl Fn(ClassMeasure, BootstrapSettings) -> Result<Replicated, EvaluateError>,
    ) -> Result<Self, EvaluateError> {
        let settings = BootstrapSettings::default();
        Ok(Self {
            per_class_accuracy: replicated(ClassMeasure::PerClassAccuracy, settings)?.interval(),
            auroc: replicated(ClassMeasure::Auroc, settings)?.interval(),
            settings,
        })
    }
}

fn statistics(
    predictions: &Predictions,
    labels: &[Option<usize>],
    unknown_classes: Option<&[usize]>,
    classes: usize,
) -> Result<ClassStatistics, EvaluateError> {
    let grouped = ScoredClasses::group(predictions, labels, unknown_classes, classes)?;
    ClassStatistics::of_seeds(&[grouped])
}

/// Which images are the positives of a false positive rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FprConvention {
    /// Known images, as in MCM (Ming et al. 2022).
    KnownPositive,
}

/// Measures predictions against labels.
///
/// `labels` holds the index of a known class, or `None` for an unknown image. A `threshold` splits known (confidence at
/// or above it) from unknown for the H-score.
///
/// # Errors
///
/// If there are no images, the lists differ in length, a class index has no name, a confidence is not finite, or a probability
/// is not in 0..=1.
pub fn evaluate(
    predictions: &Predictions,
    labels: &[Option<usize>],
    class_names: &[impl AsRef<str>],
    threshold: Option<f64>,
) -> Result<Evaluation, EvaluateError> {
    check(predictions, labels, class_names.len())?;
    let mut classes = vec![ClassCounts::default(); class_names.len()];
    let (mut known, mut unknown, mut correct) = (Vec::new(), Vec::new(), Vec::new());
    let (mut probabilities, mut hits) = (Vec::new(), Vec::new());
    let mut confused: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    let verdicts = predictions.classes.iter().zip(&predictions.confidences);
    for (((class, confidence), probability), label) in
        verdicts.zip(&predictions.probabilities).zip(labels)
    {
        let Some(label) = *label else {
            unknown.push(*confidence);
            continue;
        };
        known.push(*confidence);
        probabilities.push(*probability);
        hits.push(*class == label);
        if *class != label {
            *confused.entry((label, *class)).or_default() += 1;
        }
        let counts = &mut classes[label];
        counts.images += 1;
        if *class == label {
            correct.push(*confidence);
            counts.correct += 1;
            counts.correct_and_accepted += usize::from(threshold.is_none_or(|t| *confidence >= t));
        }
    }

    let bins = reliability_bins(&probabilities, &hits, CALIBRATION_BINS)?;
    let per_class_accuracy = mean_recall(&classes, |counts| counts.correct);
    let auroc = auroc(&known, &unknown);
    let known_accuracy_at_threshold =
        threshold.and_then(|_| mean_recall(&classes, |counts| counts.correct_and_accepted));
    let unknown_recall_at_threshold = threshold.and_then(|t| {
        let rejected = unknown.iter().filter(|confidence| **confidence < t).count();
        ratio(rejected, unknown.len())
    });
    let negated = |values: &[f64]| values.iter().map(|value| -value).collect::<Vec<_>>();
    let (known_negated, unknown_negated) = (negated(&known), negated(&unknown));
    Ok(Evaluation {
        overall_accuracy: ratio(correct.len(), known.len()),
        per_class_accuracy,
        per_class: class_names
            .iter()
            .zip(&classes)
            .map(|(name, counts)| {
                (
                    name.as_ref().to_owned(),
                    ratio(counts.correct, counts.images),
                )
            })
            .collect(),
        auroc,
        fpr_at_95_tpr: fpr_at_95_tpr(&known, &unknown),
        fpr_at_95_tpr_convention: FprConvention::KnownPositive,
        fpr_at_95_tpr_unknown_positive: fpr_at_95_tpr(&unknown_negated, &known_negated),
        aupr_known: average_precision(&known, &unknown),
        aupr_unknown: average_precision(&unknown_negated, &known_negated),
        harmonic_mean_accuracy_auroc: both(per_class_accuracy, auroc),
        h_score: both(known_accuracy_at_threshold, unknown_recall_at_threshold),
        oscr: oscr(&correct, known.len(), &unknown),
        threshold,
        known_accuracy_at_threshold,
        unknown_recall_at_threshold,
        expected_calibration_error: expected_calibration_error(&bins),
        calibration_bins: CALIBRATION_BINS,
        confusions: most_frequent(confused, class_names),
        intervals: None,
        n_known: known.len(),
        n_unknown: unknown.len(),
    })
}

/// The most frequent pairs (class, prediction); of equally frequent ones those that come first in the class list.
fn most_frequent(
    confused: BTreeMap<(usize, usize), usize>,
    class_names: &[impl AsRef<str>],
) -> Vec<Confusion> {
    let mut pairs: Vec<((usize, usize), usize)> = confused.into_iter().collect();
    // Stable, and the map is in the order of the classes.
    pairs.sort_by_key(|(_, images)| std::cmp::Reverse(*images));
    let name = |class: usize| class_names[class].as_ref().to_owned();
    pairs
        .into_iter()
        .take(LISTED_CONFUSIONS)
        .map(|((class, predicted), images)| Confusion {
            class: name(class),
            predicted: name(predicted),
            images,
        })
        .collect()
}

#[derive(Clone, Copy, Default)]
struct ClassCounts {
    images: usize,
    correct: usize,
    correct_and_accepted: usize,
}

fn check(
    predictions: &Predictions,
    labels: &[Option<usize>],
    classes: usize,
) -> Result<(), EvaluateError> {
    let lengths = [&predictions.confidences, &predictions.probabilities].map(Vec::len);
    if predictions.classes.len() != labels.len() || lengths != [labels.len(); 2] {
        return Err(EvaluateError::Lengths {
            predictions: predictions.classes.len(),
            confidences: lengths[0].min(lengths[1]),
            labels: labels.len(),
        });
    }
    if labels.is_empty() {
        return Err(EvaluateError::NoImages);
    }
    for (image, (predicted, label)) in predictions.classes.iter().zip(labels).enumerate() {
        if let Some(class) = [Some(*predicted), *label]
            .into_iter()
            .flatten()
            .find(|class| *class >= classes)
        {
            return Err(EvaluateError::ClassIndex {
                image,
                class,
                classes,
            });
        }
    }
    check_confidences(&predictions.confidences)
}

/// Rejects what cannot be compared.
pub(super) fn check_confidences(confidences: &[f64]) -> Result<(), EvaluateError> {
    match confidences.iter().position(|value| !value.is_finite()) {
        Some(image) => Err(EvaluateError::Confidence {
            image,
            value: confidences[image],
        }),
        None => Ok(()),
    }
}

/// Mean over the classes that occur of `hits / images`.
fn mean_recall(classes: &[ClassCounts], hits: impl Fn(&ClassCounts) -> usize) -> Option<f64> {
    let recalls: Vec<f64> = classes
        .iter()
        .filter_map(|counts| ratio(hits(counts), counts.images))
        .collect();
    (!recalls.is_empty()).then(|| recalls.iter().sum::<f64>() / recalls.len() as f64)
}

fn ratio(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn both(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    Some(harmonic_mean(a?, b?))
}
