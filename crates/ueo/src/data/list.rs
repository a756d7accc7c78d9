//! A list file as a data set: one `path` or `path label` per line, a table with the extension `.csv` or `.tsv`, or one
//! split of CoOp's JSON.
//!
//! Blank lines and lines that begin with `#` are comments. Paths may contain spaces: the label is what follows the last
//! image extension of the line, or, when the path has no known extension, the last field. A tab always separates.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::dataset::{id_of, open_error};
use super::format::{FileKind, has_extension};
use super::samples::Store;
use super::text_file::{Lines, too_long};
use super::{DataError, Dataset, Location, Samples, SkipReason, SourceKind, list_table};

/// Longest list, in bytes. It is read line by line, and what is kept of a line is its path and 32 bytes.
const MAX_LIST_BYTES: u64 = 4 << 30;

/// What that limit counts.
const LIST_BYTES: &str = "bytes in a list";

/// Most images of a list.
pub(super) const MAX_LIST_IMAGES: usize = 16 << 20;

/// An entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEntry {
    /// Line number, from 1; the entry's number in JSON.
    pub line: usize,
    /// The path as written.
    pub path: String,
    /// The label as written.
    pub label: Option<String>,
}

pub(super) fn open(list: &Path, image_root: Option<&Path>) -> Result<Dataset, DataError> {
    let root = match (image_root, list.parent()) {
        (Some(root), _) => root.to_path_buf(),
        (None, Some(folder)) => folder.to_path_buf(),
        (None, None) => PathBuf::new(),
    };
    let file = File::open(list).map_err(|error| open_error(list, &error))?;
    let metadata = file.metadata().map_err(|error| open_error(list, &error))?;
    if metadata.len() > MAX_LIST_BYTES {
        return Err(too_long(list, MAX_LIST_BYTES, LIST_BYTES));
    }
    let is_file = |path: &str| root.join(path).is_file();
    let mut dataset = Dataset::empty(&root, SourceKind::List);
    let samples = &mut dataset.samples;
    let tree = samples.add_store(Store::Tree(root.clone()));
    visit_list(BufReader::new(file), list, is_file, |entry| {
        let path = root.join(entry.path);
        let id = id_of(path.strip_prefix(&root).unwrap_or(&path));
        samples.push_file(&id, entry.label, tree, &path, entry.line as u64);
    })?;
    samples.sort();
    refuse_duplicates(samples, list)?;
    take_usable(&mut dataset);
    Ok(dataset)
}

/// Refuses the first line that names an image again. The images are sorted, those of one name by line.
fn refuse_duplicates(samples: &Samples, list: &Path) -> Result<(), DataError> {
    let is_second = |index: &usize| {
        let start = *index == 0 || samples.id(index - 1) != samples.id(*index);
        !start && (*index == 1 || samples.id(index - 2) != samples.id(*index))
    };
    let again = (0..samples.len())
        .filter(is_second)
        .min_by_key(|&index| samples.line(index));
    match again {
        None => Ok(()),
        Some(index) => Err(DataError::DuplicateImage {
            path: list.to_path_buf(),
            line: samples.line(index) as usize,
            first_line: samples.line(index - 1) as usize,
            id: samples.id(index).to_owned(),
        }),
    }
}

/// Moves the images whose files cannot be used to those that are skipped. File systems answer many questions at once.
fn take_usable(dataset: &mut Dataset) {
    let samples = &dataset.samples;
    let wrong: Vec<(usize, SkipReason)> = (0..samples.len())
        .into_par_iter()
        .filter_map(|index| match samples.get(index)?.location {
            Location::File(path) => usable(&path).err().map(|reason| (index, reason)),
            _ => None,
        })
        .collect();
    let mut next = wrong.iter().map(|(index, _)| *index).peekable();
    let ids = wrong.iter().map(|(index, _)| samples.id(*index).to_owned());
    let ids: Vec<String> = ids.collect();
    dataset
        .samples
        .retain(|index| next.next_if_eq(&index).is_none());
    drop(next);
    for (id, (_, reason)) in ids.into_iter().zip(wrong) {
        dataset.skip(id, reason);
    }
}

/// An entry of a list that is being read.
pub(super) struct Entry<'a> {
    pub line: usize,
    pub path: &'a str,
    pub label: Option<&'a str>,
}

