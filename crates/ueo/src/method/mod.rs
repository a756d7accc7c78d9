//! The methods: what each of them learns from, between the entropies of `objective` and the loop of `adapt`.
//!
//! A method that trains is an [`Objective`]: a loss of a batch of features and of what the method remembers. A method
//! that does not train is a [`Rescoring`] of the zero-shot model's features, or other prompts. Everything else (loop,
//! batches, order, views, schedule, evaluation) is the same for all of them.

mod candidate_pseudo_labels;
mod dance;
mod error;
mod memory;
mod pass;
mod pouf;
mod self_calibration;
mod split_entropy;
mod training;
mod training_free;
mod transductive_gaussians;
mod universal_entropy;
mod upl;
mod zero_shot;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use error::{MethodError, ParseMethodError};
pub use memory::Memory;
pub use pass::ZeroShotPass;
pub use training::{BatchFeatures, Objective, TrainedPart};
pub use training_free::{ClassPrompts, Rescoring};
pub use universal_entropy::{UniversalEntropy, UniversalEntropySettings};
pub use zero_shot::TEMPLATES;

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
    /// The checkpoint with the mean of several prompts per class.
    ZeroShotEnsemble,
    /// A Gaussian per class over all images together.
    TransductiveGaussians,
    /// Cross-entropy on confident pseudo-labels.
    Upl,
    /// Transport between images and class texts.
    Pouf,
    /// Neighbourhood clustering and entropy separation.
    Dance,
    /// Entropy minimization: no diversity term and equal weights.
    EntropyMinimization,
    /// Mutual-information maximization: universal entropy with equal weights.
    InfoMax,
    /// The model's own zero-shot probabilities at another temperature.
    SelfCalibration,
    /// Several candidate classes per image.
    CandidatePseudoLabels,
    /// Entropy minimized on one part of the images and maximized on the other.
    SplitEntropy,
    /// Universal entropy optimization with the confidence weights that the settings name.
    #[default]
    Ueo,
    /// Universal entropy optimization with weights from true labels, an upper bound.
    UeoOracle,
}

/// What a method is called and where it comes from.
struct Description {
    /// On the command line and in files, in kebab case.
    name: &'static str,
    /// In tables and figures.
    title: &'static str,
    /// What it does, in one line.
    about: &'static str,
    /// The publication.
    source: &'static str,
}

impl Method {
    /// All methods, in the order in which tables list them.
    pub const ALL: &'static [Self] = &[
        Self::ZeroShot,
        Self::ZeroShotEnsemble,
        Self::TransductiveGaussians,
        Self::Upl,
        Self::Pouf,
        Self::Dance,
        Self::EntropyMinimization,
        Self::InfoMax,
        Self::SelfCalibration,
        Self::CandidatePseudoLabels,
        Self::SplitEntropy,
        Self::Ueo,
        Self::UeoOracle,
    ];

    fn description(self) -> &'static Description {
        match self {
            Self::ZeroShot => &zero_shot::DESCRIPTION,
            Self::ZeroShotEnsemble => &zero_shot::ENSEMBLE,
            Self::TransductiveGaussians => &transductive_gaussians::DESCRIPTION,
            Self::Upl => &upl::DESCRIPTION,
            Self::Pouf => &pouf::DESCRIPTION,
            Self::Dance => &dance::DESCRIPTION,
            Self::EntropyMinimization => &universal_entropy::ENTROPY_MINIMIZATION,
            Self::InfoMax => &universal_entropy::INFO_MAX,
            Self::SelfCalibration => &self_calibration::DESCRIPTION,
            Self::CandidatePseudoLabels => &candidate_pseudo_labels::DESCRIPTION,
            Self::SplitEntropy => &split_entropy::DESCRIPTION,
            Self::Ueo => &universal_entropy::UEO,
            Self::UeoOracle => &universal_entropy::UEO_ORACLE,
        }
    }

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        self.description().name
    }

    /// The name in tables and figures.
    pub fn title(self) -> &'static str {
        self.description().title
    }

    /// What it does, in one line.
    pub fn about(self) -> &'static str {
        self.description().about
    }

    /// Where the method was published.
    pub fn source(self) -> &'static str {
        self.description().source
    }

    /// The objective of a method that trains, `None` for the others.
    pub fn objective(self, settings: &UniversalEntropySettings) -> Option<Box<dyn Objective>> {
        Some(match self {
            Self::ZeroShot | Self::ZeroShotEnsemble | Self::TransductiveGaussians => return None,
            Self::Upl => Box::new(upl::Upl),
            Self::Pouf => Box::new(pouf::Pouf),
            Self::Dance => Box::new(dance::Dance),
            Self::SelfCalibration => Box::new(self_calibration::SelfCalibration),
            Self::CandidatePseudoLabels => Box::new(candidate_pseudo_labels::CandidatePseudoLabels),
            Self::SplitEntropy => Box::new(split_entropy::SplitEntropy),
            Self::EntropyMinimization | Self::InfoMax | Self::Ueo | Self::UeoOracle => {
                Box::new(UniversalEntropy::new(settings.of(self)))
            }
        })
    }

    /// Whether steps of gradient descent belong to the method.
    pub fn trains(self) -> bool {
        !matches!(
            self,
            Self::ZeroShot | Self::ZeroShotEnsemble | Self::TransductiveGaussians
        )
    }

    /// Which parameters the publication trains; both, where it trains the whole model.
    pub fn trained_part(self) -> TrainedPart {
        match self {
            Self::Upl => TrainedPart::Context,
            _ => TrainedPart::Both,
        }
    }

    /// The prompts whose features stand for the classes.
    pub fn class_prompts(self) -> ClassPrompts {
        match self {
            Self::ZeroShotEnsemble => ClassPrompts::Templates,
            _ => ClassPrompts::Context,
        }
    }

    /// What turns the features of all images together into class scores, where cosines are not the last word.
    pub fn rescoring(self) -> Option<Box<dyn Rescoring>> {
        match self {
            Self::TransductiveGaussians => {
                Some(Box::new(transductive_gaussians::TransductiveGaussians))
            }
            _ => None,
        }
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

    /// Whether the loss weighs images by confidence, so that functions of these weights can be chosen.
    pub fn weighs_images(self) -> bool {
        matches!(self, Self::Ueo | Self::UeoOracle)
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
