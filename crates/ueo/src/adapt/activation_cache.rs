//! Rows of numbers that are computed once and needed again: what layers that are not trained make of a view of an image.
//!
//! Rows stay in memory up to a budget. Further ones go to a file without a name, which the operating system removes when the program
//! ends, however it ends; where no directory is given they are not kept and have to be computed again.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use ueo_kernels::Bf16;

/// Where an adaptation keeps what it computes once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivationCache {
    /// Most bytes in memory.
    pub memory_bytes: u64,
    /// Where a file takes what has no room in memory; `None` computes that again whenever it is needed.
    pub directory: Option<PathBuf>,
}

impl Default for ActivationCache {
    /// 2 GiB of memory and no file.
    fn default() -> Self {
        Self {
            memory_bytes: 2 << 30,
            directory: None,
        }
    }
}

/// How a row's numbers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    F32,
    /// Of numbers that are bf16 already.
    Bf16,
}

impl Format {
    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => size_of::<f32>(),
            Self::Bf16 => size_of::<Bf16>(),
        }
    }
}

/// Which row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RowKey {
    /// Size of the parts that it was computed in, or of others that give the same bits.
    pub part: usize,
    pub view: usize,
    pub image: usize,
}

enum Place {
    Memory(Box<[u8]>),
    /// Rows of the file before it.
    File(u64),
}

/// Rows of one length.
pub(super) struct Rows {
    len: usize,
    format: Format,
    cache: ActivationCache,
    memory_bytes: u64,
    file: Option<File>,
    file_rows: u64,
    places: HashMap<RowKey, Place>,
}

impl Rows {
    /// No rows yet.
    pub fn new(len: usize, format: Format, cache: ActivationCache) -> Self {
        Self {
            len,
            format,
            cache,
            memory_bytes: 0,
            file: None,
            file_rows: 0,
            places: HashMap::new(),
        }
    }

    fn row_bytes(&self) -> usize {
        self.len * self.format.bytes()
    }

    /// Whether the row is known.
    pub fn contains(&self, key: RowKey) -> bool {
        self.places.contains_key(&key)
    }

    /// Keeps a row where there is room for it.
    ///
    /// # Errors
    ///
    /// Those of the file.
    pub fn keep(&mut self, key: RowKey, row: &[f32]) -> io::Result<()> {
        if self.contains(key) {
            return Ok(());
        }
        let bytes = self.encoded(row);
        let len = bytes.len() as u64;
        let place = if self.memory_bytes + len <= self.cache.memory_bytes {
            self.memory_bytes += len;
            Place::Memory(bytes.into())
        } else if let Some(directory) = &self.cache.directory {
            let file = match &mut self.file {
                Some(file) => file,
                None => self.file.insert(tempfile::tempfile_in(directory)?),
            };
            file.seek(SeekFrom::Start(self.file_rows * len))?;
            file.write_all(&bytes)?;
            self.file_rows += 1;
            Place::File(self.file_rows - 1)
        } else {
            return Ok(());
        };
        self.places.insert(key, place);
        Ok(())
    }

    /// Appends a row to `target`; whether it was known.
    ///
    /// # Errors
    ///
    /// Those of the file.
    pub fn read(&mut self, key: RowKey, target: &mut Vec<f32>) -> io::Result<bool> {
        let len = self.row_bytes();
        match (self.places.get(&key), &mut self.file) {
            (Some(Place::Memory(bytes)), _) => self.decode(bytes, target),
            (Some(&Place::File(row)), Some(file)) => {
                let mut bytes = vec![0; len];
                file.seek(SeekFrom::Start(row * len as u64))?;
                file.read_exact(&mut bytes)?;
                self.decode(&bytes, target);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn encoded(&self, row: &[f32]) -> Vec<u8> {
        let numbers = row.iter();
        match self.format {
            Format::F32 => numbers.flat_map(|value| value.to_le_bytes()).collect(),
            // The upper half is all of it.
            Format::Bf16 => numbers
                .flat_map(|value| ((value.to_bits() >> 16) as u16).to_le_bytes())
                .collect(),
        }
    }

    fn decode(&self, bytes: &[u8], target: &mut Vec<f32>) {
        match self.format {
            Format::F32 => {
                let (numbers, _) = bytes.as_chunks();
                target.extend(numbers.iter().map(|&bytes| f32::from_le_bytes(bytes)));
            }
            Format::Bf16 => {
                let (numbers, _) = bytes.as_chunks();
                let number = |&bytes| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16);
                target.extend(numbers.iter().map(number));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 3;

    fn key(image: usize) -> RowKey {
        RowKey {
            part: 1,
            view: 0,
            image,
        }
    }

    fn row(image: usize) -> [f32; LEN] {
        // Numbers of few digits, which bf16 has too.
        [image as f32, -1.5, f32::NEG_INFINITY]
    }

    /// How many of ten rows are known after all have been offered.
    fn known(format: Format, memory_bytes: u64, directory: Option<PathBuf>) -> usize {
        let cache = ActivationCache {
            memory_bytes,
            directory,
        };
        let mut rows = Rows::new(LEN, format, cache);
        for image in 0..10 {
            rows.keep(key(image), &row(image)).unwrap();
        }
        let mut known = 0;
        for image in 0..10 {
            let mut found = Vec::new();
            let read = rows.read(key(image), &mut found).unwrap();
            assert_eq!(read, rows.contains(key(image)));
            assert_eq!(
                found,
                if read {
                    row(image).to_vec()
                } else {
                    Vec::new()
                }
            );
            known += usize::from(read);
        }
        known
    }

    #[test]
    fn rows_come_back_from_memory_and_from_the_file() {
        let place = tempfile::tempdir().unwrap();
        for (format, row_bytes) in [(Format::F32, 12), (Format::Bf16, 6)] {
            for in_memory in [0, 1, 4, 10] {
                let bytes = in_memory * row_bytes + row_bytes - 1;
                assert_eq!(known(format, bytes, None), in_memory as usize);
                assert_eq!(known(format, bytes, Some(place.path().into())), 10);
            }
        }
        // The file has no name.
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let cache = ActivationCache {
            memory_bytes: 0,
            directory: Some("/no/such/directory".into()),
        };
        let mut rows = Rows::new(LEN, Format::F32, cache);
        assert!(rows.keep(key(0), &row(0)).is_err());
    }
}
