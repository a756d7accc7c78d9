//! Why an export fails.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use ueo::checkpoint::CheckpointError;
use ueo::evaluate::Score;
use ueo::method::Method;
use ueo_run::RunError;

use crate::Format;

/// Why an export fails.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The run cannot be opened.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The checkpoint cannot be written in the layout.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Nobody has written the image tower's graph yet.
    #[error("a {tower} is not exported to ONNX yet, expected another image tower")]
    NoGraph {
        /// The image tower.
        tower: &'static str,
    },
    /// A method's class scores are no function of one image.
    #[error(
        "the method {method} judges an image by all images beside it, expected one whose model judges each image alone"
    )]
    Rescored {
        /// The run's method.
        method: Method,
    },
    /// A score has no graph.
    #[error("the score {score} cannot be written as a graph")]
    Score {
        /// The run's score.
        score: Score,
    },
    /// A choice belongs to other formats.
    #[error("{choice} is a choice of {expected}, found --to {}", found.name())]
    OtherFormat {
        /// The choice, in words of the command line.
        choice: &'static str,
        /// The formats that have it.
        expected: &'static str,
        /// The format that was asked for.
        found: Format,
    },
    /// There is something already.
    #[error("{} already exists, expected {expected}", path.display())]
    OutputExists {
        /// The output.
        path: PathBuf,
        /// What may be there.
        expected: &'static str,
        /// Whether it may be replaced if that is asked for.
        is_export: bool,
    },
    /// A part of the model that cannot be written yet.
    #[error("{part} cannot be exported yet")]
    Architecture {
        /// The part.
        part: &'static str,
    },
    /// A file cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A description is no JSON.
    #[error("the description of the model cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

impl ExportError {
    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Write { path, source }
    }

    /// The same of a file whose directory people know under another name.
    pub(crate) fn with_directory(mut self, hidden: &Path, known: &Path) -> Self {
        let path = match &mut self {
            Self::Write { path, .. }
            | Self::Checkpoint(
                CheckpointError::Unsupported { path, .. } | CheckpointError::Io { path, .. },
            ) => path,
            _ => return self,
        };
        if let Ok(rest) = path.strip_prefix(hidden) {
            // Joining nothing would add a slash.
            *path = match rest.as_os_str().is_empty() {
                true => known.to_owned(),
                false => known.join(rest),
            };
        }
        self
    }
}
