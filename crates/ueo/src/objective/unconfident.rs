//! How much an image counts in the marginal, given how much the zero-shot model trusts itself.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A decreasing function of the confidence weight w (Liang et al. 2024, section 3.2, allow others than the inverse).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum UnconfidentWeights {
    /// 1 / w, the published one.
    #[default]
    Inverse,
    /// 1 - w: images of which the checkpoint is sure do not count.
    Complement,
    /// exp(-w), the flattest.
    Exponential,
}

/// The least value of the complement: oracle weights pass one, and a batch of sure images still needs shares.
const COMPLEMENT_FLOOR: f64 = 1e-6;

impl UnconfidentWeights {
    /// The function's value, positive for every positive `weight`.
    pub fn of(self, weight: f64) -> f64 {
        match self {
            Self::Inverse => 1.0 / weight,
            Self::Complement => (1.0 - weight).max(COMPLEMENT_FLOOR),
            Self::Exponential => (-weight).exp(),
        }
    }
}

impl fmt::Display for UnconfidentWeights {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Inverse => "inverse",
            Self::Complement => "complement",
            Self::Exponential => "exponential",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_functions_decrease_and_stay_positive() {
        for function in [
            UnconfidentWeights::Inverse,
            UnconfidentWeights::Complement,
            UnconfidentWeights::Exponential,
        ] {
            assert!(function.of(0.2) > function.of(0.9), "{function}");
            assert!(function.of(1.001) > 0.0, "{function}");
        }
    }
}
