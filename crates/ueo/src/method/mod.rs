//! The methods: what each of them learns from, between the entropies of `objective` and the loop of `adapt`.
//!
//! A method that trains is an [`Objective`]: a loss of a batch of features and of what the method remembers. A method
//! that does not train is a [`Rescoring`] of the zero-shot model's features, or other prompts. Everything else (loop,
//! batches, order, views, schedule, evaluation) is the same for all of them.

mod error;
mod memory;
mod pass;
mod training;
mod training_free;
mod universal_entropy;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use error::{MethodError, ParseMethodError};
pub use memory::Memory;
pub use pass::ZeroShotPass;
pub use training::{BatchFeatures, Objective, TrainedPart};
pub use training_free::{ClassPrompts, Rescoring};
pub use universal_entropy::{UniversalEntropy, UniversalEntropySettings};

use crate::objective::ConfidenceWeights;

/// A way to use unlabeled images, by its name on the command line.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Method {
    /// The checkpoint as it is, with the prompt "a photo of a NAME.".
    ZeroShot,
    /// Universal entropy optimization with the confidence weights that the settings name.
    #[default]
    Ueo,
    /// Universal entropy optimization with weights from true labels, an upper bound.
    UeoOracle,
    /// Mutual-information maximization: universal entropy with equal weights.
    InfoMax,
    /// Entropy minimization: no diversity term and equal weights.
    EntropyMinimization,
}

impl Method {
    /// All methods, in the order in which tables list them.
    pub const ALL: &'static [Self] = &[
        Self::ZeroShot,
        Self::EntropyMinimization,
        Self::InfoMax,
        Self::Ueo,
        Self::UeoOracle,
    ];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::ZeroShot => "zero-shot",
            Self::Ueo => "ueo",
            Self::UeoOracle => "ueo-oracle",
            Self::InfoMax => "info-max",
            Self::EntropyMinimization => "entropy-minimization",
        }
    }

    /// The name in tables and figures.
    pub fn title(self) -> &'static str {
        match self {
            Self::ZeroShot => "zero-shot",
            Self::Ueo => "UEO",
            Self::UeoOracle => "UEO, oracle weights",
            Self::InfoMax => "InfoMax",
            Self::EntropyMinimization => "entropy minimization",
        }
    }

    /// What it does, in one line.
    pub fn about(self) -> &'static str {
        match self {
            Self::ZeroShot => "The checkpoint as it is; nothing is trained",
            Self::Ueo => {
                "Universal entropy: confident images become sharper, unconfident ones stay uncertain"
            }
            Self::UeoOracle => {
                "Universal entropy with weights from true labels: an upper bound for experiments"
            }
            Self::InfoMax => "Mutual information: universal entropy with equal weights",
            Self::EntropyMinimization => "Entropy minimization without a diversity term",
        }
    }

    /// Where the method was published.
    pub fn source(self) -> &'static str {
        match self {
            Self::ZeroShot => {
                "Radford et al., Learning transferable visual models from natural language supervision, ICML 2021"
            }
            Self::Ueo | Self::UeoOracle => {
                "Liang et al., Realistic unsupervised CLIP fine-tuning with universal entropy optimization, ICML 2024"
            }
            Self::InfoMax => {
                "Krause et al., Discriminative clustering by regularized information maximization, NeurIPS 2010"
            }
            Self::EntropyMinimization => {
                "Grandvalet and Bengio, Semi-supervised learning by entropy minimization, NeurIPS 2004"
            }
        }
    }

    /// The objective of a method that trains, `None` for the others.
    pub fn objective(self, settings: &UniversalEntropySettings) -> Option<Box<dyn Objective>> {
        match self {
            Self::ZeroShot => None,
            Self::Ueo | Self::UeoOracle | Self::InfoMax | Self::EntropyMinimization => {
                Some(Box::new(UniversalEntropy::new(settings.of(self))))
            }
        }
    }

    /// Whether steps of gradient descent belong to the method.
    pub fn trains(self) -> bool {
        !matches!(self, Self::ZeroShot)
    }

    /// Which parameters the publication trains.
    pub fn trained_part(self) -> TrainedPart {
        TrainedPart::Both
    }

    /// The prompts whose features stand for the classes.
    pub fn class_prompts(self) -> ClassPrompts {
        ClassPrompts::Context
    }

    /// What turns the features of all images together into class scores, where cosines are not the last word.
    pub fn rescoring(self) -> Option<Box<dyn Rescoring>> {
        None
    }

    /// The only confidence weights that make sense, `None` where the settings decide.
    fn fixed_weights(self) -> Option<ConfidenceWeights> {
        match self {
            Self::UeoOracle => Some(ConfidenceWeights::Oracle),
            Self::InfoMax | Self::EntropyMinimization => Some(ConfidenceWeights::Uniform),
            _ => None,
        }
    }

    /// Whether the loss has a confidence-weighted entropy whose weights can be chosen.
    pub fn accepts_weights(self, weights: ConfidenceWeights) -> bool {
        match self {
            Self::Ueo => true,
            _ => weights == ConfidenceWeights::default() || self.fixed_weights() == Some(weights),
        }
    }

    /// Whether the loss has a marginal entropy whose factor can be chosen.
    pub fn has_trade_off(self) -> bool {
        matches!(self, Self::Ueo | Self::UeoOracle | Self::InfoMax)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Method {
    type Err = ParseMethodError;

    fn from_str(text: &str) -> Result<Self, ParseMethodError> {
        Self::ALL
            .iter()
            .copied()
            .find(|method| method.name() == text)
            .ok_or_else(|| ParseMethodError {
                found: text.to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_files_and_on_the_command_line() {
        for &method in Method::ALL {
            let json = serde_json::to_value(method).unwrap();
            assert_eq!(json, method.name());
            assert_eq!(serde_json::from_value::<Method>(json).unwrap(), method);
            assert_eq!(method.to_string().parse::<Method>().unwrap(), method);
        }
        let mut names: Vec<_> = Method::ALL.iter().map(|method| method.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Method::ALL.len());
        let error = "tent".parse::<Method>().unwrap_err().to_string();
        assert!(
            error.contains("`tent`") && error.contains("info-max"),
            "{error}"
        );
    }

    #[test]
    fn a_method_has_an_objective_exactly_if_it_trains() {
        for &method in Method::ALL {
            let objective = method.objective(&UniversalEntropySettings::default());
            assert_eq!(objective.is_some(), method.trains(), "{method}");
        }
    }
}
