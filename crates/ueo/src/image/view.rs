//! Decoded image to the input of a vision tower: test view, training view, normalization.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::resize::{Region, resize_region, resize_then_crop};
use super::{CropRule, ImageError, Preprocessing, ResizeRule, RgbImage};

/// Which view of an image is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewKind {
    /// Shorter side to the input size, centre crop.
    Test,
    /// Random resized crop and horizontal flip; random numbers depend on seed, epoch and the image's index only.
    Training {
        /// Seed of the run.
        seed: u64,
        /// Epoch, counted from 0.
        epoch: u64,
    },
}

/// Share of the image's area that a random crop covers, least and most.
const CROP_AREA: (f64, f64) = (0.5, 1.0);
/// Width over height of a random crop, least and most.
const CROP_ASPECT: (f64, f64) = (3.0 / 4.0, 4.0 / 3.0);
/// Draws before the central fallback (torchvision's number).
const CROP_DRAWS: usize = 10;

impl Preprocessing {
    /// The wanted view of the image with this index in its data set, as 8-bit RGB of `crop` x `crop`.
    ///
    /// # Errors
    /// [`ImageError::Preprocessing`] for values that make no input, [`ImageError::Resize`], which no decoded image should
    /// cause.
    pub fn view(
        &self,
        image: &RgbImage,
        kind: ViewKind,
        index: usize,
    ) -> Result<RgbImage, ImageError> {
        match kind {
            ViewKind::Test => self.test_view(image),
            ViewKind::Training { seed, epoch } => {
                self.training_view(image, &mut view_rng(seed, epoch, index))
            }
        }
    }

    /// torchvision's `Resize(resize)` on a PIL image, or `Resize((resize, resize))` where images are squeezed, and the
    /// package's centre crop; what the crop has beyond the image is black.
    ///
    /// # Errors
    /// [`ImageError::Preprocessing`] for values that make no input, [`ImageError::Resize`], which no decoded image should
    /// cause.
    pub fn test_view(&self, image: &RgbImage) -> Result<RgbImage, ImageError> {
        self.check()?;
        let (width, height) = match self.resize_rule {
            ResizeRule::Shortest => shorter_side_to(self.resize, image.width(), image.height()),
            ResizeRule::Squash => (self.resize, self.resize),
        };
        let (columns, rows) = (
            CenterCrop::new(width, self.crop, self.crop_rule),
            CenterCrop::new(height, self.crop, self.crop_rule),
        );
        let visible = Region {
            left: columns.from,
            top: rows.from,
            width: columns.length,
            height: rows.length,
        };
        let seen = resize_then_crop(image, (width, height), visible, self.interpolation)?;
        if seen.width() == self.crop && seen.height() == self.crop {
            return Ok(seen);
        }
        let mut padded = vec![0; self.crop * self.crop * 3];
        let row_bytes = seen.width() * 3;
        for (row, pixels) in seen.pixels().chunks_exact(row_bytes).enumerate() {
            let start = ((rows.to + row) * self.crop + columns.to) * 3;
            padded[start..start + row_bytes].copy_from_slice(pixels);
        }
        RgbImage::new(self.crop, self.crop, padded)
    }

    /// The whole image with its shorter side at `shorter_side` pixels.
    ///
    /// # Errors
    /// [`ImageError::Preprocessing`] for values that make no input, [`ImageError::Resize`], which no decoded image should
    /// cause.
    pub fn reduced(&self, image: &RgbImage, shorter_side: usize) -> Result<RgbImage, ImageError> {
        self.check()?;
        let whole = Region {
            left: 0,
            top: 0,
            width: image.width(),
            height: image.height(),
        };
        let (width, height) = shorter_side_to(shorter_side, image.width(), image.height());
        resize_region(image, whole, width, height, self.interpolation)
    }

    /// torchvision's `RandomResizedCrop(crop, scale=(0.5, 1))` and `RandomHorizontalFlip()` on a PIL image.
    ///
    /// # Errors
    /// [`ImageError::Preprocessing`] for values that make no input, [`ImageError::Resize`], which no decoded image should
    /// cause.
    pub fn training_view(
        &self,
        image: &RgbImage,
        rng: &mut impl Rng,
    ) -> Result<RgbImage, ImageError> {
        self.check()?;
        let region = random_region(image.width(), image.height(), rng);
        let view = resize_region(image, region, self.crop, self.crop, self.interpolation)?;
        Ok(if uniform(rng) < 0.5 {
            view.flipped()
        } else {
            view
        })
    }

