//! Bytes of a pickle, read forward, with lengths that cannot ask for more memory than the file has.

use std::io::{self, Read};

use super::PickleError;

/// Bytes that the pickles of one file may have together. CLIP's have less than one megabyte.
const MAX_PICKLE_BYTES: u64 = 8 << 20;

/// Counts what it hands out, so that the caller knows where the pickle ended.
pub(in crate::checkpoint) struct Source<R> {
    reader: R,
    position: u64,
}

impl<R: Read> Source<R> {
    pub(in crate::checkpoint) fn new(reader: R) -> Self {
        Self {
            reader,
            position: 0,
        }
    }

    /// Bytes handed out so far.
    pub(in crate::checkpoint) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes).map_err(ended)?;
        self.advance(N as u64)?;
        Ok(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, PickleError> {
        Ok(self.array::<1>()?[0])
    }

    /// Reads `length` bytes; memory grows as they arrive.
    pub(super) fn bytes(&mut self, length: u64) -> Result<Vec<u8>, PickleError> {
        self.advance(length)?;
        let mut bytes = Vec::new();
        (&mut self.reader)
            .take(length)
            .read_to_end(&mut bytes)
            .map_err(ended)?;
        if bytes.len() as u64 != length {
            return Err(PickleError::malformed(
                format!("{length} more bytes in the pickle"),
                format!("{}", bytes.len()),
            ));
        }
        Ok(bytes)
    }

    /// Reads UTF-8 text of `length` bytes.
    pub(super) fn text(&mut self, length: u64) -> Result<String, PickleError> {
        String::from_utf8(self.bytes(length)?)
            .map_err(|_| PickleError::malformed("UTF-8 text in the pickle", "other bytes"))
    }

    /// Reads up to a line feed, which is dropped.
    pub(super) fn line(&mut self) -> Result<String, PickleError> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => break,
                byte => line.push(byte),
            }
        }
        String::from_utf8(line)
            .map_err(|_| PickleError::malformed("UTF-8 text in the pickle", "other bytes"))
    }

    fn advance(&mut self, bytes: u64) -> Result<(), PickleError> {
        self.position = self.position.saturating_add(bytes);
        if self.position > MAX_PICKLE_BYTES {
            return Err(PickleError::TooLarge(format!(
                "{MAX_PICKLE_BYTES} bytes of pickle"
            )));
        }
        Ok(())
    }
}

fn ended(error: io::Error) -> PickleError {
    let found = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the end of the file".to_owned(),
        _ => error.to_string(),
    };
    PickleError::malformed("more of the pickle", found)
}
