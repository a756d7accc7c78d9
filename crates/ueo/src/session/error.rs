//! Why something that a program asked of a model in memory failed.

use std::fmt::Write as _;
use std::path::PathBuf;

use thiserror::Error;

use crate::adapt::{AdaptError, CallerError, InvalidSetting};
use crate::checkpoint::CheckpointError;
use crate::data::DataError;
use crate::device::DeviceFailure;
use crate::evaluate::EvaluateError;
use crate::model::ModelError;
use crate::quote;
use crate::text::TextError;

use super::{SkippedImage, Stage};

/// Skipped inputs that an error message lists before it only counts.
const LISTED: usize = 5;

/// Why a session failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SessionError {
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
    /// The device was lost or ran out of memory.
    #[error(transparent)]
    Device(#[from] DeviceFailure),
    /// A setting makes no sense.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// Predictions cannot be measured.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// No image can be read.
    #[error("none of the images in {} can be read{}", path.display(), listed(skipped))]
    NoReadableImages {
        /// The images' path.
        path: PathBuf,
        /// What was found instead.
        skipped: Vec<SkippedImage>,
    },
    /// Images cannot be read and `strict` is set.
    #[error("{} cannot be used, and none may be skipped{}", inputs(skipped.len()), listed(skipped))]
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
    /// What the model makes of an input has no direction: numbers that are not finite, or zeros only.
    #[error(
        "the feature of {} has the square norm {square_norm}, expected a finite number above zero",
        quote::name(input)
    )]
    NotFinite {
        /// An image's id, or a text.
        input: String,
        /// Sum of the squares of its numbers.
        square_norm: f32,
        /// Whether the model is the one that an adaptation has just ended with.
        trained: bool,
    },
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
    /// A vocabulary has no name beside the known classes.
    #[error("the vocabulary has no name for unknown images: {}", nothing_left(*.known, *.too_long))]
    NoNames {
        /// Names that are those of known classes.
        known: usize,
        /// Names that are too long for the text tower.
        too_long: usize,
    },
    /// The caller asked to stop between two steps.
    #[error("interrupted after step {step}")]
    Stopped {
        /// Steps done until then.
        step: usize,
    },
    /// The caller's store of features failed, for example because the disk is full.
    #[error("the features of the images cannot be kept")]
    NotKept(#[source] CallerError),
    /// The processes of a job do not see the same images.
    #[error("the images that rank {rank} sees are not those that rank 0 sees")]
    OtherImages {
        /// The first process to see others.
        rank: usize,
    },
    /// The caller asked to stop during a pass over the images.
    #[error("interrupted after {done} of {total} images")]
    Interrupted {
        /// Images encoded until then, unreadable ones included.
        done: usize,
        /// Images of the pass.
        total: usize,
    },
}

impl SessionError {
    /// Whether the caller asked to stop, which is no failure.
    pub fn is_interruption(&self) -> bool {
        matches!(self, Self::Interrupted { .. } | Self::Stopped { .. })
    }
}

fn nothing_left(known: usize, too_long: usize) -> String {
    match (known, too_long) {
        (0, 0) => "it is empty".to_owned(),
        (known, 0) => format!("all of its {known} names are those of known classes"),
        (known, too_long) => format!(
            "{known} of its names are those of known classes, and {too_long} are too long for the text tower"
        ),
    }
}

fn inputs(number: usize) -> String {
    match number {
        1 => "1 input".to_owned(),
        _ => format!("{number} inputs"),
    }
}

fn listed(skipped: &[SkippedImage]) -> String {
    let mut text = String::new();
    for image in skipped.iter().take(LISTED) {
        // Writing to a string cannot fail.
        let id = quote::whole(&image.id);
        let _ = write!(text, "\n  {id}: {}", image.reason);
    }
    if skipped.len() > LISTED {
        let _ = write!(text, "\n  and {} more", skipped.len() - LISTED);
    }
    text
}

impl SessionError {
    /// The same error of a pass: what is wrong with the model comes from the training if that has just ended.
    pub(super) fn after(self, stage: Stage) -> Self {
        match self {
            Self::NotFinite {
                input, square_norm, ..
            } => Self::NotFinite {
                input,
                square_norm,
                trained: stage == Stage::Adapted,
            },
            other => other,
        }
    }
}
