//! Candidate pseudo-labels: several possible classes per image instead of a single wrong one.
//!
//! ```text
//! within an image   A(x) = the fewest most probable classes that hold 90 % of p0(x)
//! within a class    B_k  = the ceil(2 N / K) images with the largest p0_k
//! S(x) = { k in A(x) : x in B_k }
//! loss = - mean ln sum_(k in S(x)) p_k(x)       over the batch's images with a candidate
//! ```
//!
//! p0 are probabilities on the test view, of the zero-shot model first and of the adapted model from the second epoch
//! on, so that candidates get better as the model does. An image without a candidate says nothing.
//!
//! In the spirit of CPL (Zhang et al. 2024, section 3.2), which also intersects a selection within images with one
//! within classes and refines both as it goes; the thresholds are this program's, and the loss is the
//! classifier-consistent one of partial-label learning (Feng et al. 2020).

use burn::tensor::{Tensor, TensorData, activation};

use crate::objective::{LossTerms, log_sum_exp, mutual_information};

use super::{BatchFeatures, Description, Extent, Memory, MethodError, Objective, ZeroShotPass};

pub(super) const DESCRIPTION: Description = Description {
    name: "candidate-pseudo-labels",
    title: "candidate pseudo-labels",
    about: "Several candidate classes per image, chosen within images and within classes, refined every epoch",
    source: "in the spirit of Zhang et al., Candidate pseudolabel learning, ICML 2024",
    objective: Some(|_| Box::new(CandidatePseudoLabels)),
    ..Description::NOTHING
};

/// Share of an image's probability that its candidates hold together.
const SHARE_WITHIN_IMAGE: f64 = 0.9;
/// Images that a class may keep, as a multiple of what it had if all classes were equally frequent.
const SURPLUS_WITHIN_CLASS: f64 = 2.0;
/// Far below every scaled cosine: excludes a class that is no candidate.
const EXCLUDED: f32 = -1e9;

/// Name of the candidates in the memory, `[images, classes]`, 1 for a candidate and 0 for the others.
const CANDIDATES: &str = "candidates";

/// The objective of candidate pseudo-labels.
#[derive(Clone, Copy, Debug, Default)]
pub struct CandidatePseudoLabels;

impl Objective for CandidatePseudoLabels {
    fn begin(&self, pass: &ZeroShotPass) -> Result<Memory, MethodError> {
        Ok(Memory::default().with(
            CANDIDATES,
            &[pass.images(), pass.classes],
            candidates(&pass.probabilities(), pass.classes),
        ))
    }

    fn check(&self, memory: &Memory, extent: Extent) -> Result<(), MethodError> {
        memory.check(CANDIDATES, &[extent.images, extent.classes])
    }

    fn refreshes(&self) -> bool {
        true
    }

    fn refresh(&self, _memory: &Memory, pass: &ZeroShotPass) -> Result<Memory, MethodError> {
        self.begin(pass)
    }

    fn loss(&self, memory: &Memory, batch: &BatchFeatures<'_>) -> (LossTerms, Option<Memory>) {
        let log_probabilities = activation::log_softmax(batch.scaled_logits(), 1);
        let [rows, classes] = log_probabilities.dims();
        let candidates = memory.values(CANDIDATES);
        let mut exclusions = Vec::with_capacity(rows * classes);
        let mut shares = Vec::with_capacity(rows);
        for &image in batch.indices {
            let row = &candidates[image * classes..(image + 1) * classes];
            let labelled = row.contains(&1.0);
            shares.push(f32::from(u8::from(labelled)));
            exclusions.extend(row.iter().map(|&candidate| {
                if candidate == 1.0 || !labelled {
                    0.0
                } else {
                    EXCLUDED
                }
            }));
        }
        // A batch without any candidate has loss zero.
        let labelled = shares.iter().sum::<f32>().max(1.0);
        let device = log_probabilities.device().inner();
        let exclusions =
            Tensor::<2>::from_data(TensorData::new(exclusions, [rows, classes]), &device);
        let shares = Tensor::<2>::from_data(TensorData::new(shares, [rows, 1]), &device);
        let loss = (log_sum_exp(log_probabilities.clone() + exclusions) * shares)
            .sum()
            .div_scalar(f64::from(labelled))
            .neg();
        (
            mutual_information(log_probabilities.exp()).with_loss(loss),
            None,
        )
    }
}

/// The candidates of every image, `[images, classes]`, from probabilities of the same shape.
fn candidates(probabilities: &[f64], classes: usize) -> Vec<f32> {
    let images = probabilities.len() / classes;
    let mut candidates = vec![0.0; probabilities.len()];
    for (row, chosen) in probabilities
        .chunks_exact(classes)
        .zip(candidates.chunks_exact_mut(classes))
    {
        let mut order: Vec<usize> = (0..classes).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        let mut held = 0.0;
        for class in order {
            if held >= SHARE_WITHIN_IMAGE {
                break;
            }
            held += row[class];
            chosen[class] = 1.0;
        }
    }
    let kept = (SURPLUS_WITHIN_CLASS * images as f64 / classes as f64).ceil() as usize;
    for class in 0..classes {
        let of = |image: usize| image * classes + class;
        let mut order: Vec<usize> = (0..images).collect();
        order.sort_by(|&a, &b| probabilities[of(b)].total_cmp(&probabilities[of(a)]));
        for &image in order.iter().skip(kept) {
            candidates[of(image)] = 0.0;
        }
    }
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_pass_within_their_image_and_within_their_class() {
        // Each class keeps ceil(2 * 4 / 4) = 2 images.
        #[rustfmt::skip]
        let probabilities = [
            0.50, 0.45, 0.03, 0.02,
            0.95, 0.02, 0.02, 0.01,
            0.92, 0.04, 0.03, 0.01,
            0.30, 0.25, 0.25, 0.20,
        ];
        #[rustfmt::skip]
        let expected = [
            // Image 0 is only the third of class 0.
            0.0, 1.0, 0.0, 0.0,
            1.0, 0.0, 0.0, 0.0,
            1.0, 0.0, 0.0, 0.0,
            // Three classes hold 0.80 of image 3, so the fourth is needed; class 0 has better images.
            0.0, 1.0, 1.0, 1.0,
        ];
        assert_eq!(candidates(&probabilities, 4), expected);
    }
}
