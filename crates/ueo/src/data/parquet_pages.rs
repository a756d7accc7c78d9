//! Where the pages of a column are and how large they say they are, before the `parquet` crate unpacks one: no header makes the
//! reader take more memory than a fixed bound and a multiple of the bytes that are there.
//!
//! A page header is a structure of Thrift's compact protocol (parquet.thrift, `PageHeader`), of which the sizes and the
//! number of values are read.

use std::io::Read;

use flate2::bufread::MultiGzDecoder;

/// Bytes of a page header that are read at first, and the longest header. It holds two statistics at most.
const HEADER_BYTES: u64 = 4 << 10;
const MAX_HEADER_BYTES: u64 = 1 << 20;

/// Longest page, packed or not, in bytes: some hundred images. Writers begin a new one after about a megabyte, or
/// after a thousand rows.
const MAX_PAGE_BYTES: u32 = 512 << 20;

/// How often its own length, and bytes beyond, a page of Snappy's can unpack to: a copy of 64 bytes takes three.
const SNAPPY_RATIO: u64 = 22;
const SNAPPY_BYTES: u64 = 64;

/// Structures in structures in a page header; the deepest one is 3.
const MAX_DEPTH: usize = 8;

/// How the pages of a column are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    None,
    Snappy,
    Gzip,
}

/// What a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageKind {
    Dictionary,
    Data,
}

/// A page of a column chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageInfo {
    pub kind: PageKind,
    /// Offset of its header in the file.
    pub offset: u64,
    /// Length of header and data in the file.
    pub length: u32,
    /// Length of what stands in front of what is packed; `None` where nothing is.
    pub unpacked_length: Option<u32>,
    pub uncompressed: u32,
    /// The first row of the chunk that it holds, and how many it holds.
    pub first_row: u64,
    pub rows: u32,
}

/// A part of a file that holds the values of one column for a group of rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    pub start: u64,
    pub length: u64,
    pub codec: Codec,
    /// The first row of the file that it holds, and how many it holds.
    pub first_row: u64,
    pub rows: u64,
}

/// Lists the pages of a chunk; `read` gives bytes of the file, fewer where it ends.
pub(super) fn pages_of(
    chunk: &Chunk,
    read: impl Fn(u64, u64) -> std::io::Result<Vec<u8>>,
) -> Result<Vec<PageInfo>, String> {
    let mut pages = Vec::new();
    let end = chunk.start + chunk.length;
    let (mut offset, mut row) = (chunk.start, 0);
    while offset < end && row < chunk.rows {
        let header = header_at(offset, end, &read)?;
        let length = u64::from(header.length) + u64::from(header.compressed);
        if length > end - offset {
            return Err("a page is longer than the column that it belongs to".into());
        }
        check_sizes(&header, chunk.codec)?;
        if let Some(kind) = header.kind {
            let rows = match kind {
                PageKind::Dictionary if pages.is_empty() => 0,
                PageKind::Dictionary => return Err("a column has a second dictionary".into()),
                PageKind::Data => header.values,
            };
            pages.push(PageInfo {
                kind,
                offset,
                length: length as u32,
                unpacked_length: header.packed_after.map(|levels| header.length + levels),
                uncompressed: header.uncompressed,
                first_row: row,
                rows,
            });
            row += u64::from(rows);
        }
        offset += length;
    }
    match row == chunk.rows {
        true => Ok(pages),
        false => Err(format!(
            "the pages of a column hold {row} rows where {} are announced",
            chunk.rows
        )),
    }
}

