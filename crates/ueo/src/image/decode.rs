//! Encoded bytes to 8-bit RGB, as Pillow's `Image.open(f).convert("RGB")` does it.
//!
//! The format is recognized by content. Alpha is dropped, not blended; palettes are looked up; of 16-bit samples the
//! high byte is kept; animations give their first frame. Differences from Pillow:
//!
//! - 16-bit grey: Pillow 13 clips (every sample above 255 becomes white), which loses the picture. The high byte is
//!   kept here, as Pillow itself does for 16-bit RGB.
//! - JPEG: the inverse transform and the chroma upsampling round differently from libjpeg-turbo's: measured, by 0.4
//!   levels of 255 on average and 4 at most.
//! - Samples of 32 bits (floating point or integer TIFF) are refused instead of clipped.
//!
//! EXIF orientation is ignored by default because `torchvision.datasets.ImageFolder` ignores it, and CLIP's published
//! numbers were measured that way; [`ExifOrientation::Apply`] turns images upright.

use std::io::{Cursor, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

use ::image::error::{DecodingError, LimitErrorKind};
use ::image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::tiff_palette::{self, PaletteTiff};
use super::{ImageError, RgbImage};

/// What `PIL.Image` refuses: twice its `MAX_IMAGE_PIXELS` of 1 GiB / 4 bytes / 3 channels.
pub const PILLOW_MAX_PIXELS: u64 = 2 * 89_478_485;

/// Scratch memory beyond the pixels that a decoder may ask for (dictionaries, metadata, rows), in bytes.
const DECODER_SCRATCH_BYTES: u64 = 64 << 20;

/// Bytes per pixel of the widest layout that is decoded: 16-bit RGBA.
const MAX_BYTES_PER_PIXEL: u64 = 8;

/// What to do with the orientation that a camera wrote into the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExifOrientation {
    /// Take the pixels as they are stored, as `torchvision.datasets.ImageFolder` does.
    #[default]
    Ignore,
    /// Rotate and flip, as `PIL.ImageOps.exif_transpose` does.
    Apply,
}

/// Limits and choices of decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Most pixels an image may have; checked on the header, before any pixel memory is taken.
    pub max_pixels: u64,
    /// What to do with the EXIF orientation.
    pub exif_orientation: ExifOrientation,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self {
            max_pixels: PILLOW_MAX_PIXELS,
            exif_orientation: ExifOrientation::Ignore,
        }
    }
}

/// Decodes JPEG, PNG, WebP, GIF (first frame), BMP or TIFF to RGB.
///
/// # Errors
/// [`ImageError`] says what is wrong with the bytes. This function does not panic on any input: a decoder that does is
/// caught and reported as [`ImageError::Corrupt`].
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    let format = ::image::guess_format(bytes).map_err(|_| ImageError::NotAnImage {
        found: describe_start(bytes),
    })?;
    let name = format_name(format).ok_or_else(|| ImageError::Unsupported {
        found: format!("{format:?}"),
    })?;
    if format == ImageFormat::Jpeg && !jpeg_is_complete(bytes) {
        // The JPEG decoder would fill the missing part with grey and say nothing; Pillow refuses.
        return Err(ImageError::Truncated {
            format: name,
            bytes: bytes.len(),
        });
    }
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        let palette = (format == ImageFormat::Tiff).then(|| tiff_palette::as_grey(bytes));
        match palette.flatten() {
            Some(PaletteTiff { grey, colors }) => {
                let mut image = decode_format(&grey, format, name, options)?;
                image.map_pixels(|[index, ..]| colors[usize::from(index)]);
                Ok(image)
            }
            None => decode_format(bytes, format, name, options),
        }
    }));
    decoded.unwrap_or_else(|_| {
        Err(ImageError::Corrupt {
            format: name,
            reason: "the decoder stopped on an internal check".into(),
        })
    })
}

fn decode_format(
    bytes: &[u8],
    format: ImageFormat,
    name: &'static str,
    options: &DecodeOptions,
) -> Result<RgbImage, ImageError> {
    let failed = |error| classify(error, name, bytes.len());
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(
        options
            .max_pixels
            .saturating_mul(MAX_BYTES_PER_PIXEL)
            .saturating_add(DECODER_SCRATCH_BYTES),
    );
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(ImageError::NoPixels {
            width: width as usize,
            height: height as usize,
        });
    }
    if u64::from(width) * u64::from(height) > options.max_pixels {
        return Err(ImageError::TooManyPixels {
            width,
            height,
            limit: options.max_pixels,
        });
    }
    let orientation = match options.exif_orientation {
        ExifOrientation::Ignore => None,
        ExifOrientation::Apply => Some(decoder.orientation().map_err(failed)?),
    };
    let mut image = DynamicImage::from_decoder(decoder).map_err(failed)?;
    if let Some(orientation) = orientation {
        image.apply_orientation(orientation);
    }
    to_rgb(image)
}

