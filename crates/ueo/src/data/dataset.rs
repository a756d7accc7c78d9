//! Opening a data set of any kind, and reading its encoded images.

use std::fs::File;
use std::io::{self, Error, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use super::format::FileKind;
use super::samples::{NewSample, Store};
use super::{
    DataError, LeftOut, ParquetColumns, ParquetFile, Samples, SkipReason, Spool, directory, list,
    parquet_rows, shard,
};

/// Longest encoded image that is read, in bytes. A longer file is not an image that anybody wants to classify, and
/// must not fill the memory.
pub const MAX_ENCODED_BYTES: u64 = 1 << 30;

/// One image of a data set.
#[derive(Clone, Debug)]
pub struct Sample<'a> {
    /// Path relative to the images' root, with `/` on every platform (`shard.tar/key.jpg` inside a shard,
    /// `file.parquet/00000012` for a row, from 0), exactly as it is: [`quote::whole`](crate::quote::whole) makes it fit to be
    /// shown. Bytes that are not UTF-8 appear as `\xE9`. It names the image and is no path to write to: a list's may contain `..`.
    pub id: &'a str,
    /// Where the encoded bytes are.
    pub location: Location<'a>,
    /// The label as the data set spells it (first folder level, list entry, shard entry, or cell), if it has one.
    pub label: Option<&'a str>,
}

/// Where the encoded bytes of an image are.
#[derive(Clone, Debug)]
pub enum Location<'a> {
    /// A file of its own.
    File(PathBuf),
    /// Nowhere: the decoded image was handed over in memory.
    Memory,
    /// A member of an uncompressed tar archive.
    TarMember {
        /// The archive.
        archive: &'a Path,
        /// Offset of the member's bytes.
        offset: u64,
        /// Length of the member in bytes.
        length: u64,
    },
    /// A member of a compressed tar archive, in the temporary file that it was unpacked to.
    Spooled {
        /// The temporary file.
        spool: &'a Spool,
        /// Offset of the member's bytes.
        offset: u64,
        /// Length of the member in bytes.
        length: u64,
    },
    /// A row of a Parquet file.
    Row {
        /// The file.
        file: &'a ParquetFile,
        /// The row, from 0.
        row: u64,
    },
}

/// An image that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// As [`Sample::id`].
    pub id: String,
    /// Why.
    pub reason: SkipReason,
}

/// What a data set was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A directory tree (or one image file).
    Directory,
    /// A list file.
    List,
    /// Tar shards.
    Shards,
    /// Parquet files.
    Rows,
    /// Files or images that a program named one by one.
    Given,
}

/// Choices of opening a data set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatasetOptions {
    /// Folder that the paths of a list are relative to, in place of the list's own.
    pub image_root: Option<PathBuf>,
    /// Columns of Parquet files, where they are not the usual ones.
    pub columns: ParquetColumns,
}

/// Only a folder for a list's paths.
impl From<Option<&Path>> for DatasetOptions {
    fn from(image_root: Option<&Path>) -> Self {
        Self {
            image_root: image_root.map(Path::to_owned),
            ..Self::default()
        }
    }
}

/// Images, their labels, and what was left out. Every file that was found is in exactly one of `samples`, `skipped`,
/// `left_out` and `label_entries`.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Folder that the ids are relative to.
    pub root: PathBuf,
    /// What it was read from.
    pub kind: SourceKind,
    /// The images, sorted by the bytes of [`Sample::id`]: the same order on every file system. Those that a program named
    /// one by one keep its order.
    pub samples: Samples,
    /// Images that cannot be used, sorted by id.
    pub skipped: Vec<Skipped>,
    /// Files that were not taken, counted by reason.
    pub left_out: LeftOut,
    /// Number of entries of shards that label an image.
    pub label_entries: usize,
}

impl Dataset {
    /// Opens a folder, a list file, a shard (`.tar`, `.tar.gz`, `.tgz`), a Parquet file, a folder of shards or of Parquet
    /// files, or a single image; which of them is recognized, not asked.
    ///
    /// # Errors
    /// [`DataError`] when there is nothing to work on or the description of the set is wrong. Entries that cannot be
    /// used are listed in [`Self::skipped`] instead.
    pub fn open(spec: &Path, options: &DatasetOptions) -> Result<Self, DataError> {
        let metadata = std::fs::metadata(spec).map_err(|error| open_error(spec, &error))?;
        let mut dataset = if metadata.is_dir() {
            directory::open(spec, options)?
        } else {
            let kind = FileKind::of(spec);
            // Who opens a pipe waits for its writer; a list may come through one.
            if matches!(kind, FileKind::Shard | FileKind::Rows | FileKind::Image)
                && !metadata.is_file()
            {
                return Err(DataError::Open {
                    path: spec.to_path_buf(),
                    reason: SkipReason::NotAFile.to_string(),
                });
            }
            match kind {
                FileKind::Shard => shard::open(spec)?,
                FileKind::Rows => parquet_rows::open(spec, &options.columns)?,
                FileKind::Image => directory::open_single(spec),
                FileKind::UnreadImage(format) => {
                    return Err(DataError::UnreadFormat {
                        path: spec.to_path_buf(),
                        format,
                    });
                }
                FileKind::UnreadArchive(kind) => {
                    return Err(DataError::Shard {
                        path: spec.to_path_buf(),
                        found: format!("the extension of a {kind} archive"),
                    });
                }
                FileKind::Other => list::open(spec, options.image_root.as_deref())?,
            }
        };
        dataset.sort();
        if dataset.samples.is_empty() {
            return Err(DataError::NoImages {
                path: spec.to_path_buf(),
                skipped: dataset.skipped.len(),
                left_out: dataset.left_out.counts(),
                first_skipped: dataset
                    .skipped
                    .first()
                    .map(|skipped| Box::new((skipped.id.clone(), skipped.reason.clone()))),
            });
        }
        Ok(dataset)
    }

