//! Text that users write: UTF-8, with or without a byte order mark, lines that end in any of the three ways.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use super::DataError;
use super::dataset::open_error;

/// Longest text file that is read at once, in bytes.
const MAX_TEXT_BYTES: u64 = 64 << 20;

/// Longest line of a list or class file, in bytes: twice the longest path of common systems.
pub(super) const MAX_LINE_BYTES: usize = 8 << 10;

/// Reads a text file of at most 64 MiB.
///
/// # Errors
/// [`DataError::OpenText`], [`DataError::Limit`], or [`DataError::Encoding`] with line and byte of the first place that is
/// not UTF-8 text.
pub fn read_utf8(path: &Path) -> Result<String, DataError> {
    let bytes = read_bounded(path, "a text file", MAX_TEXT_BYTES, "bytes in a text file")?;
    decode_utf8(&bytes, path).map(str::to_owned)
}

/// The bytes of a file that must not be longer than a limit. A pipe is read until it passes the limit. `expected` says what the
/// file should be where it cannot be opened.
pub(super) fn read_bounded(
    path: &Path,
    expected: &'static str,
    limit: u64,
    what: &'static str,
) -> Result<Vec<u8>, DataError> {
    let wrong = |error: io::Error| DataError::OpenText {
        path: path.to_path_buf(),
        expected,
        reason: error.to_string(),
    };
    let file = File::open(path).map_err(wrong)?;
    let is_too_long = file.metadata().map_err(wrong)?.len() > limit;
    let bytes = match is_too_long {
        true => None,
        false => read_up_to(file, limit).map_err(wrong)?,
    };
    bytes.ok_or_else(|| too_long(path, limit, what))
}

/// All bytes of a reader, at most `limit` of them.
pub(super) fn read_limited(
    reader: impl Read,
    path: &Path,
    limit: u64,
    what: &'static str,
) -> Result<Vec<u8>, DataError> {
    let bytes = read_up_to(reader, limit).map_err(|error| open_error(path, &error))?;
    bytes.ok_or_else(|| too_long(path, limit, what))
}

/// All bytes of a reader; `None` where there are more than `limit`.
fn read_up_to(reader: impl Read, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

/// A file that is longer than its limit.
pub(super) fn too_long(path: &Path, limit: u64, what: &'static str) -> DataError {
    DataError::Limit {
        path: path.to_path_buf(),
        line: None,
        limit,
        what,
    }
}

/// Bytes as text, without the byte order mark.
pub(super) fn decode_utf8<'a>(bytes: &'a [u8], path: &Path) -> Result<&'a str, DataError> {
    let wrong = |byte: usize, found: String| DataError::Encoding {
        path: path.to_path_buf(),
        line: 1 + bytes[..byte].iter().filter(|&&b| b == b'\n').count(),
        byte: byte as u64,
        found,
    };
    if let Some(found) = foreign_mark(bytes) {
        return Err(wrong(0, found));
    }
    match text_of(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{FEFF}').unwrap_or(text)),
        Err((byte, found)) => Err(wrong(byte, found)),
    }
}

/// What a byte order mark other than UTF-8's says.
fn foreign_mark(bytes: &[u8]) -> Option<String> {
    let is_utf16 = bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]);
    is_utf16.then(|| "UTF-16 (its byte order mark)".into())
}

/// The text, or where it is none and what is there.
fn text_of(bytes: &[u8]) -> Result<&str, (usize, String)> {
    // Valid UTF-8, but in text it means UTF-16 or UTF-32 without a mark, or no text at all.
    if let Some(byte) = bytes.iter().position(|&b| b == 0) {
        return Err((byte, "a zero byte (UTF-16, or not text)".into()));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let byte = error.valid_up_to();
        let found = format!(
            "0x{:02x} (Latin-1, Windows-1252 or another encoding?)",
            bytes[byte]
        );
        (byte, found)
    })
}

/// The lines of a text, read one at a time so that memory does not grow with the file. Ends of lines are a line feed, a
/// carriage return, or both.
pub(super) struct Lines<R> {
    reader: R,
    path: PathBuf,
    limit: u64,
    what: &'static str,
    number: usize,
    position: u64,
    after_return: bool,
}

