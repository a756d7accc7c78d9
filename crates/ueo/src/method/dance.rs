//! DANCE: every image close to some neighbour or class, and entropies away from the middle.
//!
//! ```text
//! F        = the bank's features of all images but x itself, and the class features, all of unit norm
//! s(x)     = softmax over F of cos(f(x), F_j) / 0.05
//! clustering = mean_x - sum_j s_j(x) ln s_j(x)
//! rho      = ln(K) / 2
//! separation = mean_x - |H(p(x)) - rho| where |H(p(x)) - rho| > 0.5, else 0
//! loss     = 0.05 * (clustering + separation)
//! ```
//!
//! After the loss, the bank takes over the batch's features (Saito et al. 2020, equations 3 to 7). What is left out is
//! the supervised loss, because there are no labels.

use burn::tensor::{IndexingUpdateOp, Tensor, TensorData, activation};

use crate::model::{normalize_rows, row_indices};
use crate::objective::{LossTerms, entropy, mutual_information};

use super::{BatchFeatures, Description, Extent, Memory, MethodError, Objective, ZeroShotPass};

pub(super) const DESCRIPTION: Description = Description {
    name: "dance",
    title: "DANCE",
    about: "Neighbourhood clustering with a bank of features, and entropies away from the middle",
    source: "Saito et al., Universal domain adaptation through self-supervision, NeurIPS 2020",
    objective: Some(|_| Box::new(Dance)),
    ..Description::NOTHING
};

/// Divides the cosines to neighbours and classes.
const TEMPERATURE: f64 = 0.05;
/// Entropies closer than this to half the largest one are left alone, in nats.
const MARGIN: f64 = 0.5;
/// Factor of both terms.
const WEIGHT: f64 = 0.05;
/// Far below every cosine divided by the temperature: excludes an image from its own neighbours.
const EXCLUDED: f32 = -1e9;

/// Name of the latest feature of every image in the memory, of unit norm, `[images, embed_dim]`.
const FEATURE_BANK: &str = "feature_bank";

/// The DANCE objective.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dance;

impl Objective for Dance {
    fn begin(&self, pass: &ZeroShotPass) -> Result<Memory, MethodError> {
        let shape = [pass.images(), pass.embed_dim];
        Ok(Memory::default().with(FEATURE_BANK, &shape, pass.image_features.clone()))
    }

    fn check(&self, memory: &Memory, extent: Extent) -> Result<(), MethodError> {
        memory.check(FEATURE_BANK, &[extent.images, extent.embed_dim])
    }

    fn loss(&self, memory: &Memory, batch: &BatchFeatures<'_>) -> (LossTerms, Option<Memory>) {
        let [rows, _] = batch.image_features.dims();
        let device = batch.image_features.device().inner();
        let bank = memory.matrix(FEATURE_BANK, &device);
        let [images, _] = bank.dims();
        let mut exclusions = vec![0.0_f32; rows * images];
        for (row, &image) in batch.indices.iter().enumerate() {
            exclusions[row * images + image] = EXCLUDED;
        }
        let exclusions =
            Tensor::<2>::from_data(TensorData::new(exclusions, [rows, images]), &device);

        let features = normalize_rows(batch.image_features.clone());
        let to_images = features.clone().matmul(bank.clone().transpose()) + exclusions;
        let to_classes = batch.cosine_logits();
        let similarities = Tensor::cat(vec![to_images, to_classes], 1).div_scalar(TEMPERATURE);
        let log_shares = activation::log_softmax(similarities, 1);
        let clustering = (log_shares.clone().exp() * log_shares)
            .sum()
            .div_scalar(rows as f64)
            .neg();

        let probabilities = batch.probabilities();
        let [_, classes] = probabilities.dims();
        let distance = entropy(probabilities.clone())
            .sub_scalar(0.5 * (classes as f64).ln())
            .abs();
        let far = distance.clone().inner().greater_elem(MARGIN).float();
        let separation = (distance * far).sum().div_scalar(rows as f64).neg();

        let loss = (clustering.clone() + separation.clone()).mul_scalar(WEIGHT);
        let mut terms = mutual_information(probabilities).with_loss(loss);
        terms.others.push(("neighbourhood_clustering", clustering));
        terms.others.push(("entropy_separation", separation));

        let places = row_indices(batch.indices, &device);
        let latest = features.inner();
        let next = bank.select_assign(0, places, latest, IndexingUpdateOp::Assign);
        let memory = memory.clone().with_matrix(FEATURE_BANK, next);
        (terms, Some(memory))
    }
}
