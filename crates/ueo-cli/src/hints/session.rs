//! What is done in memory.

use ueo::adapt::{AdaptError, FINITE};
use ueo::model::ModelError;
use ueo::session::SessionError;

use super::Hint;

impl Hint for SessionError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Checkpoint(error) => return error.hint(),
            Self::Model(ModelError::InstructionSet(error)) => return Some(error.hint()),
            Self::Model(ModelError::BlockPrecision { .. }) => "leave --precision out",
            Self::Text(error) => return error.hint(),
            Self::Data(error) => return error.hint(),
            Self::Evaluate(error) => return error.hint(),
            Self::Setting(error) | Self::Adapt(AdaptError::Setting(error)) => return error.hint(),
            // No learning rate has acted yet.
            Self::Adapt(AdaptError::NotFinite {
                step: 1,
                expected: FINITE,
                ..
            }) => {
                "choose the settings of the loss, such as --trade-off, nearer to their defaults; if they are, the checkpoint is damaged"
            }
            Self::Adapt(AdaptError::NotFinite { .. }) | Self::NotFinite { trained: true, .. } => {
                "lower --context-learning-rate and --affine-learning-rate and begin again, with --overwrite or another --output: \
                 the training has diverged, and --resume would end here again"
            }
            Self::NotFinite { .. } => {
                "the checkpoint is damaged, or was trained until its numbers were useless: take another one"
            }
            Self::Device(error) | Self::Adapt(AdaptError::Device { source: error, .. }) => {
                return error.hint();
            }
            Self::Model(ModelError::TooLargeForDevice { .. }) => {
                "compute with --device cpu, or choose a smaller model"
            }
            Self::Model(ModelError::Precision { .. }) => {
                "leave --precision out, or compute with --device cpu"
            }
            Self::Adapt(AdaptError::ActivationCache { .. }) => {
                "make room on the disk and continue with --resume; a larger --image-cache keeps more in memory, fewer --views need less"
            }
            Self::Adapt(AdaptError::ImageLost { .. }) | Self::ImageLost { .. } => {
                "put the image back and continue with --resume, or start a new run"
            }
            Self::NoReadableImages { .. } => "check that --images names a folder of image files",
            Self::SkippedImages { .. } => "repair or remove them, or run without --strict",
            Self::NoNames { .. } => {
                "give other names with --vocabulary, one per line, or leave it out for the nouns that come with ueo"
            }
            Self::NoLabels { .. } => {
                "sort the images into one folder per class, or give a list file with `path label` lines; folders with other names are \
                 labels with --labels folders"
            }
            Self::OtherImages { .. } => {
                "--images has to be the same on all machines: a shared directory, or copies of one list"
            }
            Self::MissingLabel { .. } => "give a label for every image, known or not",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
