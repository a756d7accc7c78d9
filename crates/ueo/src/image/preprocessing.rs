//! How an image becomes the input of a vision tower, and which values make sense.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Largest side of an input, in pixels; an order of magnitude above that of any published model.
pub const MAX_INPUT_SIDE: usize = 8192;

/// How an image becomes the input of a vision tower.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Length of the shorter side after resizing, in pixels; of both sides where images are squeezed.
    pub resize: usize,
    /// Side of the square centre crop (the tower's input), in pixels.
    pub crop: usize,
    /// Mean per RGB channel, for values in 0..1.
    pub mean: [f32; 3],
    /// Standard deviation per RGB channel, for values in 0..1.
    pub std: [f32; 3],
    /// Resampling filter, antialiased.
    pub interpolation: Interpolation,
    /// What happens to images that are not square.
    #[serde(default, skip_serializing_if = "ResizeRule::is_default")]
    pub resize_rule: ResizeRule,
    /// Where the centre is when an odd number of pixels is left over.
    #[serde(default, skip_serializing_if = "CropRule::is_default")]
    pub crop_rule: CropRule,
    /// Whether the camera's orientation counts. No checkpoint says: it is a choice about the images.
    #[serde(default, skip_serializing_if = "ExifOrientation::is_default")]
    pub exif_orientation: ExifOrientation,
}

/// What to do with the orientation that a camera wrote into the EXIF data of a JPEG, PNG or WebP file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum ExifOrientation {
    /// Take the pixels as they are stored, as torchvision does.
    #[default]
    Ignore,
    /// Turn images upright, as photographs of phones need.
    Apply,
}

impl ExifOrientation {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What happens to images that are not square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResizeRule {
    /// The aspect stays, and the centre crop cuts off what is left of the longer side.
    #[default]
    Shortest,
    /// Both sides get the same length: everything is seen, squeezed (open_clip's `squash`).
    Squash,
}

impl ResizeRule {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Which pixels a centre crop takes when the crop leaves an odd number of them: the packages differ by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CropRule {
    /// torchvision rounds half of what is left to the nearest integer, halves to even.
    #[default]
    Torchvision,
    /// transformers cuts half of what is left off to an integer.
    Transformers,
}

impl CropRule {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Antialiased resampling filters of Pillow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    /// Cubic convolution with a = -0.5.
    Bicubic,
    /// Triangle filter.
    Bilinear,
}

/// Why a [`Preprocessing`] cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PreprocessingError {
    /// A side is zero or far beyond any model.
    #[error("expected a {name} of 1 to {MAX_INPUT_SIDE} pixels, found {found}")]
    Side {
        /// `resize` or `crop`.
        name: &'static str,
        /// The value.
        found: usize,
    },
    /// Normalization would make values that are not finite.
    #[error(
        "expected a finite mean and a finite standard deviation above 0 for {channel}, found mean {mean} and standard deviation {std}"
    )]
    Normalization {
        /// Name of the channel.
        channel: &'static str,
        /// The mean, as it is written.
        mean: String,
        /// The standard deviation, as it is written.
        std: String,
    },
}

impl PreprocessingError {
    /// What the user can do about it.
    pub fn hint(&self) -> &'static str {
        "the preprocessing comes with the checkpoint; compare its configuration with the published one"
    }
}

impl Preprocessing {
    /// CLIP's own preprocessing at an input size in pixels.
    #[expect(
        clippy::excessive_precision,
        reason = "the digits are those of the publication"
    )]
    pub fn clip(size: usize) -> Self {
        Self {
            resize: size,
            crop: size,
            // Constants of OpenAI's release (clip/clip.py).
            mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            std: [0.268_629_54, 0.261_302_58, 0.275_777_11],
            interpolation: Interpolation::Bicubic,
            resize_rule: ResizeRule::Shortest,
            crop_rule: CropRule::Torchvision,
            exif_orientation: ExifOrientation::Ignore,
        }
    }

    /// SigLIP's own preprocessing at an input size in pixels.
    pub fn siglip(size: usize) -> Self {
        Self {
            mean: [0.5; 3],
            std: [0.5; 3],
            resize_rule: ResizeRule::Squash,
            ..Self::clip(size)
        }
    }

    /// Whether every image gives an input of finite values. Checked again before every view is made, so that values
    /// from anywhere cannot pass.
    ///
    /// # Errors
    /// [`PreprocessingError`] names the value.
    pub fn check(&self) -> Result<(), PreprocessingError> {
        for (name, found) in [("resize", self.resize), ("crop", self.crop)] {
            if !(1..=MAX_INPUT_SIDE).contains(&found) {
                return Err(PreprocessingError::Side { name, found });
            }
        }
        for (number, channel) in ["red", "green", "blue"].into_iter().enumerate() {
            let (mean, std) = (self.mean[number], self.std[number]);
            let is_finite = [0.0, 1.0]
                .iter()
                .all(|value| ((value - mean) / std).is_finite());
            // A subnormal deviation passes as a number and fails as a divisor.
            if !(mean.is_finite() && std.is_finite() && std > 0.0 && is_finite) {
                return Err(PreprocessingError::Normalization {
                    channel,
                    mean: mean.to_string(),
                    std: std.to_string(),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_values_that_give_finite_inputs_pass() {
        let clip = Preprocessing::clip(224);
        assert_eq!(clip.check(), Ok(()));
        for std in [
            0.0,
            -0.0,
            -1.0,
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            1e-45,
        ] {
            let mut changed = clip.clone();
            changed.std[1] = std;
            assert!(changed.check().is_err(), "std {std}");
        }
        for mean in [f32::NAN, f32::INFINITY, f32::MAX] {
            let mut changed = clip.clone();
            changed.mean[2] = mean;
            assert!(changed.check().is_err(), "mean {mean}");
        }
        for side in [0, MAX_INPUT_SIDE + 1, usize::MAX] {
            assert!(
                Preprocessing {
                    crop: side,
                    ..clip.clone()
                }
                .check()
                .is_err()
            );
            assert!(
                Preprocessing {
                    resize: side,
                    ..clip.clone()
                }
                .check()
                .is_err()
            );
        }
        let error = Preprocessing {
            mean: [0.5; 3],
            std: [0.0; 3],
            ..clip
        }
        .check()
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "expected a finite mean and a finite standard deviation above 0 for red, found mean 0.5 and standard deviation 0"
        );
    }
}
