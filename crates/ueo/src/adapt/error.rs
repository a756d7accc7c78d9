//! Why an adaptation stopped before its end.

use thiserror::Error;

use crate::device::DeviceFailure;
use crate::evaluate::EvaluateError;
use crate::method::{InvalidSetting, MethodError};

/// The error of a caller's [`Observer`](super::Observer).
pub type CallerError = Box<dyn std::error::Error + Send + Sync>;

/// What a loss and a gradient have to be.
pub const FINITE: &str = "a finite number";

/// Why an adaptation stopped before its end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AdaptError {
    /// A setting makes no sense.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// The method lacks something.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// The predictions cannot be watched.
    #[error(transparent)]
    Watch(#[from] EvaluateError),
    /// There is nothing to adapt to.
    #[error("expected at least one image to adapt to, found none")]
    NoImages,
    /// The loss or a gradient became infinite or not a number, or a step would lead to parameters that are useless; those before the
    /// step are kept.
    #[error("step {step} of {total}: the {quantity} is {value:e}, expected {expected}")]
    NotFinite {
        /// The step, from 1.
        step: usize,
        /// Steps of the whole adaptation.
        total: usize,
        /// What is not finite.
        quantity: &'static str,
        /// Its value.
        value: f64,
        /// What would be accepted: [`FINITE`], or a number that sound parameters never come near.
        expected: &'static str,
    },
    /// The device was lost or ran out of memory; the state that was saved last can be gone on with, also on another device.
    #[error("step {step}")]
    Device {
        /// The step, from 1.
        step: usize,
        /// What the device said.
        #[source]
        source: DeviceFailure,
    },
    /// An image that was readable before could not be read again; going on without it would change the result.
    #[error(
        "step {step}: image {index}, which was readable before the adaptation, cannot be read: {reason}"
    )]
    ImageLost {
        /// The step, from 1.
        step: usize,
        /// Which image it is.
        index: usize,
        /// What was wrong with it.
        reason: String,
    },
    /// A state is that of another adaptation.
    #[error("expected a state of {expected} {what}, found {found}")]
    ForeignState {
        /// What is counted.
        what: &'static str,
        /// How many the adaptation has.
        expected: usize,
        /// How many the state has.
        found: usize,
    },
    /// What layers that are not trained make of the images could not be kept in a file, or read back.
    #[error("step {step}: what is computed once cannot be kept in a file")]
    ActivationCache {
        /// The step, from 1.
        step: usize,
        /// Why, for example because the disk is full.
        #[source]
        source: std::io::Error,
    },
    /// The observer failed, for example because the disk is full.
    #[error("the results of step {step} could not be recorded")]
    Observer {
        /// The step, from 1.
        step: usize,
        /// What the observer said.
        #[source]
        source: CallerError,
    },
}
