//! What can be chosen about an adaptation.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::guard::Keep;
use crate::image::CacheContent;
use crate::method::{Method, Objective, TrainedPart, UniversalEntropySettings};
use crate::objective::{ConfidenceWeights, UnconfidentWeights};

/// All choices of an adaptation; the defaults are the released program's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What the images are used for.
    #[serde(default)]
    pub method: Method,
    /// Which parameters are trained; `None` for those that the method's publication trains.
    #[serde(default)]
    pub train: Option<TrainedPart>,
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
    /// How the weight of an image in the marginal falls with its confidence weight.
    #[serde(default)]
    pub unconfident_weights: UnconfidentWeights,
    /// Whether the weights are taken from the adapted model again before every epoch but the first.
    #[serde(default)]
    pub refresh_weights: bool,
    /// Random changes of the training images.
    pub augmentation: Augmentation,
    /// Larger images are reduced to this shorter side, in pixels, once, before their training views are made; `None` makes
    /// every view of the original.
    #[serde(default)]
    pub reduce_images: Option<usize>,
    /// Whether each epoch visits the images in a new random order.
    pub shuffle: bool,
    /// Seed of everything random.
    pub seed: u64,
    /// Which epoch's parameters are the result.
    #[serde(default)]
    pub keep: Keep,
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

impl Default for Settings {
    fn default() -> Self {
        Self {
            method: Method::default(),
            train: None,
            epochs: 50,
            batch_size: 64,
            micro_batch: None,
            context_learning_rate: 1e-4,
            affine_learning_rate: 1e-4,
            trade_off: 1.0,
            confidence_weights: ConfidenceWeights::default(),
            weight_temperature: 1.0,
            unconfident_weights: UnconfidentWeights::default(),
            refresh_weights: false,
            augmentation: Augmentation::default(),
            reduce_images: None,
            shuffle: true,
            seed: 2023,
            keep: Keep::default(),
        }
    }
}

impl Settings {
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
        positive("weight-temperature", self.weight_temperature)?;
        if let (Some(side), Augmentation::None) = (self.reduce_images, self.augmentation) {
            return Err(InvalidSetting {
                setting: "reduce-images",
                expected: "no choice with --augmentation none, whose views are kept as they are"
                    .into(),
                found: side.to_string(),
                hint: Some("leave the setting out: test views are small"),
            });
        }
        self.check_method()
    }

    /// What a cache of images should keep for this adaptation, with an input of `input_size` pixels.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] when images would be reduced to less than the input.
    pub fn cache_content(&self, input_size: usize) -> Result<CacheContent, InvalidSetting> {
        match (self.augmentation, self.reduce_images) {
            (Augmentation::None, _) => Ok(CacheContent::TestViews),
            (Augmentation::CropFlip, None) => Ok(CacheContent::Originals),
            (Augmentation::CropFlip, Some(shorter_side)) if shorter_side >= input_size => {
                Ok(CacheContent::Reduced { shorter_side })
            }
            (Augmentation::CropFlip, Some(side)) => Err(InvalidSetting {
                setting: "reduce-images",
                expected: format!("at least the model's input size, {input_size}").into(),
                found: side.to_string(),
                hint: Some("twice the input size changes the views little"),
            }),
        }
    }

    /// Refuses settings that the method does not have, which would otherwise be ignored in silence.
    fn check_method(&self) -> Result<(), InvalidSetting> {
        let (method, default) = (self.method, Self::default());
        let absent = |setting, found: &dyn std::fmt::Display| InvalidSetting {
            setting,
            expected: format!("no choice with --method {method}, which does not have this setting")
                .into(),
            found: found.to_string(),
            hint: Some("leave the setting out, or choose another --method"),
        };
        if !method.accepts_weights(self.confidence_weights) {
            return Err(absent("confidence-weights", &self.confidence_weights));
        }
        if !method.has_trade_off() && self.trade_off != default.trade_off {
            return Err(absent("trade-off", &self.trade_off));
        }
        if method != Method::Ueo && self.weight_temperature != default.weight_temperature {
            return Err(absent("weight-temperature", &self.weight_temperature));
        }
        if !method.weighs_images() && self.unconfident_weights != default.unconfident_weights {
            return Err(absent("unconfident-weights", &self.unconfident_weights));
        }
        if self.refresh_weights && method != Method::Ueo {
            return Err(absent("refresh-weights", &self.refresh_weights));
        }
        if self.refresh_weights && self.confidence_weights != ConfidenceWeights::ZeroShot {
            return Err(InvalidSetting {
                setting: "refresh-weights",
                expected: "--confidence-weights zero-shot, the only weights that can change".into(),
                found: self.confidence_weights.to_string(),
                hint: None,
            });
        }
        Ok(())
    }

    /// The same settings for another method; those that it does not have return to their defaults.
    #[must_use]
    pub fn with_method(&self, method: Method) -> Self {
        let default = Self::default();
        let keep = |kept: bool, value: f64, default: f64| if kept { value } else { default };
        Self {
            method,
            trade_off: keep(method.has_trade_off(), self.trade_off, default.trade_off),
            confidence_weights: if method.accepts_weights(self.confidence_weights) {
                self.confidence_weights
            } else {
                default.confidence_weights
            },
            weight_temperature: keep(
                method == Method::Ueo,
                self.weight_temperature,
                default.weight_temperature,
            ),
            unconfident_weights: if method.weighs_images() {
                self.unconfident_weights
            } else {
                default.unconfident_weights
            },
            refresh_weights: self.refresh_weights && method == Method::Ueo,
            ..self.clone()
        }
    }

    /// The objective, `None` for a method without training.
    pub fn objective(&self) -> Option<Box<dyn Objective>> {
        self.method.objective(&UniversalEntropySettings {
            trade_off: self.trade_off,
            confidence_weights: self.confidence_weights,
            weight_temperature: self.weight_temperature,
            unconfident_weights: self.unconfident_weights,
            refresh_weights: self.refresh_weights,
        })
    }

    /// Which parameters are trained.
    pub fn trained_part(&self) -> TrainedPart {
        self.train.unwrap_or(self.method.trained_part())
    }

    /// Whether true labels are used in training.
    pub fn needs_labels(&self) -> bool {
        self.method == Method::UeoOracle || self.confidence_weights == ConfidenceWeights::Oracle
    }

    /// Steps per epoch for a number of images.
    pub fn steps_per_epoch(&self, images: usize) -> usize {
        images.div_ceil(self.batch_size)
    }

    /// Steps of the whole adaptation for a number of images; none for a method without training.
    pub fn total_steps(&self, images: usize) -> usize {
        if self.method.trains() {
            self.epochs * self.steps_per_epoch(images)
        } else {
            0
        }
    }
}

