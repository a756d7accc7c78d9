//! POUF: images and class texts transported onto each other, and mutual information.
//!
//! ```text
//! c_ik = 1 - cos(f_i, t_k)                            cost of moving image i onto class k
//! p_ik = softmax over the classes of logit_scale * cos(f_i, t_k)
//! q_ik = softmax over the batch's images of logit_scale * cos(f_i, t_k)
//! transport = mean_i sum_k p_ik c_ik + mean_k sum_i q_ik c_ik
//! loss = transport + 0.3 * (mean_i H(p_i) - H(mean_i p_i))
//! ```
//!
//! Conditional transport in both directions with a uniform prior over the classes (Tanwisuth et al. 2023, section 3.1),
//! and the factor of the mutual information from its experiments.

use burn::tensor::activation;

use crate::objective::{LossTerms, mutual_information};

use super::{BatchFeatures, Description, Extent, Memory, MethodError, Objective, ZeroShotPass};

pub(super) const DESCRIPTION: Description = Description {
    name: "pouf",
    title: "POUF",
    about: "Transport between image and class features, and 0.3 times mutual information",
    source: "Tanwisuth et al., POUF: Prompt-oriented unsupervised fine-tuning for large pre-trained models, ICML 2023",
    objective: Some(|_| Box::new(Pouf)),
    ..Description::NOTHING
};

/// Factor of the mutual information.
const MUTUAL_INFORMATION_WEIGHT: f64 = 0.3;

/// The POUF objective.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pouf;

impl Objective for Pouf {
    fn begin(&self, _pass: &ZeroShotPass) -> Result<Memory, MethodError> {
        Ok(Memory::default())
    }

    fn check(&self, _memory: &Memory, _extent: Extent) -> Result<(), MethodError> {
        Ok(())
    }

    fn loss(&self, _memory: &Memory, batch: &BatchFeatures<'_>) -> (LossTerms, Option<Memory>) {
        let cosine_logits = batch.cosine_logits();
        let [images, classes] = cosine_logits.dims();
        let cost = cosine_logits.clone().neg().add_scalar(1.0);
        let scaled_logits = cosine_logits.mul_scalar(batch.logit_scale);
        let to_classes = activation::softmax(scaled_logits.clone(), 1);
        let to_images = activation::softmax(scaled_logits, 0);
        let transport = (to_classes.clone() * cost.clone())
            .sum()
            .div_scalar(images as f64)
            + (to_images * cost).sum().div_scalar(classes as f64);
        let mut terms = mutual_information(to_classes);
        terms.loss = transport.clone() + terms.loss.clone().mul_scalar(MUTUAL_INFORMATION_WEIGHT);
        terms.others.push(("transport_cost", transport));
        (terms, None)
    }
}
