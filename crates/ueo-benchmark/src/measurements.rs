//! The measurements of a cell, from what it says about each image.

use serde::{Deserialize, Serialize};

use super::cell::CellImages;
use super::matched::matched_auroc;
use ueo::evaluate::{
    EvaluateError, Predictions, Score, ThresholdMethod, auroc, choose_threshold, evaluate,
};

/// Measurements of one cell, fractions between 0 and 1; `None` where one is undefined, as AUROC without unknown images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measurements {
    /// Mean recall over the known classes that occur, without rejection.
    pub per_class_accuracy: Option<f64>,
    /// Correct known images over all known images, without rejection.
    pub overall_accuracy: Option<f64>,
    /// Area under the ROC curve of the confidence at temperature 1; known images are the positives.
    pub auroc: Option<f64>,
    /// The same of the confidence at the model's own temperature, 1 / logit scale.
    pub auroc_scaled: Option<f64>,
    /// The same of the largest cosine.
    #[serde(default)]
    pub auroc_maximum_logit: Option<f64>,
    /// AUROC at temperature 1 over pairs that are alike in having been adapted to or not, scored by the same model; `None`
    /// also where there is no such pair.
    #[serde(default)]
    pub auroc_matched: Option<f64>,
    /// Harmonic mean of `per_class_accuracy` and `auroc`; not the H-score.
    pub harmonic_mean: Option<f64>,
    /// Harmonic mean of known accuracy and unknown recall at `threshold`.
    pub h_score: Option<f64>,
    /// Share of unknown images that pass where 95 % of the known ones do (known positive, temperature 1).
    pub fpr_at_95_tpr: Option<f64>,
    /// Expected calibration error of the probability of the predicted class, known images, 15 bins of equal width.
    #[serde(default)]
    pub expected_calibration_error: Option<f64>,
    /// Confidence at temperature 1 from which on an image counts as known: chosen from the test images' confidences
    /// without their labels.
    pub threshold: Option<f64>,
    /// Test images of known classes.
    pub n_known: usize,
    /// Test images of other classes.
    pub n_unknown: usize,
}

impl Measurements {
    /// Measures what a cell says about its images; `known` are the listed classes.
    ///
    /// # Errors
    ///
    /// As [`evaluate`].
    pub fn of(images: &CellImages, known: &[usize]) -> Result<Self, EvaluateError> {
        let position = |class: &usize| known.iter().position(|other| other == class);
        let predictions = Predictions {
            // A prediction is a known class by construction; the length of the list would be refused below.
            classes: images
                .predictions
                .iter()
                .map(|class| position(class).unwrap_or(known.len()))
                .collect(),
            confidences: images.confidences.clone(),
            probabilities: images.scaled_confidences.clone(),
        };
        let labels: Vec<Option<usize>> = images.labels.iter().map(position).collect();
        let names: Vec<String> = known.iter().map(ToString::to_string).collect();
        let threshold = choose_threshold(&images.confidences, THRESHOLD, Score::Msp.axis())?.value;
        let evaluation = evaluate(&predictions, &labels, &names, Some(threshold))?;
        let separation = |confidences: &[f64]| {
            let (known, unknown): (Vec<_>, Vec<_>) = labels
                .iter()
                .zip(confidences)
                .partition(|(label, _)| label.is_some());
            let values = |group: Vec<(_, &f64)>| -> Vec<f64> {
                group.into_iter().map(|(_, value)| *value).collect()
            };
            auroc(&values(known), &values(unknown))
        };
        Ok(Self {
            per_class_accuracy: evaluation.per_class_accuracy,
            overall_accuracy: evaluation.overall_accuracy,
            auroc: evaluation.auroc,
            auroc_scaled: separation(&images.scaled_confidences),
            auroc_maximum_logit: separation(&images.maximum_cosines),
            auroc_matched: matched_auroc(images, known, &images.confidences),
            harmonic_mean: evaluation.harmonic_mean_accuracy_auroc,
            h_score: evaluation.h_score,
            fpr_at_95_tpr: evaluation.fpr_at_95_tpr,
            expected_calibration_error: evaluation.expected_calibration_error,
            threshold: Some(threshold),
            n_known: evaluation.n_known,
            n_unknown: evaluation.n_unknown,
        })
    }
}

/// How the threshold of the H-score is chosen: always the same, so that results of all versions can be compared.
const THRESHOLD: ThresholdMethod = ThresholdMethod::GaussianMixture;

/// A measurement of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// [`Measurements::per_class_accuracy`].
    Accuracy,
    /// [`Measurements::overall_accuracy`].
    OverallAccuracy,
    /// [`Measurements::auroc`].
    Auroc,
    /// [`Measurements::auroc_matched`].
    AurocMatched,
    /// [`Measurements::auroc_scaled`].
    AurocScaled,
    /// [`Measurements::auroc_maximum_logit`].
    AurocMaximumLogit,
    /// [`Measurements::harmonic_mean`].
    HarmonicMean,
    /// [`Measurements::h_score`].
    HScore,
    /// [`Measurements::fpr_at_95_tpr`].
    FprAt95Tpr,
    /// [`Measurements::expected_calibration_error`].
    CalibrationError,
}

