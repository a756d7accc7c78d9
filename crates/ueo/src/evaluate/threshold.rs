//! The confidence that separates known from unknown images, chosen without labels, or from a few.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::decision::{Finding, Review};
use super::evaluation::check_confidences;
use super::{EvaluateError, GaussianMixture, Groups};

/// Fewer images than this do not tell two groups apart by their distribution.
const FEWEST_IMAGES: usize = 20;
/// A component with a smaller share of the images describes outliers, not a group.
const SMALLEST_WEIGHT: f64 = 0.01;
/// Keeps the logit of a saturated confidence finite.
const SMALLEST_PROBABILITY: f64 = 1e-12;
/// Deviation of the values, relative to their size, below which all confidences count as equal.
const SMALLEST_SPREAD: f64 = 1e-12;

/// Separation (see [`GaussianMixture::separation`]) from which on two groups are plain to see. Known images alone, with those
/// that the model takes for something else, reached 3.5 on the validation classes of IconNet.
const PLAIN_SEPARATION: f64 = 4.0;
/// A lower group with more of the images than this is the main one, beside a few very sure images.
const LARGEST_SECOND_GROUP: f64 = 0.6;

/// How the threshold between known and unknown is chosen from the confidences of unlabeled images.
///
/// Spelled `auto`, `gaussian-mixture`, `otsu`, `target-rejection-rate=0.2` and `target-known-acceptance=0.95`, on the command line as
/// in files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ThresholdMethod {
    /// Decides first whether there is a second group at all, then where to cut: [`decide`](super::decide).
    ///
    /// Given confidences alone, [`choose_threshold`] goes by their shape: two groups are cut where the components of the
    /// mixture cross, and one group is accepted as a whole.
    #[default]
    Auto,
    /// Two Gaussians are fitted to the confidences on their [`ThresholdAxis`]; the threshold is where an image is as
    /// probably of the upper one as of the lower one. Falls back to [`ThresholdMethod::Otsu`] where that means nothing.
    GaussianMixture,
    /// The split with the largest variance between its two sides (Otsu 1979), over all splits on the same axis.
    Otsu,
    /// This fraction of the images, those of the lowest confidence, is rejected.
    TargetRejectionRate(f64),
    /// This fraction of labelled images of known classes is accepted; see [`threshold_accepting`].
    TargetKnownAcceptance(f64),
}

/// The axis on which the shape of the confidences is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThresholdAxis {
    /// `ln(p / (1 - p))`, for scores between 0 and 1: at temperature 1 probabilities lie squeezed just above 1 /
    /// classes, at CLIP's logit scale they pile up below 1, and on this axis both spread out.
    #[default]
    Logit,
    /// The confidences themselves, for the other scores, such as cosines and entropies.
    Identity,
}

impl ThresholdAxis {
    fn position(self, confidence: f64) -> f64 {
        match self {
            Self::Logit => {
                let p = confidence.clamp(SMALLEST_PROBABILITY, 1.0 - SMALLEST_PROBABILITY);
                (p / (1.0 - p)).ln()
            }
            Self::Identity => confidence,
        }
    }

    fn confidence(self, position: f64) -> f64 {
        match self {
            Self::Logit => 1.0 / (1.0 + (-position).exp()),
            Self::Identity => position,
        }
    }
}

/// A threshold, and how it came about.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// Images with at least this confidence count as known.
    pub value: f64,
    /// The method that gave the value.
    pub method: ThresholdMethod,
    /// Why the method is not the one that was asked for, if it is not.
    pub fallback: Option<Fallback>,
    /// The fitted mixture, where the value comes from one.
    pub mixture: Option<GaussianMixture>,
    /// The axis on which the mixture was fitted or the split was sought.
    #[serde(default)]
    pub axis: ThresholdAxis,
    /// Fraction of the images below the threshold.
    pub rejected_fraction: f64,
    /// Number of images it was chosen from.
    pub images: usize,
    /// What [`ThresholdMethod::Auto`] found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
    /// The band of confidences in which a person should look, where the method gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<Review>,
}

