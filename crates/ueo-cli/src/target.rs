//! Output targets, checked before the work starts: hours of computing should not end in "permission denied".

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::output::is_stdout;

/// Why a command cannot write where it was told to.
#[derive(Debug, Error)]
pub enum TargetError {
    /// There is something already.
    #[error("{} already exists", path.display())]
    Exists {
        path: PathBuf,
        ways_out: &'static str,
    },
    /// A file is expected and a directory found, or the other way round.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Kind {
        path: PathBuf,
        expected: &'static str,
        found: &'static str,
    },
    /// The directory cannot be made or does not accept new files.
    #[error("nothing can be written into {}", path.display())]
    NotWritable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The file name's ending says nothing about the format.
    #[error("{}: expected a name that ends in {expected}", path.display())]
    Extension {
        path: PathBuf,
        expected: &'static str,
    },
}

impl TargetError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exists { ways_out, .. } => Some((*ways_out).to_owned()),
            Self::NotWritable { .. } => {
                Some("name another --output, or change the permissions".to_owned())
            }
            Self::Kind { .. } | Self::Extension { .. } => None,
        }
    }
}

/// Checks that a file can be written, and makes the directory that will hold it. `-` is stdout, which always can.
///
/// # Errors
///
/// [`TargetError`] when it exists and may not be overwritten, when its ending is none of `extensions`, or when its
/// directory cannot be made or written.
pub fn check_file(
    path: &Path,
    overwrite: bool,
    extensions: &'static [&'static str],
    expected: &'static str,
) -> Result<(), TargetError> {
    if is_stdout(path) {
        return Ok(());
    }
    let extension = path.extension().and_then(|extension| extension.to_str());
    if !extension.is_some_and(|extension| extensions.contains(&extension)) {
        return Err(TargetError::Extension {
            path: path.to_owned(),
            expected,
        });
    }
    if path.is_dir() {
        return Err(TargetError::Kind {
            path: path.to_owned(),
            expected: "a file",
            found: "a directory",
        });
    }
    if path.exists() && !overwrite {
        return Err(TargetError::Exists {
            path: path.to_owned(),
            ways_out: "name another --output, or replace it with --overwrite",
        });
    }
    make_directory(directory_of(path))
}

/// Makes a directory with all above it, unless it is there, and checks that it accepts new files.
///
/// # Errors
///
/// [`TargetError`].
pub fn make_directory(path: &Path) -> Result<(), TargetError> {
    if path.exists() && !path.is_dir() {
        return Err(TargetError::Kind {
            path: path.to_owned(),
            expected: "a directory",
            found: "a file",
        });
    }
    // Permission bits do not tell about access lists or read-only file systems; a file that removes itself does.
    std::fs::create_dir_all(path)
        .and_then(|()| tempfile::tempfile_in(path).map(drop))
        .map_err(|source| TargetError::NotWritable {
            path: path.to_owned(),
            source,
        })
}

/// The directory that holds a file, the current one for a bare name.
pub fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
