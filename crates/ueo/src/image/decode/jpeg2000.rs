//! JPEG 2000, as a JP2 file or a bare codestream.

use hayro_jpeg2000::{ColorSpace, DecodeError, DecodeSettings, DecoderContext, Image};

use super::samples::{pack, rgb_of_cmyk};
use super::{Decoded, File};
use crate::image::{ImageError, Orientation};

/// Memory of the decoder per sample, measured as 7.7: coefficients and samples in f32, then a byte.
const BYTES_PER_SAMPLE: u64 = 9;

pub(super) fn decode(file: &File<'_>) -> Result<Decoded, ImageError> {
    let failed = |error: DecodeError| file.corrupt(error);
    let settings = DecodeSettings {
        // What is missing would otherwise be filled in without a word.
        strict: true,
        ..DecodeSettings::default()
    };
    let image = Image::new(file.bytes, &settings).map_err(failed)?;
    let (width, height) = (image.width(), image.height());
    let color_channels = image.color_space().num_channels();
    let channels = u64::from(color_channels) + u64::from(image.has_alpha());
    let samples = u64::from(width) * u64::from(height) * channels;
    let reservation = file.admit(width, height, samples.saturating_mul(BYTES_PER_SAMPLE))?;

    let is_cmyk = match image.color_space() {
        ColorSpace::CMYK => true,
        ColorSpace::Icc { num_channels, .. } => *num_channels == 4,
        _ => false,
    };
    if !matches!(color_channels, 1 | 3) && !is_cmyk {
        return Err(file.unsupported(format!("{color_channels} color channels")));
    }
    let mut context = DecoderContext::default();
    let decoded = image.decode(&mut context).map_err(failed)?;
    let components = decoded.components();
    let pixels = width as usize * height as usize;
    let pixel_bytes = components.len();
    let is_whole = components
        .iter()
        .all(|component| component.samples().len() == pixels);
    if !is_whole || pixel_bytes < usize::from(color_channels) {
        return Err(file.corrupt("its components have different sizes"));
    }
    let samples = decoded.data_u8();
    drop(context);
    let rgb = match color_channels {
        1 => pack(samples, pixel_bytes, |p| [p[0]; 3]),
        3 if pixel_bytes == 3 => samples,
        3 => pack(samples, pixel_bytes, |p| [p[0], p[1], p[2]]),
        _ => pack(samples, pixel_bytes, rgb_of_cmyk),
    };
    Decoded::new((width, height), rgb, Orientation::Upright, reservation)
}
