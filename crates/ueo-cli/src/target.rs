//! Output targets, checked before the work starts: hours of computing should not end in "permission denied".

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use ueo_run::RunDirectory;

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
    /// Writing would destroy what the command reads.
    #[error("{} is one of the command's inputs", path.display())]
    Input { path: PathBuf },
    /// Writing would destroy a run.
    #[error("{} is one of the files that a run consists of", path.display())]
    OfRun { path: PathBuf },
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
            Self::Input { .. } | Self::OfRun { .. } => {
                Some("name another --output, which --overwrite may replace".to_owned())
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

/// What a command reads.
#[derive(Clone, Debug)]
pub enum Input {
    /// A checkpoint or a run.
    Model(PathBuf),
    /// Images of any kind.
    Images(PathBuf),
    /// A file.
    File(PathBuf),
}

impl Input {
    /// What a model is read from: of a run also the checkpoint that it started from.
    pub fn of_model(model: &Path, base: Option<&Path>) -> Vec<Self> {
        let record = RunDirectory::open(model).and_then(|run| run.read_record());
        let recorded = record.ok().map(|record| record.base.path);
        let bases = base.map(Path::to_owned).into_iter().chain(recorded);
        let models = std::iter::once(model.to_owned()).chain(bases);
        models.map(Self::Model).collect()
    }

    /// Whether the input is this file, whose path is canonical, or needs it.
    fn needs(&self, file: &Path) -> bool {
        let (Self::Model(path) | Self::Images(path) | Self::File(path)) = self;
        let Ok(path) = path.canonicalize() else {
            return false;
        };
        let lies_in = |folder: &Path| file.starts_with(folder);
        let ends_in = |endings: &[&str]| {
            endings
                .iter()
                .any(|e| file.extension().is_some_and(|f| f == *e))
        };
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let describes_a_model = ["config", "tokenizer", "vocab"]
            .iter()
            .any(|part| name.contains(part));
        file == path
            || match self {
                // What is a run's own is known by name.
                Self::Model(_) if RunDirectory::recognizes(&path) => false,
                Self::Model(_) if path.is_dir() => {
                    lies_in(&path) && ends_in(&["json", "safetensors"])
                }
                Self::Model(_) => {
                    path.parent().is_some_and(lies_in) && ends_in(&["json"]) && describes_a_model
                }
                Self::Images(_) => lies_in(&path) && ends_in(&["parquet"]),
                Self::File(_) => false,
            }
    }
}

/// Checks that writing a file destroys neither what the command reads nor a run.
///
/// # Errors
///
/// [`TargetError::Input`], [`TargetError::OfRun`].
pub fn check_harmless(path: &Path, inputs: &[Input]) -> Result<(), TargetError> {
    // What is not there can be no input.
    let (false, Ok(file)) = (is_stdout(path), path.canonicalize()) else {
        return Ok(());
    };
    let path = path.to_owned();
    if inputs.iter().any(|input| input.needs(&file)) {
        return Err(TargetError::Input { path });
    }
    match RunDirectory::owns(&file) {
        true => Err(TargetError::OfRun { path }),
        false => Ok(()),
    }
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
