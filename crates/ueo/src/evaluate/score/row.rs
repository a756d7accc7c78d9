//! What a score sees of one image.

/// Temperature of CLIP's own probabilities, the inverse of its logit scale of 100; also that of NegLabel.
pub(super) const SHARP_TEMPERATURE: f64 = 0.01;

/// The cosines of one image.
pub(super) struct CosineRow<'a> {
    /// Those to the known classes.
    pub cosines: &'a [f32],
    /// The largest of them.
    pub largest: f64,
    /// Those to negative labels, if the score needs them.
    pub negatives: &'a [f32],
    /// Divides the cosines.
    pub temperature: f64,
    /// The model's own scale and bias, if it was trained with the logistic function.
    pub logistic: Option<(f64, f64)>,
}

impl CosineRow<'_> {
    /// `(c - largest) / t`
    pub(super) fn exponent(&self, cosine: f32) -> f64 {
        (f64::from(cosine) - self.largest) / self.temperature
    }

    /// `sum exp((c - largest) / t)`. Relative to the largest, so at least 1 over the known classes: nothing overflows.
    pub(super) fn partition(&self, cosines: &[f32]) -> f64 {
        cosines
            .iter()
            .map(|&cosine| self.exponent(cosine).exp())
            .sum()
    }
}
