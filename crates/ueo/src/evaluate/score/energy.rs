//! The negated free energy.

use super::Description;
use super::row::SHARP_TEMPERATURE;
use crate::evaluate::ThresholdAxis;

pub(super) const DESCRIPTION: Description = Description {
    name: "energy",
    about: "temperature x log-sum-exp of cosines / temperature",
    default_temperature: SHARP_TEMPERATURE,
    needs_negative_labels: false,
    axis: ThresholdAxis::Identity,
    confidence: |row| row.largest + row.temperature * row.partition(row.cosines).ln(),
};
