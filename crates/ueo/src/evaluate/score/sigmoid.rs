//! The largest probability of a match, one class at a time.

use super::Description;
use super::row::{CosineRow, SHARP_TEMPERATURE};
use crate::evaluate::ThresholdAxis;

pub(super) const DESCRIPTION: Description = Description {
    name: "sigmoid",
    about: "largest sigmoid of scale x cosine + bias, for models trained with it (SigLIP)",
    default_temperature: SHARP_TEMPERATURE,
    needs_negative_labels: false,
    axis: ThresholdAxis::Logit,
    confidence: match_probability,
};

fn match_probability(row: &CosineRow<'_>) -> f64 {
    // Asked for without them is refused before.
    let (scale, bias) = row.logistic.unwrap_or((f64::NAN, f64::NAN));
    (1.0 + (-(scale * row.largest + bias)).exp()).recip()
}
