//! The decision between known and unknown: first whether there are two groups at all, then where to cut.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::bootstrap::quantile;
use super::threshold::{plain_groups, sorted};
use super::{EvaluateError, GroupTest, Groups, Threshold, ThresholdAxis, ThresholdMethod};

/// Quantiles of the left-out confidences at which a set is cut: where "reject" ends, the threshold, where "accept" begins.
///
/// Chosen on the validation classes of IconNet (docs/decision.md). At 0.8 the H-score is about nine tenths of the best
/// threshold's whatever the share of unknown images is, for every score.
const TWO_GROUPS: [f64; 3] = [0.5, 0.8, 0.95];
/// The same where no second group was found: what is left is to set apart the images that match no class at all.
const ONE_GROUP: [f64; 3] = [0.05, 0.15, 0.5];

/// What [`decide`] needs beside the confidences.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reference<'a> {
    /// The confidences with each image's best class left out, `[images]`;
    /// see [`left_out_confidences`](super::left_out_confidences).
    pub left_out: &'a [f64],
    /// Whether there are two groups.
    pub group_test: GroupTest,
    /// The axis of the score ([`Score::axis`](super::Score::axis)).
    pub axis: ThresholdAxis,
}

/// Chooses the threshold of [`ThresholdMethod::Auto`], and the cuts between "accept", "review" and "reject".
///
/// Where two groups are plain to see in the shape of the confidences, the threshold is where they cross. Where they
/// overlap, the test says whether there is a second one, and the left-out confidences say where it lies.
///
/// # Errors
///
/// If there are no images, a confidence is not finite, or there is not one left-out confidence per image.
pub fn decide(confidences: &[f64], reference: Reference<'_>) -> Result<Threshold, EvaluateError> {
    let sorted_confidences = sorted(confidences)?;
    let left_out = sorted(reference.left_out)?;
    if left_out.len() != confidences.len() {
        return Err(EvaluateError::LeftOut {
            confidences: confidences.len(),
            left_out: left_out.len(),
        });
    }
    let plain = plain_groups(&sorted_confidences, reference.axis);
    let (finding, [reject_below, value, accept_from]) = match &plain {
        Some(plain) => (
            Finding::Shape {
                groups: Groups::Two,
            },
            plain.cuts,
        ),
        None => {
            let test = reference.group_test;
            let groups = test.groups();
            let quantiles = match groups {
                Groups::Two => TWO_GROUPS,
                Groups::One | Groups::TooFewImages => ONE_GROUP,
            };
            let cuts = quantiles.map(|share| quantile(&left_out, share));
            (Finding::Groups { groups, test }, cuts)
        }
    };
    let threshold = Threshold {
        finding: Some(finding),
        mixture: plain.map(|plain| plain.mixture),
        review: Some(Review {
            reject_below,
            accept_from,
            errors: None,
        }),
        ..Threshold::accepting_all(&sorted_confidences, ThresholdMethod::Auto, reference.axis)
    };
    Ok(threshold.at(value).counting(&sorted_confidences))
}

/// What the decision found out about a set of images, and from what.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// The number of groups by a test with a reference for "unknown".
    Groups {
        /// What the test says.
        groups: Groups,
        /// The numbers of the test.
        test: GroupTest,
    },
    /// The number of groups by the shape of the confidences: two groups are plain to see, or there was no reference.
    Shape {
        /// Whether two Gaussians describe the confidences better than one.
        groups: Groups,
    },
}

impl Finding {
    /// How many groups there are.
    pub fn groups(&self) -> Groups {
        match self {
            Self::Groups { groups, .. } | Self::Shape { groups } => *groups,
        }
    }
}

/// The band of confidences in which a person should look.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Review {
    /// Images below this are rejected without a look. At most the threshold.
    pub reject_below: f64,
    /// Images with at least this are accepted without a look. At least the threshold.
    pub accept_from: f64,
    /// How often that is wrong, where labelled images told.
    pub errors: Option<ReviewErrors>,
}

