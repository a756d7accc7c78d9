//! What is known about an epoch when it ends.

use serde::{Deserialize, Serialize};

use super::Signs;

/// The record of one epoch, a line of `epochs.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Epoch, from 1; 0 is the zero-shot model.
    pub epoch: usize,
    /// Steps done when it ended.
    pub step: usize,
    /// Which images the signs were taken from.
    pub view: WatchedView,
    /// What the predictions looked like.
    #[serde(flatten)]
    pub signs: Signs,
    /// The value of the criterion that the epoch to keep is chosen by, if one is.
    pub criterion: Option<f64>,
}

/// The images that signs are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WatchedView {
    /// The augmented views of the epoch's training steps, each as the model saw it at its step: they cost nothing.
    Training,
    /// The test views of all images, after the epoch.
    Test,
}
