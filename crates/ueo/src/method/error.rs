//! Why a method cannot begin or go on.

use thiserror::Error;

use super::Method;

/// Why a method cannot begin or go on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MethodError {
    /// Oracle weights need labels.
    #[error("weights from true labels need to know of each image whether its class is known")]
    NeedsLabels,
    /// The images cannot be split by their confidences.
    #[error("the images cannot be split into presumably known and unknown ones: {reason}")]
    NoSplit {
        /// What is wrong with the confidences.
        reason: String,
    },
    /// A saved state lacks something that the method remembers.
    #[error("it has no tensor `{name}`, which the method needs")]
    MissingMemory {
        /// Name of the tensor.
        name: &'static str,
    },
    /// A remembered tensor has another shape.
    #[error("tensor `{name}`: expected shape {expected:?}, found {found:?}")]
    MemoryShape {
        /// Name of the tensor.
        name: &'static str,
        /// Shape that follows from images, classes and features.
        expected: Vec<usize>,
        /// Shape in the state.
        found: Vec<usize>,
    },
    /// A remembered tensor holds other values than the method puts there.
    #[error("tensor `{name}`: expected indices below {end}, found {found}")]
    MemoryValue {
        /// Name of the tensor.
        name: &'static str,
        /// Images or classes.
        end: usize,
        /// What is there.
        found: String,
    },
}

/// A name that no method has.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no method `{found}`, expected one of {}", names())]
pub struct ParseMethodError {
    /// What was given.
    pub found: String,
}

fn names() -> String {
    let names: Vec<&str> = Method::ALL.iter().map(|method| method.name()).collect();
    names.join(", ")
}
