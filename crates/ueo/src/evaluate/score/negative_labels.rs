//! The share of the known classes in a softmax that also holds negative labels.

use super::Description;
use super::row::{CosineRow, SHARP_TEMPERATURE};
use crate::evaluate::ThresholdAxis;

pub(super) const DESCRIPTION: Description = Description {
    name: "negative-labels",
    about: "share of the known classes in a softmax that also holds words far from all of them",
    default_temperature: SHARP_TEMPERATURE,
    needs_negative_labels: true,
    axis: ThresholdAxis::Logit,
    confidence: known_share,
};

fn known_share(row: &CosineRow<'_>) -> f64 {
    let known = row.partition(row.cosines);
    known / (known + row.partition(row.negatives))
}
