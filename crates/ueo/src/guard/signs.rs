//! Signs of what an adaptation does to a model's predictions, from the predictions alone.

use serde::{Deserialize, Serialize};

use crate::evaluate::{
    EvaluateError, ScoreRule, Scores, ThresholdMethod, choose_threshold, predictions,
};

use super::Probabilities;
use super::probabilities::entropy;

/// What the predictions of a set of images look like, without labels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signs {
    /// Images that were looked at.
    pub images: usize,
    /// Effective number of predicted classes, between 1 and the number of classes: the exponential of the entropy of the
    /// histogram of predicted classes.
    pub effective_classes: f64,
    /// Entropy of the mean prediction, as a fraction of ln(classes).
    pub marginal_entropy: f64,
    /// Mean entropy of the predictions, as a fraction of ln(classes).
    pub conditional_entropy: f64,
    /// Mean of the largest probability, at the model's own logit scale.
    pub mean_confidence: f64,
    /// Share of the images whose predicted class is not the zero-shot model's.
    pub changed_fraction: f64,
    /// The confidence from which on an image would count as known, chosen without labels.
    pub threshold: f64,
    /// Share of the images below the threshold.
    pub rejected_fraction: f64,
}

/// How the predictions that are watched are scored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scoring {
    /// Factor on the cosines that gives the model's own probabilities.
    pub logit_scale: f64,
    /// The confidence that the threshold splits.
    pub rule: ScoreRule,
    /// How the threshold is chosen.
    pub threshold_method: ThresholdMethod,
}

impl Scoring {
    /// The defaults: the maximum softmax probability at temperature 1, a mixture of two Gaussians.
    pub fn new(logit_scale: f64) -> Self {
        Self {
            logit_scale,
            rule: ScoreRule::msp(1.0),
            threshold_method: ThresholdMethod::GaussianMixture,
        }
    }

    /// A run's choices, or the defaults where those need more than class scores: negative labels, a bias, left-out scores, labelled
    /// images.
    pub fn watching(logit_scale: f64, rule: ScoreRule, threshold_method: ThresholdMethod) -> Self {
        let default = Self::new(logit_scale);
        Self {
            rule: match rule.score.needs_negative_labels() || rule.score.needs_logit_bias() {
                true => default.rule,
                false => rule,
            },
            threshold_method: match threshold_method {
                ThresholdMethod::Auto | ThresholdMethod::TargetKnownAcceptance(_) => {
                    default.threshold_method
                }
                method => method,
            },
            ..default
        }
    }
}

/// The sums that [`Signs`] are made of, batch by batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    changed: f64,
    entropy: f64,
    confidence: f64,
    /// Images predicted as each class, `[classes]`.
    predicted: Vec<f64>,
    /// Sum of the probabilities of each class, `[classes]`.
    probability: Vec<f64>,
    /// Confidence of each image, `[images]`.
    confidences: Vec<f64>,
}

/// Numbers of a tally that do not depend on the number of classes and images.
const SCALARS: usize = 3;

impl Tally {
    /// Nothing seen yet.
    pub fn new(classes: usize) -> Self {
        Self {
            changed: 0.0,
            entropy: 0.0,
            confidence: 0.0,
            predicted: vec![0.0; classes],
            probability: vec![0.0; classes],
            confidences: Vec::new(),
        }
    }

    /// Adds a batch, whose images the zero-shot model predicts as `zero_shot_classes`.
    ///
    /// # Shapes
    ///
    /// - `cosine_logits`: `[batch, classes]`, row-major, unscaled
    /// - `zero_shot_classes`: `[batch]`
    ///
    /// # Errors
    ///
    /// As [`predictions`].
    ///
    /// # Panics
    ///
    /// When there is not one zero-shot class per image.
    pub fn add(
        &mut self,
        cosine_logits: &[f32],
        zero_shot_classes: &[usize],
        scoring: &Scoring,
    ) -> Result<(), EvaluateError> {
        let classes = self.predicted.len();
        let scores = Scores {
            cosine_logits,
            classes,
            logit_scale: scoring.logit_scale,
            logit_bias: None,
            negative_cosines: &[],
        };
        let predicted = predictions(scores, scoring.rule)?;
        assert_eq!(
            predicted.classes.len(),
            zero_shot_classes.len(),
            "one zero-shot class per image"
        );
        let probabilities = Probabilities::of_cosines(cosine_logits, classes, scoring.logit_scale);
        let images = probabilities.rows().zip(&predicted.classes);
        for ((row, &class), &zero_shot) in images.zip(zero_shot_classes) {
            self.changed += if class == zero_shot { 0.0 } else { 1.0 };
            self.confidence += f64::from(row[class]);
            self.entropy += entropy(row.iter().map(|&p| f64::from(p)), 1.0);
            self.predicted[class] += 1.0;
            for (sum, &p) in self.probability.iter_mut().zip(row) {
                *sum += f64::from(p);
            }
        }
        self.confidences.extend(predicted.confidences);
        Ok(())
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.predicted.len()
    }

    /// Images added so far.
    pub fn images(&self) -> usize {
        self.confidences.len()
    }

