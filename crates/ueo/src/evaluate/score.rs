//! Scores that tell images of known classes from others, all from the same cosines.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Temperature of CLIP's own probabilities, the inverse of its logit scale of 100; also that of NegLabel.
const SHARP_TEMPERATURE: f64 = 0.01;

/// A way to turn cosines into a confidence; higher always means "more probably known".
///
/// With `c_k` the cosines of an image to the known classes, `t` the temperature, and `p = softmax(c / t)`. The
/// temperature changes nothing about [`Score::MaximumLogit`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Score {
    /// `max_k p_k` (Hendrycks and Gimpel 2017; with CLIP, MCM of Ming et al. 2022). That of the released program.
    #[default]
    Msp,
    /// `max_k c_k` (Hendrycks et al. 2022).
    MaximumLogit,
    /// `t ln sum_k exp(c_k / t)`, the negated free energy (Liu et al. 2020).
    Energy,
    /// `sum_k p_k ln p_k`, the negated entropy.
    Entropy,
    /// `p_1 - p_2` of the two most probable classes; 1 where there is one class.
    Margin,
    /// `sum_k exp(c_k / t) / (sum_k exp(c_k / t) + sum_n exp(c_n / t))` with the cosines `c_n` to words that are far from
    /// all known classes (NegLabel, Jiang et al. 2024, with one group of words).
    NegativeLabels,
}

impl Score {
    /// All scores, in the order in which help and tables list them.
    pub const ALL: &'static [Self] = &[
        Self::Msp,
        Self::MaximumLogit,
        Self::Energy,
        Self::Entropy,
        Self::Margin,
        Self::NegativeLabels,
    ];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Msp => "msp",
            Self::MaximumLogit => "maximum-logit",
            Self::Energy => "energy",
            Self::Entropy => "entropy",
            Self::Margin => "margin",
            Self::NegativeLabels => "negative-labels",
        }
    }

    /// What it is, in one line.
    pub fn about(self) -> &'static str {
        match self {
            Self::Msp => "maximum softmax probability of cosines / temperature",
            Self::MaximumLogit => "largest cosine, without any temperature",
            Self::Energy => "temperature x log-sum-exp of cosines / temperature",
            Self::Entropy => "negated entropy of the softmax of cosines / temperature",
            Self::Margin => "distance of the two largest probabilities",
            Self::NegativeLabels => {
                "share of the known classes in a softmax that also holds words far from all of them"
            }
        }
    }

    /// The temperature where none is asked for: 1 for [`Score::Msp`], as in the released program and in MCM, and 1/100 for
    /// the others, whose publications use the model's own probabilities.
    pub fn default_temperature(self) -> f64 {
        match self {
            Self::Msp => 1.0,
            _ => SHARP_TEMPERATURE,
        }
    }

    /// Whether the cosines to negative labels are needed.
    pub fn needs_negative_labels(self) -> bool {
        self == Self::NegativeLabels
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no score has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected msp, maximum-logit, energy, entropy, margin or negative-labels, found {found:?}")]
pub struct ParseScoreError {
    found: String,
}

impl FromStr for Score {
    type Err = ParseScoreError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|score| score.name() == text);
        found.copied().ok_or_else(|| ParseScoreError {
            found: text.to_owned(),
        })
    }
}

/// A score with its temperature.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreRule {
    /// What the confidence is.
    pub score: Score,
    /// Divides the cosines.
    pub temperature: f64,
}

impl ScoreRule {
    /// A score with a temperature, or with its own where none is given.
    pub fn new(score: Score, temperature: Option<f64>) -> Self {
        Self {
            score,
            temperature: temperature.unwrap_or_else(|| score.default_temperature()),
        }
    }

    /// Maximum softmax probability at a temperature.
    pub fn msp(temperature: f64) -> Self {
        Self::new(Score::Msp, Some(temperature))
    }

    /// The confidence of one image.
    ///
    /// `largest` is the maximum of `cosines`, which are those to the known classes; `negatives` are those to negative labels.
    pub(super) fn confidence(self, cosines: &[f32], largest: f32, negatives: &[f32]) -> f64 {
        let t = self.temperature;
        let top = f64::from(largest);
        // Relative to the largest: at least 1, so that nothing overflows.
        let partition = |values: &[f32]| -> f64 {
            let weights = values
                .iter()
                .map(|cosine| ((f64::from(*cosine) - top) / t).exp());
            weights.sum()
        };
        match self.score {
            Score::Msp => partition(cosines).recip(),
            Score::MaximumLogit => top,
            Score::Energy => top + t * partition(cosines).ln(),
            Score::Entropy => {
                let sum = partition(cosines);
                let terms = cosines.iter().map(|cosine| {
                    let exponent = (f64::from(*cosine) - top) / t;
                    // An underflowing weight times a large exponent is nothing.
                    exponent.exp() * exponent
                });
                terms.sum::<f64>() / sum - sum.ln()
            }
            Score::Margin => {
                let (mut first, mut second) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
                for cosine in cosines.iter().copied().map(f64::from) {
                    if cosine > first {
                        (first, second) = (cosine, first);
                    } else {
                        second = second.max(cosine);
                    }
                }
                (1.0 - ((second - top) / t).exp()) / partition(cosines)
            }
            Score::NegativeLabels => {
                let known = partition(cosines);
                known / (known + partition(negatives))
            }
        }
    }
}

impl Default for ScoreRule {
    fn default() -> Self {
        Self::new(Score::default(), None)
    }
}