    /// `(value / 255 - mean) / std` in the order of torchvision's operations in f32, planar.
    ///
    /// # Shapes
    /// `view` is `[height, width, 3]`, `out` becomes `[3, height, width]` and must have that many elements.
    pub fn normalize_into(&self, view: &RgbImage, out: &mut [f32]) {
        let plane_length = view.width() * view.height();
        for (channel, plane) in out.chunks_exact_mut(plane_length).enumerate().take(3) {
            let table: [f32; 256] = std::array::from_fn(|value| {
                (value as f32 / 255.0 - self.mean[channel]) / self.std[channel]
            });
            for (to, pixel) in plane.iter_mut().zip(view.pixels().chunks_exact(3)) {
                *to = table[usize::from(pixel[channel])];
            }
        }
    }

    /// [`Self::normalize_into`] a new vector `[3, height, width]`.
    pub fn normalize(&self, view: &RgbImage) -> Vec<f32> {
        let mut out = vec![0.0; view.pixels().len()];
        self.normalize_into(view, &mut out);
        out
    }
}

/// Random numbers of one view. The stream is a function of its arguments, so neither the number of threads nor the
/// order of the images changes a view.
pub fn view_rng(seed: u64, epoch: u64, index: usize) -> ChaCha8Rng {
    let mut key = [0; 32];
    // The last word keeps these streams apart from others that are derived from the run's seed.
    let words = [seed, epoch, index as u64, u64::from_le_bytes(*b"ueo-view")];
    for (to, word) in key.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// Size after torchvision's `Resize(size)`: the longer side is truncated, not rounded.
fn shorter_side_to(size: usize, width: usize, height: usize) -> (usize, usize) {
    let (short, long) = (width.min(height), width.max(height));
    let new_long = (size as f64 * long as f64 / short as f64) as usize;
    if width <= height {
        (size, new_long)
    } else {
        (new_long, size)
    }
}

/// One axis of torchvision's `center_crop`, or of that of transformers' `CLIPImageProcessor`.
struct CenterCrop {
    /// First pixel taken from the image.
    from: usize,
    /// Where it goes in the crop (above 0 when the image is smaller than the crop).
    to: usize,
    /// How many are taken.
    length: usize,
}

impl CenterCrop {
    fn new(image: usize, crop: usize, rule: CropRule) -> Self {
        if image < crop {
            return Self {
                from: 0,
                to: (crop - image) / 2,
                length: image,
            };
        }
        let from = match rule {
            // Python's round(): halves to even.
            CropRule::Torchvision => ((image - crop) as f64 / 2.0).round_ties_even() as usize,
            CropRule::Transformers => (image - crop) / 2,
        };
        Self {
            from,
            to: 0,
            length: crop,
        }
    }
}

/// The region of torchvision's `RandomResizedCrop.get_params(scale=(0.5, 1), ratio=(3/4, 4/3))`.
pub fn random_region(width: usize, height: usize, rng: &mut impl Rng) -> Region {
    let area = width as f64 * height as f64;
    for _ in 0..CROP_DRAWS {
        let target = area * between(CROP_AREA.0, CROP_AREA.1, rng);
        let aspect = between(CROP_ASPECT.0.ln(), CROP_ASPECT.1.ln(), rng).exp();
        let w = (target * aspect).sqrt().round_ties_even() as usize;
        let h = (target / aspect).sqrt().round_ties_even() as usize;
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            let top = below(height - h + 1, rng);
            let left = below(width - w + 1, rng);
            return Region {
                left,
                top,
                width: w,
                height: h,
            };
        }
    }
    central_region(width, height)
}

/// The largest central region whose aspect is allowed.
fn central_region(width: usize, height: usize) -> Region {
    let aspect = width as f64 / height as f64;
    let (w, h) = if aspect < CROP_ASPECT.0 {
        (
            width,
            (width as f64 / CROP_ASPECT.0).round_ties_even() as usize,
        )
    } else if aspect > CROP_ASPECT.1 {
        (
            (height as f64 * CROP_ASPECT.1).round_ties_even() as usize,
            height,
        )
    } else {
        (width, height)
    };
    Region {
        left: (width - w) / 2,
        top: (height - h) / 2,
        width: w,
        height: h,
    }
}

/// Uniform in 0..1 from the upper 53 bits. Written out, like the two below, so that views do not change with the
/// sampling algorithms of a later version of the `rand` crate.
fn uniform(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

fn between(low: f64, high: f64, rng: &mut impl Rng) -> f64 {
    low + (high - low) * uniform(rng)
}

fn below(end: usize, rng: &mut impl Rng) -> usize {
    ((u128::from(rng.next_u64()) * end as u128) >> 64) as usize
}
