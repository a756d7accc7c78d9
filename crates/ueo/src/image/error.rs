//! Why one image could not become pixels. A failure belongs to one image; it is data, not the end of a run.

use thiserror::Error;

use super::{ImageFormat, PreprocessingError};

/// Why an image could not be read, decoded or resized.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ImageError {
    /// The bytes could not be read at all.
    #[error("expected a readable file, but reading failed: {reason}")]
    Read {
        /// What the operating system said.
        reason: String,
    },
    /// There are no bytes.
    #[error("expected an image, found an empty file (0 bytes)")]
    Empty,
    /// The content is no image format that is known.
    #[error(
        "expected {}, found content that begins with {found}",
        ImageFormat::read_names()
    )]
    NotAnImage {
        /// The first bytes, as text where they are printable, else in hexadecimal.
        found: String,
    },
    /// An image, but of a format that is not read.
    #[error(
        "expected {}, found {format}, which is not read",
        ImageFormat::read_names()
    )]
    UnreadFormat {
        /// Name of the format.
        format: &'static str,
    },
    /// An image of a format that is read, but of a kind that is not.
    #[error("expected a {format} image of a kind that is read, found one with {kind}")]
    Unsupported {
        /// Name of the format.
        format: &'static str,
        /// The feature, as the end of "found one with ...".
        kind: String,
    },
    /// The data end before the image does.
    #[error("expected a complete {format} image, but the data end after {bytes} bytes")]
    Truncated {
        /// Name of the format.
        format: &'static str,
        /// Length of what is there, in bytes.
        bytes: usize,
    },
    /// The data contradict the format.
    #[error("expected a valid {format} image, but it cannot be decoded: {reason}")]
    Corrupt {
        /// Name of the format.
        format: &'static str,
        /// What the decoder said.
        reason: String,
    },
    /// The image is larger than any that is decoded (perhaps a decompression bomb).
    #[error("expected at most {limit} pixels, found {width} x {height}")]
    TooManyPixels {
        /// Width in pixels, as the header states it.
        width: u32,
        /// Height in pixels, as the header states it.
        height: u32,
        /// The limit in pixels.
        limit: u64,
    },
    /// Decoding would take more memory than one image may.
    #[error(
        "expected an image that takes at most {} MB while it is decoded, found {width} x {height} pixels that take {} MB",
        megabytes(*limit),
        megabytes(*bytes)
    )]
    TooMuchMemory {
        /// Width in pixels, as the header states it.
        width: u32,
        /// Height in pixels, as the header states it.
        height: u32,
        /// What decoding takes, in bytes.
        bytes: u64,
        /// What it may take, in bytes.
        limit: u64,
    },
    /// Width or height is zero.
    #[error("expected at least one pixel, found {width} x {height}")]
    NoPixels {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
    /// The preprocessing cannot make an input of any image.
    #[error(transparent)]
    Preprocessing(#[from] PreprocessingError),
    /// The resampler refused its input.
    #[error("expected an image that can be resized, but resizing failed: {reason}")]
    Resize {
        /// What the resampler said.
        reason: String,
    },
}

impl ImageError {
    /// What the user can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read { .. } => "check that the file still exists and that you may read it",
            Self::Empty => {
                "an interrupted download or copy leaves such files; fetch it again or remove it"
            }
            Self::NotAnImage { .. } => {
                "the extension does not matter, the content does; remove the file or convert it"
            }
            Self::UnreadFormat { .. } | Self::Unsupported { .. } => {
                "convert the file to PNG or JPEG"
            }
            Self::Truncated { .. } => {
                "an interrupted download or copy leaves such files; fetch it again or remove it"
            }
            Self::Corrupt { .. } => {
                "fetch the file again, or open it in an image editor and save it anew"
            }
            Self::TooManyPixels { .. } => {
                "make the image smaller, or remove it if nobody meant it to be this large"
            }
            Self::TooMuchMemory { .. } => {
                "make the image smaller, save it with 8 bits per channel, or allow more memory for decoding"
            }
            Self::Preprocessing(error) => error.hint(),
            Self::NoPixels { .. } => "remove the file",
            Self::Resize { .. } => "please report this image, it should not happen",
        }
    }
}

/// In units of a million bytes, rounded up: what takes more than the limit also reads as more.
fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}
