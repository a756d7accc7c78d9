//! TIFF and BigTIFF: the `tiff` crate gives the samples as they are stored, Pillow's rules say what they mean.

use std::io::{Cursor, ErrorKind};

use ::tiff::decoder::{ChunkType, Decoder, Limits};
use ::tiff::tags::Tag;
use ::tiff::{TiffError, TiffResult};

use super::samples::{divided_by_alpha, high_byte, rgb_of_cmyk, rgb_of_jpeg_ycbcr, rgb_of_ycbcr};
use super::{Decoded, File, jpeg, tiff_directory};
use crate::image::{ImageError, Orientation};

/// Values of the tags of TIFF 6.0.
const COMPRESSION_NONE: u16 = 1;
const COMPRESSION_JPEG: u16 = 7;
const PLANAR: u16 = 2;
const REVERSED_BITS: u16 = 2;
const ASSOCIATED_ALPHA: u16 = 1;
const UNSIGNED: u16 = 1;
const UNDEFINED: u16 = 4;
const BLACK_IS_ZERO: u16 = 1;
const RGB: u16 = 2;
/// Most samples per pixel, those of the color and others (Pillow's number).
const MAX_SAMPLES: u16 = 6;
/// Colors of the largest palette.
const COLORS: usize = 256;

type Reader<'a> = Decoder<Cursor<&'a [u8]>>;

pub(super) fn decode(file: &File<'_>) -> Result<Decoded, ImageError> {
    let failed = |error| classify(error, file);
    let copy;
    let mut decoder = Decoder::new(Cursor::new(file.bytes)).map_err(failed)?;
    let tags = Tags::read(&mut decoder).map_err(failed)?;
    let color = Color::of(&tags, file)?;
    tags.check(&color, file)?;
    let chunks = tags.chunks(&mut decoder, file)?;
    let palette = match color {
        Color::Palette => Some(palette(&mut decoder, tags.bits, file)?),
        _ => None,
    };

    let pixels = u64::from(tags.width) * u64::from(tags.height);
    let is_turned = tags.orientation != Orientation::Upright;
    let is_edited = tags.needs_edit();
    let stored = tags.stored_bytes();
    let copies = u64::from(is_edited) * file.bytes.len() as u64;
    let rgb_copies = if tags.is_plain_rgb() { 0 } else { 3 } + if is_turned { 3 } else { 0 };
    let reservation = file.admit(
        tags.width,
        tags.height,
        stored
            .saturating_add(pixels.saturating_mul(rgb_copies))
            .saturating_add(chunks.largest_bytes)
            .saturating_add(copies),
    )?;

    if is_edited {
        copy = edited(file, &tags, &chunks)?;
        decoder = Decoder::new(Cursor::new(&copy[..])).map_err(failed)?;
    }
    let mut limits = Limits::default();
    limits.intermediate_buffer_size = file.bytes.len();
    let mut decoder = decoder.with_limits(limits);
    let stored = read_samples(&mut decoder, stored, file)?;
    let rgb = if tags.is_plain_rgb() {
        stored
    } else {
        interpret(&stored, &tags, &color, palette.as_deref())
    };
    let mut decoded = Decoded::new(
        (tags.width, tags.height),
        rgb,
        Orientation::Upright,
        reservation,
    )?;
    decoded.image = decoded.image.oriented(tags.orientation);
    Ok(decoded)
}

/// What the first directory says.
struct Tags {
    width: u32,
    height: u32,
    bits: u8,
    samples: u16,
    photometric: u16,
    /// Meaning of the samples beyond the color's.
    extra_samples: Vec<u16>,
    compression: u16,
    is_planar: bool,
    has_reversed_bits: bool,
    sample_format: u16,
    chroma_subsampling: Vec<u16>,
    orientation: Orientation,
}

