//! What a JPEG says about itself before its pixels: completeness, coding, sampling, EXIF orientation.

use super::{Decoded, File, raster};
use crate::image::{ImageError, Orientation};

const START_OF_IMAGE: u8 = 0xD8;
const END_OF_IMAGE: u8 = 0xD9;
const START_OF_SCAN: u8 = 0xDA;
const APPLICATION_1: u8 = 0xE1;
const EXIF_SIGNATURE: &[u8] = b"Exif\0\0";
/// Samples of a side of a block.
const BLOCK: u64 = 8;
/// Bytes of a coefficient in memory, and coefficients of a block.
const COEFFICIENT_BYTES: u64 = 2;

pub(super) fn decode(file: &File<'_>) -> Result<Decoded, ImageError> {
    let Some(header) = Header::read(file.bytes) else {
        // The decoder would fill the missing part with grey and say nothing; Pillow refuses.
        return Err(file.truncated());
    };
    if let Some(frame) = &header.frame {
        frame.check(file)?;
    }
    raster::decode_with(file, header.coefficient_bytes(), Some(header.exif))
}

/// Checks the JPEG data of a part of another file, of at most `width` x `height` pixels.
pub(super) fn check_part(
    file: &File<'_>,
    bytes: &[u8],
    (width, height): (u32, u32),
) -> Result<(), ImageError> {
    let mut header = Header::default();
    header.walk(bytes);
    let Some(frame) = header.frame else {
        return Ok(());
    };
    // Whole blocks may be coded where the part ends inside of one.
    let fits = |coded: u16, length: u32| u64::from(coded) < u64::from(length) + 4 * BLOCK;
    if !fits(frame.width, width) || !fits(frame.height, height) {
        return Err(file.corrupt("a part of it is larger than the file says"));
    }
    frame.check(file)
}

/// What the segments of a complete file tell.
#[derive(Debug, Default)]
struct Header {
    /// The first start-of-frame segment.
    frame: Option<Frame>,
    scans: usize,
    exif: Orientation,
}

#[derive(Debug)]
struct Frame {
    /// The marker, 0xC0 to 0xCF or JPEG-LS's 0xF7: how the file is coded.
    marker: u8,
    bits: u8,
    height: u16,
    width: u16,
    /// Horizontal and vertical sampling factors of each component.
    sampling: Vec<(u8, u8)>,
}

impl Header {
    /// Walks the markers up to the end-of-image marker; `None` when the data end first.
    ///
    /// Bytes between segments that are no marker are skipped, as libjpeg does.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut header = Self::default();
        header.walk(bytes).map(|()| header)
    }

    fn walk(&mut self, bytes: &[u8]) -> Option<()> {
        let mut at = 0;
        loop {
            at += bytes.get(at..)?.iter().position(|&byte| byte == 0xFF)? + 1;
            match *bytes.get(at)? {
                // A stuffed byte, a restart marker, a stand-alone marker or fill bytes: no segment follows.
                0x00 | 0x01 | 0xD0..=0xD7 | START_OF_IMAGE => at += 1,
                0xFF => {}
                END_OF_IMAGE => return Some(()),
                marker => {
                    let length = usize::from(u16::from_be_bytes([
                        *bytes.get(at + 1)?,
                        *bytes.get(at + 2)?,
                    ]));
                    self.note(
                        marker,
                        bytes.get(at + 3..at + 1 + length).unwrap_or_default(),
                    );
                    at += 1 + length;
                }
            }
        }
    }

    fn note(&mut self, marker: u8, content: &[u8]) {
        match marker {
            START_OF_SCAN => self.scans += 1,
            APPLICATION_1 => {
                let found = content
                    .strip_prefix(EXIF_SIGNATURE)
                    .and_then(::image::metadata::Orientation::from_exif_chunk);
                if let Some(found) = found {
                    self.exif = Orientation::from_tag(u64::from(found.to_exif()));
                }
            }
            // Tables of Huffman codes, extensions and tables of arithmetic codes stand among the frames' markers.
            0xC4 | 0xC8 | 0xCC => {}
            0xC0..=0xCF | 0xF7 if self.frame.is_none() => self.frame = Frame::read(marker, content),
            _ => {}
        }
    }

    /// What the decoder keeps of all blocks while it goes through several scans.
    fn coefficient_bytes(&self) -> u64 {
        let Some(frame) = &self.frame else { return 0 };
        if frame.marker != 0xC2 && self.scans <= 1 {
            return 0;
        }
        let most =
            |side: fn(&(u8, u8)) -> u8| frame.sampling.iter().map(side).max().map_or(1, u64::from);
        let (across, down) = (most(|s| s.0).max(1), most(|s| s.1).max(1));
        let blocks = u64::from(frame.width).div_ceil(BLOCK * across)
            * u64::from(frame.height).div_ceil(BLOCK * down);
        let per_unit: u64 = frame
            .sampling
            .iter()
            .map(|&(h, v)| u64::from(h) * u64::from(v))
            .sum();
        blocks * per_unit * BLOCK * BLOCK * COEFFICIENT_BYTES
    }
}