/// Reads the entries of a list. `path` is for messages and for the extension; `is_file` is asked only about paths without
/// a known extension.
///
/// # Errors
/// [`DataError::Encoding`], [`DataError::ListLine`], [`DataError::Format`] and [`DataError::Limit`].
pub fn read_list(
    text: impl BufRead,
    path: &Path,
    is_file: impl Fn(&str) -> bool,
) -> Result<Vec<ListEntry>, DataError> {
    let mut entries = Vec::new();
    visit_list(text, path, is_file, |entry| {
        entries.push(ListEntry {
            line: entry.line,
            path: entry.path.to_owned(),
            label: entry.label.map(str::to_owned),
        });
    })?;
    Ok(entries)
}

/// [`read_list`] that keeps no entry.
fn visit_list(
    mut text: impl BufRead,
    path: &Path,
    is_file: impl Fn(&str) -> bool,
    mut visit: impl FnMut(Entry<'_>),
) -> Result<(), DataError> {
    let start = text.fill_buf().map_err(|error| open_error(path, &error))?;
    let start = start.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(start);
    let first = start.iter().find(|byte| !byte.is_ascii_whitespace());
    let is_json = has_extension(path, &["json"]) || matches!(first, Some(b'{' | b'['));
    if is_json {
        return list_table::visit_json(text, path, visit);
    }
    if has_extension(path, &["csv", "tsv"]) {
        return list_table::visit_table(text, path, visit);
    }
    let mut lines = Lines::new(text, path, MAX_LIST_BYTES, LIST_BYTES);
    let mut entries = 0;
    while let Some((number, line)) = lines.next_line()? {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (written, label) = split(line, &is_file).ok_or_else(|| DataError::ListLine {
            path: path.to_path_buf(),
            line: number,
            found: line.to_string(),
        })?;
        if entries == MAX_LIST_IMAGES {
            return Err(too_many(path));
        }
        entries += 1;
        visit(Entry {
            line: number,
            path: written,
            label,
        });
    }
    Ok(())
}

pub(super) fn too_many(path: &Path) -> DataError {
    DataError::Limit {
        path: path.to_path_buf(),
        line: None,
        limit: MAX_LIST_IMAGES as u64,
        what: "images in a list",
    }
}

fn usable(path: &Path) -> Result<(), SkipReason> {
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(SkipReason::NotAFile),
        Ok(metadata) if metadata.len() == 0 => Err(SkipReason::Empty),
        Ok(metadata) if metadata.len() > super::MAX_ENCODED_BYTES => Err(SkipReason::TooLarge {
            length: metadata.len(),
        }),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(SkipReason::Missing {
            path: path.to_string_lossy().into_owned(),
        }),
        Err(error) => Err(SkipReason::Unreadable {
            reason: error.to_string(),
        }),
    }
}

/// Splits a line into path and label; `None` when neither reading makes sense.
fn split(line: &str, is_file: impl Fn(&str) -> bool) -> Option<(&str, Option<&str>)> {
    let is_image = |path: &str| FileKind::of(Path::new(path)).is_picture();
    if let Some((path, label)) = line.rsplit_once('\t') {
        return Some((
            path.trim_end(),
            Some(label.trim_start()).filter(|label| !label.is_empty()),
        ));
    }
    if is_image(line) {
        return Some((line, None));
    }
    let fields = || {
        line.match_indices(char::is_whitespace)
            .map(|(at, _)| (line[..at].trim_end(), line[at..].trim_start()))
    };
    if let Some((path, label)) = fields().rfind(|(path, _)| is_image(path)) {
        return Some((path, Some(label)));
    }
    // No known extension anywhere: believe the file system.
    if is_file(line) {
        return Some((line, None));
    }
    let (path, label) = fields().next_back()?;
    is_file(path).then_some((path, Some(label)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_at_the_image_extension() {
        let cases = [
            (
                "clipart/aircraft_carrier/x.jpg 0",
                Some(("clipart/aircraft_carrier/x.jpg", Some("0"))),
            ),
            (
                "my pictures/a b.JPG sports car",
                Some(("my pictures/a b.JPG", Some("sports car"))),
            ),
            ("my pictures/a b.png", Some(("my pictures/a b.png", None))),
            ("a b.heic apple pie", Some(("a b.heic", Some("apple pie")))),
            ("a.b.jpg\tlabel", Some(("a.b.jpg", Some("label")))),
            ("odd name\t7", Some(("odd name", Some("7")))),
            ("no extension here", None),
        ];
        for (line, expected) in cases {
            assert_eq!(split(line, |_| false), expected, "{line}");
        }
    }
}
