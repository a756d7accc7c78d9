//! What the loop asks of a method that trains.

use std::fmt::Debug;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::objective::{LossTerms, class_probabilities, cosine_logits};

use super::{Memory, MethodError, ZeroShotPass};

/// How large a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Images of the adaptation.
    pub images: usize,
    /// Known classes.
    pub classes: usize,
    /// Width of the shared embedding space.
    pub embed_dim: usize,
}

/// The features of a batch, leaves of a graph that ends at the loss.
#[derive(Clone, Debug)]
pub struct BatchFeatures<'a> {
    /// `[batch, embed_dim]`, not normalized.
    pub image_features: Tensor<2>,
    /// `[classes, embed_dim]`, not normalized.
    pub text_features: Tensor<2>,
    /// Factor on the cosines.
    pub logit_scale: f64,
    /// Which of the images of the adaptation these are, `[batch]`.
    pub indices: &'a [usize],
}

impl BatchFeatures<'_> {
    /// Unscaled cosines, `[batch, classes]`.
    pub fn cosine_logits(&self) -> Tensor<2> {
        cosine_logits(self.image_features.clone(), self.text_features.clone())
    }

    /// `logit_scale * cosine`, `[batch, classes]`.
    pub fn scaled_logits(&self) -> Tensor<2> {
        self.cosine_logits().mul_scalar(self.logit_scale)
    }

    /// Class probabilities, `[batch, classes]`: the softmax of `logit_scale * cosine`.
    pub fn probabilities(&self) -> Tensor<2> {
        class_probabilities(
            self.image_features.clone(),
            self.text_features.clone(),
            self.logit_scale,
        )
    }
}

/// The loss of a method, a function of a batch and of what the method remembers.
///
/// An objective itself holds choices only. Whatever follows from the images is in its [`Memory`], so an interrupted run
/// goes on from the memory in its state without a second zero-shot pass.
pub trait Objective: Debug + Send + Sync {
    /// What to remember before the first step.
    ///
    /// # Errors
    ///
    /// [`MethodError`] when the pass lacks what the method needs.
    fn begin(&self, pass: &ZeroShotPass) -> Result<Memory, MethodError>;

    /// Checks a memory that was read from a file against the size of the problem.
    ///
    /// # Errors
    ///
    /// [`MethodError`] says what is missing, has another shape, or values that would lead out of the problem.
    fn check(&self, memory: &Memory, extent: Extent) -> Result<(), MethodError>;

    /// The images to train on, ascending; `None` for all.
    fn training_images(&self, _memory: &Memory) -> Option<Vec<usize>> {
        None
    }

    /// Whether the method looks at all images again before every epoch but the first.
    fn refreshes(&self) -> bool {
        false
    }

    /// What to remember after that look, a pass of the model as it is then. Called only if the method
    /// [`refreshes`](Self::refreshes).
    ///
    /// # Errors
    ///
    /// As [`Self::begin`].
    fn refresh(&self, memory: &Memory, _pass: &ZeroShotPass) -> Result<Memory, MethodError> {
        Ok(memory.clone())
    }

    /// The loss of a batch, and what to remember after the step (`None` if nothing changes).
    fn loss(&self, memory: &Memory, batch: &BatchFeatures<'_>) -> (LossTerms, Option<Memory>);
}

/// The lengths of the two paths that a method goes by itself, in norms of the parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PathLengths {
    /// Of the context vectors.
    pub context: f64,
    /// Of the affine parameters.
    pub affine: f64,
}

/// Which of the parameters gradient descent changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum TrainedPart {
    /// The context vectors of the prompt.
    Context,
    /// Scale and shift of the image tower's normalization layers.
    Affine,
    /// Both.
    Both,
}

impl TrainedPart {
    /// Whether the context vectors change.
    pub fn context(self) -> bool {
        self != Self::Affine
    }

    /// Whether the affine parameters change.
    pub fn affine(self) -> bool {
        self != Self::Context
    }
}
