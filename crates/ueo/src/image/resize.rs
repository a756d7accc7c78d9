//! Antialiased resizing of 8-bit RGB in Pillow's order of operations.

use fast_image_resize::images::{CroppedImage, Image, ImageRef};
use fast_image_resize::{FilterType, IntoImageView, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::{ImageError, Interpolation, RgbImage};

/// A rectangle of whole pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First column.
    pub left: usize,
    /// First row.
    pub top: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// Resizes a region of an image to `width` x `height`, as `image.crop(region).resize((width, height))` of Pillow:
/// pixels outside the region have no influence.
///
/// # Errors
/// [`ImageError::Resize`] when the region is empty or not inside the image.
pub fn resize_region(
    image: &RgbImage,
    region: Region,
    width: usize,
    height: usize,
    interpolation: Interpolation,
) -> Result<RgbImage, ImageError> {
    let whole = view(image)?;
    let cropped = CroppedImage::new(
        &whole,
        dimension(region.left)?,
        dimension(region.top)?,
        dimension(region.width)?,
        dimension(region.height)?,
    )
    .map_err(failed)?;
    let all = Region {
        left: 0,
        top: 0,
        width,
        height,
    };
    resample(&cropped, (width, height), all, interpolation)
}

/// The part `visible` of what the image would be after resizing it to `size` (width, height); only that part is
/// computed, so that a very long and thin image costs no more memory than another.
///
/// # Errors
/// [`ImageError::Resize`] when `visible` is empty or not inside `size`.
pub fn resize_then_crop(
    image: &RgbImage,
    size: (usize, usize),
    visible: Region,
    interpolation: Interpolation,
) -> Result<RgbImage, ImageError> {
    resample(&view(image)?, size, visible, interpolation)
}

/// One axis of a resampling: which stretch of the source the visible part of the target comes from.
struct Axis {
    start: f64,
    length: f64,
}

impl Axis {
    fn new(
        source: u32,
        target: usize,
        visible_start: usize,
        visible: usize,
    ) -> Result<Self, ImageError> {
        if visible == 0 || visible_start + visible > target || source == 0 {
            return Err(failed(format!(
                "{visible} pixels from {visible_start} are not inside {target}"
            )));
        }
        let source = f64::from(source);
        let scale = source / target as f64;
        let start = visible_start as f64 * scale;
        // Rounding must not carry the end past the source.
        let length = (visible as f64 * scale).min(source - start);
        Ok(Self { start, length })
    }
}

/// Pillow filters 8-bit images along rows first, rounds and clips to 0..=255, then filters along columns. The crate's
/// own two-pass path goes the other way around, which differs by many levels where the cubic filter overshoots; hence
/// one call per pass.
fn resample(
    source: &impl IntoImageView,
    (width, height): (usize, usize),
    visible: Region,
    interpolation: Interpolation,
) -> Result<RgbImage, ImageError> {
    let horizontal = Axis::new(source.width(), width, visible.left, visible.width)?;
    let vertical = Axis::new(source.height(), height, visible.top, visible.height)?;
    let (filter, radius) = match interpolation {
        Interpolation::Bicubic => (FilterType::CatmullRom, 2.0),
        Interpolation::Bilinear => (FilterType::Bilinear, 1.0),
    };
    // Rows that the second pass can reach, with a pixel to spare.
    let reach = radius * (f64::from(source.height()) / height as f64).max(1.0) + 1.0;
    let first_row = (vertical.start - reach).floor().max(0.0);
    let last_row = (vertical.start + vertical.length + reach)
        .ceil()
        .min(f64::from(source.height()));
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
    let mut resizer = Resizer::new();

    let columns = dimension(visible.width)?;
    let mut rows_done = Image::new(columns, (last_row - first_row) as u32, PixelType::U8x3);
    let pass = options.crop(
        horizontal.start,
        first_row,
        horizontal.length,
        last_row - first_row,
    );
    resizer
        .resize(source, &mut rows_done, &pass)
        .map_err(failed)?;

    let mut done = Image::new(columns, dimension(visible.height)?, PixelType::U8x3);
    let pass = options.crop(
        0.0,
        vertical.start - first_row,
        f64::from(columns),
        vertical.length.min(last_row - vertical.start),
    );
    resizer
        .resize(&rows_done, &mut done, &pass)
        .map_err(failed)?;
    RgbImage::new(visible.width, visible.height, done.into_vec())
}

fn view(image: &RgbImage) -> Result<ImageRef<'_>, ImageError> {
    let (width, height) = (dimension(image.width())?, dimension(image.height())?);
    ImageRef::new(width, height, image.pixels(), PixelType::U8x3).map_err(failed)
}

fn dimension(length: usize) -> Result<u32, ImageError> {
    u32::try_from(length).map_err(failed)
}

fn failed(reason: impl ToString) -> ImageError {
    ImageError::Resize {
        reason: reason.to_string(),
    }
}