/// Why a Gaussian mixture gave no threshold and Otsu's method took over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fallback {
    /// There are fewer than 20 images.
    FewImages,
    /// All confidences are equal, so the threshold accepts every image.
    EqualConfidences,
    /// One Gaussian describes the confidences as well as two (Bayesian information criterion): the two groups overlap
    /// too much to be told apart by shape, or there is only one.
    OneGroup,
    /// One component holds less than 1 % of the images.
    EmptyComponent,
    /// The components are never equally probable between their means.
    NoCrossing,
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FewImages => "fewer than 20 images",
            Self::EqualConfidences => "all confidences are equal",
            Self::OneGroup => "one Gaussian describes the confidences as well as two",
            Self::EmptyComponent => {
                "one component of the mixture holds less than 1 % of the images"
            }
            Self::NoCrossing => "the components of the mixture do not cross between their means",
        })
    }
}

/// Chooses the threshold from the confidences of unlabeled images, `[images]`, in any order.
///
/// The mixture and Otsu's method see standardized positions, `z = (position - mean) / deviation`, on a [`ThresholdAxis`]. The
/// mixture starts from Otsu's split, so the result depends on nothing but the confidences.
///
/// # Errors
///
/// If there are no images, a confidence is not finite, a rejection rate is not in 0..=1, or the method needs labelled images
/// ([`threshold_accepting`]).
pub fn choose_threshold(
    confidences: &[f64],
    method: ThresholdMethod,
    axis: ThresholdAxis,
) -> Result<Threshold, EvaluateError> {
    let sorted = sorted(confidences)?;
    let accepting_all = Threshold::accepting_all(&sorted, method, axis);
    let fallen_back = |value, reason| Threshold {
        value,
        method: ThresholdMethod::Otsu,
        fallback: Some(reason),
        ..accepting_all
    };
    let at = |value| accepting_all.at(value);
    let by_shape = |groups| Threshold {
        finding: Some(Finding::Shape { groups }),
        ..accepting_all
    };
    let positions = Positions::new(&sorted, axis);
    let threshold = match (method, positions) {
        (ThresholdMethod::TargetKnownAcceptance(_), _) => {
            return Err(EvaluateError::NoKnownImages {
                method: method.to_string(),
            });
        }
        (ThresholdMethod::TargetRejectionRate(rate), _) => at(rejecting(&sorted, rate)?),
        (ThresholdMethod::Auto, None) => by_shape(Groups::One),
        (ThresholdMethod::Auto, Some(positions)) => match positions.mixture() {
            Ok((mixture, crossing)) => Threshold {
                mixture: Some(mixture),
                ..by_shape(Groups::Two).at(positions.confidence(crossing))
            },
            Err(Fallback::FewImages) => by_shape(Groups::TooFewImages),
            Err(_) => by_shape(Groups::One),
        },
        (ThresholdMethod::Otsu, None) => accepting_all,
        (ThresholdMethod::Otsu, Some(positions)) => at(positions.otsu_value(&sorted)),
        (ThresholdMethod::GaussianMixture, None) => {
            fallen_back(sorted[0], Fallback::EqualConfidences)
        }
        (ThresholdMethod::GaussianMixture, Some(positions)) => match positions.mixture() {
            Ok((mixture, crossing)) => Threshold {
                mixture: Some(mixture),
                ..at(positions.confidence(crossing))
            },
            Err(reason) => fallen_back(positions.otsu_value(&sorted), reason),
        },
    };
    Ok(threshold.counting(&sorted))
}

/// The largest threshold that accepts at least a fraction of labelled images of known classes.
///
/// # Shapes
///
/// - `known`: confidences of images that are known to show known classes, in any order
/// - `confidences`: those of the unlabeled images, `[images]`, for the share that is rejected
///
/// # Errors
///
/// If there are no images of either kind, a confidence is not finite, or `acceptance` is not in 0..=1.
pub fn threshold_accepting(
    known: &[f64],
    acceptance: f64,
    confidences: &[f64],
) -> Result<Threshold, EvaluateError> {
    check_fraction("target known acceptance", acceptance)?;
    let method = ThresholdMethod::TargetKnownAcceptance(acceptance);
    if known.is_empty() {
        return Err(EvaluateError::NoKnownImages {
            method: method.to_string(),
        });
    }
    let (known, unlabeled) = (sorted(known)?, sorted(confidences)?);
    let needed = (acceptance * known.len() as f64).ceil() as usize;
    // The images that may be rejected are those of lowest confidence.
    let value = match known.get(known.len() - needed) {
        Some(value) => *value,
        None => known[known.len() - 1].next_up(),
    };
    let threshold =
        Threshold::accepting_all(&unlabeled, method, ThresholdAxis::default()).at(value);
    Ok(threshold.counting(&unlabeled))
}

