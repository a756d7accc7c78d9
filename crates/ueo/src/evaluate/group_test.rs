//! Whether a set of images holds a second group, one that none of the listed classes describes.

use serde::{Deserialize, Serialize};

use super::EvaluateError;
use super::bootstrap::quantile;
use super::left_out::{check_classes, two_largest};

/// Fewer images than this do not tell one group from two.
const FEWEST_IMAGES: usize = 20;
/// The margin of a test with `K` classes is `MARGIN_OFFSET + MARGIN_SLOPE ln K`: what one set of known images in ten exceeds.
/// Fitted on the validation classes of IconNet, 8 to 39 of them at a time, in all styles (tools/decision/study.py).
const MARGIN_OFFSET: f64 = 0.046;
/// Adapting draws the best class of an image away from the second, so an adapted model has this part of the margin. After UEO on
/// twenty sets of the same classes four of those with known images alone exceed it, in the styles that the model knows
/// least, and eighteen of those with a quarter of unknown ones (tools/decision/adapted.py).
const ADAPTED_MARGIN: f64 = 0.65;
/// More classes come closer to an image that shows none of them, see [`MARGIN_OFFSET`].
const MARGIN_SLOPE: f64 = 0.039;

/// The test for a second group: the share of images whose best class is no better than a typical second-best one.
///
/// The second-best cosine of an image is what it would score if its own class were not listed, so their median is a
/// typical score of images that belong to no class, in this style and for this model. Where all images are known, few
/// best cosines lie below it; every unknown image adds to them with a chance of about one half. So the test sees a group
/// that is about twice as large as the margin, and a smaller one only beside known images that the model is unsure of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupTest {
    /// Share of the images whose largest cosine lies below the median of the second largest ones.
    pub share_below: f64,
    /// The share above which there are two groups. The error of the test: of the sets of known images alone one in ten exceeds it
    /// before adaptation, one in five after.
    pub margin: f64,
    /// Number of images.
    pub images: usize,
}

/// Which model the cosines of a [`GroupTest`] are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CosinesOf {
    /// The checkpoint as it is.
    ZeroShot,
    /// A model that was adapted without labels, to these images or to others like them.
    Adapted,
}

/// What a [`GroupTest`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Groups {
    /// No second group: the images may all be known.
    One,
    /// Too many images match no class for all of them to be known.
    Two,
    /// There are fewer than 20 images, which are taken for known ones.
    TooFewImages,
}

impl GroupTest {
    /// Tests half-centred cosines, `[images, classes]`, row-major; see [`Centring`](crate::method::Centring).
    ///
    /// Without centring the share differs more between styles than between shares of unknown images.
    ///
    /// # Errors
    ///
    /// If there are no images, fewer than two classes, or the cosines do not fill the shape or are not finite.
    pub fn of(
        centred_cosines: &[f32],
        classes: usize,
        model: CosinesOf,
    ) -> Result<Self, EvaluateError> {
        check_classes(classes)?;
        if !centred_cosines.len().is_multiple_of(classes) {
            return Err(EvaluateError::Shape {
                classes,
                length: centred_cosines.len(),
            });
        }
        if centred_cosines.is_empty() {
            return Err(EvaluateError::NoImages);
        }
        if let Some(position) = centred_cosines.iter().position(|value| !value.is_finite()) {
            return Err(EvaluateError::NonFiniteCosine {
                image: position / classes,
                value: centred_cosines[position],
            });
        }
        Ok(Self::of_two_largest(
            two_largest(centred_cosines, classes),
            classes,
            model,
        ))
    }

    /// [`Self::of`] for the largest and the second largest finite cosine of each image, of which there is one at least.
    pub(crate) fn of_two_largest(
        (largest, mut second): (Vec<f64>, Vec<f64>),
        classes: usize,
        model: CosinesOf,
    ) -> Self {
        let zero_shot_margin = MARGIN_OFFSET + MARGIN_SLOPE * (classes as f64).ln();
        second.sort_by(f64::total_cmp);
        let typical = quantile(&second, 0.5);
        let below = largest.iter().filter(|cosine| **cosine < typical).count();
        Self {
            share_below: below as f64 / largest.len() as f64,
            margin: match model {
                CosinesOf::ZeroShot => zero_shot_margin,
                CosinesOf::Adapted => ADAPTED_MARGIN * zero_shot_margin,
            },
            images: largest.len(),
        }
    }

    /// What the test says.
    pub fn groups(&self) -> Groups {
        if self.images < FEWEST_IMAGES {
            Groups::TooFewImages
        } else if self.share_below > self.margin {
            Groups::Two
        } else {
            Groups::One
        }
    }
}
