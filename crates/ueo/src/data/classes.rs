//! The list of known classes, and which class a data set's label means.

use std::collections::HashMap;
use std::path::Path;

use super::text_file::read_utf8;
use super::{DataError, Dataset, SourceKind};

/// The known classes, in the order of their file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassList {
    names: Vec<String>,
}

/// What a label means with respect to a class list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassMatch {
    /// The known class with this index.
    Known(usize),
    /// A class that is not in the list.
    Unknown,
}

impl ClassList {
    /// Reads one class name per line. White space around a name, CRLF line ends and a byte order mark are tolerated;
    /// there are no comments, because `#` may begin a name.
    ///
    /// # Errors
    /// Blank lines, duplicates, names that CLIP cannot tell apart and other encodings than UTF-8 are errors that name
    /// the line.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let text = read_utf8(path)?;
        let mut names: Vec<String> = Vec::new();
        let mut first_by_words: HashMap<String, usize> = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let (path, line_number, name) = (path.to_path_buf(), index + 1, line.trim());
            if name.is_empty() {
                return Err(DataError::BlankClass {
                    path,
                    line: line_number,
                });
            }
            if let Some(&first) = first_by_words.get(&words(name)) {
                let (name, first_line) = (name.to_string(), first + 1);
                return Err(if names[first] == name {
                    DataError::DuplicateClass {
                        path,
                        line: line_number,
                        first_line,
                        name,
                    }
                } else {
                    let first_name = names[first].clone();
                    DataError::SameWords {
                        path,
                        line: line_number,
                        name,
                        first_line,
                        first_name,
                    }
                });
            }
            first_by_words.insert(words(name), index);
            names.push(name.to_string());
        }
        if names.is_empty() {
            return Err(DataError::NoClasses {
                path: path.to_path_buf(),
            });
        }
        Ok(Self { names })
    }

    /// The classes that a run directory remembers; they were checked when their file was read.
    pub fn from_names(names: Vec<String>) -> Self {
        Self { names }
    }

    /// The names, exactly as in the file.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are no classes; never so for a list that was read from a file.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// Which class the label of each sample means; `None` where there is no label.
///
/// A label is the class whose name it equals, or equals after exchanging underscores and spaces. In list files and
/// shards whose labels are all non-negative integers and never a class name, an integer is a position in the class
/// list, from 0; positions past the end are unknown classes.
pub fn resolve_labels(dataset: &Dataset, classes: &ClassList) -> Vec<Option<ClassMatch>> {
    let exact: HashMap<&str, usize> = indexed(classes.names.iter().map(String::as_str));
    let spaced: HashMap<String, usize> = indexed(classes.names.iter().map(|name| spaces(name)));
    let by_name = |label: &str| {
        exact
            .get(label)
            .or_else(|| spaced.get(&spaces(label)))
            .copied()
    };

    let labels = || {
        dataset
            .samples
            .iter()
            .filter_map(|sample| sample.label.as_deref())
    };
    let positions = dataset.kind != SourceKind::Directory
        && labels().all(|label| label.parse::<usize>().is_ok() && by_name(label).is_none());
    let resolve = |label: &str| {
        let index = if positions {
            label.parse().ok().filter(|&index| index < classes.len())
        } else {
            by_name(label)
        };
        index.map_or(ClassMatch::Unknown, ClassMatch::Known)
    };
    dataset
        .samples
        .iter()
        .map(|sample| sample.label.as_deref().map(resolve))
        .collect()
}

fn indexed<K: Eq + std::hash::Hash>(names: impl Iterator<Item = K>) -> HashMap<K, usize> {
    names
        .enumerate()
        .map(|(index, name)| (name, index))
        .collect()
}

fn spaces(name: &str) -> String {
    name.replace('_', " ")
}

/// A name as CLIP's prompt and tokenizer read it: underscores as spaces, runs of white space as one, lower case.
fn words(name: &str) -> String {
    spaces(name)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .to_lowercase()
}
