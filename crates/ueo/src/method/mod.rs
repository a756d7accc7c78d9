//! The methods: what each of them learns from, between the entropies of `objective` and the loop of `adapt`.
//!
//! A method that trains is an [`Objective`]: a loss of a batch of features and of what the method remembers. A method
//! that does not train is a [`Rescoring`] of the zero-shot model's features, or other prompts. Everything else (loop,
//! batches, order, views, schedule, evaluation) is the same for all of them.
//!
//! A new method is a file beside this one and a line in the list of methods below. Settings of its own are a struct in its
//! file and a line in the list of families.

mod candidate_pseudo_labels;
mod centring;
mod cliptta;
mod dance;
mod error;
mod memory;
mod pass;
mod pouf;
mod self_calibration;
mod settings;
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

pub use centring::{Centring, mirrored_mean};
pub(crate) use centring::{centred, dot, mean_row};
pub use error::{MethodError, ParseMethodError};
pub use memory::Memory;
pub use pass::ZeroShotPass;
pub use settings::InvalidSetting;
pub use training::{BatchFeatures, Extent, Objective, PathLengths, TrainedPart};
pub use training_free::{ClassPrompts, Rescoring};
pub use universal_entropy::{UniversalEntropy, UniversalEntropySettings};
pub use zero_shot::TEMPLATES;

pub(crate) use settings::{at_least_one, builders, field_names, non_negative, positive};

