//! A directory tree as a data set: images are found by extension, the first folder level is the label.

use std::collections::BTreeMap;
use std::path::Path;

use walkdir::{DirEntry, WalkDir};

use super::dataset::{IMAGE_EXTENSIONS, has_extension, id_of};
use super::{DataError, Dataset, Location, Sample, SkipReason, Skipped, SourceKind, shard};

/// Reads a tree. Symbolic links are followed; a link back into its own ancestors is skipped with that reason. Hidden
/// files and folders (names that begin with a dot, such as `.ipynb_checkpoints` or macOS's `._x.jpg`) are ignored and
/// counted. A tree without images but with `.tar` files is a folder of shards.
pub(super) fn open(root: &Path) -> Result<Dataset, DataError> {
    let mut dataset = Dataset {
        root: root.to_path_buf(),
        kind: SourceKind::Directory,
        samples: Vec::new(),
        skipped: Vec::new(),
        ignored: BTreeMap::new(),
    };
    let mut archives = Vec::new();
    let mut walk = WalkDir::new(root).follow_links(true).into_iter();
    while let Some(entry) = walk.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if error.depth() == 0 => {
                return Err(DataError::Open {
                    path: root.to_path_buf(),
                    reason: reason_of(&error),
                });
            }
            Err(error) => {
                dataset.skipped.push(skipped(root, &error));
                continue;
            }
        };
        if entry.depth() > 0 && is_hidden(&entry) {
            *dataset.ignored.entry(".".into()).or_default() += 1;
            if entry.file_type().is_dir() {
                walk.skip_current_dir();
            }
            continue;
        }
        if entry.file_type().is_dir() {
            continue;
        }
        let path = entry.path();
        let relative = path.strip_prefix(root).unwrap_or(path);
        if !has_extension(path, &IMAGE_EXTENSIONS) {
            if has_extension(path, &["tar"]) {
                archives.push(path.to_path_buf());
            }
            let extension = path.extension().map_or(String::new(), |extension| {
                extension.to_string_lossy().to_lowercase()
            });
            *dataset.ignored.entry(extension).or_default() += 1;
        } else if !entry.file_type().is_file() {
            dataset.skipped.push(Skipped {
                id: id_of(relative),
                reason: SkipReason::NotAFile,
            });
        } else {
            dataset.samples.push(Sample {
                id: id_of(relative),
                location: Location::File(path.to_path_buf()),
                label: label_of(relative),
            });
        }
    }
    if dataset.samples.is_empty() && !archives.is_empty() {
        dataset.ignored.remove("tar");
        return shard::open_all(dataset, archives);
    }
    Ok(dataset)
}

/// A single image file as a data set of one.
pub(super) fn open_single(path: &Path) -> Dataset {
    let name = path.file_name().map_or(path, Path::new);
    Dataset {
        root: path.parent().unwrap_or(Path::new("")).to_path_buf(),
        kind: SourceKind::Directory,
        samples: vec![Sample {
            id: id_of(name),
            location: Location::File(path.to_path_buf()),
            label: None,
        }],
        skipped: Vec::new(),
        ignored: BTreeMap::new(),
    }
}

/// The first folder, when the file is in one.
fn label_of(relative: &Path) -> Option<String> {
    let mut parts = relative.components();
    let first = parts.next()?;
    parts.next()?;
    Some(first.as_os_str().to_string_lossy().into_owned())
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

fn skipped(root: &Path, error: &walkdir::Error) -> Skipped {
    let relative = |path: &Path| id_of(path.strip_prefix(root).unwrap_or(path));
    Skipped {
        id: error.path().map_or_else(String::new, relative),
        reason: match error.loop_ancestor() {
            Some(ancestor) => SkipReason::SymlinkLoop {
                target: match relative(ancestor) {
                    top if top.is_empty() => "the images' root".into(),
                    inner => inner,
                },
            },
            None => SkipReason::Unreadable {
                reason: reason_of(error),
            },
        },
    }
}

/// The operating system's part of the message; the path is told apart.
fn reason_of(error: &walkdir::Error) -> String {
    error
        .io_error()
        .map_or_else(|| error.to_string(), ToString::to_string)
}
