//! Why a report cannot be made.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use ueo::evaluate::EvaluateError;
use ueo_run::RunError;

/// Why a report cannot be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The run cannot be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The run has no result yet.
    #[error("the run in {} is not finished, so there is nothing to report", path.display())]
    Unfinished {
        /// The run directory.
        path: PathBuf,
    },
    /// The numbers of the run cannot be measured.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// The plotting library refused a picture.
    #[error("a plot cannot be drawn: {reason}")]
    Plot {
        /// What it said.
        reason: String,
    },
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl ReportError {
    /// For `map_err` on whatever the plotting library returns.
    pub(super) fn plot(error: impl std::fmt::Display) -> Self {
        Self::Plot {
            reason: error.to_string(),
        }
    }

    pub(super) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write {
            path: path.to_owned(),
            source,
        }
    }
}
