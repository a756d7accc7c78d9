//! Transductive Gaussians: all images together, one Gaussian per class, anchored at the class texts. Nothing is trained.
//!
//! With unit features f, class texts t, zero-shot probabilities y and assignments z (rows on the simplex), starting from
//! z = y, mu = t and s = s', take in turn
//!
//! ```text
//! l_ik = - sum_d (f_id - mu_kd)^2 / (2 s_kd)
//! z_ik proportional to y_ik exp(l_ik / 50)
//! n_k  = number of images whose largest assignment is k,      b_k = n_k / (n_k + 1)
//! mu_k = unit(b_k unit(sum_i z_ik f_i) + (1 - b_k) t_k)
//! s_k  = b_k (sum_i z_ik (f_i - mu_k)^2 / sum_i z_ik) + (1 - b_k) (s' + (t_k - mu_k)^2)
//! ```
//!
//! A class that few images are assigned to stays at its text, a class with many moves to them, and means stay on the sphere of
//! the features. The anchor's variances s' = mean_i sum_k y_ik (f_i - t_k)^2 are shared by all classes, because a class
//! without images has none of its own. In hundreds of dimensions a log-likelihood is far larger than the logarithm of a
//! probability, so it is divided by 50 before it meets the text prior: without that the texts would have no say.
//!
//! After StatA (Zanella et al. 2025). Two differences are ours. The affinity of neighbouring images is left out; with it nothing
//! was better on the validation classes of IconNet, and without it one update of z per round is exact. And the score is
//! cos(f_i, t_k) + l_ik / (50 logit_scale), whose softmax at the logit scale is z, so that the largest score still says
//! how close an image is to its class, which assignments forget.

use rayon::prelude::*;

use super::pass::log_normalized;
use super::{Description, Rescoring, ZeroShotPass};

pub(super) const DESCRIPTION: Description = Description {
    name: "transductive-gaussians",
    title: "transductive Gaussians",
    about: "A Gaussian per class over all images together, anchored at the class texts; nothing is trained",
    source: "after Zanella et al., Realistic test-time adaptation of vision-language models, CVPR 2025",
    rescoring: Some(|| Box::new(TransductiveGaussians)),
    ..Description::NOTHING
};

/// Strength of the anchor, in images (alpha of the publication).
const ANCHOR_STRENGTH: f64 = 1.0;
/// Divides the log-likelihood (the publication's choice).
const TEMPERING: f64 = 50.0;
/// Rounds of alternating updates (the publication's choice).
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
    /// Logarithm of the density without its constant, which would favor narrow classes, divided by the tempering.
    fn tempered_log_density(&self, feature: &[f64]) -> f64 {
        let squares = self.mean.iter().zip(&self.variance).zip(feature);
        let distance: f64 = squares
            .map(|((mean, variance), value)| (value - mean).powi(2) / variance)
            .sum();
        -0.5 * distance / TEMPERING
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
        let scaled_cosines: Vec<Vec<f64>> = pass
            .cosine_logits
            .chunks_exact(pass.classes)
            .map(|row| {
                row.iter()
                    .map(|&x| pass.logit_scale * f64::from(x))
                    .collect()
            })
            .collect();
        let anchor = anchor_variance(&images, &texts, &pass.log_probabilities(1.0));
        let at_text = |text: &Vec<f64>| Gaussian {
            mean: text.clone(),
            variance: anchor.clone(),
        };
        let mut gaussians: Vec<Gaussian> = texts.iter().map(at_text).collect();
        let mut joint = joint_logs(&images, &scaled_cosines, &gaussians);
        for _ in 0..ROUNDS {
            let assignments: Vec<Vec<f64>> = joint.par_iter().map(|row| assigned(row)).collect();
            let mut counts = vec![0.0; pass.classes];
            assignments
                .iter()
                .for_each(|row| counts[largest(row)] += 1.0);
            gaussians = texts
                .par_iter()
                .enumerate()
                .map(|(class, text)| {
                    let shares = assignments.iter().map(|row| row[class]);
                    fit(&images, shares, counts[class], text, &anchor)
                })
                .collect();
            joint = joint_logs(&images, &scaled_cosines, &gaussians);
        }
        // softmax(logit_scale * score) are the assignments.
        let logs = joint.iter().flatten();
        logs.map(|log| (log / pass.logit_scale) as f32).collect()
    }
}

/// `logit_scale cos(f_i, t_k) + l_ik / 50`, one row per image.
fn joint_logs(images: &[Vec<f64>], cosines: &[Vec<f64>], classes: &[Gaussian]) -> Vec<Vec<f64>> {
    let rows = images.par_iter().zip(cosines);
    rows.map(|(feature, cosines)| {
        let terms = cosines.iter().zip(classes);
        terms
            .map(|(cosine, class)| cosine + class.tempered_log_density(feature))
            .collect()
    })
    .collect()
}

/// The assignments of one image.
fn assigned(logs: &[f64]) -> Vec<f64> {
    let logs = log_normalized(logs.iter().copied());
    logs.into_iter().map(f64::exp).collect()
}

/// Index of the first largest number.
fn largest(values: &[f64]) -> usize {
    (1..values.len()).fold(0, |best, index| match values[index] > values[best] {
        true => index,
        false => best,
    })
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

/// The Gaussian of a class, given each image's share in it and the number of images assigned to it.
fn fit(
    images: &[Vec<f64>],
    shares: impl Iterator<Item = f64> + Clone,
    count: f64,
    text: &[f64],
    anchor: &[f64],
) -> Gaussian {
    // Shares come from a softmax and are positive; the smallest number guards against underflow.
    let total = shares.clone().sum::<f64>().max(f64::MIN_POSITIVE);
    let of_images = count / (count + ANCHOR_STRENGTH);
    let mut direction = vec![0.0; text.len()];
    for (feature, share) in images.iter().zip(shares.clone()) {
        for (sum, value) in direction.iter_mut().zip(feature) {
            *sum += share * value;
        }
    }
    normalize(&mut direction);
    let mut mean: Vec<f64> = direction
        .iter()
        .zip(text)
        .map(|(image, text)| of_images * image + (1.0 - of_images) * text)
        .collect();
    normalize(&mut mean);
    let mut spread = vec![0.0; text.len()];
    for (feature, share) in images.iter().zip(shares) {
        for ((sum, value), mean) in spread.iter_mut().zip(feature).zip(&mean) {
            *sum += share * (value - mean).powi(2);
        }
    }
    let anchored = text.iter().zip(&mean).zip(anchor);
    let variance = spread
        .iter()
        .zip(anchored)
        .map(|(spread, ((text, mean), anchor))| {
            let anchored = anchor + (text - mean).powi(2);
            of_images * spread / total + (1.0 - of_images) * anchored + VARIANCE_FLOOR
        })
        .collect();
    Gaussian { mean, variance }
}

/// Divides by the L2 norm; leaves zero alone.
fn normalize(values: &mut [f64]) {
    let norm = values.iter().map(|x| x * x).sum::<f64>().sqrt();
    if norm > 0.0 {
        values.iter_mut().for_each(|x| *x /= norm);
    }
}
