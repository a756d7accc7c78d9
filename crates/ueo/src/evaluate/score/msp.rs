//! Maximum softmax probability.

use super::Description;

pub(super) const DESCRIPTION: Description = Description {
    name: "msp",
    about: "maximum softmax probability of cosines / temperature",
    default_temperature: 1.0,
    needs_negative_labels: false,
    confidence: |row| row.partition(row.cosines).recip(),
};
