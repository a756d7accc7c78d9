//! Image input: decoding, resizing and normalizing as Pillow and torchvision do it.

use serde::{Deserialize, Serialize};

/// How an image becomes the input of a vision tower.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Length of the shorter side after resizing, in pixels.
    pub resize: usize,
    /// Side of the square centre crop (the tower's input), in pixels.
    pub crop: usize,
    /// Mean per RGB channel, for values in 0..1.
    pub mean: [f32; 3],
    /// Standard deviation per RGB channel, for values in 0..1.
    pub std: [f32; 3],
    /// Resampling filter, antialiased.
    pub interpolation: Interpolation,
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

impl Preprocessing {
    /// CLIP's own preprocessing at an input size in pixels.
    pub fn clip(size: usize) -> Self {
        Self {
            resize: size,
            crop: size,
            // Constants of OpenAI's release (clip/clip.py).
            mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            std: [0.268_629_54, 0.261_302_58, 0.275_777_11],
            interpolation: Interpolation::Bicubic,
        }
    }
}
