//! A directory tree as a data set: images are found by extension, the first folder level is the label.

use std::path::Path;

use walkdir::{DirEntry, WalkDir};

use super::dataset::{MAX_ENCODED_BYTES, id_of};
use super::format::{FileKind, is_hidden};
use super::samples::{Store, StoreId};
use super::{
    DataError, Dataset, DatasetOptions, LeftOutReason, SkipReason, Skipped, SourceKind,
    parquet_rows, shard,
};

/// Reads a tree. Symbolic links are followed; a link back into its own ancestors is skipped with that reason. Hidden
/// files, and the files of hidden folders, are counted. A tree without images but with tar archives is a folder of shards,
/// and one with Parquet files alone is a folder of those.
pub(super) fn open(root: &Path, options: &DatasetOptions) -> Result<Dataset, DataError> {
    let mut dataset = Dataset::empty(root, SourceKind::Directory);
    let tree = dataset.samples.add_store(Store::Tree(root.to_path_buf()));
    let (mut archives, mut tables) = (Vec::new(), Vec::new());
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
                take_unreadable(&mut dataset, root, &error);
                continue;
            }
        };
        let is_folder = entry.file_type().is_dir();
        if entry.depth() > 0 && is_hidden(entry.file_name().as_encoded_bytes()) {
            if is_folder {
                walk.skip_current_dir();
                count_hidden(&mut dataset, root, entry.path());
            } else {
                let id = relative_id(root, entry.path());
                dataset.left_out.add(LeftOutReason::HiddenFile, &id);
            }
        } else if !is_folder {
            match FileKind::of(entry.path()) {
                FileKind::Image => take_image(&mut dataset, root, tree, &entry),
                FileKind::Shard if entry.file_type().is_file() => {
                    archives.push(entry.into_path());
                }
                FileKind::Rows if entry.file_type().is_file() => tables.push(entry.into_path()),
                FileKind::Shard | FileKind::Rows => {
                    let id = relative_id(root, entry.path());
                    dataset.skip(id, SkipReason::NotAFile);
                }
                FileKind::UnreadImage(format) => {
                    let id = relative_id(root, entry.path());
                    dataset.skip(id, SkipReason::UnreadFormat { format });
                }
                kind => {
                    let reason = LeftOutReason::of(entry.path(), kind);
                    let id = relative_id(root, entry.path());
                    dataset.left_out.add(reason, &id);
                }
            }
        }
    }
    for table in &tables {
        // Beside pictures or shards a table may hold anything.
        if !(dataset.samples.is_empty() && archives.is_empty()) {
            let id = relative_id(root, table);
            dataset
                .left_out
                .add(LeftOutReason::TableBesidePictures, &id);
        }
    }
    if dataset.samples.is_empty() && !archives.is_empty() {
        return shard::open_all(dataset, archives);
    }
    if dataset.samples.is_empty() && !tables.is_empty() {
        return parquet_rows::open_all(dataset, tables, &options.columns);
    }
    for archive in &archives {
        let id = relative_id(root, archive);
        dataset
            .left_out
            .add(LeftOutReason::ShardBesidePictures, &id);
    }
    Ok(dataset)
}

/// A single image file as a data set of one.
pub(super) fn open_single(path: &Path) -> Dataset {
    let name = path.file_name().map_or(path, Path::new);
    let root = path.parent().unwrap_or(Path::new(""));
    let mut dataset = Dataset::empty(root, SourceKind::Directory);
    let tree = dataset.samples.add_store(Store::Tree(root.to_path_buf()));
    let samples = &mut dataset.samples;
    samples.push_file(&id_of(name), None, tree, path, 0);
    dataset
}

fn take_image(dataset: &mut Dataset, root: &Path, tree: StoreId, entry: &DirEntry) {
    let path = entry.path();
    let id = relative_id(root, path);
    if !entry.file_type().is_file() {
        return dataset.skip(id, SkipReason::NotAFile);
    }
    match entry.metadata().map(|metadata| metadata.len()) {
        Ok(0) => dataset.skip(id, SkipReason::Empty),
        Ok(length) if length > MAX_ENCODED_BYTES => {
            dataset.skip(id, SkipReason::TooLarge { length });
        }
        Ok(_) => dataset.samples.push_file(&id, label_of(&id), tree, path, 0),
        Err(error) => dataset.skip(
            id,
            SkipReason::Unreadable {
                reason: reason_of(&error),
            },
        ),
    }
}

/// Counts the files of a hidden folder. Links are not followed there: they may lead anywhere.
fn count_hidden(dataset: &mut Dataset, root: &Path, folder: &Path) {
    let walk = WalkDir::new(folder)
        .follow_links(false)
        .follow_root_links(false);
    for entry in walk {
        match entry {
            Ok(entry) if entry.file_type().is_dir() => {}
            Ok(entry) => {
                let id = relative_id(root, entry.path());
                dataset.left_out.add(LeftOutReason::HiddenFolder, &id);
            }
            Err(error) => {
                let id = error
                    .path()
                    .map_or_else(String::new, |path| relative_id(root, path));
                dataset.left_out.add(LeftOutReason::HiddenFolder, &id);
            }
        }
    }
}

fn relative_id(root: &Path, path: &Path) -> String {
    id_of(path.strip_prefix(root).unwrap_or(path))
}

/// The first folder, when the file is in one.
fn label_of(id: &str) -> Option<&str> {
    id.split_once('/').map(|(folder, _)| folder)
}

/// Takes note of what the walk could not read: a folder, an image, a broken link.
fn take_unreadable(dataset: &mut Dataset, root: &Path, error: &walkdir::Error) {
    let id = error
        .path()
        .map_or_else(String::new, |path| relative_id(root, path));
    let hidden = error.path().and_then(Path::file_name);
    if hidden.is_some_and(|name| is_hidden(name.as_encoded_bytes())) {
        return dataset.left_out.add(LeftOutReason::HiddenFile, &id);
    }
    let reason = match error.loop_ancestor() {
        Some(ancestor) => SkipReason::SymlinkLoop {
            target: match relative_id(root, ancestor) {
                top if top.is_empty() => "the images' root".into(),
                inner => inner,
            },
        },
        None => SkipReason::Unreadable {
            reason: reason_of(error),
        },
    };
    dataset.skipped.push(Skipped { id, reason });
}

/// The operating system's part of the message; the path is told apart.
fn reason_of(error: &walkdir::Error) -> String {
    error
        .io_error()
        .map_or_else(|| error.to_string(), ToString::to_string)
}
