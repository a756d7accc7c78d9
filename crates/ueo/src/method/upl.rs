//! UPL: cross-entropy on the most confident zero-shot pseudo-labels of every class.
//!
//! ```text
//! y(x) = argmax_k p0_k(x)                 p0: zero-shot probabilities on the test view
//! S_k  = the 16 images with y(x) = k whose p0_k(x) is largest
//! loss = - mean_(x in batch) ln p_y(x)(x),   x from the union of all S_k
//! ```
//!
//! As many images per class keep frequent classes from drowning the others. Only the prompt is trained (Huang et al.
//! 2022, section 3). The publication averages the pseudo-labels of several checkpoints; here there is one.

use burn::tensor::{Tensor, TensorData, activation};

use crate::objective::{LossTerms, mutual_information};

use super::{
    BatchFeatures, Description, Extent, Memory, MethodError, Objective, TrainedPart, ZeroShotPass,
};

pub(super) const DESCRIPTION: Description = Description {
    name: "upl",
    title: "UPL",
    about: "Cross-entropy on the 16 most confident zero-shot labels of each class; trains the prompt",
    source: "Huang et al., Unsupervised prompt learning for vision-language models, arXiv 2204.03649, 2022",
    objective: Some(|_| Box::new(Upl)),
    trained_part: TrainedPart::Context,
    ..Description::NOTHING
};

/// Pseudo-labelled images per class (the publication's choice).
const IMAGES_PER_CLASS: usize = 16;

/// Name of each image's pseudo-label in the memory, `[images]`; [`NOT_CHOSEN`] for images that do not take part.
const PSEUDO_LABELS: &str = "pseudo_labels";
/// Stands for "no label".
const NOT_CHOSEN: f32 = -1.0;

/// The UPL objective.
#[derive(Clone, Copy, Debug, Default)]
pub struct Upl;

impl Objective for Upl {
    fn begin(&self, pass: &ZeroShotPass) -> Result<Memory, MethodError> {
        let mut by_class: Vec<Vec<(f64, usize)>> = vec![Vec::new(); pass.classes];
        for (image, probabilities) in pass.probabilities().chunks_exact(pass.classes).enumerate() {
            let (class, confidence) = largest(probabilities);
            by_class[class].push((confidence, image));
        }
        let mut labels = vec![NOT_CHOSEN; pass.images()];
        for (class, images) in by_class.iter_mut().enumerate() {
            // The sort is stable: of equally confident images the first ones are chosen.
            images.sort_by(|a, b| b.0.total_cmp(&a.0));
            for &(_, image) in images.iter().take(IMAGES_PER_CLASS) {
                labels[image] = class as f32;
            }
        }
        Ok(Memory::default().with(PSEUDO_LABELS, &[labels.len()], labels))
    }

    fn check(&self, memory: &Memory, extent: Extent) -> Result<(), MethodError> {
        memory.check(PSEUDO_LABELS, &[extent.images])?;
        memory.check_indices(PSEUDO_LABELS, NOT_CHOSEN, extent.classes)
    }

    fn training_images(&self, memory: &Memory) -> Option<Vec<usize>> {
        let labels = memory.values(PSEUDO_LABELS).iter().enumerate();
        Some(
            labels
                .filter(|(_, label)| **label != NOT_CHOSEN)
                .map(|(image, _)| image)
                .collect(),
        )
    }

    fn loss(&self, memory: &Memory, batch: &BatchFeatures<'_>) -> (LossTerms, Option<Memory>) {
        let labels = memory.values(PSEUDO_LABELS);
        let scaled_logits = batch.scaled_logits();
        let [rows, classes] = scaled_logits.dims();
        let mut one_hot = vec![0.0_f32; rows * classes];
        for (row, &image) in batch.indices.iter().enumerate() {
            one_hot[row * classes + labels[image] as usize] = 1.0;
        }
        let device = scaled_logits.device().inner();
        let one_hot = Tensor::<2>::from_data(TensorData::new(one_hot, [rows, classes]), &device);
        let log_probabilities = activation::log_softmax(scaled_logits, 1);
        let loss = (log_probabilities.clone() * one_hot)
            .sum()
            .div_scalar(rows as f64)
            .neg();
        (
            mutual_information(log_probabilities.exp()).with_loss(loss),
            None,
        )
    }
}

/// Index and value of the first largest number.
fn largest(values: &[f64]) -> (usize, f64) {
    values
        .iter()
        .copied()
        .enumerate()
        .fold((0, f64::NEG_INFINITY), |best, (index, value)| {
            if value > best.1 { (index, value) } else { best }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_at_most_sixteen_of_its_most_confident_images() {
        // 20 images of class 0 with falling confidence, 3 of class 1, none of class 2.
        let mut cosine_logits = Vec::new();
        for image in 0..20 {
            cosine_logits.extend([0.5 - 0.01 * image as f32, 0.1, 0.1]);
        }
        for image in 0..3 {
            cosine_logits.extend([0.1, 0.2 + 0.01 * image as f32, 0.1]);
        }
        let pass = ZeroShotPass {
            cosine_logits,
            classes: 3,
            logit_scale: 100.0,
            ..ZeroShotPass::default()
        };
        let memory = Upl.begin(&pass).unwrap();
        let chosen = Upl.training_images(&memory).unwrap();
        let expected: Vec<usize> = (0..16).chain(20..23).collect();
        assert_eq!(chosen, expected);
        let labels = memory.values(PSEUDO_LABELS);
        assert!(labels[..16].iter().all(|&label| label == 0.0));
        assert!(labels[20..].iter().all(|&label| label == 1.0));
    }
}
