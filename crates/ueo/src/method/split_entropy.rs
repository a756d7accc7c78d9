//! Split entropy: presumably known images become sharper, presumably unknown ones more uncertain.
//!
//! ```text
//! D = images whose zero-shot confidence max_k p0_k(x) reaches the threshold between two Gaussians
//! loss = mean_(x in D) H(p(x)) - 1 * mean_(x not in D) H(p(x)) - 1 * H(mean_x p(x))
//! ```
//!
//! A hard split where UEO has soft weights. In the spirit of UniEnt (Gao et al. 2024, section 3.3), which splits each
//! batch by a mixture of scores and tunes both factors for each data set; here the split is made once from all images,
//! with `evaluate`'s mixture on the logits of the confidences, and both factors are one.

use burn::tensor::{Tensor, TensorData};

use crate::evaluate::{ThresholdAxis, ThresholdMethod, choose_threshold};
use crate::objective::{LossTerms, entropy, mutual_information};

use super::{BatchFeatures, Description, Extent, Memory, MethodError, Objective, ZeroShotPass};

pub(super) const DESCRIPTION: Description = Description {
    name: "split-entropy",
    title: "split entropy",
    about: "Entropy minimized on presumably known images and maximized on presumably unknown ones",
    source: "in the spirit of Gao et al., Unified entropy optimization for open-set test-time adaptation, CVPR 2024",
    objective: Some(|_| Box::new(SplitEntropy)),
    ..Description::NOTHING
};

/// Factor of the entropy of the presumably unknown images.
const UNKNOWN_WEIGHT: f64 = 1.0;
/// Factor of the marginal entropy.
const MARGINAL_WEIGHT: f64 = 1.0;

/// Name of the split in the memory, `[images]`, 1 for presumably known images and 0 for the others.
const PRESUMED_KNOWN: &str = "presumed_known";

/// The split entropy objective.
#[derive(Clone, Copy, Debug, Default)]
pub struct SplitEntropy;

impl Objective for SplitEntropy {
    fn begin(&self, pass: &ZeroShotPass) -> Result<Memory, MethodError> {
        let confidences: Vec<f64> = pass
            .probabilities()
            .chunks_exact(pass.classes)
            .map(|row| row.iter().copied().fold(0.0, f64::max))
            .collect();
        let threshold = choose_threshold(
            &confidences,
            ThresholdMethod::GaussianMixture,
            ThresholdAxis::Logit,
        )
        .map_err(|error| MethodError::NoSplit {
            reason: error.to_string(),
        })?;
        let known: Vec<f32> = confidences
            .iter()
            .map(|&confidence| f32::from(u8::from(confidence >= threshold.value)))
            .collect();
        Ok(Memory::default().with(PRESUMED_KNOWN, &[known.len()], known))
    }

    fn check(&self, memory: &Memory, extent: Extent) -> Result<(), MethodError> {
        memory.check(PRESUMED_KNOWN, &[extent.images])
    }

    fn loss(&self, memory: &Memory, batch: &BatchFeatures<'_>) -> (LossTerms, Option<Memory>) {
        let presumed = memory.values(PRESUMED_KNOWN);
        let known: Vec<f32> = batch.indices.iter().map(|&image| presumed[image]).collect();
        let unknown: Vec<f32> = known.iter().map(|known| 1.0 - known).collect();
        let probabilities = batch.probabilities();
        let [rows, _] = probabilities.dims();
        let device = probabilities.device().inner();
        let all = entropy(probabilities.clone());
        // The mean over a part of the batch, zero where the part is empty.
        let mean = |part: Vec<f32>| {
            let count = f64::from(part.iter().sum::<f32>().max(1.0));
            let part = Tensor::<2>::from_data(TensorData::new(part, [rows, 1]), &device);
            (all.clone() * part).sum().div_scalar(count)
        };
        let known_entropy = mean(known);
        let unknown_entropy = mean(unknown);
        let mut terms = mutual_information(probabilities);
        terms.loss = known_entropy.clone()
            - unknown_entropy.clone().mul_scalar(UNKNOWN_WEIGHT)
            - terms.marginal_entropy.clone().mul_scalar(MARGINAL_WEIGHT);
        terms.others.push(("known_entropy", known_entropy));
        terms.others.push(("unknown_entropy", unknown_entropy));
        (terms, None)
    }
}