impl<R: BufRead> Lines<R> {
    /// Lines of a text of at most `limit` bytes; `what` says what these are in the error.
    pub(super) fn new(reader: R, path: &Path, limit: u64, what: &'static str) -> Self {
        Self {
            reader,
            path: path.to_path_buf(),
            limit,
            what,
            number: 0,
            position: 0,
            after_return: false,
        }
    }

    /// The next line with its number from 1; `None` at the end.
    pub(super) fn next_line(&mut self) -> Result<Option<(usize, String)>, DataError> {
        let mut line = Vec::new();
        let start = loop {
            let start = self.position - line.len() as u64;
            let available = self
                .reader
                .fill_buf()
                .map_err(|error| open_error(&self.path, &error))?;
            if available.is_empty() {
                if line.is_empty() {
                    return Ok(None);
                }
                break start;
            }
            if std::mem::take(&mut self.after_return) && available[0] == b'\n' {
                self.reader.consume(1);
                self.position += 1;
                continue;
            }
            let end = available
                .iter()
                .position(|byte| matches!(byte, b'\n' | b'\r'));
            let taken = end.unwrap_or(available.len());
            if line.len() + taken > MAX_LINE_BYTES {
                return Err(self.limit(
                    Some(self.number + 1),
                    MAX_LINE_BYTES as u64,
                    "bytes in a line",
                ));
            }
            line.extend_from_slice(&available[..taken]);
            self.after_return = end.is_some_and(|end| available[end] == b'\r');
            let consumed = taken + usize::from(end.is_some());
            self.reader.consume(consumed);
            self.position += consumed as u64;
            if self.position > self.limit {
                return Err(self.limit(None, self.limit, self.what));
            }
            if end.is_some() {
                break start;
            }
        };
        self.number += 1;
        self.decode(&line, start)
            .map(|text| Some((self.number, text)))
    }

    fn decode(&self, line: &[u8], start: u64) -> Result<String, DataError> {
        let wrong = |(byte, found): (usize, String)| DataError::Encoding {
            path: self.path.clone(),
            line: self.number,
            byte: start + byte as u64,
            found,
        };
        let is_first = self.number == 1;
        if let Some(found) = foreign_mark(line).filter(|_| is_first) {
            return Err(wrong((0, found)));
        }
        let text = text_of(line).map_err(wrong)?;
        let text = match text.strip_prefix('\u{FEFF}') {
            Some(rest) if is_first => rest,
            _ => text,
        };
        Ok(text.to_owned())
    }

    fn limit(&self, line: Option<usize>, limit: u64, what: &'static str) -> DataError {
        DataError::Limit {
            path: self.path.clone(),
            line,
            limit,
            what,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Result<Vec<(usize, String)>, DataError> {
        // Two bytes at a time, so that every end of a line also falls between two reads.
        let reader = io::BufReader::with_capacity(2, bytes);
        let mut lines = Lines::new(reader, Path::new("x"), 1 << 20, "bytes");
        let mut found = Vec::new();
        while let Some(line) = lines.next_line()? {
            found.push(line);
        }
        Ok(found)
    }

    #[test]
    fn lines_end_in_three_ways() {
        let numbered = |texts: &[&str]| -> Vec<(usize, String)> {
            (1..)
                .zip(texts.iter().map(|text| text.to_string()))
                .collect()
        };
        assert_eq!(
            lines(b"\xef\xbb\xbfa\nb\r\nc\rd").unwrap(),
            numbered(&["a", "b", "c", "d"])
        );
        assert_eq!(lines(b"a\n\n\r\r\n").unwrap(), numbered(&["a", "", "", ""]));
        assert_eq!(lines(b"a\r\n").unwrap(), numbered(&["a"]));
        assert_eq!(lines(b"").unwrap(), []);
    }

    #[test]
    fn a_long_line_is_refused_and_a_wrong_byte_is_placed() {
        let long = vec![b'x'; MAX_LINE_BYTES + 1];
        assert!(matches!(
            lines(&long),
            Err(DataError::Limit { line: Some(1), .. })
        ));
        assert!(matches!(
            lines(b"ab\r\ncd\xe9\n"),
            Err(DataError::Encoding {
                line: 2,
                byte: 6,
                ..
            })
        ));
    }
}
