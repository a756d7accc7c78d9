//! The negated entropy of the class probabilities.

use super::Description;
use super::row::{CosineRow, SHARP_TEMPERATURE};
use crate::evaluate::ThresholdAxis;

pub(super) const DESCRIPTION: Description = Description {
    name: "entropy",
    about: "negated entropy of the softmax of cosines / temperature",
    default_temperature: SHARP_TEMPERATURE,
    needs_negative_labels: false,
    axis: ThresholdAxis::Identity,
    confidence: negated_entropy,
};

fn negated_entropy(row: &CosineRow<'_>) -> f64 {
    let sum = row.partition(row.cosines);
    let terms = row.cosines.iter().map(|&cosine| {
        let exponent = row.exponent(cosine);
        // An underflowing weight times a large exponent is nothing.
        exponent.exp() * exponent
    });
    terms.sum::<f64>() / sum - sum.ln()
}
