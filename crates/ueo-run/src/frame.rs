//! The frames of a `TFRecord` file: length, checksum of the length, data, checksum of the data, all little-endian.

use std::io::{self, Read};

/// Bytes in front of the data: an eight-byte length and its checksum.
const HEADER: usize = 12;
/// Bytes of a checksum.
const CHECKSUM: usize = 4;
/// Added to the rotated checksum (`tensorflow/core/lib/hash/crc32c.h`).
const MASK_DELTA: u32 = 0xa282_ead8;

/// CRC-32C, masked as TensorFlow does it, so that a checksum of data that holds checksums keeps its strength.
fn masked_checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(MASK_DELTA)
}

/// A frame around `data`.
pub(crate) fn frame(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut frame = Vec::with_capacity(HEADER + data.len() + CHECKSUM);
    frame.extend(length);
    frame.extend(masked_checksum(&length).to_le_bytes());
    frame.extend(data);
    frame.extend(masked_checksum(data).to_le_bytes());
    frame
}

/// Reads the next frame's data; `None` when no whole, undamaged frame of at most `limit` bytes is there.
///
/// # Errors
///
/// As the reader.
pub(crate) fn read_frame(reader: &mut impl Read, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut frame = Vec::new();
    reader.take(HEADER as u64).read_to_end(&mut frame)?;
    let Some(length) = frame.first_chunk::<8>() else {
        return Ok(None);
    };
    let length = u64::from_le_bytes(*length);
    if length > limit {
        return Ok(None);
    }
    reader
        .take(length + CHECKSUM as u64)
        .read_to_end(&mut frame)?;
    Ok(split_frame(&frame).map(|(data, _)| data.to_vec()))
}

/// Bytes of a frame around this many bytes of data.
pub(crate) fn frame_length(data: usize) -> u64 {
    (HEADER + data + CHECKSUM) as u64
}

/// The data of the first frame and what follows the frame; `None` when no whole, undamaged frame is there.
pub(crate) fn split_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (length_checksum, rest) = rest.split_first_chunk::<CHECKSUM>()?;
    if u32::from_le_bytes(*length_checksum) != masked_checksum(length) {
        return None;
    }
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (data, rest) = rest.split_at_checked(length)?;
    let (checksum, rest) = rest.split_first_chunk::<CHECKSUM>()?;
    (u32::from_le_bytes(*checksum) == masked_checksum(data)).then_some((data, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_damage_is_noticed() {
        let mut bytes = frame(b"first");
        bytes.extend(frame(b""));
        let (first, rest) = split_frame(&bytes).unwrap();
        assert_eq!(first, b"first");
        assert_eq!(split_frame(rest), Some((&b""[..], &b""[..])));
        for position in 0..frame(b"first").len() {
            let mut damaged = frame(b"first");
            damaged[position] ^= 1;
            assert_eq!(split_frame(&damaged), None, "byte {position}");
            assert_eq!(split_frame(&frame(b"first")[..position]), None);
        }
    }
}