/// Confidences in ascending order; at least one.
pub(super) fn sorted(confidences: &[f64]) -> Result<Vec<f64>, EvaluateError> {
    check_confidences(confidences)?;
    if confidences.is_empty() {
        return Err(EvaluateError::NoImages);
    }
    let mut sorted = confidences.to_vec();
    sorted.sort_by(f64::total_cmp);
    Ok(sorted)
}

impl Threshold {
    /// Accepts every image, which is all that can be said where nothing can be split.
    pub(super) fn accepting_all(
        sorted: &[f64],
        method: ThresholdMethod,
        axis: ThresholdAxis,
    ) -> Self {
        Self {
            value: sorted[0],
            method,
            fallback: None,
            mixture: None,
            axis,
            rejected_fraction: 0.0,
            images: sorted.len(),
            finding: None,
            review: None,
        }
    }

    /// The same at another value.
    pub(super) fn at(self, value: f64) -> Self {
        Self { value, ..self }
    }

    /// With the share of these confidences that it rejects.
    pub(super) fn counting(self, sorted: &[f64]) -> Self {
        let rejected = sorted.partition_point(|confidence| *confidence < self.value);
        Self {
            rejected_fraction: rejected as f64 / sorted.len() as f64,
            ..self
        }
    }
}

/// Two groups that are plain to see in the shape of the confidences.
pub(super) struct PlainGroups {
    pub mixture: GaussianMixture,
    /// Halfway from the crossing to the mean of the lower group, where the groups cross, and halfway to that of the upper one.
    pub cuts: [f64; 3],
}

/// Looks for two groups whose distance leaves no doubt; `None` where there are none.
pub(super) fn plain_groups(sorted: &[f64], axis: ThresholdAxis) -> Option<PlainGroups> {
    let positions = Positions::new(sorted, axis)?;
    let (mixture, crossing) = positions.mixture().ok()?;
    let plain =
        mixture.separation() >= PLAIN_SEPARATION && mixture.weights[0] <= LARGEST_SECOND_GROUP;
    let between = |mean: f64| positions.confidence(0.5 * (crossing + mean));
    plain.then(|| PlainGroups {
        mixture,
        cuts: [
            between(mixture.means[0]),
            positions.confidence(crossing),
            between(mixture.means[1]),
        ],
    })
}

/// Standardized positions of confidences on an axis, in ascending order.
struct Positions {
    axis: ThresholdAxis,
    values: Vec<f64>,
    mean: f64,
    deviation: f64,
}

impl Positions {
    /// `None` if the values are all the same, so that there is nothing to standardize by.
    fn new(sorted: &[f64], axis: ThresholdAxis) -> Option<Self> {
        let mut values: Vec<f64> = sorted.iter().map(|value| axis.position(*value)).collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values
            .iter()
            .map(|value| (value - mean).powi(2))
            .sum::<f64>()
            / count;
        let deviation = variance.sqrt();
        if deviation <= SMALLEST_SPREAD * (1.0 + mean.abs()) {
            return None;
        }
        values
            .iter_mut()
            .for_each(|value| *value = (*value - mean) / deviation);
        Some(Self {
            axis,
            values,
            mean,
            deviation,
        })
    }

    fn confidence(&self, value: f64) -> f64 {
        self.axis.confidence(self.mean + self.deviation * value)
    }

    /// A mixture with two real components and the value where they cross.
    fn mixture(&self) -> Result<(GaussianMixture, f64), Fallback> {
        if self.values.len() < FEWEST_IMAGES {
            return Err(Fallback::FewImages);
        }
        let (mixture, gain) = GaussianMixture::fit(&self.values, self.values[self.otsu_split()]);
        // Bayesian information criterion: five parameters against two.
        let count = self.values.len() as f64;
        if 2.0 * count * gain <= 3.0 * count.ln() {
            return Err(Fallback::OneGroup);
        }
        if mixture
            .weights
            .iter()
            .any(|weight| *weight < SMALLEST_WEIGHT)
        {
            return Err(Fallback::EmptyComponent);
        }
        let crossing = mixture.crossing().ok_or(Fallback::NoCrossing)?;
        Ok((mixture, crossing))
    }

