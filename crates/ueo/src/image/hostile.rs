//! What must hold for any bytes that are given as an image: the entry of fuzz targets and of the seeded test.

use super::{DecodeOptions, DecodingMemory, ExifOrientation, decode};

/// Most pixels of an image that is decoded here, so that thousands of them take seconds.
const MAX_PIXELS: u64 = 1 << 16;
/// Most memory for one, in bytes.
const MAX_BYTES: u64 = 16 << 20;
/// Most characters of a message: two lines of a terminal.
const MESSAGE_CHARACTERS: usize = 300;

/// Decodes bytes from anywhere, as they are stored and upright, and returns whether they are an image.
///
/// # Panics
/// When a promise is broken: an image within the limits, or a message of one line, and the same answer every time.
pub fn decode_hostile(bytes: &[u8]) -> bool {
    let options = DecodeOptions {
        max_pixels: MAX_PIXELS,
        max_bytes: MAX_BYTES,
        exif_orientation: ExifOrientation::Ignore,
        memory: DecodingMemory::new(MAX_BYTES),
    };
    let upright = DecodeOptions {
        exif_orientation: ExifOrientation::Apply,
        ..options.clone()
    };
    let stored = decode(bytes, &options);
    match (&stored, decode(bytes, &upright)) {
        (Ok(stored), Ok(turned)) => {
            let pixels = stored.width() as u64 * stored.height() as u64;
            assert!((1..=MAX_PIXELS).contains(&pixels));
            assert_eq!(stored.pixels().len() as u64, 3 * pixels);
            assert_eq!(turned.pixels().len(), stored.pixels().len());
        }
        (Err(error), _) => {
            let message = error.to_string();
            assert!(!message.is_empty() && !error.hint().is_empty());
            assert!(message.chars().count() <= MESSAGE_CHARACTERS, "{message}");
            assert!(!message.chars().any(char::is_control), "{message:?}");
        }
        // Turning may take more memory than there is.
        (Ok(_), Err(_)) => {}
    }
    assert!(options.memory.peak_bytes() <= MAX_BYTES);
    stored.is_ok()
}
