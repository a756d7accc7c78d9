//! Encoded bytes to 8-bit RGB, as Pillow's `Image.open(f).convert("RGB")` does it.
//!
//! The format is recognized by content. Alpha is dropped, not blended; palettes are looked up; of 16-bit samples the
//! high byte is kept; animations and files of several pages give their first frame. The orientation tag of a TIFF is
//! applied, because Pillow applies it while loading; a GIF's first frame lies on the color with index 0, or on the
//! transparent one. Differences from Pillow:
//!
//! - 16-bit grey: Pillow 13 clips (every sample above 255 becomes white), which loses the picture. The high byte is
//!   kept here, as Pillow itself does for 16-bit RGB.
//! - JPEG, also inside a TIFF: the inverse transform and the chroma upsampling round differently from libjpeg-turbo's:
//!   measured, by 0.4 levels of 255 on average and 4 at most. Chroma that is finer than luma is refused.
//! - Samples of 32 bits (floating point or integer TIFF) and signed samples are refused instead of clipped.
//! - JPEG XL, which Pillow does not read, is read as libjxl does by default: upright, in the color space of the file.
//!
//! EXIF orientation is ignored by default because `torchvision.datasets.ImageFolder` ignores it, and CLIP's published
//! numbers were measured that way; [`ExifOrientation::Apply`] turns images upright.
//!
//! Memory is reserved from one budget before it is taken, so that many threads with large images wait for each other.

mod gif;
mod jpeg;
mod jpeg2000;
mod jpeg_xl;
mod raster;
mod samples;
mod tiff;
mod tiff_directory;

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::memory::{DEFAULT_MAX_IMAGE_BYTES, DecodingMemory, Reservation};
use super::{ExifOrientation, ImageError, ImageFormat, Orientation, RgbImage};

/// What `PIL.Image` refuses: twice its `MAX_IMAGE_PIXELS` of 1 GiB / 4 bytes / 3 channels.
pub const PILLOW_MAX_PIXELS: u64 = 2 * 89_478_485;

/// Most characters of what a decoder says that are passed on.
const REASON_CHARACTERS: usize = 160;

/// Limits and choices of decoding.
#[derive(Clone, Debug)]
pub struct DecodeOptions {
    /// Most pixels an image may have; checked on the header, before any pixel memory is taken.
    pub max_pixels: u64,
    /// Most memory that decoding one image may take, in bytes; estimated from the header, before it is taken.
    pub max_bytes: u64,
    /// What to do with the EXIF orientation.
    pub exif_orientation: ExifOrientation,
    /// The budget that all threads share. It decides when an image is decoded, never whether.
    pub memory: DecodingMemory,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self {
            max_pixels: PILLOW_MAX_PIXELS,
            max_bytes: DEFAULT_MAX_IMAGE_BYTES,
            exif_orientation: ExifOrientation::Ignore,
            memory: DecodingMemory::of_process(),
        }
    }
}

/// Decodes a file of any format for which [`ImageFormat::is_read`] holds.
///
/// # Errors
/// [`ImageError`] says what is wrong with the bytes. This function does not panic on any input: a decoder that does is
/// caught and reported as [`ImageError::Corrupt`].
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    Ok(decode_reserved(bytes, options)?.image)
}

/// An image that still holds its part of the budget.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) image: RgbImage,
    /// The orientation of the EXIF data, applied or not.
    pub(super) exif: Orientation,
    /// Room for the image's own pixels.
    pub(super) reservation: Reservation,
}

impl Decoded {
    /// # Shapes
    /// `rgb` is `[height, width, 3]`.
    fn new(
        (width, height): (u32, u32),
        rgb: Vec<u8>,
        exif: Orientation,
        reservation: Reservation,
    ) -> Result<Self, ImageError> {
        Ok(Self {
            image: RgbImage::new(width as usize, height as usize, rgb)?,
            exif,
            reservation,
        })
    }
}