impl Frame {
    fn read(marker: u8, content: &[u8]) -> Option<Self> {
        let &[bits, h1, h0, w1, w0, components, ref rest @ ..] = content else {
            return None;
        };
        Some(Self {
            marker,
            bits,
            height: u16::from_be_bytes([h1, h0]),
            width: u16::from_be_bytes([w1, w0]),
            sampling: rest
                .chunks_exact(3)
                .take(usize::from(components))
                .map(|component| (component[1] >> 4, component[1] & 0x0F))
                .collect(),
        })
    }

    /// Refuses, by name, what is a healthy file of a kind that is not read.
    fn check(&self, file: &File<'_>) -> Result<(), ImageError> {
        let coding = match self.marker {
            0xC0..=0xC2 => None,
            0xC3 => Some("lossless coding"),
            0xC5..=0xC7 => Some("hierarchical coding"),
            0xF7 => Some("JPEG-LS coding"),
            _ => Some("arithmetic coding"),
        };
        if let Some(coding) = coding {
            return Err(file.unsupported(coding));
        }
        if self.bits != 8 {
            return Err(file.unsupported(format!("{} bits per sample", self.bits)));
        }
        let Some(&(luma_h, luma_v)) = self.sampling.first() else {
            return Ok(());
        };
        for &(h, v) in &self.sampling {
            if !h.is_power_of_two() && h != 0 {
                return Err(file.unsupported(format!("a sampling factor of {h}")));
            }
            if h > luma_h || v > luma_v {
                return Err(file.unsupported("color that is sampled more finely than brightness"));
            }
            // A sampling factor of 0 is no kind but damage, which the decoder names.
            let whole = |luma: u8, chroma: u8| luma.checked_rem(chroma).unwrap_or(0) == 0;
            if !whole(luma_h, h) || !whole(luma_v, v) {
                return Err(file.unsupported("color that is sampled at a fraction of brightness"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_inside_a_segment_does_not_end_a_jpeg() {
        // SOI, a comment that contains FF D9, then nothing.
        let unfinished = [0xFF, 0xD8, 0xFF, 0xFE, 0x00, 0x04, 0xFF, 0xD9];
        assert!(Header::read(&unfinished).is_none());
        let finished = [unfinished.as_slice(), &[0xFF, 0xD9]].concat();
        assert!(Header::read(&finished).is_some());
    }

    #[test]
    fn a_second_frame_does_not_replace_the_first() {
        let frame = |marker: u8| [0xFF, marker, 0, 11, 8, 0, 16, 0, 32, 1, 1, 0x11, 0];
        let bytes = [&frame(0xC0)[..], &frame(0xC9), &[0xFF, 0xD9]].concat();
        let frame = Header::read(&bytes).unwrap().frame.unwrap();
        assert_eq!((frame.marker, frame.width, frame.height), (0xC0, 32, 16));
        assert_eq!(frame.sampling, [(1, 1)]);
    }
}
