//! Why a benchmark cannot run.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use ueo::adapt::InvalidSetting;
use ueo::data::DataError;
use ueo::disk::{LockError, process_name};
use ueo::evaluate::EvaluateError;
use ueo::session::SessionError;

/// Why a benchmark cannot run, or its results cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BenchmarkError {
    /// Neither an embedded suite nor a file.
    #[error("`{name}` is no suite of this program ({known}) and no file that can be read")]
    NoSuite {
        /// What was asked for.
        name: String,
        /// The embedded suites.
        known: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A suite file is no TOML or has other fields.
    #[error("the suite {} cannot be understood", path.display())]
    SuiteSyntax {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<toml::de::Error>,
    },
    /// A suite file says something that makes no sense.
    #[error("the suite {}: {reason}", path.display())]
    Suite {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A name that the suite or the program does not have.
    #[error("expected a {what} ({known}), found `{found}`")]
    Unknown {
        /// What kind of name.
        what: &'static str,
        /// The name.
        found: String,
        /// Those that there are.
        known: String,
    },
    /// A setting that no method has, or of another type.
    #[error("{place}: {reason}")]
    Override {
        /// Where it was given.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The settings of a method make no sense.
    #[error("settings of {method}: {source}")]
    Setting {
        /// The method.
        method: String,
        /// What is wrong.
        source: InvalidSetting,
    },
    /// The data of a suite are not there.
    #[error("expected {missing} of the suite `{suite}` in {}, found none of {searched}", data.display())]
    NoData {
        /// The suite.
        suite: String,
        /// What is missing.
        missing: String,
        /// The data directory.
        data: PathBuf,
        /// Places where it was looked for.
        searched: String,
        /// How to obtain the data.
        obtain: String,
    },
    /// The classes on disk are not those of the suite.
    #[error("the suite `{suite}` has {expected} classes, found {found} in {}{detail}", path.display())]
    ClassCount {
        /// The suite.
        suite: String,
        /// Classes of the suite.
        expected: usize,
        /// Classes found.
        found: usize,
        /// Where.
        path: PathBuf,
        /// Which are missing or too many, if that is known.
        detail: String,
    },
    /// An image without a class of the suite.
    #[error("{}: image {id} {reason}", path.display())]
    Label {
        /// The list or folder.
        path: PathBuf,
        /// The image.
        id: String,
        /// What is wrong with its label.
        reason: String,
    },
    /// No image of a domain may be trained on.
    #[error(
        "domain `{domain}` has no readable image of a class that is present under the {shift} shift"
    )]
    NothingToTrainOn {
        /// The domain.
        domain: String,
        /// The shift.
        shift: String,
    },
    /// Images or class names cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model cannot be used.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Predictions cannot be measured.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// Threads cannot be started.
    #[error("{threads} threads cannot be started for a job")]
    Threads {
        /// Threads per job.
        threads: usize,
        /// Why.
        source: rayon::ThreadPoolBuildError,
    },
    /// A result file cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process runs cells into the output directory, or writes its tables.
    #[error("{} is in use by {}", path.display(), process_name(*process))]
    InUse {
        /// The output directory.
        path: PathBuf,
        /// The process's number, where the operating system lets others know.
        process: Option<u32>,
    },
    /// A result file is not what this version writes.
    #[error("{}: {reason}", path.display())]
    Cell {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A result file of a later version of the program.
    #[error("{}: expected format version 1 to {newest}, found {found}", path.display())]
    CellVersion {
        /// The file.
        path: PathBuf,
        /// The newest version that this program knows.
        newest: u32,
        /// The version of the file.
        found: u32,
    },
    /// Another cell is where a new one would be written.
    #[error("{} holds another cell than its name says", path.display())]
    Occupied {
        /// The file.
        path: PathBuf,
    },
    /// Two files are about the same cell.
    #[error("{} and {} are about the same cell", first.display(), second.display())]
    TwoFiles {
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// Results of the same variant were made with other settings.
    #[error("the results `{variant}` in {} were made with other settings: {differences}", path.display())]
    OtherSettings {
        /// Folder of the variant's cells.
        path: PathBuf,
        /// Name of the variant.
        variant: String,
        /// What differs.
        differences: String,
    },
    /// Results of the same suite are about other classes, shifts or images.
    #[error("the results of the suite `{suite}` in {} are about other data: {differences}", path.display())]
    OtherData {
        /// The output directory.
        path: PathBuf,
        /// Name of the suite.
        suite: String,
        /// What differs.
        differences: String,
    },
    /// The suite has no folder of its own, and none was named.
    #[error("the suite `{suite}` needs the folder of its images")]
    DataNotNamed {
        /// The suite.
        suite: String,
        /// How to obtain the data.
        obtain: String,
    },
    /// There is nothing to make tables of.
    #[error("there are no results in {}", path.display())]
    NoResults {
        /// The output directory.
        path: PathBuf,
    },
    /// The results are not those of the suite that was named.
    #[error("expected results of the suite `{expected}` in {}, found those of {found}", path.display())]
    OtherSuite {
        /// The output directory.
        path: PathBuf,
        /// The suite that was named.
        expected: String,
        /// The suites of the results.
        found: String,
    },
    /// Each of the names of a choice is that of some cell, but no cell is of all.
    #[error("expected cells in {} of all that was asked for together, found none", path.display())]
    NothingChosen {
        /// The output directory.
        path: PathBuf,
    },
    /// The cells of a directory do not belong together.
    #[error("the results of the suite `{suite}` in {} contradict each other: {differences}", path.display())]
    Mixed {
        /// The output directory.
        path: PathBuf,
        /// The suite.
        suite: String,
        /// What differs.
        differences: String,
    },
    /// Published numbers cannot be understood.
    #[error("the published numbers {}: {reason}", path.display())]
    Published {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A page has no place for the generated part.
    #[error("{} exists and has no generated part: expected the lines\n  {begin}\n  {end}", path.display())]
    Page {
        /// The page.
        path: PathBuf,
        /// First line of the generated part.
        begin: &'static str,
        /// Last line of the generated part.
        end: &'static str,
    },
}

impl From<LockError> for BenchmarkError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::InUse { path, process } => Self::InUse { path, process },
            LockError::Io {
                action,
                path,
                source,
            } => Self::Io {
                action,
                path,
                source,
            },
        }
    }
}

impl BenchmarkError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
