//! Self-calibration: the model learns its own zero-shot probabilities at another temperature.
//!
//! ```text
//! q(x) = softmax(logit_scale * cos0(x) / 0.5)       zero-shot cosines of the test view, a constant
//! loss = - mean_x sum_k q_k(x) ln p_k(x)
//! ```
//!
//! A temperature below one makes the teacher sharper than the model, and the teacher never moves, so there is nothing
//! to collapse into. In the spirit of CLIP distillation (Deng and Jia 2023), where the temperature is found by an
//! automatic calibration that needs a labelled source domain; here it is a constant.

use burn::tensor::{Tensor, TensorData, activation};

use crate::objective::{LossTerms, mutual_information};

use super::{BatchFeatures, Description, Extent, Memory, MethodError, Objective, ZeroShotPass};

pub(super) const DESCRIPTION: Description = Description {
    name: "self-calibration",
    title: "self-calibration",
    about: "The model learns its own zero-shot probabilities at half the temperature",
    source: "in the spirit of Deng and Jia, Universal domain adaptation from foundation models, arXiv 2305.11092, 2023",
    objective: Some(|_| Box::new(SelfCalibration)),
    ..Description::NOTHING
};

/// Temperature of the teacher relative to the model's own.
const TEACHER_TEMPERATURE: f64 = 0.5;

/// Name of the teacher's probabilities in the memory, `[images, classes]`.
const TEACHER: &str = "teacher";

/// The self-calibration objective.
#[derive(Clone, Copy, Debug, Default)]
pub struct SelfCalibration;

impl Objective for SelfCalibration {
    fn begin(&self, pass: &ZeroShotPass) -> Result<Memory, MethodError> {
        let teacher = pass
            .probabilities_at(TEACHER_TEMPERATURE)
            .into_iter()
            .map(|probability| probability as f32)
            .collect();
        Ok(Memory::default().with(TEACHER, &[pass.images(), pass.classes], teacher))
    }

    fn check(&self, memory: &Memory, extent: Extent) -> Result<(), MethodError> {
        memory.check(TEACHER, &[extent.images, extent.classes])
    }

    fn loss(&self, memory: &Memory, batch: &BatchFeatures<'_>) -> (LossTerms, Option<Memory>) {
        let log_probabilities = activation::log_softmax(batch.scaled_logits(), 1);
        let [rows, classes] = log_probabilities.dims();
        let all = memory.values(TEACHER);
        let teacher: Vec<f32> = batch
            .indices
            .iter()
            .flat_map(|&image| &all[image * classes..(image + 1) * classes])
            .copied()
            .collect();
        let device = log_probabilities.device().inner();
        let teacher = Tensor::<2>::from_data(TensorData::new(teacher, [rows, classes]), &device);
        let loss = (log_probabilities.clone() * teacher)
            .sum()
            .div_scalar(rows as f64)
            .neg();
        (
            mutual_information(log_probabilities.exp()).with_loss(loss),
            None,
        )
    }
}
