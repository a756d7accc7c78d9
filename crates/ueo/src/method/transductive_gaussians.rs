//! Transductive Gaussians: all images together, one Gaussian per class, anchored at the class texts. Nothing is trained.
//!
//! With unit features f, zero-shot probabilities y and assignments z (rows on the simplex), minimize
//!
//! ```text
//! - sum_i sum_k z_ik ln N(f_i; mu_k, diag s_k) + sum_i KL(z_i || y_i)
//!     + alpha sum_k KL(N(t_k, diag s') || N(mu_k, diag s_k))
//! ```
//!
//! over z, mu and s in turn. With n_k = sum_i z_ik and b_k = n_k / (n_k + alpha), setting derivatives to zero gives
//!
//! ```text
//! mu_k = b_k (sum_i z_ik f_i / n_k) + (1 - b_k) t_k
//! s_k  = b_k (sum_i z_ik (f_i - mu_k)^2 / n_k) + (1 - b_k) (s' + (t_k - mu_k)^2)
//! z_ik proportional to y_ik N(f_i; mu_k, diag s_k)
//! ```
//!
//! A class with few images stays at its text, a class with many moves to them. The anchor's variances
//! s' = mean_i sum_k y_ik (f_i - t_k)^2 are shared by all classes, because a class without images has none of its own.
//!
//! In the spirit of StatA (Zanella et al. 2025), from whose objective the pairwise affinity of neighbouring images is
//! left out.

use rayon::prelude::*;

use super::pass::log_normalized;
use super::{Description, Rescoring, ZeroShotPass};

pub(super) const DESCRIPTION: Description = Description {
    name: "transductive-gaussians",
    title: "transductive Gaussians",
    about: "A Gaussian per class over all images together, anchored at the class texts; nothing is trained",
    source: "in the spirit of Zanella et al., Realistic test-time adaptation of vision-language models, CVPR 2025",
    rescoring: Some(|| Box::new(TransductiveGaussians)),
    ..Description::NOTHING
};

/// Strength alpha of the anchor, in images.
const ANCHOR_STRENGTH: f64 = 1.0;
/// Rounds of alternating updates.
const ROUNDS: usize = 10;
/// Keeps the variance of a coordinate in which all images agree above zero.
const VARIANCE_FLOOR: f64 = 1e-9;

/// The rescoring of transductive Gaussians.
#[derive(Clone, Copy, Debug, Default)]
pub struct TransductiveGaussians;

/// A Gaussian with independent coordinates.
struct Gaussian {
    mean: Vec<f64>,
    variance: Vec<f64>,
}

impl Gaussian {
    /// Logarithm of the density without the constant of all Gaussians.
    fn log_density(&self, feature: &[f64]) -> f64 {
        let squares = self.mean.iter().zip(&self.variance).zip(feature);
        -0.5 * squares
            .map(|((mean, variance), value)| (value - mean).powi(2) / variance)
            .sum::<f64>()
            - self.log_norm()
    }

    /// `sum_d ln(variance_d) / 2`
    fn log_norm(&self) -> f64 {
        0.5 * self
            .variance
            .iter()
            .map(|variance| variance.ln())
            .sum::<f64>()
    }
}

impl Rescoring for TransductiveGaussians {
    fn scores(&self, pass: &ZeroShotPass) -> Vec<f32> {
        if pass.images() == 0 {
            return Vec::new();
        }
        let wide = |values: &[f32]| -> Vec<Vec<f64>> {
            let rows = values.chunks_exact(pass.embed_dim);
            rows.map(|row| row.iter().copied().map(f64::from).collect())
                .collect()
        };
        let images = wide(&pass.image_features);
        let texts = wide(&pass.text_features);
        let zero_shot = pass.log_probabilities(1.0);
        let mut log_assignments = zero_shot.clone();
        let anchor = anchor_variance(&images, &texts, &zero_shot);
        for _ in 0..ROUNDS {
            let gaussians: Vec<Gaussian> = texts
                .par_iter()
                .enumerate()
                .map(|(class, text)| {
                    let assignments = log_assignments.iter().map(|row| row[class].exp());
                    fit(&images, assignments, text, &anchor)
                })
                .collect();
            log_assignments = images
                .par_iter()
                .zip(&zero_shot)
                .map(|(feature, prior)| {
                    let joint = prior.iter().zip(&gaussians);
                    log_normalized(
                        joint.map(|(prior, gaussian)| prior + gaussian.log_density(feature)),
                    )
                })
                .collect();
        }
        // softmax(logit_scale * score) are the assignments.
        log_assignments
            .iter()
            .flatten()
            .map(|log| (log / pass.logit_scale) as f32)
            .collect()
    }
}

/// The variances s' of the anchor, one per coordinate.
fn anchor_variance(images: &[Vec<f64>], texts: &[Vec<f64>], log_shares: &[Vec<f64>]) -> Vec<f64> {
    let mut variance = vec![0.0; texts[0].len()];
    for (feature, row) in images.iter().zip(log_shares) {
        for (text, log_share) in texts.iter().zip(row) {
            let share = log_share.exp();
            for ((sum, value), text) in variance.iter_mut().zip(feature).zip(text) {
                *sum += share * (value - text).powi(2);
            }
        }
    }
    for sum in &mut variance {
        *sum = *sum / images.len() as f64 + VARIANCE_FLOOR;
    }
    variance
}

/// The Gaussian of a class, given each image's share in it.
fn fit(
    images: &[Vec<f64>],
    shares: impl Iterator<Item = f64> + Clone,
    text: &[f64],
    anchor: &[f64],
) -> Gaussian {
    // The anchor counts as ANCHOR_STRENGTH images at the text.
    let total = shares.clone().sum::<f64>() + ANCHOR_STRENGTH;
    let mut mean: Vec<f64> = text.iter().map(|value| ANCHOR_STRENGTH * value).collect();
    for (feature, share) in images.iter().zip(shares.clone()) {
        for (sum, value) in mean.iter_mut().zip(feature) {
            *sum += share * value;
        }
    }
    mean.iter_mut().for_each(|sum| *sum /= total);
    let mut variance: Vec<f64> = text
        .iter()
        .zip(&mean)
        .zip(anchor)
        .map(|((text, mean), anchor)| ANCHOR_STRENGTH * (anchor + (text - mean).powi(2)))
        .collect();
    for (feature, share) in images.iter().zip(shares) {
        for ((sum, value), mean) in variance.iter_mut().zip(feature).zip(&mean) {
            *sum += share * (value - mean).powi(2);
        }
    }
    variance.iter_mut().for_each(|sum| *sum /= total);
    Gaussian { mean, variance }
}
