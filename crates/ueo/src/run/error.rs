//! Why a job failed.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::adapt::{AdaptError, InvalidSetting};
use crate::checkpoint::CheckpointError;
use crate::data::DataError;
use crate::evaluate::EvaluateError;
use crate::model::ModelError;
use crate::text::TextError;

use super::SkippedImage;

/// Skipped inputs that an error message lists before it only counts.
const LISTED: usize = 5;

/// Why a job failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint's tensors do not make a model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The tokenizer cannot be read, or a text cannot be tokenized.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The images or the class list cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The adaptation stopped.
    #[error(transparent)]
    Adapt(#[from] AdaptError),
    /// A setting makes no sense.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// Predictions cannot be measured.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
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
    /// A path is no run directory.
    #[error("{} is no run directory: it has no run.json", path.display())]
    NotARun {
        /// The path.
        path: PathBuf,
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
    /// No image can be read.
    #[error("none of the images in {} can be read{}", path.display(), listed(skipped))]
    NoReadableImages {
        /// The images' path.
        path: PathBuf,
        /// What was found instead.
        skipped: Vec<SkippedImage>,
    },
    /// Images cannot be read and `strict` is set.
    #[error("{} inputs cannot be used and --strict is set{}", skipped.len(), listed(skipped))]
    SkippedImages {
        /// These inputs.
        skipped: Vec<SkippedImage>,
    },
    /// An image that was readable before cannot be read again.
    #[error("an image that was readable at the start of the run cannot be read now: {reason}")]
    ImageLost {
        /// What is wrong with it.
        reason: String,
    },
    /// A plain checkpoint does not know any classes.
    #[error("the model is a plain checkpoint and knows no classes")]
    NoClasses,
    /// Labels are needed but the images have none.
    #[error("{} gives no labels, which {needed_for} needs", path.display())]
    NoLabels {
        /// The images' path.
        path: PathBuf,
        /// What needs them.
        needed_for: &'static str,
    },
    /// Oracle weights need a label for each image.
    #[error("{} gives no label for image {id}", path.display())]
    MissingLabel {
        /// Where labels were looked for.
        path: PathBuf,
        /// The image.
        id: String,
    },
}

impl RunError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Checkpoint(error) => error.hint(),
            Self::Model(ModelError::InstructionSet(error)) => return Some(error.hint()),
            Self::Text(error) => return error.hint().map(str::to_owned),
            Self::Data(error) => error.hint(),
            Self::Evaluate(error) => return error.hint().map(str::to_owned),
            Self::Adapt(AdaptError::NotFinite { .. }) => {
                "lower --context-learning-rate and --affine-learning-rate; the last good state was kept"
            }
            Self::Setting(error) | Self::Adapt(AdaptError::Setting(error)) => {
                return error.hint().map(str::to_owned);
            }
            Self::Adapt(AdaptError::ImageLost { .. }) | Self::ImageLost { .. } => {
                "put the image back and continue with --resume, or start a new run"
            }
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => "check the permissions, or choose another place",
                io::ErrorKind::StorageFull => {
                    "free some space and continue with --resume; finished steps are kept"
                }
                _ => return None,
            },
            Self::OutputExists { is_run: true, .. } => {
                "choose another --output, continue the run with --resume, or replace it with --overwrite"
            }
            Self::OutputExists { .. } => "choose another --output",
            Self::NotARun { .. } => "name a directory that `ueo adapt --output` made",
            Self::Unfinished { .. } => "continue it with `ueo adapt --resume --output RUN`",
            Self::AlreadyAdapted { .. } => "name the checkpoint that the run started from",
            Self::Record { .. } => "the run was written by another version or has been edited",
            Self::State { .. } => "the file is damaged; start the run again",
            Self::BaseMoved { .. } => "name its new place with --base",
            Self::BaseChanged { .. } => "name the original checkpoint with --base",
            Self::ImagesChanged { .. } => {
                "put the images back as they were, or start a new run with another --output"
            }
            Self::NoReadableImages { .. } => "check that --images names a folder of image files",
            Self::SkippedImages { .. } => "repair or remove them, or run without --strict",
            Self::NoClasses => "give the class names with --classes FILE, one name per line",
            Self::NoLabels { .. } => {
                "sort the images into one folder per class, or give a list file with `path label` lines"
            }
            Self::MissingLabel { .. } => "give a label for every image, known or not",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

fn listed(skipped: &[SkippedImage]) -> String {
    let mut text = String::new();
    for image in skipped.iter().take(LISTED) {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {}: {}", image.id, image.reason);
    }
    if skipped.len() > LISTED {
        let _ = write!(text, "\n  and {} more", skipped.len() - LISTED);
    }
    text
}
