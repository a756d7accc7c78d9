//! What can be wrong with weights. Wrong lengths in calls are programming errors and panic instead.

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