impl Metric {
    /// All metrics, in the order of the tables.
    pub const ALL: [Self; 10] = [
        Self::Accuracy,
        Self::OverallAccuracy,
        Self::Auroc,
        Self::AurocMatched,
        Self::AurocScaled,
        Self::AurocMaximumLogit,
        Self::HarmonicMean,
        Self::HScore,
        Self::FprAt95Tpr,
        Self::CalibrationError,
    ];

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "per_class_accuracy",
            Self::OverallAccuracy => "overall_accuracy",
            Self::Auroc => "auroc",
            Self::AurocMatched => "auroc_matched",
            Self::AurocScaled => "auroc_scaled",
            Self::AurocMaximumLogit => "auroc_maximum_logit",
            Self::CalibrationError => "expected_calibration_error",
            Self::HarmonicMean => "harmonic_mean_accuracy_auroc",
            Self::HScore => "h_score",
            Self::FprAt95Tpr => "fpr_at_95_tpr",
        }
    }

    /// The name over a column.
    pub fn title(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::OverallAccuracy => "overall accuracy",
            Self::Auroc => "AUROC",
            Self::AurocMatched => "AUROC, matched",
            Self::AurocScaled => "AUROC, scaled",
            Self::AurocMaximumLogit => "AUROC, maximum logit",
            Self::CalibrationError => "ECE",
            Self::HarmonicMean => "harmonic mean",
            Self::HScore => "H-score",
            Self::FprAt95Tpr => "FPR@95",
        }
    }

    /// Whether less is better.
    pub fn lower_is_better(self) -> bool {
        matches!(self, Self::FprAt95Tpr | Self::CalibrationError)
    }

    /// The value of this metric.
    pub fn of(self, measurements: &Measurements) -> Option<f64> {
        match self {
            Self::Accuracy => measurements.per_class_accuracy,
            Self::OverallAccuracy => measurements.overall_accuracy,
            Self::Auroc => measurements.auroc,
            Self::AurocMatched => measurements.auroc_matched,
            Self::AurocScaled => measurements.auroc_scaled,
            Self::AurocMaximumLogit => measurements.auroc_maximum_logit,
            Self::CalibrationError => measurements.expected_calibration_error,
            Self::HarmonicMean => measurements.harmonic_mean,
            Self::HScore => measurements.h_score,
            Self::FprAt95Tpr => measurements.fpr_at_95_tpr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four images of the known classes 2 and 4, two of the unknown class 0.
    fn images() -> CellImages {
        CellImages {
            labels: vec![2, 2, 2, 4, 0, 0],
            predictions: vec![2, 2, 4, 4, 4, 2],
            confidences: vec![0.9, 0.8, 0.3, 0.7, 0.5, 0.2],
            scaled_confidences: vec![0.9, 0.1, 0.9, 0.9, 0.5, 0.2],
            maximum_cosines: vec![0.2, 0.3, 0.3, 0.3, -0.1, 0.2],
            adapted_to: vec![true, true, true, true, true, false],
            trained_on: 5,
            ..CellImages::default()
        }
    }

    #[test]
    fn equal_to_numbers_by_hand() {
        let measured = Measurements::of(&images(), &[2, 4]).unwrap();
        // Recall 2/3 and 1.
        assert_eq!(measured.per_class_accuracy, Some((2.0 / 3.0 + 1.0) / 2.0));
        assert_eq!(measured.overall_accuracy, Some(0.75));
        // Of 8 pairs, only 0.3 against 0.5 is lost.
        assert_eq!(measured.auroc, Some(7.0 / 8.0));
        // The last image has no known one beside it, so four pairs are left, of which 0.3 against 0.5 is lost.
        assert_eq!(measured.auroc_matched, Some(3.0 / 4.0));
        // 0.1 loses against both.
        assert_eq!(measured.auroc_scaled, Some(6.0 / 8.0));
        // 0.2 and 0.2 are a tie.
        assert_eq!(measured.auroc_maximum_logit, Some(7.5 / 8.0));
        // Right at 0.9, 0.1 and 0.9, wrong at 0.9: the gap is 0.9 - 2/3 for three images and 0.9 for one.
        let error = (3.0 * (0.9 - 2.0 / 3.0) + 0.9) / 4.0;
        assert!((measured.expected_calibration_error.unwrap() - error).abs() < 1e-12);
        let (accuracy, auroc) = (5.0 / 6.0, 7.0 / 8.0);
        let harmonic = 2.0 * accuracy * auroc / (accuracy + auroc);
        assert!((measured.harmonic_mean.unwrap() - harmonic).abs() < 1e-12);
        // 95 % of four known images are all four: the threshold is 0.3, which one unknown image of two passes.
        assert_eq!(measured.fpr_at_95_tpr, Some(0.5));
        assert_eq!((measured.n_known, measured.n_unknown), (4, 2));
    }

    #[test]
    fn without_unknown_images_there_is_no_separation() {
        let measured = Measurements::of(&images(), &[0, 2, 4]).unwrap();
        assert_eq!(
            (measured.auroc, measured.auroc_scaled, measured.h_score),
            (None, None, None)
        );
        assert!(measured.per_class_accuracy.is_some());
    }
}
