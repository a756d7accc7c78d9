//! A pickle reader that can rebuild tensors and do nothing else.
//!
//! It serves TorchScript archives (`torch.jit.save`, OpenAI's distribution), `torch.save` archives and the older
//! stream format. Each name that a pickle asks for is checked against a short list at the moment it is asked for, so a
//! file that wants anything else is refused with that name, whatever the rest of it holds.

mod calls;
mod globals;
mod machine;
mod source;
#[cfg(test)]
mod tests;
mod value;

pub(super) use machine::{Machine, Pickle};
pub(super) use source::Source;
pub(super) use value::{StorageRef, TensorRef, Value, ValueId};

use super::CheckpointError;

/// Why a pickle cannot be read. The caller knows the file and turns this into a `CheckpointError`.
#[derive(Debug)]
pub(super) enum PickleError {
    /// It asks for something other than tensors.
    Forbidden(String),
    /// It ends early or contradicts itself.
    Malformed { expected: String, found: String },
    /// It is sound, but uses something that no checkpoint needs.
    Unsupported(String),
    /// It asks for more than any checkpoint needs.
    TooLarge(String),
}

impl PickleError {
    fn malformed(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Malformed {
            expected: expected.into(),
            found: found.into(),
        }
    }

    /// The error as the user sees it.
    pub(super) fn at(self, path: &std::path::Path) -> CheckpointError {
        match self {
            Self::Forbidden(requested) => CheckpointError::ForbiddenPickle {
                path: path.to_owned(),
                requested,
            },
            Self::Malformed { expected, found } => {
                CheckpointError::malformed(path, expected, found)
            }
            Self::Unsupported(feature) => CheckpointError::unsupported(path, feature),
            Self::TooLarge(limit) => CheckpointError::too_large(path, limit),
        }
    }
}
