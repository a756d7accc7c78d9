//! What can be wrong with weights and with the choice of an instruction set. Wrong lengths in calls are programming errors and panic instead.

use crate::buffer::checked_count;
use crate::capability::VARIABLE;
use crate::{Capability, InstructionSet};

/// An instruction set that cannot be had. See [`Capability::chosen`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstructionSetError {
    /// The environment variable holds no name of an instruction set.
    #[error(
        "{VARIABLE}: expected one of {}, found {found:?}",
        names(InstructionSet::ALL)
    )]
    Unknown {
        /// What it holds.
        found: String,
    },
    /// The CPU lacks the instruction set.
    #[error(
        "{VARIABLE}: expected one that this CPU has ({}), found {}",
        names(Capability::available().map(Capability::instruction_set)),
        found.name()
    )]
    Absent {
        /// What the environment variable asks for.
        found: InstructionSet,
    },
    /// The CPU's results are wrong.
    #[error(
        "{VARIABLE}: {} gave wrong products in a check on this CPU, so it is not used",
        found.name()
    )]
    Broken {
        /// What the environment variable asks for.
        found: InstructionSet,
    },
}

fn names(sets: impl IntoIterator<Item = InstructionSet>) -> String {
    let names: Vec<&str> = sets.into_iter().map(InstructionSet::name).collect();
    names.join(", ")
}

impl InstructionSetError {
    /// What the user can do about it.
    pub fn hint(&self) -> String {
        format!("unset {VARIABLE} to use the most capable instruction set of this CPU")
    }
}

/// A weight or setting that does not fit the others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: expected {expected}, found {found}")]
pub struct ShapeError {
    /// What was measured.
    pub what: &'static str,
    /// The length that would fit.
    pub expected: usize,
    /// The length that was given.
    pub found: usize,
}

impl ShapeError {
    /// As [`ShapeError::check`] for an array with axes. Axes that no memory has room for fit no slice: they count as the largest
    /// length that there is.
    pub(crate) fn check_count<const AXES: usize>(
        what: &'static str,
        axes: [usize; AXES],
        found: usize,
    ) -> Result<(), Self> {
        Self::check(what, checked_count(axes).unwrap_or(usize::MAX), found)
    }

    pub(crate) fn check(what: &'static str, expected: usize, found: usize) -> Result<(), Self> {
        if expected == found {
            Ok(())
        } else {
            Err(Self {
                what,
                expected,
                found,
            })
        }
    }
}
