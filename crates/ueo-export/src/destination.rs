//! Where an export goes: checked before the work starts, filled beside its place and put there when it is complete.

use std::fs;
use std::path::{Path, PathBuf};

use ueo::disk;

use crate::classifier_file;
use crate::{ExportError, ExportRequest};

/// A place that may be written.
#[derive(Debug)]
pub struct Destination {
    path: PathBuf,
}

impl Destination {
    /// # Errors
    ///
    /// [`ExportError::OutputExists`] when something is there that may not be replaced.
    pub fn check(request: &ExportRequest) -> Result<Self, ExportError> {
        let path = &request.output;
        let occupied = |expected, is_export| ExportError::OutputExists {
            path: path.clone(),
            expected,
            is_export,
        };
        let is_vacant = match request.format.is_directory() {
            false if path.is_dir() => return Err(occupied("a file, found a directory", false)),
            false => !path.exists(),
            true if path.exists() && !path.is_dir() => {
                return Err(occupied("a directory, found a file", false));
            }
            true => {
                let is_empty =
                    fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none());
                // A directory that holds something else is never cleared.
                if !is_empty && !path.join(classifier_file::NAME).is_file() {
                    return Err(occupied("a new or empty directory", false));
                }
                is_empty
            }
        };
        if !is_vacant && !request.overwrite {
            return Err(occupied("nothing in this place", true));
        }
        Ok(Self { path: path.clone() })
    }

    fn make_parent(&self) -> Result<(), ExportError> {
        let parent = disk::directory_of(&self.path);
        disk::create_directories(parent).map_err(ExportError::write(parent))
    }

    /// Makes the folder of a file and lets `write` write it.
    ///
    /// # Errors
    ///
    /// As `write`, and [`ExportError::Write`].
    pub fn fill_file(
        &self,
        write: impl FnOnce(&Path) -> Result<Vec<PathBuf>, ExportError>,
    ) -> Result<Vec<PathBuf>, ExportError> {
        self.make_parent()?;
        write(&self.path)
    }

    /// Lets `write` fill a directory of a hidden name, which then takes its place. Returns its files.
    ///
    /// # Errors
    ///
    /// As `write`, and [`ExportError::Write`].
    pub fn fill_directory(
        &self,
        write: impl FnOnce(&Path) -> Result<(), ExportError>,
    ) -> Result<Vec<PathBuf>, ExportError> {
        self.make_parent()?;
        let beside = |what: &str| {
            let name = self.path.file_name().unwrap_or_default().to_string_lossy();
            let name = format!(
                "{}{name}-{what}-{}",
                disk::HIDDEN_PREFIX,
                std::process::id()
            );
            self.path.with_file_name(name)
        };
        let (new, old) = (beside("new"), beside("old"));
        let filled = disk::create_directories(&new)
            .map_err(ExportError::write(&new))
            .and_then(|()| write(&new))
            .and_then(|()| self.exchange(&new, &old));
        if filled.is_err() {
            // What went wrong before is what the user should hear about.
            let _ = disk::remove_tree(&new);
        }
        filled.map_err(|error| error.with_directory(&new, &self.path))?;
        files_of(&self.path)
    }

    /// Puts `new` into its place; what was there waits under the name `old` until that has happened.
    fn exchange(&self, new: &Path, old: &Path) -> Result<(), ExportError> {
        let path = &self.path;
        let replaces = path.exists();
        let exchanged = match replaces {
            true => disk::rename(path, old).and_then(|()| {
                disk::rename(new, path).inspect_err(|_| {
                    let _ = disk::rename(old, path);
                })
            }),
            false => disk::rename(new, path),
        };
        exchanged
            .and_then(|()| disk::sync_directory(disk::directory_of(path)))
            .and_then(|()| disk::remove_tree(old))
            .map_err(ExportError::write(path))
    }
}

/// All files of a directory and those below it, in the order of their paths.
fn files_of(directory: &Path) -> Result<Vec<PathBuf>, ExportError> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory).map_err(ExportError::write(&directory))?;
        for entry in entries {
            let path = entry.map_err(ExportError::write(&directory))?.path();
            match path.is_dir() {
                true => directories.push(path),
                false => files.push(path),
            }
        }
    }
    files.sort();
    Ok(files)
}
