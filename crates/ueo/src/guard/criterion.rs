//! Which epoch's parameters to keep: the last one's, or the best one's by a criterion that needs no labels.

use std::fmt;
use std::str::FromStr;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Probabilities;
use super::probabilities::entropy;

/// The temperature of soft neighborhood density in its publication.
const NEIGHBORHOOD_TEMPERATURE: f64 = 0.05;
/// Images that soft neighborhood density compares with each other; more are thinned out evenly, because the work grows
/// with the square.
const NEIGHBORHOOD_IMAGES: usize = 2000;

/// A number that says how good predictions look without labels; higher is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Criterion {
    /// Entropy of the mean prediction minus mean entropy of the predictions, in nats: the mutual information of image and
    /// class (Bridle et al. 1991; Krause et al. 2010).
    InformationMaximization,
    /// Mean entropy, in nats, of how similar the predictions of an image are to those of all others (Saito et al.,
    /// Tune it the right way, ICCV 2021).
    SoftNeighborhoodDensity,
    /// Mean difference of the two largest probabilities.
    Margin,
}

impl Criterion {
    /// All criteria.
    pub const ALL: [Self; 3] = [
        Self::InformationMaximization,
        Self::SoftNeighborhoodDensity,
        Self::Margin,
    ];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::InformationMaximization => "information-maximization",
            Self::SoftNeighborhoodDensity => "soft-neighborhood-density",
            Self::Margin => "margin",
        }
    }

    /// What it measures, in one line.
    pub fn about(self) -> &'static str {
        match self {
            Self::InformationMaximization => {
                "Confident predictions spread over many classes (mutual information)"
            }
            Self::SoftNeighborhoodDensity => {
                "Predictions that resemble many others (Saito et al. 2021); blind to a collapse"
            }
            Self::Margin => {
                "Predictions whose two most probable classes are far apart; blind to a collapse"
            }
        }
    }

    /// The criterion's value on the test view of all images; higher is better.
    pub fn value(self, probabilities: &Probabilities) -> f64 {
        match self {
            Self::InformationMaximization => information_maximization(probabilities),
            Self::SoftNeighborhoodDensity => soft_neighborhood_density(probabilities),
            Self::Margin => margin(probabilities),
        }
    }
}

fn information_maximization(probabilities: &Probabilities) -> f64 {
    let mut sums = vec![0.0; probabilities.classes()];
    let mut conditional = 0.0;
    for row in probabilities.rows() {
        for (sum, &p) in sums.iter_mut().zip(row) {
            *sum += f64::from(p);
        }
        conditional += entropy(row.iter().map(|&p| f64::from(p)), 1.0);
    }
    let total: f64 = sums.iter().sum();
    entropy(sums, total) - conditional / probabilities.images() as f64
}

/// `mean_i H(softmax_{j != i}(<q_i, q_j> / 0.05))` with `q` the predictions scaled to unit norm.
fn soft_neighborhood_density(probabilities: &Probabilities) -> f64 {
    let step = probabilities.images().div_ceil(NEIGHBORHOOD_IMAGES).max(1);
    let units: Vec<Vec<f32>> = probabilities
        .rows()
        .step_by(step)
        .map(|row| {
            let norm = row.iter().map(|p| p * p).sum::<f32>().sqrt();
            row.iter().map(|p| p / norm).collect()
        })
        .collect();
    let densities: Vec<f64> = (0..units.len())
        .into_par_iter()
        .map(|image| {
            let similarity = |other: &[f32]| -> f64 {
                let products = units[image].iter().zip(other).map(|(a, b)| a * b);
                f64::from(products.sum::<f32>()) / NEIGHBORHOOD_TEMPERATURE
            };
            let others = units[..image].iter().chain(&units[image + 1..]);
            // Similarities are at most 1 / temperature = 20, so nothing overflows.
            let weights: Vec<f64> = others.map(|other| similarity(other).exp()).collect();
            let total = weights.iter().sum();
            entropy(weights, total)
        })
        .collect();
    // Summed in order, so that the number of threads changes nothing.
    densities.iter().sum::<f64>() / densities.len() as f64
}

fn margin(probabilities: &Probabilities) -> f64 {
    let margins = probabilities.rows().map(|row| {
        let (mut first, mut second) = (0.0_f32, 0.0_f32);
        for &p in row {
            if p > first {
                (first, second) = (p, first);
            } else if p > second {
                second = p;
            }
        }
        f64::from(first) - f64::from(second)
    });
    margins.sum::<f64>() / probabilities.images() as f64
}