/// The errors to expect of a review band: `(k + 1) / (n + 2)` for `k` errors among `n` labelled images, which is never
/// zero for want of images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReviewErrors {
    /// Share of the known images that are rejected without a look; `None` where none are labelled.
    pub known_rejected: Option<f64>,
    /// Share of the unknown images that are accepted without a look; `None` where none are labelled.
    pub unknown_accepted: Option<f64>,
}

impl Review {
    /// With the errors that labelled images show, given the confidences of known and of unknown ones.
    ///
    /// # Errors
    ///
    /// If a confidence is not finite.
    #[must_use = "the band itself is not changed"]
    pub fn calibrated(self, known: &[f64], unknown: &[f64]) -> Result<Self, EvaluateError> {
        super::evaluation::check_confidences(known)?;
        super::evaluation::check_confidences(unknown)?;
        let expected = |errors: usize, images: usize| {
            (images > 0).then(|| (errors + 1) as f64 / (images + 2) as f64)
        };
        let rejected = known.iter().filter(|value| **value < self.reject_below);
        let accepted = unknown.iter().filter(|value| **value >= self.accept_from);
        Ok(Self {
            errors: Some(ReviewErrors {
                known_rejected: expected(rejected.count(), known.len()),
                unknown_accepted: expected(accepted.count(), unknown.len()),
            }),
            ..self
        })
    }
}

/// What to do with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It shows a known class.
    Accept,
    /// A person should look.
    Review,
    /// It shows something else.
    Reject,
}

impl Threshold {
    /// The confidences from which on an image is not rejected, and from which on it is accepted, without a look: both the threshold
    /// where there is no review band.
    pub fn cuts(&self) -> [f64; 2] {
        match &self.review {
            Some(review) => [review.reject_below, review.accept_from],
            None => [self.value; 2],
        }
    }

    /// What to do with an image of this confidence; [`Verdict::Review`] only where there is a review band.
    pub fn verdict(&self, confidence: f64) -> Verdict {
        let [reject_below, accept_from] = self.cuts();
        if confidence < reject_below {
            Verdict::Reject
        } else if confidence < accept_from {
            Verdict::Review
        } else {
            Verdict::Accept
        }
    }

    /// What was found, in one sentence without a full stop; `None` for methods that look for nothing.
    pub fn finding_in_words(&self) -> Option<FindingInWords<'_>> {
        self.finding.as_ref().map(|finding| FindingInWords {
            threshold: self,
            finding,
        })
    }

    /// How many groups of images were found, without numbers; `None` for methods that look for nothing.
    pub fn groups_in_words(&self) -> Option<&'static str> {
        self.finding.as_ref().map(|finding| match finding.groups() {
            Groups::One => "no second group found",
            Groups::Two => "a second group found",
            Groups::TooFewImages => "too few images to look for a second group",
        })
    }

    /// Number of images below the threshold.
    fn rejected(&self) -> usize {
        (self.rejected_fraction * self.images as f64).round() as usize
    }
}

/// Prints "no second group among 209 images: all but 3 accepted".
#[derive(Clone, Copy, Debug)]
pub struct FindingInWords<'a> {
    threshold: &'a Threshold,
    finding: &'a Finding,
}

impl fmt::Display for FindingInWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let images = match self.threshold.images {
            1 => "1 image".to_owned(),
            images => format!("{images} images"),
        };
        match self.finding.groups() {
            Groups::One => write!(f, "no second group among {images}: ")?,
            Groups::Two => write!(f, "a second group among {images}: ")?,
            Groups::TooFewImages => write!(f, "{images} are too few to look for a second group: ")?,
        }
        match (self.finding.groups(), self.threshold.rejected()) {
            (Groups::Two, rejected) => write!(f, "{rejected} rejected"),
            (_, 0) => f.write_str("all accepted"),
            (_, rejected) => write!(f, "all but {rejected} accepted"),
        }
    }
}
