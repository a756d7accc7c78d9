//! Image input: decoding, resizing and normalizing as Pillow and torchvision do it, and the loader that does it in
//! threads beside the computation.
//!
//! ```text
//! bytes -> decode -> RgbImage -> view (test or training) -> normalize -> [3, crop, crop]
//! ```

mod cache;
mod decode;
mod error;
mod loader;
mod resize;
mod source;
mod tiff_palette;
mod view;

use serde::{Deserialize, Serialize};

pub use cache::{CacheContent, CacheOptions, CacheUse};
pub use decode::{DecodeOptions, ExifOrientation, PILLOW_MAX_PIXELS, decode};
pub use error::ImageError;
pub use loader::{Batch, BatchLoader, LoaderOptions};
pub use resize::{Region, resize_region, resize_then_crop};
pub use source::ImageSource;
pub use view::{ViewKind, random_region, view_rng};

/// A decoded image: 8-bit RGB, row by row, at least one pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RgbImage {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl RgbImage {
    /// An image from interleaved samples.
    ///
    /// # Shapes
    /// `pixels` is `[height, width, 3]`.
    ///
    /// # Errors
    /// [`ImageError::NoPixels`] for an empty image, [`ImageError::Resize`] when the number of samples is another.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Result<Self, ImageError> {
        if width == 0 || height == 0 {
            return Err(ImageError::NoPixels { width, height });
        }
        if width.checked_mul(height).and_then(|n| n.checked_mul(3)) != Some(pixels.len()) {
            return Err(ImageError::Resize {
                reason: format!("{} samples for {width} x {height} RGB pixels", pixels.len()),
            });
        }
        Ok(Self {
            width,
            height,
            pixels,
        })
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Samples, `[height, width, 3]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Replaces every pixel by a function of it.
    fn map_pixels(&mut self, color: impl Fn([u8; 3]) -> [u8; 3]) {
        for pixel in self.pixels.chunks_exact_mut(3) {
            let replaced = color([pixel[0], pixel[1], pixel[2]]);
            pixel.copy_from_slice(&replaced);
        }
    }

    /// The mirror image, left and right exchanged.
    pub fn flipped(mut self) -> Self {
        for row in self.pixels.chunks_exact_mut(self.width * 3) {
            row.reverse();
            // Reversing the samples also reversed the channels.
            row.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
        }
        self
    }
}

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
    /// Where the centre is when an odd number of pixels is left over.
    #[serde(default, skip_serializing_if = "CropRule::is_default")]
    pub crop_rule: CropRule,
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
            crop_rule: CropRule::Torchvision,
        }
    }
}
