//! Image input: decoding, resizing and normalizing as Pillow and torchvision do it, and the loader that does it in
//! threads beside the computation.
//!
//! ```text
//! bytes -> decode -> RgbImage -> view (test or training) -> normalize -> [3, crop, crop]
//! ```

mod cache;
mod decode;
mod error;
mod hostile;
mod loader;
mod memory;
mod orientation;
mod preprocessing;
mod resize;
mod source;
mod view;

pub use crate::image_format::ImageFormat;
pub use cache::{CacheContent, CacheOptions, CacheUse};
pub use decode::{DecodeOptions, PILLOW_MAX_PIXELS, decode};
pub use error::ImageError;
pub use hostile::decode_hostile;
pub use loader::{Batch, BatchLoader, LoaderOptions};
pub use memory::{DEFAULT_MAX_IMAGE_BYTES, DecodingMemory};
pub use orientation::Orientation;
pub use preprocessing::{
    CropRule, ExifOrientation, Interpolation, MAX_INPUT_SIDE, Preprocessing, PreprocessingError,
    ResizeRule,
};
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
