//! Names for classes that are known by ids, such as WordNet's.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::class_file;
use super::class_name::fold;
use super::classes::MAX_CLASS_FILE_BYTES;
use super::text_file::read_bounded;
use super::{DataError, Place};

/// A map from ids to names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassNameMap {
    path: PathBuf,
    names: HashMap<String, (Place, String)>,
}

impl ClassNameMap {
    /// Reads a map: a table `id,name`, lines such as `n02084071 dog`, or JSON; the forms of a class file that state ids.
    ///
    /// # Errors
    /// [`DataError`]; [`DataError::Format`] for a file without ids.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let bytes = read_bounded(
            path,
            "a file of ids and names",
            MAX_CLASS_FILE_BYTES,
            "bytes in a file of class names",
        )?;
        Self::parse(&bytes, path)
    }

    /// [`Self::read`] of bytes; `path` is for messages and for the extension.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, DataError> {
        let mut names = HashMap::new();
        for entry in class_file::parse(bytes, path)? {
            let Some(id) = entry.id else {
                return Err(DataError::Format {
                    path: path.to_path_buf(),
                    expected: "an id and a name for each class",
                    found: format!("a name without an id on {}", entry.place),
                    fix: "write a table with the extension .csv and the first line `id,name`",
                });
            };
            if entry.name.is_empty() {
                return Err(DataError::BlankClass {
                    path: path.to_path_buf(),
                    place: entry.place,
                });
            }
            if let Some((first, _)) = names.insert(fold(&id), (entry.place, entry.name)) {
                return Err(DataError::DuplicateId {
                    path: path.to_path_buf(),
                    place: entry.place,
                    first,
                    id,
                });
            }
        }
        Ok(Self {
            path: path.to_path_buf(),
            names,
        })
    }

    /// The name of an id and where it stands; case makes no difference.
    pub(super) fn name(&self, id: &str) -> Option<(Place, &str)> {
        let (place, name) = self.names.get(&fold(id))?;
        Some((*place, name))
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are no names.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}