/// The list of families of settings: the field, and the struct beside what it configures.
macro_rules! families {
    ($($(#[$doc:meta])* $family:ident: $settings:ty,)*) => {
        /// What can be chosen about the methods, one family of settings each.
        ///
        /// In files and on a command line all stand side by side under their own names.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(feature = "clap", derive(clap::Args))]
        #[serde(default)]
        #[non_exhaustive]
        pub struct MethodSettings {
            $(
                $(#[$doc])*
                #[serde(flatten)]
                #[cfg_attr(feature = "clap", command(flatten))]
                pub $family: $settings,
            )*
        }

        impl MethodSettings {
            builders! { $($family: $settings),* }

            /// Checks every value.
            ///
            /// # Errors
            ///
            /// [`InvalidSetting`] names the first that makes no sense.
            pub fn validate(&self) -> Result<(), InvalidSetting> {
                $(self.$family.validate()?;)*
                Ok(())
            }
        }
    };
}

families! {
    /// Of UEO, and of what it becomes with other weights.
    universal_entropy: UniversalEntropySettings,
}

/// Makes an objective of the settings that its method has.
type NewObjective = fn(&MethodSettings) -> Box<dyn Objective>;

/// What a method is called, where it comes from, and what it can do.
struct Description {
    /// On the command line and in files, in kebab case.
    name: &'static str,
    /// In tables and figures.
    title: &'static str,
    /// What it does, in one line.
    about: &'static str,
    /// The publication.
    source: &'static str,
    /// Makes the objective; `None` for a method without training.
    objective: Option<NewObjective>,
    /// Which parameters the publication trains; both, where it trains the whole model.
    trained_part: TrainedPart,
    /// The prompts whose features stand for the classes.
    class_prompts: ClassPrompts,
    /// Makes what turns the features of all images together into class scores, where cosines are not the last word.
    rescoring: Option<fn() -> Box<dyn Rescoring>>,
    /// Whether the cosines in the end are those of half-centred features ([`Centring`]).
    centres: bool,
    /// How far its steps go, where that is no setting.
    path_lengths: Option<PathLengths>,
    /// Which of [`MethodSettings`] can be chosen, by the names of their fields.
    settings: &'static [&'static str],
    /// Sets what the method determines itself.
    fix: fn(&mut MethodSettings),
}

impl Description {
    /// A method without a name that changes nothing, for others to start from.
    const NOTHING: Self = Self {
        name: "",
        title: "",
        about: "",
        source: "",
        objective: None,
        trained_part: TrainedPart::Both,
        class_prompts: ClassPrompts::Context,
        rescoring: None,
        centres: false,
        path_lengths: None,
        settings: &[],
        fix: |_| {},
    };
}

/// The list of methods: the variant, and its description in the method's own file.
macro_rules! methods {
    ($($(#[$attribute:meta])* $method:ident => $description:path,)*) => {
        /// A way to use unlabeled images, by its name on the command line.
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(rename_all = "kebab-case")]
        #[non_exhaustive]
        pub enum Method {
            $($(#[$attribute])* $method,)*
        }

        impl Method {
            /// All methods, in the order in which tables list them.
            pub const ALL: &'static [Self] = &[$(Self::$method),*];

            fn description(self) -> &'static Description {
                match self {
                    $(Self::$method => &$description,)*
                }
            }
        }
    };
}

methods! {
    /// The checkpoint as it is, with the prompt "a photo of a NAME.".
    ZeroShot => zero_shot::DESCRIPTION,
    /// The checkpoint with the mean of several prompts per class.
    ZeroShotEnsemble => zero_shot::ENSEMBLE,
    /// A Gaussian per class over all images together.
    TransductiveGaussians => transductive_gaussians::DESCRIPTION,
    /// Half of the means of images and texts subtracted.
    HalfCentring => centring::DESCRIPTION,
    /// Cross-entropy on confident pseudo-labels.
    Upl => upl::DESCRIPTION,
    /// Transport between images and class texts.
    Pouf => pouf::DESCRIPTION,
    /// POUF, then half-centring.
    PoufHalfCentring => centring::POUF,
    /// POUF and half-centring with steps of a set length.
    Auto => centring::AUTO,
    /// Neighbourhood clustering and entropy separation.
    Dance => dance::DESCRIPTION,
    /// Entropy minimization: no diversity term and equal weights.
    EntropyMinimization => universal_entropy::ENTROPY_MINIMIZATION,
    /// Mutual-information maximization: universal entropy with equal weights.
    InfoMax => universal_entropy::INFO_MAX,
    /// The model's own zero-shot probabilities at another temperature.
    SelfCalibration => self_calibration::DESCRIPTION,
    /// Several candidate classes per image.
    CandidatePseudoLabels => candidate_pseudo_labels::DESCRIPTION,
    /// Entropy minimized on one part of the images and maximized on the other.
    SplitEntropy => split_entropy::DESCRIPTION,
    /// Soft contrast of images and captions with a class memory.
    Cliptta => cliptta::DESCRIPTION,
    /// Universal entropy optimization with the confidence weights that the settings name.
    #[default]
    Ueo => universal_entropy::UEO,
    /// Universal entropy optimization with weights from true labels, an upper bound.
    UeoOracle => universal_entropy::UEO_ORACLE,
}

impl Method {
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
    pub fn objective(self, settings: &MethodSettings) -> Option<Box<dyn Objective>> {
        let objective = self.description().objective?;
        Some(objective(&self.fixed(settings)))
    }

    /// Whether steps of gradient descent belong to the method.
    pub fn trains(self) -> bool {
        self.description().objective.is_some()
    }

    /// Which parameters the publication trains; both, where it trains the whole model.
    pub fn trained_part(self) -> TrainedPart {
        self.description().trained_part
    }

    /// The prompts whose features stand for the classes.
    pub fn class_prompts(self) -> ClassPrompts {
        self.description().class_prompts
    }

    /// Whether the method ends with half-centring ([`Centring`]): what it adapts to also gives the means to subtract.
    pub fn centres(self) -> bool {
        self.description().centres
    }

    /// How far the steps go, for a method that finds their length itself; the learning rates are no settings of it.
    pub fn path_lengths(self) -> Option<PathLengths> {
        self.description().path_lengths
    }

    /// Whether the method brings the sentences that class names stand in.
    pub fn has_templates(self) -> bool {
        self.class_prompts() == ClassPrompts::Templates
    }

    /// What turns the features of all images together into class scores, where cosines are not the last word.
    pub fn rescoring(self) -> Option<Box<dyn Rescoring>> {
        self.description().rescoring.map(|rescoring| rescoring())
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
            let objective = method.objective(&MethodSettings::default());
            assert_eq!(objective.is_some(), method.trains(), "{method}");
        }
    }
}
