//! Opening a data set of any of the three kinds, and reading its encoded images.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Error, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::{DataError, SkipReason, directory, list, shard};

/// Extensions, in lower case, by which images are found in folders and archives.
pub const IMAGE_EXTENSIONS: [&str; 10] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff",
];

/// Longest encoded image that is read, in bytes. A longer file is not an image that anybody wants to classify, and
/// must not fill the memory.
pub const MAX_ENCODED_BYTES: u64 = 1 << 30;

/// One image of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Path relative to the images' root, with `/` on every platform (`shard.tar/key.jpg` inside a shard).
    pub id: String,
    /// Where the encoded bytes are.
    pub location: Location,
    /// The label as the data set spells it (first folder level, list entry, or shard entry), if it has one.
    pub label: Option<String>,
}

/// Where the encoded bytes of an image are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A file of its own.
    File(PathBuf),
    /// Nowhere: the decoded image was handed over in memory.
    Memory,
    /// A member of an uncompressed tar archive.
    TarMember {
        /// The archive.
        archive: PathBuf,
        /// Offset of the member's bytes.
        offset: u64,
        /// Length of the member in bytes.
        length: u64,
    },
}

/// An entry that was left out.
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
    /// Files or images that a program named one by one.
    Given,
}

/// Choices of opening a data set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatasetOptions {
    /// Folder that the paths of a list are relative to, in place of the list's own.
    pub image_root: Option<PathBuf>,
}

/// Images, their labels, and what was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// Folder that the ids are relative to.
    pub root: PathBuf,
    /// What it was read from.
    pub kind: SourceKind,
    /// The images, sorted by the bytes of [`Sample::id`]: the same order on every file system. Those that a program named
    /// one by one keep its order.
    pub samples: Vec<Sample>,
    /// Entries that were left out, sorted by id.
    pub skipped: Vec<Skipped>,
    /// Number of files ignored because of their extension, by extension in lower case (hidden files under `.`).
    pub ignored: BTreeMap<String, usize>,
}

impl Dataset {
    /// Opens a folder, a list file, a `.tar` shard or a folder of shards, or a single image; which of them is
    /// recognized, not asked.
    ///
    /// # Errors
    /// [`DataError`] when there is nothing to work on or the description of the set is wrong. Entries that cannot be
    /// used are listed in [`Self::skipped`] instead.
    pub fn open(spec: &Path, options: &DatasetOptions) -> Result<Self, DataError> {
        let metadata = std::fs::metadata(spec).map_err(|error| open_error(spec, &error))?;
        let mut dataset = if metadata.is_dir() {
            directory::open(spec)?
        } else if has_extension(spec, &["tar"]) {
            shard::open(spec)?
        } else if has_extension(spec, &IMAGE_EXTENSIONS) {
            directory::open_single(spec)
        } else {
            list::open(spec, options.image_root.as_deref())?
        };
        dataset
            .samples
            .sort_by(|a, b| a.id.as_bytes().cmp(b.id.as_bytes()));
        dataset
            .skipped
            .sort_by(|a, b| a.id.as_bytes().cmp(b.id.as_bytes()));
        if dataset.samples.is_empty() {
            return Err(DataError::NoImages {
                path: spec.to_path_buf(),
                skipped: dataset.skipped.len(),
                ignored: dataset.ignored.values().sum(),
                first_skipped: dataset
                    .skipped
                    .first()
                    .map(|skipped| format!("{}: {}", skipped.id, skipped.reason)),
            });
        }
        Ok(dataset)
    }

    /// Image files in the order in which a program names them.
    pub fn of_files(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let samples = files.into_iter().map(|path| Sample {
            id: id_of(&path),
            location: Location::File(path),
            label: None,
        });
        Self::given(samples.collect())
    }

    /// Images that are in memory, by name.
    pub fn in_memory(names: impl IntoIterator<Item = String>) -> Self {
        let samples = names.into_iter().map(|id| Sample {
            id,
            location: Location::Memory,
            label: None,
        });
        Self::given(samples.collect())
    }

    fn given(samples: Vec<Sample>) -> Self {
        Self {
            root: PathBuf::new(),
            kind: SourceKind::Given,
            samples,
            skipped: Vec::new(),
            ignored: BTreeMap::new(),
        }
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
        let (mut file, length) = match &sample.location {
            Location::File(path) => {
                let file = File::open(path)?;
                let length = file.metadata()?.len();
                (file, length)
            }
            Location::TarMember {
                archive,
                offset,
                length,
            } => {
                let mut file = File::open(archive)?;
                file.seek(SeekFrom::Start(*offset))?;
                (file, *length)
            }
            Location::Memory => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "an image in memory has no encoded bytes",
                ));
            }
        };
        if length > MAX_ENCODED_BYTES {
            return Err(Error::new(
                ErrorKind::FileTooLarge,
                format!("the file has {length} bytes, more than the limit of {MAX_ENCODED_BYTES}"),
            ));
        }
        let mut bytes = Vec::with_capacity(length as usize);
        file.by_ref().take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Whether a path ends in one of these extensions, in any case.
pub(super) fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|found| {
            extensions
                .iter()
                .any(|known| found.eq_ignore_ascii_case(known))
        })
}

/// A path as an id: `/` between the parts on every platform.
pub(super) fn id_of(path: &Path) -> String {
    path.components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}

pub(super) fn open_error(path: &Path, error: &Error) -> DataError {
    DataError::Open {
        path: path.to_path_buf(),
        reason: error.to_string(),
    }
}
