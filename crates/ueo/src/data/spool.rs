//! A temporary file for the images of compressed shards, so that they can be read in any order.
//!
//! A gzip stream can only be read from its start, and epochs visit images in random order: either every image costs the
//! decompression of half its shard, or what is needed is written down once. Images are compressed already, so the copy
//! is about as large as the shard; bounds hold for those that are not. The operating system removes the file when the
//! program ends, however it ends.

use std::fs::File;
use std::io::{self, Error, ErrorKind, Read, Seek, SeekFrom, Write};
use std::sync::{Mutex, PoisonError};

/// Bytes that are copied at once.
const COPIED_BYTES: usize = 64 << 10;

/// Most bytes that a data set's compressed shards may take on the disk.
const MAX_SPOOLED_BYTES: u64 = 64 << 30;

/// The copy.
#[derive(Debug)]
pub struct Spool {
    contents: Mutex<Contents>,
}

#[derive(Debug)]
struct Contents {
    file: File,
    length: u64,
}

/// Which side of a copy failed.
#[derive(Debug)]
pub(super) enum SpoolError {
    /// The shard cannot be read on.
    Read(Error),
    /// The temporary file cannot be written.
    Write(Error),
}

impl Spool {
    /// An empty temporary file without a name.
    pub(super) fn create() -> io::Result<Self> {
        Ok(Self {
            contents: Mutex::new(Contents {
                file: tempfile::tempfile()?,
                length: 0,
            }),
        })
    }

    /// Appends up to `length` bytes; returns where they begin and how many there were.
    pub(super) fn append(
        &self,
        source: &mut impl Read,
        length: u64,
    ) -> Result<(u64, u64), SpoolError> {
        let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        let start = contents.length;
        if length > MAX_SPOOLED_BYTES.saturating_sub(start) {
            let message = format!("compressed shards may take {MAX_SPOOLED_BYTES} bytes unpacked");
            return Err(SpoolError::Write(Error::new(
                ErrorKind::FileTooLarge,
                message,
            )));
        }
        contents
            .file
            .seek(SeekFrom::Start(start))
            .map_err(SpoolError::Write)?;
        let mut buffer = vec![0; COPIED_BYTES];
        let mut source = source.take(length);
        let mut copied = 0;
        loop {
            let read = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(SpoolError::Read(error)),
            };
            contents
                .file
                .write_all(&buffer[..read])
                .map_err(SpoolError::Write)?;
            copied += read as u64;
        }
        contents.length = start + copied;
        Ok((start, copied))
    }

    /// Some bytes of the copy.
    pub(super) fn read(&self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        contents.file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::with_capacity(length as usize);
        (&mut contents.file).take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Two are equal when they are the same file.
impl PartialEq for Spool {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Spool {}
