//! Why a job failed.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use ueo::adapt::{AdaptError, InvalidSetting};
use ueo::checkpoint::CheckpointError;
use ueo::data::DataError;
use ueo::disk::{LockError, process_name};
use ueo::evaluate::EvaluateError;
use ueo::method::Method;
use ueo::model::ModelError;
use ueo::session::SessionError;

/// Why a job failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// What is done in memory failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A file of the run directory cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Tensors cannot be put into a safetensors file.
    #[error("cannot encode the state of the run")]
    Encode(#[source] safetensors::SafeTensorError),
    /// The output is already there.
    #[error("{} exists and is not empty, expected a new or empty directory", path.display())]
    OutputExists {
        /// The output directory.
        path: PathBuf,
        /// Whether it holds an earlier run.
        is_run: bool,
    },
    /// Another discovery, or something else, is where one is to be written.
    #[error("{} exists and is not empty, expected a new or empty directory", path.display())]
    DiscoveryExists {
        /// The output directory.
        path: PathBuf,
        /// Whether it holds an earlier discovery.
        is_discovery: bool,
    },
    /// A path is no run directory.
    #[error("{} is no run directory: it has no run.json", path.display())]
    NotARun {
        /// The path.
        path: PathBuf,
    },
    /// Another process writes the run directory.
    #[error("{} is in use by {}", path.display(), process_name(*process))]
    InUse {
        /// The run directory.
        path: PathBuf,
        /// The process's number, where the operating system lets others know.
        process: Option<u32>,
    },
    /// A command that continues a run has other settings than the run.
    #[error("the run in {} was begun with another {setting}: expected {expected}, found {found}", path.display())]
    OtherSetting {
        /// The run directory.
        path: PathBuf,
        /// Name of the setting in words of the command line, without leading dashes.
        setting: String,
        /// The run's value.
        expected: String,
        /// The command's.
        found: String,
    },
    /// A run cannot get another number of epochs.
    #[error("{}", not_extended(path, *method, *done, *asked))]
    NotExtended {
        /// The run directory.
        path: PathBuf,
        /// The method, where it has nothing to train.
        method: Option<Method>,
        /// The run's epochs.
        done: usize,
        /// The epochs that were asked for.
        asked: usize,
    },
    /// A run has no result yet.
    #[error("the run in {} is not finished: it has no adapted.safetensors", path.display())]
    Unfinished {
        /// The run directory.
        path: PathBuf,
    },
    /// A run is to be adapted again.
    #[error("{} is a run directory, expected a checkpoint to adapt", path.display())]
    AlreadyAdapted {
        /// The run directory.
        path: PathBuf,
    },
    /// `run.json` or `metrics.jsonl` is not what this version writes.
    #[error("{}: {reason}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The saved parameters do not fit the model.
    #[error("{}: {reason}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The trained parameters in a run's directory are not its own.
    #[error("{} is not what the run beside it wrote", path.display())]
    OtherAdapted {
        /// The file of the parameters.
        path: PathBuf,
    },
    /// The checkpoint of a run is not where it was.
    #[error("the base checkpoint of the run is not at {}", path.display())]
    BaseMoved {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The checkpoint of a run is another one.
    #[error(
        "the base checkpoint at {} is not the one that was adapted: expected SHA-256 {expected}, found {found}",
        path.display()
    )]
    BaseChanged {
        /// Where it was looked for.
        path: PathBuf,
        /// SHA-256 in `run.json`.
        expected: String,
        /// SHA-256 of the file.
        found: String,
    },
    /// The checkpoint of a run has the same weights and computes something else with them.
    #[error(
        "the base checkpoint at {} has the weights that were adapted, and another configuration, preprocessing or \
         tokenizer than then",
        path.display()
    )]
    BaseEdited {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The images of a run are not those that it started with.
    #[error(
        "the images in {} have changed since the run began: expected the same {expected} images, found {found}",
        path.display()
    )]
    ImagesChanged {
        /// The images' path.
        path: PathBuf,
        /// Images when the run began.
        expected: usize,
        /// Images now.
        found: usize,
    },
    /// A plain checkpoint does not know any classes.
    #[error("the model is a plain checkpoint and knows no classes")]
    NoClasses,
}

impl From<LockError> for RunError {
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

fn not_extended(path: &Path, method: Option<Method>, done: usize, asked: usize) -> String {
    let run = path.display();
    match method {
        Some(method) => {
            format!("the run in {run} has no epochs to extend: {method} trains nothing")
        }
        None => {
            format!("the run in {run} has {done} epochs, expected more than that, found {asked}")
        }
    }
}

/// Whatever ends a session ends the job.
macro_rules! from_what_a_session_uses {
    ($($error:ty),* $(,)?) => {
        $(impl From<$error> for RunError {
            fn from(error: $error) -> Self {
                Self::Session(error.into())
            }
        })*
    };
}
from_what_a_session_uses!(
    AdaptError,
    CheckpointError,
    DataError,
    EvaluateError,
    InvalidSetting,
    ModelError,
);

impl RunError {
    pub(crate) fn record(path: &Path, reason: String) -> Self {
        Self::Record {
            path: path.to_owned(),
            reason,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