impl Tags {
    fn read(decoder: &mut Reader<'_>) -> TiffResult<Self> {
        let (width, height) = decoder.dimensions()?;
        let mut tag = |tag, default: u16| -> TiffResult<u16> {
            Ok(decoder.find_tag_unsigned(tag)?.unwrap_or(default))
        };
        let samples = tag(Tag::SamplesPerPixel, 1)?;
        let photometric = tag(Tag::PhotometricInterpretation, 0)?;
        let compression = tag(Tag::Compression, COMPRESSION_NONE)?;
        let is_planar = tag(Tag::PlanarConfiguration, 1)? == PLANAR && samples > 1;
        let has_reversed_bits = tag(Tag::FillOrder, 1)? == REVERSED_BITS;
        // A value that is no number means nothing, as for Pillow.
        let orientation = tag(Tag::Orientation, 1).unwrap_or(1);
        let mut first = |tag, default: u16| -> TiffResult<u16> {
            let values: Option<Vec<u16>> = decoder.find_tag_unsigned_vec(tag)?;
            Ok(values
                .and_then(|values| values.first().copied())
                .unwrap_or(default))
        };
        Ok(Self {
            width,
            height,
            // The decoder has made sure that all samples have as many.
            bits: first(Tag::BitsPerSample, 1)?.min(255) as u8,
            samples,
            photometric,
            compression,
            is_planar,
            has_reversed_bits,
            sample_format: first(Tag::SampleFormat, UNSIGNED)?,
            orientation: Orientation::from_tag(u64::from(orientation)),
            chroma_subsampling: decoder
                .find_tag_unsigned_vec(Tag::ChromaSubsampling)?
                .unwrap_or_else(|| vec![2, 2]),
            extra_samples: decoder
                .find_tag_unsigned_vec(Tag::ExtraSamples)?
                .unwrap_or_default(),
        })
    }

    /// Refuses, by name, what is a healthy file of a kind that is not read.
    fn check(&self, color: &Color, file: &File<'_>) -> Result<(), ImageError> {
        if let Some(name) = unread_compression(self.compression) {
            return Err(file.unsupported(format!("{name} compression")));
        }
        if !matches!(self.sample_format, UNSIGNED | UNDEFINED) {
            let name = if self.sample_format == 3 {
                "floating-point samples"
            } else {
                "signed samples"
            };
            return Err(file.unsupported(name));
        }
        if !matches!(self.bits, 1..=8 | 16) || matches!(color, Color::Palette) && self.bits > 8 {
            return Err(file.unsupported(format!("{} bits per sample", self.bits)));
        }
        if self.samples > MAX_SAMPLES {
            return Err(file.unsupported(format!("{} samples per pixel", self.samples)));
        }
        if self.samples < color.samples() {
            return Err(file.corrupt("its pixels have fewer samples than their color needs"));
        }
        Ok(())
    }

    /// Whether the decoder must be told another color: where it would refuse, drop samples or invert, and where bits
    /// are reversed.
    fn needs_edit(&self) -> bool {
        let is_known =
            self.photometric == BLACK_IS_ZERO || self.photometric == RGB && self.samples == 3;
        !is_known || !self.extra_samples.is_empty() || self.has_reversed_bits
    }

    /// Whether the samples are the result.
    fn is_plain_rgb(&self) -> bool {
        self.photometric == RGB && self.samples == 3 && self.bits == 8 && !self.is_planar
    }

    fn planes(&self) -> u64 {
        if self.is_planar {
            u64::from(self.samples)
        } else {
            1
        }
    }

    /// Bytes of a row of one plane; rows begin with a byte.
    fn row_bytes(&self) -> u64 {
        let samples = u64::from(self.samples) / self.planes();
        (u64::from(self.width) * samples * u64::from(self.bits)).div_ceil(8)
    }

    fn stored_bytes(&self) -> u64 {
        self.row_bytes()
            .saturating_mul(u64::from(self.height))
            .saturating_mul(self.planes())
    }

    /// Checks strips or tiles against the file, so that none takes memory that the file does not account for.
    fn chunks(&self, decoder: &mut Reader<'_>, file: &File<'_>) -> Result<Chunks, ImageError> {
        let failed = |error| classify(error, file);
        let (offsets, lengths) = match decoder.get_chunk_type() {
            ChunkType::Strip => (Tag::StripOffsets, Tag::StripByteCounts),
            ChunkType::Tile => (Tag::TileOffsets, Tag::TileByteCounts),
        };
        let mut values = |tag| -> Result<Vec<usize>, ImageError> {
            let found = decoder.find_tag_unsigned_vec(tag).map_err(failed)?;
            Ok(found.unwrap_or_default())
        };
        let ranges: Vec<_> = values(offsets)?.into_iter().zip(values(lengths)?).collect();
        let (chunk_width, chunk_height) = decoder.chunk_dimensions();
        let chunk_height = match decoder.get_chunk_type() {
            ChunkType::Strip => chunk_height.min(self.height),
            // The decoder counts the rows of such tiles wrongly in all planes but the first.
            ChunkType::Tile if self.is_planar && !self.height.is_multiple_of(chunk_height) => {
                return Err(file.unsupported("planes of tiles that end below the picture"));
            }
            ChunkType::Tile => chunk_height,
        };
        let row_bytes = u64::from(chunk_width) * u64::from(self.samples) * u64::from(self.bits) / 8;
        // A chunk that is decoded as a whole, and its data; of others a row.
        let mut largest_bytes = row_bytes;
        if self.compression == COMPRESSION_JPEG {
            largest_bytes = row_bytes
                .saturating_mul(2)
                .saturating_mul(u64::from(chunk_height))
                .saturating_add(file.bytes.len() as u64);
            let tables = decoder.get_tag_u8_vec(Tag::JPEGTables).unwrap_or_default();
            jpeg::check_part(file, &tables, (chunk_width, chunk_height))?;
            for &(start, length) in &ranges {
                let end = start.saturating_add(length).min(file.bytes.len());
                let part = file.bytes.get(start..end).ok_or_else(|| file.truncated())?;
                jpeg::check_part(file, part, (chunk_width, chunk_height))?;
            }
        }
        Ok(Chunks {
            ranges,
            largest_bytes,
        })
    }
}

