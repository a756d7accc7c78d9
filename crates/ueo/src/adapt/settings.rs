//! What can be chosen about an adaptation.

use serde::{Deserialize, Serialize};

use crate::objective::ConfidenceWeights;

/// All choices of an adaptation; the defaults are the released program's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptSettings {
    /// Passes over the images.
    pub epochs: usize,
    /// Images per step; the last, shorter batch of an epoch is kept.
    pub batch_size: usize,
    /// Images that are held in memory for the backward pass at once; the gradient stays that of the whole batch.
    pub micro_batch: Option<usize>,
    /// Initial learning rate of the context vectors.
    pub context_learning_rate: f64,
    /// Initial learning rate of the visual normalization layers' affine parameters.
    pub affine_learning_rate: f64,
    /// Weight of the marginal entropy in the loss.
    pub trade_off: f64,
    /// Source of the confidence weights.
    pub confidence_weights: ConfidenceWeights,
    /// Divides the cosines before the softmax that gives the zero-shot confidence weights.
    pub weight_temperature: f64,
    /// Random changes of the training images.
    pub augmentation: Augmentation,
    /// Whether each epoch visits the images in a new random order.
    pub shuffle: bool,
    /// Seed of everything random.
    pub seed: u64,
}

/// Random changes of the training images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Augmentation {
    /// Random resized crop (area 0.5 to 1, aspect 3/4 to 4/3) and horizontal flip.
    #[default]
    CropFlip,
    /// The test view: resized shorter side, centre crop.
    None,
}

impl Default for AdaptSettings {
    fn default() -> Self {
        Self {
            epochs: 50,
            batch_size: 64,
            micro_batch: None,
            context_learning_rate: 1e-4,
            affine_learning_rate: 1e-4,
            trade_off: 1.0,
            confidence_weights: ConfidenceWeights::default(),
            weight_temperature: 1.0,
            augmentation: Augmentation::default(),
            shuffle: true,
            seed: 2023,
        }
    }
}

impl AdaptSettings {
    /// Checks every value.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the first value that makes no sense and what would.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let positive = |setting, value: f64| {
            if value.is_finite() && value > 0.0 {
                Ok(())
            } else {
                Err(InvalidSetting::new(setting, "a positive number", value))
            }
        };
        let non_negative = |setting, value: f64| {
            if value.is_finite() && value >= 0.0 {
                Ok(())
            } else {
                Err(InvalidSetting::new(
                    setting,
                    "a number that is not negative",
                    value,
                ))
            }
        };
        let at_least_one = |setting, value: usize| {
            if value >= 1 {
                Ok(())
            } else {
                Err(InvalidSetting::new(setting, "at least 1", value))
            }
        };
        at_least_one("epochs", self.epochs)?;
        at_least_one("batch-size", self.batch_size)?;
        at_least_one("micro-batch", self.micro_batch.unwrap_or(1))?;
        non_negative("context-learning-rate", self.context_learning_rate)?;
        non_negative("affine-learning-rate", self.affine_learning_rate)?;
        non_negative("trade-off", self.trade_off)?;
        positive("weight-temperature", self.weight_temperature)
    }

    /// Steps per epoch for a number of images.
    pub fn steps_per_epoch(&self, images: usize) -> usize {
        images.div_ceil(self.batch_size)
    }

    /// Steps of the whole adaptation for a number of images.
    pub fn total_steps(&self, images: usize) -> usize {
        self.epochs * self.steps_per_epoch(images)
    }
}

/// A setting with a value that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: expected {expected}, found {found}")]
pub struct InvalidSetting {
    /// Name of the setting, as on the command line without the leading dashes.
    pub setting: &'static str,
    /// What would be accepted.
    pub expected: &'static str,
    /// What was given.
    pub found: String,
}

impl InvalidSetting {
    fn new(setting: &'static str, expected: &'static str, found: impl ToString) -> Self {
        Self {
            setting,
            expected,
            found: found.to_string(),
        }
    }
}

/// Cosine annealing from `initial` to zero: the learning rate of step `step` (from 0) out of `total`.
pub fn cosine_annealing(initial: f64, step: usize, total: usize) -> f64 {
    let progress = step as f64 / total as f64;
    0.5 * initial * (1.0 + (std::f64::consts::PI * progress).cos())
}
