//! The largest cosine.

use super::Description;
use super::row::SHARP_TEMPERATURE;
use crate::evaluate::ThresholdAxis;

pub(super) const DESCRIPTION: Description = Description {
    name: "maximum-logit",
    about: "largest cosine, without any temperature",
    default_temperature: SHARP_TEMPERATURE,
    needs_negative_labels: false,
    axis: ThresholdAxis::Identity,
    confidence: |row| row.largest,
};