/// Strips or tiles.
struct Chunks {
    /// Where each begins in the file, and its length, in bytes.
    ranges: Vec<(usize, usize)>,
    /// What decoding one takes at most, in bytes.
    largest_bytes: u64,
}

/// What the first samples of a pixel mean.
enum Color {
    /// Grey, white at 0 or at the largest value.
    Grey {
        is_inverted: bool,
    },
    Rgb,
    Palette,
    Cmyk,
    /// Stored as such, or left as such by a JPEG decoder.
    YCbCr {
        is_jpeg: bool,
    },
}

impl Color {
    fn of(tags: &Tags, file: &File<'_>) -> Result<Self, ImageError> {
        Ok(match tags.photometric {
            0 => Self::Grey { is_inverted: true },
            1 => Self::Grey { is_inverted: false },
            2 => Self::Rgb,
            3 => Self::Palette,
            4 => return Err(file.unsupported("a transparency mask instead of a picture")),
            5 => Self::Cmyk,
            6 if tags.samples == 1 => Self::Grey { is_inverted: false },
            6 if tags.compression == COMPRESSION_JPEG => Self::YCbCr { is_jpeg: true },
            6 if tags.chroma_subsampling == [1, 1] => Self::YCbCr { is_jpeg: false },
            6 => {
                return Err(file.unsupported("subsampled YCbCr that is not JPEG-compressed"));
            }
            8..=10 => return Err(file.unsupported("CIE L*a*b* colors")),
            other => return Err(file.unsupported(format!("photometric interpretation {other}"))),
        })
    }

    fn samples(&self) -> u16 {
        match self {
            Self::Grey { .. } | Self::Palette => 1,
            Self::Rgb | Self::YCbCr { .. } => 3,
            Self::Cmyk => 4,
        }
    }
}

/// The names of compressions that are not read.
fn unread_compression(compression: u16) -> Option<String> {
    let name = match compression {
        COMPRESSION_NONE | 4 | 5 | COMPRESSION_JPEG | 8 | 32_773 | 32_946 => return None,
        2 => "CCITT run-length",
        3 => "CCITT Group 3 fax",
        6 => "old-style JPEG",
        9 | 10 | 34_661 | 34_715 => "JBIG",
        32_766 => "NeXT",
        32_809 => "ThunderScan",
        34_676 | 34_677 => "SGI log",
        33_003 | 33_005 | 34_712 => "JPEG 2000",
        34_887 => "LERC",
        34_892 => "lossy JPEG (camera raw)",
        34_925 => "LZMA",
        34_926 | 50_000 => "Zstandard",
        34_927 | 50_001 => "WebP",
        50_002 | 52_546 => "JPEG XL",
        other => return Some(format!("unknown ({other})")),
    };
    Some(name.into())
}

/// All reds, then all greens, then all blues, of 16 bits each; Pillow keeps the high byte.
fn palette(
    decoder: &mut Reader<'_>,
    bits: u8,
    file: &File<'_>,
) -> Result<Box<[[u8; 3]; COLORS]>, ImageError> {
    let map: Vec<u16> = decoder
        .find_tag_unsigned_vec(Tag::ColorMap)
        .map_err(|error| classify(error, file))?
        .unwrap_or_default();
    let count = 1 << bits.min(8);
    if map.len() != 3 * count {
        return Err(file.corrupt(format!("its palette has {} values", map.len())));
    }
    let mut colors = Box::new([[0; 3]; COLORS]);
    for (index, color) in colors.iter_mut().enumerate().take(count) {
        *color = [0, 1, 2].map(|channel| (map[channel * count + index] >> 8) as u8);
    }
    Ok(colors)
}

