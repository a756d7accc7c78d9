//! Warnings of the guard.

/// What the user can do about a warning.
pub fn hint() -> &'static str {
    "lower --context-learning-rate and --affine-learning-rate, train fewer epochs or choose another --method"
}