/// Checks before a page is unpacked that it unpacks to what its header says. Only gzip can do otherwise.
pub(super) fn check_content(page: &PageInfo, codec: Codec, bytes: &[u8]) -> Result<(), String> {
    let (Codec::Gzip, Some(start)) = (codec, page.unpacked_length) else {
        return Ok(());
    };
    let packed = bytes.get(start as usize..).unwrap_or_default();
    let limit = u64::from(page.uncompressed) + 1;
    let mut unpacked = MultiGzDecoder::new(packed).take(limit);
    match std::io::copy(&mut unpacked, &mut std::io::sink()) {
        Ok(length) if length < limit => Ok(()),
        Ok(_) => Err("a page unpacks to more than its header says".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn check_sizes(header: &Header, codec: Codec) -> Result<(), String> {
    let (packed, unpacked) = (u64::from(header.compressed), u64::from(header.uncompressed));
    let is_too_long = header.compressed.max(header.uncompressed) > MAX_PAGE_BYTES;
    if is_too_long {
        return Err(format!(
            "a page has {} bytes, more than the limit of {MAX_PAGE_BYTES}",
            packed.max(unpacked)
        ));
    }
    let is_possible = match codec {
        Codec::None => packed == unpacked,
        Codec::Snappy => unpacked <= SNAPPY_RATIO * packed + SNAPPY_BYTES,
        Codec::Gzip => true,
    };
    match is_possible {
        true => Ok(()),
        false => Err(format!(
            "a page of {packed} bytes cannot unpack to {unpacked} bytes"
        )),
    }
}

/// What a page header says.
struct Header {
    /// `None` for a kind that is passed over.
    kind: Option<PageKind>,
    /// Length of the header itself.
    length: u32,
    compressed: u32,
    uncompressed: u32,
    values: u32,
    /// Bytes in front of what is packed (of version 2, the levels); `None` where nothing is.
    packed_after: Option<u32>,
}

/// What the header of a page of some kind says.
#[derive(Clone, Copy, Default)]
struct OwnHeader {
    values: Option<i64>,
    levels: i64,
    is_plain: bool,
}

fn header_at(
    offset: u64,
    end: u64,
    read: impl Fn(u64, u64) -> std::io::Result<Vec<u8>>,
) -> Result<Header, String> {
    for limit in [HEADER_BYTES, MAX_HEADER_BYTES] {
        let length = limit.min(end - offset);
        let bytes = read(offset, length).map_err(|error| error.to_string())?;
        match Thrift(&bytes).page_header(bytes.len()) {
            Some(header) => return header,
            // It may go on behind what was read.
            None if length == limit => {}
            None => break,
        }
    }
    Err("a page header is cut off or damaged".into())
}

/// Bytes of Thrift's compact protocol that are still to be read. `None` everywhere where they end too early.
struct Thrift<'a>(&'a [u8]);

/// A type in the compact protocol.
mod kind {
    pub const STOP: u8 = 0;
    pub const TRUE: u8 = 1;
    pub const FALSE: u8 = 2;
    pub const BYTE: u8 = 3;
    pub const I16: u8 = 4;
    pub const I32: u8 = 5;
    pub const I64: u8 = 6;
    pub const DOUBLE: u8 = 7;
    pub const BINARY: u8 = 8;
    pub const LIST: u8 = 9;
    pub const SET: u8 = 10;
    pub const MAP: u8 = 11;
    pub const STRUCT: u8 = 12;
}

impl Thrift<'_> {
    /// A page header at the start of `available` bytes.
    fn page_header(mut self, available: usize) -> Option<Result<Header, String>> {
        let (mut page_type, mut uncompressed, mut compressed) = (None, None, None);
        let mut own = OwnHeader::default();
        let mut id = 0;
        while let Some(of) = self.field(&mut id)? {
            match (id, of) {
                (1, kind::I32) => page_type = Some(self.integer()?),
                (2, kind::I32) => uncompressed = Some(self.integer()?),
                (3, kind::I32) => compressed = Some(self.integer()?),
                (5 | 7, kind::STRUCT) => own = self.own_header(false)?,
                (8, kind::STRUCT) => own = self.own_header(true)?,
                _ => self.skip(of, 0)?,
            }
        }
        let length = (available - self.0.len()) as u32;
        let size = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok());
        let kind = match page_type {
            Some(0 | 3) => Some(PageKind::Data),
            Some(2) => Some(PageKind::Dictionary),
            _ => None,
        };
        let header = size(compressed).zip(size(uncompressed));
        let header = header.and_then(|(compressed, uncompressed)| {
            let values = match kind {
                Some(_) => size(own.values)?,
                None => 0,
            };
            let levels = size(Some(own.levels)).filter(|levels| *levels <= compressed)?;
            page_type.map(|_| Header {
                kind,
                length,
                compressed,
                uncompressed,
                values,
                packed_after: (!own.is_plain).then_some(levels),
            })
        });
        Some(header.ok_or_else(|| "a page header lacks a size or has an impossible one".into()))
    }

    /// The header of a data page or a dictionary; all begin with the number of values.
    fn own_header(&mut self, is_version_2: bool) -> Option<OwnHeader> {
        let mut own = OwnHeader::default();
        let mut id = 0;
        while let Some(of) = self.field(&mut id)? {
            match (id, of, is_version_2) {
                (1, kind::I32, _) => own.values = Some(self.integer()?),
                (5 | 6, kind::I32, true) => own.levels = own.levels.checked_add(self.integer()?)?,
                (7, kind::FALSE, true) => own.is_plain = true,
                _ => self.skip(of, 1)?,
            }
        }
        Some(own)
    }

    /// The type of the next field, whose number is put into `id`; `Some(None)` at the end of the structure.
    fn field(&mut self, id: &mut i64) -> Option<Option<u8>> {
        let byte = self.byte()?;
        if byte == kind::STOP {
            return Some(None);
        }
        *id = match byte >> 4 {
            0 => self.integer()?,
            step => *id + i64::from(step),
        };
        Some(Some(byte & 0x0F))
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn pass(&mut self, bytes: u64) -> Option<()> {
        self.0 = self.0.get(usize::try_from(bytes).ok()?..)?;
        Some(())
    }

    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn integer(&mut self) -> Option<i64> {
        let value = self.unsigned()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn skip(&mut self, of: u8, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match of {
            kind::TRUE | kind::FALSE => {}
            kind::BYTE => self.pass(1)?,
            kind::I16 | kind::I32 | kind::I64 => drop(self.unsigned()?),
            kind::DOUBLE => self.pass(8)?,
            kind::BINARY => {
                let length = self.unsigned()?;
                self.pass(length)?;
            }
            kind::LIST | kind::SET => {
                let byte = self.byte()?;
                let length = match byte >> 4 {
                    15 => self.unsigned()?,
                    length => u64::from(length),
                };
                for _ in 0..length {
                    self.skip_element(byte & 0x0F, depth)?;
                }
            }
            kind::MAP => {
                let length = self.unsigned()?;
                let kinds = if length > 0 { self.byte()? } else { 0 };
                for _ in 0..length {
                    self.skip_element(kinds >> 4, depth)?;
                    self.skip_element(kinds & 0x0F, depth)?;
                }
            }
            kind::STRUCT => {
                let mut id = 0;
                while let Some(of) = self.field(&mut id)? {
                    self.skip(of, depth + 1)?;
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// In lists and maps, a truth value takes a byte.
    fn skip_element(&mut self, of: u8, depth: usize) -> Option<()> {
        match of {
            kind::TRUE | kind::FALSE => self.pass(1),
            of => self.skip(of, depth + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type, sizes, a list of booleans under an unknown number, a data page header with statistics, and the end.
    const HEADER: [u8; 27] = [
        0x15, 0, 0x15, 200, 1, 0x15, 180, 1, 0x09, 40, 0x31, 1, 2, 1, 0x0C, 10, 0x15, 14, 0x15, 0,
        0x3C, 0x18, 2, 9, 9, 0, 0,
    ];

    #[test]
    fn a_header_is_read_and_the_rest_passed_over() {
        let bytes = [HEADER.as_slice(), &[0, 7, 7]].concat();
        let header = Thrift(&bytes).page_header(bytes.len()).unwrap().unwrap();
        let found = (header.compressed, header.uncompressed, header.values);
        assert_eq!(found, (90, 100, 7));
        assert_eq!((header.kind, header.length), (Some(PageKind::Data), 28));
        for length in 0..28 {
            assert!(Thrift(&bytes[..length]).page_header(length).is_none());
        }
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        let header = |compressed, uncompressed| Header {
            kind: Some(PageKind::Data),
            length: 9,
            compressed,
            uncompressed,
            values: 1,
            packed_after: Some(0),
        };
        assert!(check_sizes(&header(100, 100), Codec::None).is_ok());
        assert!(check_sizes(&header(100, 101), Codec::None).is_err());
        assert!(check_sizes(&header(100, 2200), Codec::Snappy).is_ok());
        assert!(check_sizes(&header(100, 1 << 20), Codec::Snappy).is_err());
        assert!(check_sizes(&header(1 << 30, 1 << 30), Codec::None).is_err());
    }
}