fn edited(file: &File<'_>, tags: &Tags, chunks: &Chunks) -> Result<Vec<u8>, ImageError> {
    let mut copy = tiff_directory::as_grey(file.bytes)
        .ok_or_else(|| file.corrupt("its photometric interpretation is no number"))?;
    if tags.has_reversed_bits {
        tiff_directory::reverse_bits(&mut copy, &chunks.ranges).ok_or_else(|| file.truncated())?;
    }
    Ok(copy)
}

/// Plane after plane, row after row, in the machine's byte order.
fn read_samples(
    decoder: &mut Reader<'_>,
    expected: u64,
    file: &File<'_>,
) -> Result<Vec<u8>, ImageError> {
    let failed = |error| classify(error, file);
    let layout = decoder.image_buffer_layout().map_err(failed)?;
    if layout.complete_len as u64 != expected {
        return Err(file.corrupt("its samples are laid out in another way than its tags say"));
    }
    let mut samples = vec![0; layout.complete_len];
    decoder.read_image_bytes(&mut samples).map_err(failed)?;
    Ok(samples)
}

fn interpret(
    stored: &[u8],
    tags: &Tags,
    color: &Color,
    palette: Option<&[[u8; 3]; COLORS]>,
) -> Vec<u8> {
    let (width, height) = (tags.width as usize, tags.height as usize);
    let (samples, row_bytes) = (usize::from(tags.samples), tags.row_bytes() as usize);
    let plane_bytes = row_bytes * height;
    let most = (1_u32 << tags.bits.min(8)) - 1;
    let is_index = palette.is_some();
    let alpha = usize::from(color.samples());
    let is_associated = tags.extra_samples.first() == Some(&ASSOCIATED_ALPHA)
        && matches!(color, Color::Grey { .. } | Color::Rgb)
        && samples > alpha;

    let mut rgb = Vec::with_capacity(3 * width * height);
    let mut pixel = [0; MAX_SAMPLES as usize];
    for row in 0..height {
        for column in 0..width {
            for (number, sample) in pixel[..samples].iter_mut().enumerate() {
                let (plane, position) = if tags.is_planar {
                    (number, column)
                } else {
                    (0, column * samples + number)
                };
                let row = &stored[plane * plane_bytes + row * row_bytes..][..row_bytes];
                let value = sample_at(row, position, tags.bits);
                *sample = if tags.bits < 8 && !is_index {
                    (u32::from(value) * 255 / most) as u8
                } else {
                    value
                };
            }
            let mut color = match color {
                Color::Grey { is_inverted: true } => [255 - pixel[0]; 3],
                Color::Grey { is_inverted: false } => [pixel[0]; 3],
                Color::Rgb => [pixel[0], pixel[1], pixel[2]],
                Color::Palette => palette.map_or([0; 3], |colors| colors[usize::from(pixel[0])]),
                Color::Cmyk => rgb_of_cmyk(&pixel),
                Color::YCbCr { is_jpeg: true } => rgb_of_jpeg_ycbcr(&pixel),
                Color::YCbCr { is_jpeg: false } => rgb_of_ycbcr(&pixel),
            };
            if is_associated {
                color = divided_by_alpha(color, pixel[alpha]);
            }
            rgb.extend_from_slice(&color);
        }
    }
    rgb
}

/// Sample number `position` of a row: the high byte of 16 bits, or as many bits as there are.
fn sample_at(row: &[u8], position: usize, bits: u8) -> u8 {
    match bits {
        8 => row[position],
        16 => high_byte(&row[2 * position..]),
        _ => {
            // The first sample stands in the highest bits; one may begin in one byte and end in the next.
            let bits = usize::from(bits);
            let start = position * bits;
            let pair =
                u16::from_be_bytes([row[start / 8], row.get(start / 8 + 1).copied().unwrap_or(0)]);
            ((pair << (start % 8)) >> (16 - bits)) as u8
        }
    }
}

fn classify(error: TiffError, file: &File<'_>) -> ImageError {
    match error {
        TiffError::IoError(io) if io.kind() == ErrorKind::UnexpectedEof => file.truncated(),
        TiffError::UnsupportedError(kind) => file.unsupported(kind),
        TiffError::LimitsExceeded => file.corrupt("it asks for more memory than its pixels need"),
        other => file.corrupt(other),
    }
}
