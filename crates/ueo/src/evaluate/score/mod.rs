//! Scores that tell images of known classes from others, all from the same cosines.
//!
//! A new score is a file beside this one and a line in the list below.

mod energy;
mod entropy;
mod margin;
mod maximum_logit;
mod msp;
mod negative_labels;
mod row;
mod sigmoid;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use row::CosineRow;

use super::ThresholdAxis;

/// What a score is called and how it is computed.
struct Description {
    /// On the command line and in files, in kebab case.
    name: &'static str,
    /// What it is, in one line.
    about: &'static str,
    /// The temperature where none is asked for.
    default_temperature: f64,
    /// Whether the cosines to negative labels are needed.
    needs_negative_labels: bool,
    /// On which axis the shape of the confidences is looked at.
    axis: ThresholdAxis,
    /// The confidence of one image.
    confidence: fn(&CosineRow<'_>) -> f64,
}

/// The list of scores: the variant, and its description in the score's own file.
macro_rules! scores {
    ($($(#[$attribute:meta])* $score:ident => $description:path,)*) => {
        /// A way to turn cosines into a confidence; higher always means "more probably known".
        ///
        /// With `c_k` the cosines of an image to the known classes, `t` the temperature, and `p = softmax(c / t)`. The
        /// temperature changes nothing about [`Score::MaximumLogit`] and [`Score::Sigmoid`].
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(rename_all = "kebab-case")]
        #[non_exhaustive]
        pub enum Score {
            $($(#[$attribute])* $score,)*
        }

        impl Score {
            /// All scores, in the order in which help and tables list them.
            pub const ALL: &'static [Self] = &[$(Self::$score),*];

            fn description(self) -> &'static Description {
                match self {
                    $(Self::$score => &$description,)*
                }
            }
        }
    };
}

scores! {
    /// `max_k p_k` (Hendrycks and Gimpel 2017; with CLIP, MCM of Ming et al. 2022). That of the released program.
    Msp => msp::DESCRIPTION,
    /// `max_k c_k` (Hendrycks et al. 2022). The default of decisions (docs/decision.md has the evidence).
    #[default]
    MaximumLogit => maximum_logit::DESCRIPTION,
    /// `t ln sum_k exp(c_k / t)`, the negated free energy (Liu et al. 2020).
    Energy => energy::DESCRIPTION,
    /// `sum_k p_k ln p_k`, the negated entropy.
    Entropy => entropy::DESCRIPTION,
    /// `p_1 - p_2` of the two most probable classes; 1 where there is one class.
    Margin => margin::DESCRIPTION,
    /// `sum_k exp(c_k / t) / (sum_k exp(c_k / t) + sum_n exp(c_n / t))` with the cosines `c_n` to words that are far from
    /// all known classes (NegLabel, Jiang et al. 2024, with one group of words).
    NegativeLabels => negative_labels::DESCRIPTION,
    /// `max_k 1 / (1 + exp(-(s c_k + b)))` with the model's own scale `s` and bias `b`: the probability of a match in models that
    /// were trained with it (SigLIP, Zhai et al. 2023). The temperature changes nothing about it.
    Sigmoid => sigmoid::DESCRIPTION,
}

impl Score {
    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        self.description().name
    }

    /// What it is, in one line.
    pub fn about(self) -> &'static str {
        self.description().about
    }

    /// The temperature where none is asked for: 1 for [`Score::Msp`], as in the released program and in MCM, and 1/100 for
    /// the others, whose publications use the model's own probabilities.
    pub fn default_temperature(self) -> f64 {
        self.description().default_temperature
    }

    /// Whether the temperature changes anything about it.
    pub fn has_temperature(self) -> bool {
        !matches!(self, Self::MaximumLogit | Self::Sigmoid)
    }

    /// The axis on which thresholds look at the confidences: that of the score, whatever single images say.
    pub fn axis(self) -> ThresholdAxis {
        self.description().axis
    }

    /// Whether a model is needed that was trained with the logistic function, and so has a bias.
    pub fn needs_logit_bias(self) -> bool {
        self == Self::Sigmoid
    }

    /// Whether the cosines to negative labels are needed.
    pub fn needs_negative_labels(self) -> bool {
        self.description().needs_negative_labels
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no score has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {}, found {found:?}", names())]
pub struct ParseScoreError {
    found: String,
}

/// The names as a sentence has them: `a, b or c`.
fn names() -> String {
    let names: Vec<&str> = Score::ALL.iter().map(|score| score.name()).collect();
    let names = names.join(", ");
    match names.rsplit_once(", ") {
        Some((others, last)) => format!("{others} or {last}"),
        None => names,
    }
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
    /// `largest` is the maximum of `cosines`, which are those to the known classes; `negatives` are those to negative labels;
    /// `logistic` is the model's own scale and bias.
    pub(super) fn confidence(
        self,
        cosines: &[f32],
        largest: f32,
        negatives: &[f32],
        logistic: Option<(f64, f64)>,
    ) -> f64 {
        (self.score.description().confidence)(&CosineRow {
            cosines,
            largest: f64::from(largest),
            negatives,
            temperature: self.temperature,
            logistic,
        })
    }
}

impl Default for ScoreRule {
    fn default() -> Self {
        Self::new(Score::default(), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_files_and_on_the_command_line() {
        for &score in Score::ALL {
            assert_eq!(serde_json::to_value(score).unwrap(), score.name());
            assert_eq!(score.to_string().parse(), Ok(score));
        }
        let error = "mcm".parse::<Score>().unwrap_err().to_string();
        assert!(error.contains("negative-labels or sigmoid"), "{error}");
    }
}
