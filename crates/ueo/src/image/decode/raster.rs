//! PNG, WebP, BMP, Netpbm and the pixels of JPEG, through the `image` crate.

use std::io::{Cursor, ErrorKind};

use ::image::error::{DecodingError, ImageError as LibraryError, LimitErrorKind};
use ::image::{ColorType, ImageDecoder, ImageReader, Limits};

use super::samples::{high_byte, pack, packing_bytes};
use super::{Decoded, File};
use crate::image::{ImageError, ImageFormat, Orientation};

/// Memory beyond the pixels that a decoder may ask for (dictionaries, metadata, rows), in bytes, and as a multiple of the
/// file.
const SCRATCH_BYTES: u64 = 4 << 20;
const SCRATCH_FILE_SHARE: u64 = 2;

pub(super) fn decode(file: &File<'_>) -> Result<Decoded, ImageError> {
    decode_with(file, 0, None)
}

/// `extra_bytes` is what decoding takes beyond what is told by the color type; `exif` is given where it is known.
pub(super) fn decode_with(
    file: &File<'_>,
    extra_bytes: u64,
    exif: Option<Orientation>,
) -> Result<Decoded, ImageError> {
    let failed = |error| classify(error, file);
    let scratch = SCRATCH_BYTES + SCRATCH_FILE_SHARE * file.bytes.len() as u64;
    let format = match file.format {
        ImageFormat::Jpeg => ::image::ImageFormat::Jpeg,
        ImageFormat::WebP => ::image::ImageFormat::WebP,
        ImageFormat::Bmp => ::image::ImageFormat::Bmp,
        ImageFormat::Netpbm => ::image::ImageFormat::Pnm,
        _ => ::image::ImageFormat::Png,
    };
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(file.options.max_bytes.saturating_add(scratch));
    let mut reader = ImageReader::with_format(Cursor::new(file.bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    let color = decoder.color_type();
    let pixel_bytes = u64::from(color.bytes_per_pixel());
    let inside = match file.format {
        // A lossless picture before its alpha is dropped, or planes of brightness, color and alpha.
        ImageFormat::WebP => 5 * pixels,
        _ => 0,
    };
    let reservation = file.admit(
        width,
        height,
        pixels
            .saturating_mul(pixel_bytes + packing_bytes(pixel_bytes))
            .saturating_add(inside)
            .saturating_add(extra_bytes),
    )?;
    // Metadata that cannot be read say nothing about the orientation; the pixels are as good as ever.
    let exif = exif.unwrap_or_else(|| {
        let found = decoder.orientation();
        found.map_or(Orientation::Upright, |found| {
            Orientation::from_tag(u64::from(found.to_exif()))
        })
    });
    let mut samples = vec![0; usize::try_from(pixels * pixel_bytes).map_err(|e| file.corrupt(e))?];
    decoder.read_image(&mut samples).map_err(failed)?;
    let rgb = match color {
        ColorType::Rgb8 => samples,
        ColorType::Rgba8 => pack(samples, 4, |p| [p[0], p[1], p[2]]),
        ColorType::L8 => pack(samples, 1, |p| [p[0]; 3]),
        ColorType::La8 => pack(samples, 2, |p| [p[0]; 3]),
        ColorType::Rgb16 => pack(samples, 6, |p| [0, 2, 4].map(|at| high_byte(&p[at..]))),
        ColorType::Rgba16 => pack(samples, 8, |p| [0, 2, 4].map(|at| high_byte(&p[at..]))),
        ColorType::L16 => pack(samples, 2, |p| [high_byte(p); 3]),
        ColorType::La16 => pack(samples, 4, |p| [high_byte(p); 3]),
        other => return Err(file.unsupported(format!("samples of type {other:?}"))),
    };
    Decoded::new((width, height), rgb, exif, reservation)
}

fn classify(error: LibraryError, file: &File<'_>) -> ImageError {
    match &error {
        LibraryError::IoError(io) if io.kind() == ErrorKind::UnexpectedEof => file.truncated(),
        LibraryError::Decoding(decoding) if ends_early(decoding) => file.truncated(),
        LibraryError::Unsupported(unsupported) => file.unsupported(unsupported),
        LibraryError::Limits(limit)
            if matches!(limit.kind(), LimitErrorKind::InsufficientMemory) =>
        {
            file.corrupt("it asks for more memory than its pixels need")
        }
        _ => file.corrupt(error),
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
