//! What a method without training changes about classification.

use std::fmt::Debug;

use super::ZeroShotPass;

/// The texts whose features stand for the classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassPrompts {
    /// One prompt per class: the learnable context, then the name.
    Context,
    /// The mean of several sentences per class, [`TEMPLATES`](super::TEMPLATES).
    Templates,
}

/// Class scores from the features of all images together.
pub trait Rescoring: Debug + Send + Sync {
    /// Scores of every image on the scale of cosines: `softmax(logit_scale * score)` are the class probabilities, so
    /// that temperatures mean what they mean for cosines.
    ///
    /// # Shapes
    ///
    /// `[images, classes]`, row-major, finite.
    fn scores(&self, pass: &ZeroShotPass) -> Vec<f32>;
}