/// A setting with a value that makes no sense, or that the method does not have.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: expected {expected}, found {found}")]
pub struct InvalidSetting {
    /// Name of the setting, as on the command line without the leading dashes.
    pub setting: &'static str,
    /// What would be accepted.
    pub expected: Cow<'static, str>,
    /// What was given.
    pub found: String,
    hint: Option<&'static str>,
}

impl InvalidSetting {
    fn new(setting: &'static str, expected: &'static str, found: impl ToString) -> Self {
        Self {
            setting,
            expected: expected.into(),
            found: found.to_string(),
            hint: None,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        self.hint
    }
}

/// Cosine annealing from `initial` to zero: the learning rate of step `step` (from 0) out of `total`.
pub fn cosine_annealing(initial: f64, step: usize, total: usize) -> f64 {
    let progress = step as f64 / total as f64;
    0.5 * initial * (1.0 + (std::f64::consts::PI * progress).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_one_method_can_be_taken_to_every_other() {
        let settings = Settings {
            trade_off: 0.5,
            weight_temperature: 0.02,
            unconfident_weights: UnconfidentWeights::Exponential,
            refresh_weights: true,
            ..Settings::default()
        };
        settings.validate().unwrap();
        for &method in Method::ALL {
            let moved = settings.with_method(method);
            moved.validate().unwrap();
            let unchanged = Settings {
                method,
                ..settings.clone()
            };
            assert_eq!(
                unchanged.validate().is_ok(),
                method == Method::Ueo,
                "{method}"
            );
        }
        assert_eq!(settings.with_method(Method::Ueo), settings);
    }

    #[test]
    fn weights_that_never_change_cannot_be_refreshed() {
        let settings = Settings {
            confidence_weights: ConfidenceWeights::Uniform,
            refresh_weights: true,
            ..Settings::default()
        };
        let error = settings.validate().unwrap_err().to_string();
        assert!(error.contains("refresh-weights"), "{error}");
    }
}