/// [`decode`], and the room in the budget that the pixels take, until the caller has made use of them.
pub(super) fn decode_reserved(
    bytes: &[u8],
    options: &DecodeOptions,
) -> Result<Decoded, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    let format = ImageFormat::from_content(bytes).ok_or_else(|| ImageError::NotAnImage {
        found: describe_start(bytes),
    })?;
    if !format.is_read() {
        return Err(ImageError::UnreadFormat {
            format: format.name(),
        });
    }
    let file = File {
        bytes,
        format,
        options,
    };
    let mut decoded = catch_unwind(AssertUnwindSafe(|| match format {
        ImageFormat::Gif => gif::decode(&file),
        ImageFormat::Tiff => tiff::decode(&file),
        ImageFormat::Jpeg => jpeg::decode(&file),
        ImageFormat::Jpeg2000 => jpeg2000::decode(&file),
        ImageFormat::JpegXl => jpeg_xl::decode(&file),
        _ => raster::decode(&file),
    }))
    .unwrap_or_else(|_| Err(file.corrupt("the decoder stopped on an internal check")))?;
    if options.exif_orientation == ExifOrientation::Apply {
        decoded.image = decoded.image.oriented(decoded.exif);
    }
    let kept = decoded.image.pixels().len() as u64;
    decoded.reservation.shrink_to(kept);
    Ok(decoded)
}

/// What a decoder is given.
struct File<'a> {
    bytes: &'a [u8],
    format: ImageFormat,
    options: &'a DecodeOptions,
}

impl File<'_> {
    /// Refuses what the header says is too large, then waits for room. `bytes` is what decoding takes at most, less the
    /// file itself. Every decoder asks once, before it takes memory for pixels.
    fn admit(&self, width: u32, height: u32, bytes: u64) -> Result<Reservation, ImageError> {
        if width == 0 || height == 0 {
            return Err(ImageError::NoPixels {
                width: width as usize,
                height: height as usize,
            });
        }
        let pixels = u64::from(width) * u64::from(height);
        if pixels > self.options.max_pixels {
            return Err(ImageError::TooManyPixels {
                width,
                height,
                limit: self.options.max_pixels,
            });
        }
        let turning = match self.options.exif_orientation {
            ExifOrientation::Ignore => 0,
            ExifOrientation::Apply => 3 * pixels,
        };
        let bytes = bytes
            .saturating_add(turning)
            .saturating_add(self.bytes.len() as u64);
        if bytes > self.options.max_bytes {
            return Err(ImageError::TooMuchMemory {
                width,
                height,
                bytes,
                limit: self.options.max_bytes,
            });
        }
        Ok(self.options.memory.reserve(bytes))
    }

    fn truncated(&self) -> ImageError {
        ImageError::Truncated {
            format: self.format.name(),
            bytes: self.bytes.len(),
        }
    }

    fn corrupt(&self, reason: impl Display) -> ImageError {
        ImageError::Corrupt {
            format: self.format.name(),
            reason: one_line(&reason.to_string()),
        }
    }

    fn unsupported(&self, kind: impl Display) -> ImageError {
        ImageError::Unsupported {
            format: self.format.name(),
            kind: one_line(&kind.to_string()),
        }
    }
}

/// What a library says, as part of one line: without control characters, and not longer than a line.
fn one_line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(REASON_CHARACTERS + 1)
        .collect();
    if line.chars().count() > REASON_CHARACTERS {
        line.pop();
        line.push('…');
    }
    line
}

fn describe_start(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(16)];
    match std::str::from_utf8(start) {
        Ok(text) if !text.chars().any(|c| c.is_control() && !c.is_whitespace()) => {
            format!("{text:?}")
        }
        _ => start
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_shown_as_text_and_binary_as_hexadecimal() {
        assert_eq!(describe_start(b"<html>"), "\"<html>\"");
        assert_eq!(describe_start(&[0x00, 0xfe]), "00 fe");
    }

    #[test]
    fn what_a_library_says_stays_in_one_line() {
        assert_eq!(one_line("a\nb\x1b[2J"), "a b [2J");
        assert_eq!(
            one_line(&"é".repeat(5000)).chars().count(),
            REASON_CHARACTERS + 1
        );
    }
}