/// Pillow's `convert("RGB")`, but for 16-bit grey (see the module's documentation).
fn to_rgb(image: DynamicImage) -> Result<RgbImage, ImageError> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let high = |sample: u16| (sample >> 8) as u8;
    let pixels = match image {
        DynamicImage::ImageRgb8(image) => image.into_raw(),
        DynamicImage::ImageRgba8(image) => collect(image.as_raw(), 4, |p| [p[0], p[1], p[2]]),
        DynamicImage::ImageLuma8(image) => collect(image.as_raw(), 1, |p| [p[0]; 3]),
        DynamicImage::ImageLumaA8(image) => collect(image.as_raw(), 2, |p| [p[0]; 3]),
        DynamicImage::ImageRgb16(image) => {
            collect(image.as_raw(), 3, |p| [p[0], p[1], p[2]].map(high))
        }
        DynamicImage::ImageRgba16(image) => {
            collect(image.as_raw(), 4, |p| [p[0], p[1], p[2]].map(high))
        }
        DynamicImage::ImageLuma16(image) => collect(image.as_raw(), 1, |p| [high(p[0]); 3]),
        DynamicImage::ImageLumaA16(image) => collect(image.as_raw(), 2, |p| [high(p[0]); 3]),
        other => {
            return Err(ImageError::Unsupported {
                found: format!("samples of type {:?}", other.color()),
            });
        }
    };
    RgbImage::new(width, height, pixels)
}

fn collect<T>(samples: &[T], channels: usize, rgb: impl Fn(&[T]) -> [u8; 3]) -> Vec<u8> {
    samples.chunks_exact(channels).flat_map(rgb).collect()
}

fn classify(error: ::image::ImageError, format: &'static str, bytes: usize) -> ImageError {
    use ::image::ImageError as E;
    match &error {
        E::IoError(io) if io.kind() == ErrorKind::UnexpectedEof => {
            ImageError::Truncated { format, bytes }
        }
        E::Decoding(decoding) if ends_early(decoding) => ImageError::Truncated { format, bytes },
        E::Unsupported(unsupported) => ImageError::Unsupported {
            found: unsupported.to_string(),
        },
        E::Limits(limit) if matches!(limit.kind(), LimitErrorKind::InsufficientMemory) => {
            ImageError::Corrupt {
                format,
                reason: "it asks for more memory than its pixels need".into(),
            }
        }
        _ => ImageError::Corrupt {
            format,
            reason: error.to_string(),
        },
    }
}

/// Whether a decoder's own error was caused by the end of the data.
fn ends_early(error: &DecodingError) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return io.kind() == ErrorKind::UnexpectedEof;
        }
        cause = error.source();
    }
    false
}

fn format_name(format: ImageFormat) -> Option<&'static str> {
    match format {
        ImageFormat::Jpeg => Some("JPEG"),
        ImageFormat::Png => Some("PNG"),
        ImageFormat::WebP => Some("WebP"),
        ImageFormat::Gif => Some("GIF"),
        ImageFormat::Bmp => Some("BMP"),
        ImageFormat::Tiff => Some("TIFF"),
        _ => None,
    }
}

/// Walks the markers of a JPEG up to the end-of-image marker; false when the data end first.
///
/// Bytes between segments that are no marker are skipped, as libjpeg does.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    const START_OF_IMAGE: u8 = 0xD8;
    const END_OF_IMAGE: u8 = 0xD9;
    let mut at = 0;
    loop {
        let Some(step) = bytes
            .get(at..)
            .and_then(|rest| rest.iter().position(|&b| b == 0xFF))
        else {
            return false;
        };
        at += step + 1;
        match bytes.get(at) {
            None => return false,
            // A stuffed byte, a restart marker, a stand-alone marker or fill bytes: no segment follows.
            Some(0x00 | 0x01 | 0xD0..=0xD7 | &START_OF_IMAGE) => at += 1,
            Some(0xFF) => {}
            Some(&END_OF_IMAGE) => return true,
            Some(_) => match (bytes.get(at + 1), bytes.get(at + 2)) {
                (Some(&high), Some(&low)) => at += 1 + usize::from(u16::from_be_bytes([high, low])),
                _ => return false,
            },
        }
    }
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
    fn a_marker_inside_a_segment_does_not_end_a_jpeg() {
        // SOI, a comment that contains FF D9, then nothing.
        let unfinished = [0xFF, 0xD8, 0xFF, 0xFE, 0x00, 0x04, 0xFF, 0xD9];
        assert!(!jpeg_is_complete(&unfinished));
        let finished = [unfinished.as_slice(), &[0xFF, 0xD9]].concat();
        assert!(jpeg_is_complete(&finished));
    }

    #[test]
    fn text_is_shown_as_text_and_binary_as_hexadecimal() {
        assert_eq!(describe_start(b"<html>"), "\"<html>\"");
        assert_eq!(describe_start(&[0x00, 0xfe]), "00 fe");
    }
}
