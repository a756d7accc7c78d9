//! What a pass of a model over all images knows: before training, or between epochs where a method looks again.

/// Features and cosines of the test view of all images that a method works on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ZeroShotPass {
    /// Image features of unit norm, `[images, embed_dim]`, row-major.
    pub image_features: Vec<f32>,
    /// Class features of unit norm, `[classes, embed_dim]`, row-major.
    pub text_features: Vec<f32>,
    /// Unscaled cosines, `[images, classes]`, row-major.
    pub cosine_logits: Vec<f32>,
    /// Number of known classes.
    pub classes: usize,
    /// Width of the shared embedding space.
    pub embed_dim: usize,
    /// Factor on the cosines that gives the model's own probabilities.
    pub logit_scale: f64,
    /// Whether each image shows a known class: from labels, for the oracle only.
    pub known: Option<Vec<bool>>,
}

impl ZeroShotPass {
    /// Number of images.
    pub fn images(&self) -> usize {
        self.cosine_logits.len() / self.classes.max(1)
    }

    /// Probabilities of the classes, `[images, classes]`, row-major: the softmax of `logit_scale * cosine`.
    pub fn probabilities(&self) -> Vec<f64> {
        self.probabilities_at(1.0)
    }

    /// Probabilities at another temperature than the model's own: the softmax of `logit_scale * cosine / temperature`.
    pub fn probabilities_at(&self, temperature: f64) -> Vec<f64> {
        let logs = self.log_probabilities(temperature);
        logs.iter().flatten().map(|log| log.exp()).collect()
    }

    /// Logarithms of [`Self::probabilities_at`], one row per image.
    pub fn log_probabilities(&self, temperature: f64) -> Vec<Vec<f64>> {
        let scale = self.logit_scale / temperature;
        self.cosine_logits
            .chunks_exact(self.classes)
            .map(|row| log_normalized(row.iter().map(|&cosine| scale * f64::from(cosine))))
            .collect()
    }

    /// The pass over some of the images only, in the order of `indices`.
    ///
    /// # Panics
    ///
    /// When an index is not below the number of images.
    #[must_use]
    pub fn subset(&self, indices: &[usize]) -> Self {
        let rows = |values: &[f32], width: usize| -> Vec<f32> {
            let rows = indices.iter().map(|&i| &values[i * width..(i + 1) * width]);
            rows.flatten().copied().collect()
        };
        Self {
            image_features: rows(&self.image_features, self.embed_dim),
            text_features: self.text_features.clone(),
            cosine_logits: rows(&self.cosine_logits, self.classes),
            classes: self.classes,
            embed_dim: self.embed_dim,
            logit_scale: self.logit_scale,
            known: self
                .known
                .as_ref()
                .map(|known| indices.iter().map(|&i| known[i]).collect()),
        }
    }
}

/// Logarithms of what is proportional to the exponentials of `logs` and sums to one, without overflow.
pub(super) fn log_normalized(logs: impl Iterator<Item = f64>) -> Vec<f64> {
    let logs: Vec<f64> = logs.collect();
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logs.iter().map(|log| (log - largest).exp()).sum();
    let log_sum = largest + sum.ln();
    logs.into_iter().map(|log| log - log_sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subset_has_the_rows_of_its_images() {
        let pass = ZeroShotPass {
            image_features: vec![1.0, 0.0, 0.0, 1.0, 0.6, 0.8],
            text_features: vec![1.0, 0.0],
            cosine_logits: vec![1.0, 0.0, 0.6],
            classes: 1,
            embed_dim: 2,
            logit_scale: 100.0,
            known: Some(vec![true, false, true]),
        };
        assert_eq!(pass.images(), 3);
        let subset = pass.subset(&[2, 1]);
        assert_eq!(subset.images(), 2);
        assert_eq!(subset.image_features, [0.6, 0.8, 0.0, 1.0]);
        assert_eq!(subset.cosine_logits, [0.6, 0.0]);
        assert_eq!(subset.known, Some(vec![true, false]));
    }
}