    /// Image files in the order in which a program names them.
    pub fn of_files(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut dataset = Self::empty(Path::new(""), SourceKind::Given);
        let tree = dataset.samples.add_store(Store::Tree(PathBuf::new()));
        for path in files {
            let samples = &mut dataset.samples;
            samples.push_file(&id_of(&path), None, tree, &path, 0);
        }
        dataset
    }

    /// Images that are in memory, by name.
    pub fn in_memory(names: impl IntoIterator<Item = String>) -> Self {
        let mut dataset = Self::empty(Path::new(""), SourceKind::Given);
        let store = dataset.samples.add_store(Store::Memory);
        for name in names {
            dataset.samples.push(&NewSample {
                id: &name,
                label: None,
                store,
                offset: 0,
                length: 0,
            });
        }
        dataset
    }

    /// A data set without anything in it.
    pub(super) fn empty(root: &Path, kind: SourceKind) -> Self {
        Self {
            root: root.to_path_buf(),
            kind,
            samples: Samples::default(),
            skipped: Vec::new(),
            left_out: LeftOut::default(),
            label_entries: 0,
        }
    }

    /// Lists an image that cannot be used.
    pub(super) fn skip(&mut self, id: String, reason: SkipReason) {
        self.skipped.push(Skipped { id, reason });
    }

    /// Puts images and what was skipped into the order of their ids.
    pub(super) fn sort(&mut self) {
        self.samples.sort();
        self.samples.shrink();
        self.skipped
            .sort_by(|a, b| a.id.as_bytes().cmp(b.id.as_bytes()));
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there are no images; never so for a set that was opened.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The encoded bytes of an image.
    ///
    /// # Errors
    /// What the operating system says; `InvalidInput` when there is no such index, `FileTooLarge` above
    /// [`MAX_ENCODED_BYTES`].
    pub fn read_bytes(&self, index: usize) -> io::Result<Vec<u8>> {
        let sample = self.samples.get(index).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("there is no image {index} among {}", self.len()),
            )
        })?;
        match sample.location {
            Location::File(path) => {
                let file = File::open(path)?;
                let length = file.metadata()?.len();
                read_exactly(file, length)
            }
            Location::TarMember {
                archive,
                offset,
                length,
            } => {
                let mut file = File::open(archive)?;
                file.seek(SeekFrom::Start(offset))?;
                read_exactly(file, length)
            }
            Location::Memory => Err(Error::new(
                ErrorKind::Unsupported,
                "an image in memory has no encoded bytes",
            )),
            // Longer members were never copied.
            Location::Spooled {
                spool,
                offset,
                length,
            } => spool.read(offset, length),
            Location::Row { file, row } => file.read(row),
        }
    }
}

fn read_exactly(file: File, length: u64) -> io::Result<Vec<u8>> {
    if length > MAX_ENCODED_BYTES {
        return Err(Error::new(
            ErrorKind::FileTooLarge,
            format!("the file has {length} bytes, more than the limit of {MAX_ENCODED_BYTES}"),
        ));
    }
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A path as an id: `/` between the parts on every platform.
pub(super) fn id_of(path: &Path) -> String {
    path.components()
        .enumerate()
        .filter_map(|(place, part)| match part {
            // The slash that an absolute path begins with is the first one between the parts, behind a drive too.
            Component::RootDir => (place == 0).then(String::new),
            Component::CurDir => None,
            part => Some(text_of_bytes(part.as_os_str().as_encoded_bytes())),
        })
        .collect::<Vec<_>>()
        .join("/")
}

/// Bytes of a name as text. What is not UTF-8 is written as `\xE9`, so that two names stay two.
pub(super) fn text_of_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02X}"));
        }
    }
    text
}

pub(super) fn open_error(path: &Path, error: &Error) -> DataError {
    DataError::Open {
        path: path.to_path_buf(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_slash_between_two_parts() {
        for (path, id) in [
            ("./cat/1.png", "cat/1.png"),
            ("../cat/./1.png", "../cat/1.png"),
            ("/work//cat/1.png", "/work/cat/1.png"),
        ] {
            assert_eq!(id_of(Path::new(path)), id);
        }
        #[cfg(windows)]
        assert_eq!(id_of(Path::new("C:\\work\\1.png")), "C:/work/1.png");
    }
}
