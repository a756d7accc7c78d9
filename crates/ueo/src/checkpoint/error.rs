//! What can go wrong between a path and a complete set of tensors.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::budget::BudgetError;
use crate::quote;
use crate::text::TextError;

/// Why a checkpoint cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The path does not exist.
    #[error("no such file or directory: {}", quote::path(path))]
    NotFound {
        /// The path that the user named.
        path: PathBuf,
    },
    /// The operating system refused an operation.
    #[error("cannot {action} {}: {source}", quote::path(path))]
    Io {
        /// What was attempted (`read`, `write`).
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Nothing about the path looks like a checkpoint.
    #[error(
        "{} is no checkpoint: expected {}, found {}",
        quote::path(path),
        quote::line(expected),
        quote::line(found)
    )]
    Unrecognized {
        /// The file or directory.
        path: PathBuf,
        /// The layouts that would have been accepted.
        expected: String,
        /// What is there instead.
        found: String,
    },
    /// A file is damaged, or not what its name or its first bytes say.
    #[error(
        "{} is damaged: expected {}, found {}",
        quote::path(path),
        quote::line(expected),
        quote::line(found)
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What should have been there.
        expected: String,
        /// What is there instead.
        found: String,
    },
    /// A pickle asks Python to do something other than to rebuild tensors. It was not executed.
    #[error(
        "{} asks Python for `{}`, but a checkpoint may only ask for tensors; nothing was executed",
        quote::path(path),
        quote::name(requested)
    )]
    ForbiddenPickle {
        /// The file.
        path: PathBuf,
        /// What the pickle asked for, for example `posix.system`.
        requested: String,
    },
    /// The file holds tensors, but not those of a CLIP model.
    #[error(
        "{} is not a CLIP model: expected {}, found {}",
        quote::path(path),
        quote::line(expected),
        quote::line(found)
    )]
    NotClip {
        /// The file.
        path: PathBuf,
        /// What every CLIP checkpoint has.
        expected: String,
        /// What is there instead.
        found: String,
    },
    /// The model is a relative of CLIP whose architecture is not implemented.
    #[error("{}: {} is not supported", quote::path(path), quote::line(feature))]
    Unsupported {
        /// The file that says so.
        path: PathBuf,
        /// The feature, for example `attentional pooling (attentional_pool)`.
        feature: String,
    },
    /// A file asks for more memory or work than any checkpoint needs.
    #[error(
        "{} is not read: it has more than {}, the most that a checkpoint may have",
        quote::path(path),
        quote::line(limit)
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What it may have at most, for example `8388608 bytes of pickle`.
        limit: String,
    },
    /// The file holds several models, and nothing says which is meant.
    #[error(
        "{} holds several models: {}",
        quote::path(path),
        places_of_models(places)
    )]
    SeveralModels {
        /// The file.
        path: PathBuf,
        /// Keys or prefixes that lead to them.
        places: Vec<String>,
    },
    /// A value of a configuration or a weight with which nothing can be computed.
    #[error(
        "{}: `{}` must be {}, but is {}",
        quote::path(path),
        quote::name(name),
        quote::line(expected),
        quote::line(found)
    )]
    BadValue {
        /// The file.
        path: PathBuf,
        /// Key of the configuration, or name of the tensor.
        name: String,
        /// Which values are possible.
        expected: String,
        /// The value.
        found: String,
    },
    /// The checkpoint's tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] TextError),
    /// Configuration and tensors do not agree.
    #[error("{}{mismatch}", quote::path(path))]
    Tensors {
        /// The file that holds the weights.
        path: PathBuf,
        /// Every disagreement.
        mismatch: TensorMismatch,
    },
    /// Adapted parameters do not belong to the checkpoint that they are merged into.
    #[error("the adapted parameters do not fit the checkpoint{mismatch}")]
    AdaptedMismatch {
        /// Every disagreement.
        mismatch: TensorMismatch,
    },
}

/// All disagreements between the tensors that an architecture needs and those that a file has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TensorMismatch {
    /// Needed, but not there.
    pub missing: Vec<String>,
    /// There, but with no place in the architecture.
    pub unexpected: Vec<String>,
    /// There, with another shape.
    pub wrong_shape: Vec<WrongShape>,
}

/// A tensor with another shape than the architecture needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongShape {
    /// Name in the file.
    pub name: String,
    /// Shape that follows from the configuration.
    pub expected: Vec<usize>,
    /// Shape in the file.
    pub found: Vec<usize>,
}

/// Lists the places of models in a message.
fn places_of_models(places: &[String]) -> String {
    let mut listed: Vec<String> = places
        .iter()
        .take(LISTED_NAMES)
        .map(|place| format!("`{}`", quote::name(place.trim_end_matches('.'))))
        .collect();
    if places.len() > LISTED_NAMES {
        listed.push(format!("and {} more", places.len() - LISTED_NAMES));
    }
    listed.join(", ")
}

/// Names of one kind that a message spells out before it counts the rest.
const LISTED_NAMES: usize = 12;

impl TensorMismatch {
    /// Whether everything agrees.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.wrong_shape.is_empty()
    }
}

impl fmt::Display for TensorMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wrong: Vec<String> = self
            .wrong_shape
            .iter()
            .map(|tensor| {
                format!(
                    "{}: expected {:?}, found {:?}",
                    quote::name(&tensor.name),
                    tensor.expected,
                    tensor.found
                )
            })
            .collect();
        for (what, names) in [
            ("missing", &self.missing),
            ("unexpected", &self.unexpected),
            ("wrongly shaped", &wrong),
        ] {
            if names.is_empty() {
                continue;
            }
            let plural = if names.len() == 1 { "" } else { "s" };
            write!(f, "\n  {} {what} tensor{plural}:", names.len())?;
            for name in names.iter().take(LISTED_NAMES) {
                write!(f, "\n    {}", quote::line(name))?;
            }
            if names.len() > LISTED_NAMES {
                write!(f, "\n    and {} more", names.len() - LISTED_NAMES)?;
            }
        }
        Ok(())
    }
}

impl CheckpointError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn malformed(
        path: &Path,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Malformed {
            path: path.to_owned(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    pub(super) fn unrecognized(
        path: &Path,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Unrecognized {
            path: path.to_owned(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    pub(super) fn bad_value(
        path: &Path,
        name: impl Into<String>,
        expected: impl Into<String>,
        found: impl ToString,
    ) -> Self {
        Self::BadValue {
            path: path.to_owned(),
            name: name.into(),
            expected: expected.into(),
            found: found.to_string(),
        }
    }

    pub(super) fn too_large(path: &Path, limit: impl Into<String>) -> Self {
        Self::TooLarge {
            path: path.to_owned(),
            limit: limit.into(),
        }
    }

    /// The error for a file of JSON that was not taken; `expected` is what it should have been.
    pub(super) fn budget(path: &Path, expected: &str, error: BudgetError) -> Self {
        match error {
            BudgetError::Io(source) => Self::io("read", path)(source),
            BudgetError::Bytes { limit } => {
                Self::too_large(path, format!("{limit} bytes of {expected}"))
            }
            BudgetError::Values { limit } => {
                Self::too_large(path, format!("{limit} values of {expected}"))
            }
            BudgetError::Json { reason } => Self::malformed(path, expected, reason),
        }
    }

    pub(super) fn unsupported(path: &Path, feature: impl Into<String>) -> Self {
        Self::Unsupported {
            path: path.to_owned(),
            feature: feature.into(),
        }
    }
}
