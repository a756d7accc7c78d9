//! The first frame of a GIF on its screen, as Pillow loads it.

use std::io::{Cursor, ErrorKind};
use std::num::NonZeroU64;

use ::gif::{ColorOutput, DecodeOptions, DecodingError, MemoryLimit};

use super::{Decoded, File};
use crate::image::{ImageError, Orientation};

/// Pillow lets the screen grow to hold the frame, and fills it with the frame's transparent color, or with the color of
/// index 0; the background color of the file is not used. An index beyond the palette is black.
pub(super) fn decode(file: &File<'_>) -> Result<Decoded, ImageError> {
    let failed = |error| classify(error, file);
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    let limit = NonZeroU64::new(file.options.max_bytes).unwrap_or(NonZeroU64::MIN);
    options.set_memory_limit(MemoryLimit::Bytes(limit));
    let mut decoder = options.read_info(Cursor::new(file.bytes)).map_err(failed)?;
    let screen = (u32::from(decoder.width()), u32::from(decoder.height()));
    let Some(frame) = decoder.next_frame_info().map_err(failed)? else {
        return Err(file.truncated());
    };
    let [left, top, frame_width, frame_height] =
        [frame.left, frame.top, frame.width, frame.height].map(u32::from);
    let fill = frame.transparent.unwrap_or(0);
    let (width, height) = (
        screen.0.max(left + frame_width),
        screen.1.max(top + frame_height),
    );
    let pixels = u64::from(width) * u64::from(height);
    let frame_pixels = u64::from(frame_width) * u64::from(frame_height);
    let reservation = file.admit(width, height, 3 * pixels + frame_pixels)?;

    let mut indices = vec![0; decoder.buffer_size()];
    decoder.read_into_buffer(&mut indices).map_err(failed)?;
    let palette = decoder.palette().map_err(failed)?;
    let mut colors = [[0; 3]; 256];
    for (color, entry) in colors.iter_mut().zip(palette.chunks_exact(3)) {
        color.copy_from_slice(entry);
    }
    let mut rgb = colors[usize::from(fill)].repeat(pixels as usize);
    let rows = indices.chunks_exact((frame_width as usize).max(1));
    for (row, indices) in rows.enumerate().take(frame_height as usize) {
        let start = 3 * ((top as usize + row) * width as usize + left as usize);
        for (pixel, &index) in rgb[start..].chunks_exact_mut(3).zip(indices) {
            pixel.copy_from_slice(&colors[usize::from(index)]);
        }
    }
    Decoded::new((width, height), rgb, Orientation::Upright, reservation)
}

fn classify(error: DecodingError, file: &File<'_>) -> ImageError {
    match error {
        DecodingError::UnexpectedEof => file.truncated(),
        DecodingError::Io(io) if io.kind() == ErrorKind::UnexpectedEof => file.truncated(),
        other => file.corrupt(other),
    }
}
