//! What a learning rate is measured in.

use serde::{Deserialize, Serialize};

/// What a learning rate is measured in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum StepSize {
    /// The gradient is multiplied with it: plain gradient descent, as published.
    #[default]
    Gradient,
    /// It is the length of the whole path, as a part of the norm of what is trained; the gradient gives the direction only.
    ///
    /// A step from parameters p with gradient g goes
    ///
    /// ```text
    /// 2 rate / T * annealing * ||p|| / ||g|| * g
    /// ```
    ///
    /// with T the steps between two restarts of the schedule, for the context vectors and for all trained affine parameters
    /// as one group each. The annealing has mean 1/2, so all steps together are no longer than the rate, however many steps
    /// they are and whatever the scale of model and loss. Steps relative to the norm are those of LARS (You, Gitman and Ginsburg 2017);
    /// that the rate is the whole path is ours.
    Relative,
}

impl StepSize {
    /// Whether it is the published one.
    pub(super) fn is_gradient(&self) -> bool {
        *self == Self::Gradient
    }
}

/// What the gradients are multiplied with in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Of the context vectors.
    pub context: f64,
    /// Of the affine parameters.
    pub affine: f64,
}

/// L2 norms of a group of parameters and of its gradient.
#[derive(Clone, Copy, Debug)]
pub struct GroupNorms {
    /// Of the parameters before the step, where steps are relative to it ([`Settings::has_relative_steps`]); nothing else needs it.
    ///
    /// [`Settings::has_relative_steps`]: super::Settings::has_relative_steps
    pub parameters: Option<f64>,
    /// Of the gradient.
    pub gradient: f64,
}

impl GroupNorms {
    /// What the gradient is multiplied with for a step that is `relative` norms of the parameters long; zero without a gradient.
    ///
    /// # Panics
    ///
    /// Without the norm of the parameters.
    pub(super) fn rate(self, relative: f64) -> f64 {
        let parameters = self
            .parameters
            .expect("relative steps know what they are relative to");
        match self.gradient > 0.0 {
            true => relative * parameters / self.gradient,
            false => 0.0,
        }
    }
}
