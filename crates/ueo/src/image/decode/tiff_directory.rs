//! Edits of a TIFF before it is decoded, for what the decoder does not know.

/// Tag of TIFF 6.0, and its value for grey.
const TAG_PHOTOMETRIC: u64 = 262;
const BLACK_IS_ZERO: u8 = 1;
/// Types of a directory entry.
const SHORT: u64 = 3;
const LONG: u64 = 4;

/// A copy of the file that calls its first image grey, so that the decoder gives all samples as they are stored.
///
/// The decoder refuses palettes and drops samples beyond those of the color before it undoes a predictor.
pub(super) fn as_grey(bytes: &[u8]) -> Option<Vec<u8>> {
    let (at, length, is_little) = photometric(bytes)?;
    let mut copy = bytes.to_vec();
    let value = copy.get_mut(at..at + length)?;
    value.fill(0);
    value[if is_little { 0 } else { length - 1 }] = BLACK_IS_ZERO;
    Some(copy)
}

/// Where the value of the photometric interpretation stands, how many bytes it has, and their order.
fn photometric(bytes: &[u8]) -> Option<(usize, usize, bool)> {
    let (is_little, is_big_tiff) = match bytes.get(..4)? {
        b"II*\0" => (true, false),
        b"MM\0*" => (false, false),
        b"II+\0" => (true, true),
        b"MM\0+" => (false, true),
        _ => return None,
    };
    let number = |at: usize, length: usize| {
        let digits = bytes.get(at..at.checked_add(length)?)?.iter();
        let join = |sum: u64, &digit: &u8| sum << 8 | u64::from(digit);
        Some(if is_little {
            digits.rev().fold(0, join)
        } else {
            digits.fold(0, join)
        })
    };
    // Offset of the directory, and the lengths of an offset, of the number of entries and of an entry.
    let (at, offset, count, entry) = if is_big_tiff {
        (8, 8, 8, 20)
    } else {
        (4, 4, 2, 12)
    };
    let directory = usize::try_from(number(at, offset)?).ok()?;
    let first = directory.checked_add(count)?;
    // A directory cannot have more entries than the file has room for.
    let entries = number(directory, count)?.min((bytes.len() / entry) as u64) as usize;
    let found = (0..entries)
        .map_while(|index| first.checked_add(index * entry))
        .find(|&at| number(at, 2) == Some(TAG_PHOTOMETRIC))?;
    let length = match number(found + 2, 2)? {
        SHORT => 2,
        LONG => 4,
        _ => return None,
    };
    // Tag and type take two bytes each, then comes the count; a value this short stands in the entry itself.
    Some((found + 4 + offset, length, is_little))
}

/// Reverses the bits of every byte in the given ranges: files of `FillOrder` 2 as those of the usual order.
///
/// Returns `None` where the ranges are together longer than the file, which no real file needs.
pub(super) fn reverse_bits(copy: &mut [u8], ranges: &[(usize, usize)]) -> Option<()> {
    let total = ranges
        .iter()
        .try_fold(0_usize, |sum, &(_, length)| sum.checked_add(length))?;
    if total > copy.len() {
        return None;
    }
    for &(start, length) in ranges {
        for byte in copy.get_mut(start..start.checked_add(length)?)? {
            *byte = byte.reverse_bits();
        }
    }
    Some(())
}
