//! Palette TIFF, which the TIFF decoder does not read: its directory is edited so that the indices decode as grey.

/// Tags of TIFF 6.0.
const TAG_BITS_PER_SAMPLE: u16 = 258;
const TAG_PHOTOMETRIC: u16 = 262;
const TAG_COLOR_MAP: u16 = 320;
/// Values of `PhotometricInterpretation`.
const BLACK_IS_ZERO: u16 = 1;
const PALETTE: u16 = 3;
/// Bytes of one directory entry.
const ENTRY_BYTES: usize = 12;
/// Colors of an 8-bit palette.
const COLORS: usize = 256;

/// An 8-bit palette image as a grey one, and its colors.
pub(super) struct PaletteTiff {
    /// The file with `BlackIsZero` in place of `Palette`.
    pub grey: Vec<u8>,
    /// What each index means.
    pub colors: [[u8; 3]; COLORS],
}

/// Recognizes a classic TIFF whose first image has an 8-bit palette.
pub(super) fn as_grey(bytes: &[u8]) -> Option<PaletteTiff> {
    let little = match bytes.get(..4)? {
        [b'I', b'I', 42, 0] => true,
        [b'M', b'M', 0, 42] => false,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let pair = bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if little {
            u16::from_le_bytes(pair)
        } else {
            u16::from_be_bytes(pair)
        })
    };
    let u32_at = |at: usize| {
        let four = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if little {
            u32::from_le_bytes(four)
        } else {
            u32::from_be_bytes(four)
        } as usize)
    };
    let directory = u32_at(4)?;
    let entries = usize::from(u16_at(directory)?);
    let entry = |tag: u16| {
        (0..entries)
            .map(|number| directory + 2 + number * ENTRY_BYTES)
            .find(|&at| u16_at(at) == Some(tag))
    };
    // A value of up to four bytes stands in the entry itself, after tag, type and count.
    let photometric = entry(TAG_PHOTOMETRIC)? + 8;
    let bits = entry(TAG_BITS_PER_SAMPLE)? + 8;
    if u16_at(photometric)? != PALETTE || u16_at(bits)? != 8 {
        return None;
    }
    let map = entry(TAG_COLOR_MAP)?;
    if u32_at(map + 4)? != 3 * COLORS {
        return None;
    }
    // All reds, then all greens, then all blues, of 16 bits each.
    let map = u32_at(map + 8)?;
    let mut colors = [[0; 3]; COLORS];
    for (index, color) in colors.iter_mut().enumerate() {
        for (channel, value) in color.iter_mut().enumerate() {
            *value = (u16_at(map.checked_add(2 * (channel * COLORS + index))?)? >> 8) as u8;
        }
    }
    let mut grey = bytes.to_vec();
    let value = if little {
        BLACK_IS_ZERO.to_le_bytes()
    } else {
        BLACK_IS_ZERO.to_be_bytes()
    };
    grey[photometric..photometric + 2].copy_from_slice(&value);
    Some(PaletteTiff { grey, colors })
}
