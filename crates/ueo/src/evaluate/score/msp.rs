//! Maximum softmax probability.

use super::Description;
use crate::evaluate::ThresholdAxis;

pub(super) const DESCRIPTION: Description = Description {
    name: "msp",
    about: "maximum softmax probability of cosines / temperature",
    default_temperature: 1.0,
    needs_negative_labels: false,
    axis: ThresholdAxis::Logit,
    confidence: |row| row.partition(row.cosines).recip(),
};