    /// The signs of the images added so far.
    ///
    /// # Errors
    ///
    /// [`EvaluateError::NoImages`] if there are none.
    pub fn signs(&self, scoring: &Scoring) -> Result<Signs, EvaluateError> {
        let threshold = choose_threshold(
            &self.confidences,
            scoring.threshold_method,
            scoring.rule.score.axis(),
        )?;
        let images = self.images() as f64;
        let maximum = (self.predicted.len() as f64).ln();
        // A single class leaves nothing to be uncertain about.
        let fraction = |nats: f64| if maximum > 0.0 { nats / maximum } else { 0.0 };
        let total: f64 = self.probability.iter().sum();
        let marginal_entropy = entropy(self.probability.iter().copied(), total);
        Ok(Signs {
            images: self.images(),
            effective_classes: entropy(self.predicted.iter().copied(), images).exp(),
            marginal_entropy: fraction(marginal_entropy),
            conditional_entropy: fraction(self.entropy / images),
            mean_confidence: self.confidence / images,
            changed_fraction: self.changed / images,
            threshold: threshold.value,
            rejected_fraction: threshold.rejected_fraction,
        })
    }

    /// The tally as numbers, `[3 + 2 * classes + images]`, from which [`Self::from_numbers`] makes the same bits.
    pub fn to_numbers(&self) -> Vec<f64> {
        let mut numbers = vec![self.changed, self.entropy, self.confidence];
        numbers.extend(&self.predicted);
        numbers.extend(&self.probability);
        numbers.extend(&self.confidences);
        numbers
    }

    /// The inverse of [`Self::to_numbers`], `None` when there are too few numbers.
    pub fn from_numbers(numbers: &[f64], classes: usize) -> Option<Self> {
        let (scalars, sums) = numbers.split_at_checked(SCALARS)?;
        let (predicted, sums) = sums.split_at_checked(classes)?;
        let (probability, confidences) = sums.split_at_checked(classes)?;
        Some(Self {
            changed: scalars[0],
            entropy: scalars[1],
            confidence: scalars[2],
            predicted: predicted.to_vec(),
            probability: probability.to_vec(),
            confidences: confidences.to_vec(),
        })
    }
}

/// The signs of a whole set of images.
///
/// # Errors
///
/// As [`Tally::add`] and [`Tally::signs`].
pub fn signs_of(
    cosine_logits: &[f32],
    classes: usize,
    zero_shot_classes: &[usize],
    scoring: &Scoring,
) -> Result<Signs, EvaluateError> {
    let mut tally = Tally::new(classes);
    tally.add(cosine_logits, zero_shot_classes, scoring)?;
    tally.signs(scoring)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Score;

    const SCORING: Scoring = Scoring {
        logit_scale: 1.0,
        rule: ScoreRule {
            score: Score::Msp,
            temperature: 1.0,
        },
        threshold_method: ThresholdMethod::TargetRejectionRate(0.25),
    };

    /// Two classes, four images: certain, certain, even, three to one.
    fn example() -> Vec<f32> {
        vec![50.0, 0.0, 0.0, 50.0, 0.0, 0.0, 3.0_f32.ln(), 0.0]
    }

    #[test]
    fn signs_follow_their_definitions() {
        let signs = signs_of(&example(), 2, &[0, 0, 0, 0], &SCORING).unwrap();
        let h = |p: f64| -(p * p.ln() + (1.0 - p) * (1.0 - p).ln());
        let near = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 1e-6, "{found}, {expected}");
        };
        assert_eq!(signs.images, 4);
        near(signs.effective_classes, h(0.25).exp());
        near(signs.marginal_entropy, h(2.25 / 4.0) / 2.0_f64.ln());
        near(
            signs.conditional_entropy,
            (2.0_f64.ln() + h(0.75)) / 4.0 / 2.0_f64.ln(),
        );
        near(signs.mean_confidence, (1.0 + 1.0 + 0.5 + 0.75) / 4.0);
        near(signs.changed_fraction, 0.25);
        near(signs.threshold, 0.75);
        near(signs.rejected_fraction, 0.25);
    }

    #[test]
    fn everything_in_one_class_is_one_effective_class() {
        let certain = Scoring {
            logit_scale: 100.0,
            ..SCORING
        };
        let signs = signs_of(&[9.0, 0.0, 0.0, 9.0, 0.0, 0.0], 3, &[0, 1], &certain).unwrap();
        assert_eq!(signs.effective_classes, 1.0);
        assert_eq!(signs.marginal_entropy, 0.0);
        assert!(signs_of(&[], 3, &[], &certain).is_err(), "no images");
    }

    #[test]
    fn a_tally_goes_on_from_its_numbers_to_the_same_bits() {
        let (mut whole, mut first) = (Tally::new(2), Tally::new(2));
        whole.add(&example(), &[0, 1, 0, 1], &SCORING).unwrap();
        first.add(&example(), &[0, 1, 0, 1], &SCORING).unwrap();
        let mut resumed = Tally::from_numbers(&first.to_numbers(), 2).unwrap();
        whole.add(&example(), &[1, 1, 1, 1], &SCORING).unwrap();
        resumed.add(&example(), &[1, 1, 1, 1], &SCORING).unwrap();
        assert_eq!(resumed, whole);
        assert_eq!(resumed.images(), 8);
        assert_eq!(Tally::from_numbers(&[0.0; 6], 2), None);
    }
}