/// Which epoch's parameters are the result of an adaptation.
///
/// Spelled `last` and `best-by-information-maximization`, on the command line as in files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Keep {
    /// Those of the last epoch.
    #[default]
    Last,
    /// Those of the epoch with the highest criterion on the test view, zero-shot parameters (epoch 0) included; of equal
    /// ones the earliest.
    BestBy(Criterion),
}

impl Keep {
    /// All choices.
    pub const ALL: &'static [Self] = &[
        Self::Last,
        Self::BestBy(Criterion::InformationMaximization),
        Self::BestBy(Criterion::SoftNeighborhoodDensity),
        Self::BestBy(Criterion::Margin),
    ];
}

impl Keep {
    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::BestBy(Criterion::InformationMaximization) => "best-by-information-maximization",
            Self::BestBy(Criterion::SoftNeighborhoodDensity) => "best-by-soft-neighborhood-density",
            Self::BestBy(Criterion::Margin) => "best-by-margin",
        }
    }

    /// What it keeps, in one line.
    pub fn about(self) -> &'static str {
        match self {
            Self::Last => "Those of the last epoch",
            Self::BestBy(criterion) => criterion.about(),
        }
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// A spelling that names no choice of the epoch to keep.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {}, found {found:?}", choices())]
pub struct ParseKeepError {
    found: String,
}

fn choices() -> String {
    let names: Vec<_> = Keep::ALL.iter().map(|keep| keep.name()).collect();
    names.join(" or ")
}

impl FromStr for Keep {
    type Err = ParseKeepError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|keep| keep.name() == text);
        found.copied().ok_or_else(|| ParseKeepError {
            found: text.to_owned(),
        })
    }
}

impl TryFrom<String> for Keep {
    type Error = ParseKeepError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Keep> for String {
    fn from(keep: Keep) -> Self {
        keep.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every image certain of the class that it is given.
    fn certain(classes: usize, of_images: &[usize]) -> Probabilities {
        let mut cosines = vec![0.0; classes * of_images.len()];
        for (image, class) in of_images.iter().enumerate() {
            cosines[image * classes + class] = 1.0;
        }
        Probabilities::of_cosines(&cosines, classes, 100.0)
    }

    #[test]
    fn information_is_the_logarithm_of_evenly_used_classes() {
        let value = |probabilities| Criterion::InformationMaximization.value(&probabilities);
        assert!((value(certain(4, &[0, 1, 2, 3])) - 4.0_f64.ln()).abs() < 1e-9);
        assert!((value(certain(4, &[0, 0, 2, 2])) - 2.0_f64.ln()).abs() < 1e-9);
        assert_eq!(value(certain(4, &[1, 1, 1, 1])), 0.0, "a collapse");
        let undecided = Probabilities::of_cosines(&[0.0; 8], 4, 100.0);
        assert!(value(undecided).abs() < 1e-7);
    }

    #[test]
    fn neighborhoods_are_those_of_the_other_images() {
        // Two pairs: each image has one neighbor at similarity 1 and two at 0.
        let pairs = certain(2, &[0, 0, 1, 1]);
        let weights = [20.0_f64.exp(), 1.0, 1.0];
        let expected = entropy(weights, weights.iter().sum());
        let found = Criterion::SoftNeighborhoodDensity.value(&pairs);
        assert!((found - expected).abs() < 1e-9, "{found}, {expected}");
        let equal = certain(2, &[0, 0, 0, 0]);
        let found = Criterion::SoftNeighborhoodDensity.value(&equal);
        assert!((found - 3.0_f64.ln()).abs() < 1e-9);
    }

    #[test]
    fn the_margin_is_between_the_two_largest() {
        let probabilities =
            Probabilities::of_cosines(&[2.0_f32.ln(), 4.0_f32.ln(), 0.0, 0.0, 0.0, 0.0], 3, 1.0);
        let found = Criterion::Margin.value(&probabilities);
        assert!((found - (4.0 - 2.0) / 7.0 / 2.0).abs() < 1e-6, "{found}");
    }

    #[test]
    fn choices_are_spelled_as_they_are_read() {
        assert_eq!(Keep::ALL.len(), 1 + Criterion::ALL.len());
        for &keep in Keep::ALL {
            assert_eq!(keep.to_string().parse(), Ok(keep));
            let json = serde_json::to_value(keep).unwrap();
            assert_eq!(json, keep.to_string());
            if let Keep::BestBy(criterion) = keep {
                assert_eq!(keep.name(), format!("best-by-{}", criterion.name()));
            }
        }
        let error = "best".parse::<Keep>().unwrap_err().to_string();
        assert!(error.contains("last or best-by-information"), "{error}");
    }
}
