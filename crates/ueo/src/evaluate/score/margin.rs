//! The distance of the two largest class probabilities.

use super::Description;
use super::row::{CosineRow, SHARP_TEMPERATURE};
use crate::evaluate::ThresholdAxis;

pub(super) const DESCRIPTION: Description = Description {
    name: "margin",
    about: "distance of the two largest probabilities",
    default_temperature: SHARP_TEMPERATURE,
    needs_negative_labels: false,
    axis: ThresholdAxis::Logit,
    confidence: margin,
};

fn margin(row: &CosineRow<'_>) -> f64 {
    let (mut first, mut second) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    for cosine in row.cosines.iter().copied().map(f64::from) {
        if cosine > first {
            (first, second) = (cosine, first);
        } else {
            second = second.max(cosine);
        }
    }
    (1.0 - ((second - row.largest) / row.temperature).exp()) / row.partition(row.cosines)
}
