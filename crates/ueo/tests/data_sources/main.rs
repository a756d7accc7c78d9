//! The three kinds of data sets: what is found, in which order, with which labels, and what is said when it is wrong.

mod folders;
mod lists;
mod shards;

use std::fs;
use std::path::{Path, PathBuf};

use ueo::data::{DataError, Dataset, DatasetOptions};

fn write(root: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

fn open(spec: &Path) -> Result<Dataset, DataError> {
    Dataset::open(spec, &DatasetOptions::default())
}

fn ids(dataset: &Dataset) -> Vec<&str> {
    dataset.samples.iter().map(|sample| sample.id).collect()
}

fn labels(dataset: &Dataset) -> Vec<Option<&str>> {
    dataset.samples.iter().map(|sample| sample.label).collect()
}

/// The message, without the folder's random name.
fn message(error: &DataError, root: &Path) -> String {
    error
        .to_string()
        .replace(&root.display().to_string(), "ROOT")
}

fn skipped(dataset: &Dataset) -> Vec<String> {
    dataset
        .skipped
        .iter()
        .map(|skipped| format!("{}: {}", skipped.id, skipped.reason))
        .collect()
}

/// Number of files, reason and examples.
fn left_out(dataset: &Dataset) -> Vec<(usize, String)> {
    dataset
        .left_out
        .counts()
        .into_iter()
        .map(|count| {
            (
                count.files,
                format!("{}: {}", count.reason, count.examples.join(", ")),
            )
        })
        .collect()
}
