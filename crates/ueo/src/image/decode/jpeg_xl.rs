//! JPEG XL, as a container or a bare codestream; of an animation the first frame.

use jxl_oxide::{AllocTracker, InitializeResult, JxlImage, JxlThreadPool};

use super::samples::pack;
use super::{Decoded, File};
use crate::image::{ImageError, Orientation};

/// Memory of the decoder per sample, measured as 8.8 (lossy) and 3.7 (lossless): buffers in f32 or i32, then a byte. The
/// decoder counts what it takes itself, and stops there.
const BYTES_PER_SAMPLE: u64 = 10;

/// What the header alone may take, in bytes: tables, a color profile.
const HEADER_BYTES: usize = 8 << 20;

/// The header lies in the first pieces of a file of this many bytes, unless a color profile comes first.
const PIECE: usize = 4096;

pub(super) fn decode(file: &File<'_>) -> Result<Decoded, ImageError> {
    let tracker = AllocTracker::with_limit(HEADER_BYTES);
    let (mut image, rest) = read_header(file, tracker.clone())?;
    let (width, height) = (image.width(), image.height());
    let format = image.pixel_format();
    let samples = u64::from(width) * u64::from(height) * format.channels() as u64;
    let bytes = samples.saturating_mul(BYTES_PER_SAMPLE);
    let reservation = file.admit(width, height, bytes.saturating_add(HEADER_BYTES as u64))?;
    if format.has_black() {
        return Err(file.unsupported("CMYK"));
    }
    tracker.expand_limit(usize::try_from(bytes).unwrap_or(usize::MAX));

    let failed = |error| classify(error, file);
    feed(&mut image, rest).map_err(failed)?;
    image.finalize().map_err(failed)?;
    if image.num_loaded_keyframes() == 0 {
        return Err(file.truncated());
    }
    let render = image.render_frame(0).map_err(failed)?;
    let mut stream = render.stream_no_alpha();
    let channels = stream.channels() as usize;
    let mut samples = vec![0_u8; width as usize * height as usize * channels];
    if (stream.width(), stream.height()) != (width, height)
        || stream.write_to_buffer(&mut samples) != samples.len()
    {
        return Err(file.corrupt("its frame has another size than its header says"));
    }
    let rgb = match channels {
        1 => pack(samples, 1, |p| [p[0]; 3]),
        3 => samples,
        other => return Err(file.unsupported(format!("{other} color channels"))),
    };
    Decoded::new((width, height), rgb, Orientation::Upright, reservation)
}

/// The image as far as its header, and the bytes that it has not seen yet.
fn read_header<'a>(
    file: &File<'a>,
    tracker: AllocTracker,
) -> Result<(JxlImage, &'a [u8]), ImageError> {
    let failed = |error| classify(error, file);
    // One thread: who holds a part of the memory budget must not wait for others.
    let mut image = JxlImage::builder()
        .pool(JxlThreadPool::none())
        .alloc_tracker(tracker)
        .build_uninit();
    let mut rest = file.bytes;
    let mut piece = PIECE;
    loop {
        let given = &rest[..piece.min(rest.len())];
        let taken = image.feed_bytes(given).map_err(failed)?;
        rest = &rest[taken..];
        match image.try_init().map_err(failed)? {
            InitializeResult::Initialized(image) => return Ok((image, rest)),
            InitializeResult::NeedMoreData(_) if given.len() == rest.len() + taken => {
                return Err(file.truncated());
            }
            InitializeResult::NeedMoreData(more) => image = more,
        }
        // The header is parsed anew after each piece, so that pieces of one size would take quadratic time.
        piece *= 2;
    }
}

fn feed(image: &mut JxlImage, mut rest: &[u8]) -> jxl_oxide::Result<()> {
    while !rest.is_empty() {
        let taken = image.feed_bytes(rest)?;
        if taken == 0 {
            break;
        }
        rest = &rest[taken..];
    }
    Ok(())
}

fn classify(error: Box<dyn std::error::Error + Send + Sync>, file: &File<'_>) -> ImageError {
    let is_end = error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|io| io.kind() == std::io::ErrorKind::UnexpectedEof);
    if is_end {
        file.truncated()
    } else {
        file.corrupt(error)
    }
}
