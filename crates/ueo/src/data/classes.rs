//! The list of known classes.

use std::collections::HashMap;
use std::path::Path;

use super::class_file::{self, ClassEntry};
use super::class_name::fold;
use super::text_file::read_bounded;
use super::{ClassNameMap, DataError, Place};

/// Longest class file, in bytes. CoOp's splits, which name every image, have some megabytes.
pub(super) const MAX_CLASS_FILE_BYTES: u64 = 16 << 20;

/// Longest class name, in characters. CLIP reads 77 tokens.
pub(super) const MAX_NAME_CHARS: usize = 300;

/// The known classes, in the order of their file, or of their numbers where the file states them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassList {
    names: Vec<String>,
    ids: Option<Vec<String>>,
}

impl ClassList {
    /// Reads a class file: one class name per line, or, where it is certain, a table (`id,name`), lines that begin with
    /// numbers or WordNet ids (`0 cat`, `n02084071 dog`), or JSON (a list of names, `{"0": "cat"}`, `{"cat": 0}`, CoOp's
    /// splits, ImageNet's class index, a configuration with `id2label`).
    ///
    /// White space around a name, all ends of lines and a byte order mark are tolerated; there are no comments, because `#`
    /// may begin a name.
    ///
    /// # Errors
    /// [`DataError`]. Blank lines, duplicates, names that mean the same and other encodings than UTF-8 are errors that
    /// name the line; files that look like something else are refused, and the hint says what to write.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let bytes = read_bounded(
            path,
            "a file of class names",
            MAX_CLASS_FILE_BYTES,
            "bytes in a class file",
        )?;
        Self::parse(&bytes, path)
    }

    /// [`Self::read`] of bytes; `path` is for messages and for the extension.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, DataError> {
        let entries = class_file::parse(bytes, path)?;
        if entries.is_empty() {
            return Err(DataError::NoClasses {
                path: path.to_path_buf(),
            });
        }
        Self::of_entries(entries, path)
    }

    /// The classes that a program names; what is wrong with one is said of an entry of `classes`.
    ///
    /// # Errors
    /// [`DataError`], as for the names of a file; no names at all are no error here.
    pub fn of_names(names: &[impl AsRef<str>]) -> Result<Self, DataError> {
        let path = Path::new("classes");
        let entries = names.iter().enumerate().map(|(index, name)| ClassEntry {
            place: Place::Entry(index + 1),
            id: None,
            name: name.as_ref().trim().to_owned(),
        });
        Self::of_entries(entries.collect(), path)
    }

    /// The classes that a run directory remembers; they were checked when their file was read.
    pub fn from_names(names: Vec<String>) -> Self {
        Self { names, ids: None }
    }

    /// The same classes with the ids that labels may spell them by, one for each name.
    pub fn with_ids(self, ids: Vec<String>) -> Self {
        debug_assert_eq!(ids.len(), self.names.len());
        Self {
            ids: Some(ids),
            ..self
        }
    }

    /// The classes with the names that a map gives to their ids, or to the names that are ids themselves. What was the
    /// name becomes the id, so that labels still match.
    ///
    /// # Errors
    /// [`DataError::NoClassName`] if a class is not in the map, and [`DataError::SameWords`] if two get the same name.
    pub fn renamed(&self, map: &ClassNameMap) -> Result<Self, DataError> {
        let ids = self.ids.as_ref().unwrap_or(&self.names);
        let missing: Vec<&String> = ids.iter().filter(|id| map.name(id).is_none()).collect();
        if let Some(first) = missing.first() {
            return Err(DataError::NoClassName {
                path: map.path().to_path_buf(),
                first: (*first).clone(),
                missing: missing.len(),
                classes: ids.len(),
            });
        }
        let entries = ids.iter().filter_map(|id| {
            let (place, name) = map.name(id)?;
            Some(ClassEntry {
                place,
                id: Some(id.clone()),
                name: name.to_owned(),
            })
        });
        Self::of_entries(entries.collect(), map.path())
    }

    fn of_entries(entries: Vec<ClassEntry>, path: &Path) -> Result<Self, DataError> {
        check_names(&entries, path)?;
        check_ids(&entries, path)?;
        let ids: Option<Vec<String>> = entries.iter().map(|entry| entry.id.clone()).collect();
        let names = entries.into_iter().map(|entry| entry.name).collect();
        Ok(Self { names, ids })
    }

    /// The names, exactly as in the file.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The ids beside the names, if the file has any: numbers, WordNet ids or whatever else stands there.
    pub fn ids(&self) -> Option<&[String]> {
        self.ids.as_deref()
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

fn check_names(entries: &[ClassEntry], path: &Path) -> Result<(), DataError> {
    let mut first_by_words: HashMap<String, &ClassEntry> = HashMap::with_capacity(entries.len());
    for entry in entries {
        let (path, place) = (path.to_path_buf(), entry.place);
        let name = entry.name.clone();
        if name.is_empty() {
            return Err(DataError::BlankClass { path, place });
        }
        if let Some(found) = wrong_name(&name) {
            return Err(DataError::ClassName {
                path,
                place,
                found,
                name,
            });
        }
        if let Some(first) = first_by_words.insert(fold(&name), entry) {
            let (first, first_name) = (first.place, first.name.clone());
            return Err(if first_name == name {
                DataError::DuplicateClass {
                    path,
                    place,
                    first,
                    name,
                }
            } else {
                DataError::SameWords {
                    path,
                    place,
                    name,
                    first,
                    first_name,
                }
            });
        }
    }
    Ok(())
}

fn wrong_name(name: &str) -> Option<&'static str> {
    if name.contains('\t') {
        Some("a tab")
    } else if name.contains(char::is_control) {
        Some("a control character")
    } else if name.chars().count() > MAX_NAME_CHARS {
        Some("more than 300 characters")
    } else {
        None
    }
}

fn check_ids(entries: &[ClassEntry], path: &Path) -> Result<(), DataError> {
    let mut first_by_id: HashMap<&str, Place> = HashMap::with_capacity(entries.len());
    for entry in entries {
        let Some(id) = &entry.id else { continue };
        if let Some(first) = first_by_id.insert(id, entry.place) {
            return Err(DataError::DuplicateId {
                path: path.to_path_buf(),
                place: entry.place,
                first,
                id: id.clone(),
            });
        }
    }
    Ok(())
}
