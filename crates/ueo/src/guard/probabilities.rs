//! The class probabilities of images.

/// What a model says about some images: `softmax(logit_scale * cosine)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Probabilities {
    /// `[images, classes]`, row-major.
    values: Vec<f32>,
    classes: usize,
}

impl Probabilities {
    /// The softmax of scaled cosines, taken in f64.
    ///
    /// # Shapes
    ///
    /// - `cosine_logits`: `[images, classes]`, row-major, unscaled
    ///
    /// # Panics
    ///
    /// When there are no classes.
    pub fn of_cosines(cosine_logits: &[f32], classes: usize, logit_scale: f64) -> Self {
        assert!(classes > 0, "at least one class");
        let mut values = Vec::with_capacity(cosine_logits.len());
        for row in cosine_logits.chunks_exact(classes) {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let weight =
                |cosine: f32| ((f64::from(cosine) - f64::from(largest)) * logit_scale).exp();
            let total: f64 = row.iter().map(|&cosine| weight(cosine)).sum();
            values.extend(row.iter().map(|&cosine| (weight(cosine) / total) as f32));
        }
        Self { values, classes }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.values.len() / self.classes
    }

    /// The probabilities of each image, `[classes]`.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.classes)
    }
}

/// Shannon entropy in nats of weights that sum to `total`; a weight of zero adds nothing.
pub(super) fn entropy(weights: impl IntoIterator<Item = f64>, total: f64) -> f64 {
    let sum: f64 = weights
        .into_iter()
        .filter(|&weight| weight > 0.0)
        .map(|weight| weight / total * (weight / total).ln())
        .sum();
    // One certain outcome gives -0.
    0.0 - sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_the_softmax_of_scaled_cosines() {
        let probabilities = Probabilities::of_cosines(&[0.1, 0.3, 0.2, 0.2], 2, 10.0);
        let rows: Vec<_> = probabilities.rows().collect();
        let first = 1.0 / (1.0 + 2.0_f64.exp());
        assert!((f64::from(rows[0][0]) - first).abs() < 1e-6);
        assert!((f64::from(rows[0][1]) - (1.0 - first)).abs() < 1e-6);
        assert_eq!(rows[1], [0.5, 0.5]);
        assert_eq!(probabilities.images(), 2);
    }

    #[test]
    fn entropy_is_that_of_shannon() {
        assert_eq!(entropy([3.0, 0.0], 3.0), 0.0);
        assert!((entropy([2.0, 2.0, 2.0, 2.0], 8.0) - 4.0_f64.ln()).abs() < 1e-12);
        let expected = -(0.25 * 0.25_f64.ln() + 0.75 * 0.75_f64.ln());
        assert!((entropy([0.25, 0.75], 1.0) - expected).abs() < 1e-12);
    }
}