    /// Number of values below Otsu's split; at least one and not all, and never between equal values.
    ///
    /// The variance between the sides is `n0 n1 (m1 - m0)^2 / n^2`; with mean zero, `s0^2 / (n0 n1)` up to a constant,
    /// where `s0` is the sum of the lower side. The lowest of equally good splits wins.
    fn otsu_split(&self) -> usize {
        let count = self.values.len();
        let (mut best, mut best_variance, mut sum) = (1, f64::NEG_INFINITY, 0.0);
        for split in 1..count {
            sum += self.values[split - 1];
            let variance = sum * sum / (split as f64 * (count - split) as f64);
            if self.values[split] > self.values[split - 1] && variance > best_variance {
                (best, best_variance) = (split, variance);
            }
        }
        best
    }

    /// Halfway between the confidences on both sides of Otsu's split.
    fn otsu_value(&self, sorted: &[f64]) -> f64 {
        let split = self.otsu_split();
        let (below, above) = match (sorted.get(split - 1), sorted.get(split)) {
            (Some(below), Some(above)) => (*below, *above),
            _ => return sorted[0],
        };
        let middle = below + (above - below) / 2.0;
        // Between neighboring numbers there is no middle, and the lower one must be rejected.
        if middle > below { middle } else { above }
    }
}

/// The largest threshold that rejects at most this fraction of the images.
fn rejecting(sorted: &[f64], rate: f64) -> Result<f64, EvaluateError> {
    check_fraction("target rejection rate", rate)?;
    let rejected = (rate * sorted.len() as f64).floor() as usize;
    Ok(match sorted.get(rejected) {
        Some(value) => *value,
        // All are rejected: just above the largest.
        None => sorted[sorted.len() - 1].next_up(),
    })
}

fn check_fraction(name: &'static str, value: f64) -> Result<(), EvaluateError> {
    match (0.0..=1.0).contains(&value) {
        true => Ok(()),
        false => Err(EvaluateError::Setting {
            name,
            expected: "between 0 and 1",
            value,
        }),
    }
}

const AUTO: &str = "auto";
const GAUSSIAN_MIXTURE: &str = "gaussian-mixture";
const OTSU: &str = "otsu";
const TARGET_REJECTION_RATE: &str = "target-rejection-rate=";
const TARGET_KNOWN_ACCEPTANCE: &str = "target-known-acceptance=";

impl fmt::Display for ThresholdMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str(AUTO),
            Self::GaussianMixture => f.write_str(GAUSSIAN_MIXTURE),
            Self::Otsu => f.write_str(OTSU),
            Self::TargetRejectionRate(rate) => write!(f, "{TARGET_REJECTION_RATE}{rate}"),
            Self::TargetKnownAcceptance(rate) => write!(f, "{TARGET_KNOWN_ACCEPTANCE}{rate}"),
        }
    }
}

/// A spelling that names no threshold method.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected auto, gaussian-mixture, otsu, target-rejection-rate=FRACTION or target-known-acceptance=FRACTION with a fraction \
     between 0 and 1, found {found:?}"
)]
pub struct ParseThresholdMethodError {
    found: String,
}

impl FromStr for ThresholdMethod {
    type Err = ParseThresholdMethodError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fraction = |prefix: &str| {
            let rate: f64 = text.strip_prefix(prefix)?.parse().ok()?;
            (0.0..=1.0).contains(&rate).then_some(rate)
        };
        match text {
            AUTO => Some(Self::Auto),
            GAUSSIAN_MIXTURE => Some(Self::GaussianMixture),
            OTSU => Some(Self::Otsu),
            _ => fraction(TARGET_REJECTION_RATE)
                .map(Self::TargetRejectionRate)
                .or_else(|| fraction(TARGET_KNOWN_ACCEPTANCE).map(Self::TargetKnownAcceptance)),
        }
        .ok_or_else(|| ParseThresholdMethodError {
            found: text.to_owned(),
        })
    }
}

impl TryFrom<String> for ThresholdMethod {
    type Error = ParseThresholdMethodError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ThresholdMethod> for String {
    fn from(method: ThresholdMethod) -> Self {
        method.to_string()
    }
}
