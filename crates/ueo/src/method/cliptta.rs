//! CLIPTTA: images and the captions that they are given, contrasted within the batch as in CLIP's training, but softly.
//!
//! ```text
//! c_i  = argmax_k cos(f_i, t_k)                       pseudo-caption of image i
//! p_ij = softmax over the captions j of logit_scale * cos(f_i, t_(c_j))
//! q_ij = softmax over the images i of logit_scale * cos(f_i, t_(c_j))
//! contrast(B) = (mean_i H(p_i.) + mean_j H(q_.j)) / 2
//! spread(B)   = H(mean_i softmax_k(logit_scale * cos(f_i, t_k)))
//! loss = contrast(B) + contrast(M) - spread(B) - spread(M)
//! ```
//!
//! The targets of the contrastive loss are its own predictions, so its cross-entropies are entropies (without the epsilon of
//! [`entropy`]); a caption that many images of the batch have counts as often (Lafon et al. 2025). `M` is the class memory:
//! for each class the most confident of the images that were taken for it. After the loss, the batch's images take their
//! place in it. Two differences are ours. The memory begins with the zero-shot pass, because all images are there from the
//! start. And its images are not encoded anew: their latest features stand for them, so that the gradient of `M` reaches the
//! class texts only. What is left out is the publication's loss for unknown images, which splits each batch by confidence.

use burn::tensor::{Tensor, TensorData, activation};

use crate::model::{normalize_rows, to_host};
use crate::objective::{LossTerms, entropy, log_sum_exp, mutual_information};

use super::{BatchFeatures, Description, Extent, Memory, MethodError, Objective, ZeroShotPass};

pub(super) const DESCRIPTION: Description = Description {
    name: "cliptta",
    title: "CLIPTTA",
    about: "Soft contrast between images and the captions of the batch, with a memory of confident images per class",
    source: "after Lafon et al., CLIPTTA: Robust contrastive vision-language test-time adaptation, NeurIPS 2025",
    objective: Some(|_| Box::new(Cliptta)),
    ..Description::NOTHING
};

/// Remembered images per class (the default of the publication's program).
const IMAGES_PER_CLASS: usize = 4;

/// Name of the remembered features in the memory, of unit norm, `[classes * 4, embed_dim]`, class by class.
const FEATURES: &str = "class_memory_features";
/// Name of the remembered images' indices in the memory, `[classes * 4]`; [`EMPTY`] for places that are free.
const IMAGES: &str = "class_memory_images";
/// Name of the remembered images' confidences in the memory, `[classes * 4]`.
const CONFIDENCES: &str = "class_memory_confidences";
/// Stands for "no image".
const EMPTY: f32 = -1.0;

/// The CLIPTTA objective.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cliptta;

impl Objective for Cliptta {
    fn begin(&self, pass: &ZeroShotPass) -> Result<Memory, MethodError> {
        let mut places = Places::free(pass.classes, pass.embed_dim);
        let features = pass.image_features.chunks_exact(pass.embed_dim.max(1));
        let probabilities = pass.probabilities();
        let rows = probabilities.chunks_exact(pass.classes);
        for (image, (feature, row)) in features.zip(rows).enumerate() {
            let (class, probability) = largest(row.iter().copied());
            places.offer(image, class, probability as f32, feature);
        }
        Ok(places.into_memory(Memory::default(), pass.embed_dim))
    }

    fn check(&self, memory: &Memory, extent: Extent) -> Result<(), MethodError> {
        let places = extent.classes * IMAGES_PER_CLASS;
        memory.check(FEATURES, &[places, extent.embed_dim])?;
        memory.check(CONFIDENCES, &[places])?;
        memory.check(IMAGES, &[places])?;
        memory.check_indices(IMAGES, EMPTY, extent.images)
    }

    fn loss(&self, memory: &Memory, batch: &BatchFeatures<'_>) -> (LossTerms, Option<Memory>) {
        let [_, embed_dim] = batch.text_features.dims();
        let mut places = Places::of(memory);
        let remembered = places.features(embed_dim);
        let device = batch.text_features.device().inner();
        let shape = [remembered.len() / embed_dim, embed_dim];
        let of_memory = BatchFeatures {
            image_features: Tensor::<2>::from_data(TensorData::new(remembered, shape), &device)
                .autodiff(),
            ..batch.clone()
        };

        let probabilities = batch.probabilities();
        let mut terms = mutual_information(probabilities.clone());
        let batch_contrast = contrast(batch.scaled_logits());
        let memory_contrast = contrast(of_memory.scaled_logits());
        let memory_spread = entropy(of_memory.probabilities().mean_dim(0)).sum();
        terms.loss = batch_contrast.clone() + memory_contrast.clone()
            - terms.marginal_entropy.clone()
            - memory_spread;
        terms.others.push(("batch_contrast", batch_contrast));
        terms.others.push(("memory_contrast", memory_contrast));

        let features = to_host(&normalize_rows(batch.image_features.clone())).data;
        let probabilities = to_host(&probabilities);
        let rows = probabilities.data.chunks_exact(probabilities.shape[1]);
        let seen = batch.indices.iter().zip(features.chunks_exact(embed_dim));
        for ((&image, feature), row) in seen.zip(rows) {
            let (class, probability) = largest(row.iter().copied().map(f64::from));
            places.offer(image, class, probability as f32, feature);
        }
        (terms, Some(places.into_memory(memory.clone(), embed_dim)))
    }
}

/// The soft contrastive loss of scaled cosines, `[images, classes]` to `[1]`.
fn contrast(scaled_logits: Tensor<2>) -> Tensor<1> {
    // Which caption an image is given is a choice, without a gradient.
    let captions = scaled_logits.clone().inner().argmax(1).squeeze_dim::<1>(1);
    let to_captions = scaled_logits.select(1, captions.autodiff());
    let to_images = to_captions.clone().transpose();
    (mean_entropy(to_captions) + mean_entropy(to_images)).mul_scalar(0.5)
}

/// Mean over the rows of the entropy of their softmax, `[rows, columns]` to `[1]`.
fn mean_entropy(logits: Tensor<2>) -> Tensor<1> {
    let expected = (activation::softmax(logits.clone(), 1) * logits.clone()).sum_dim(1);
    (log_sum_exp(logits) - expected).mean()
}

/// The places of the class memory, [`IMAGES_PER_CLASS`] for each class.
struct Places(Vec<Place>);

#[derive(Clone)]
struct Place {
    image: f32,
    confidence: f32,
    feature: Vec<f32>,
}

impl Places {
    fn free(classes: usize, embed_dim: usize) -> Self {
        Self(vec![Place::free(embed_dim); classes * IMAGES_PER_CLASS])
    }

    fn of(memory: &Memory) -> Self {
        let (images, confidences) = (memory.values(IMAGES), memory.values(CONFIDENCES));
        let features = memory.values(FEATURES);
        let embed_dim = (features.len() / images.len().max(1)).max(1);
        let places = images
            .iter()
            .zip(confidences)
            .zip(features.chunks_exact(embed_dim));
        let place = |((&image, &confidence), feature): ((&f32, &f32), &[f32])| Place {
            image,
            confidence,
            feature: feature.to_vec(),
        };
        Self(places.map(place).collect())
    }

    fn into_memory(self, memory: Memory, embed_dim: usize) -> Memory {
        let places = self.0.len();
        let images = self.0.iter().map(|place| place.image).collect();
        let confidences = self.0.iter().map(|place| place.confidence).collect();
        let features = self.0.into_iter().flat_map(|place| place.feature).collect();
        memory
            .with(IMAGES, &[places], images)
            .with(CONFIDENCES, &[places], confidences)
            .with(FEATURES, &[places, embed_dim], features)
    }

    /// The features in the places that are taken; at least one is, because every image is offered before the first step.
    fn features(&self, embed_dim: usize) -> Vec<f32> {
        let taken = self.0.iter().filter(|place| place.image != EMPTY);
        let mut features = Vec::with_capacity(self.0.len() * embed_dim);
        taken.for_each(|place| features.extend_from_slice(&place.feature));
        features
    }

    /// Remembers an image where its class has a free place or a less confident image, and forgets what was known of it.
    fn offer(&mut self, image: usize, class: usize, confidence: f32, feature: &[f32]) {
        let image = image as f32;
        if let Some(place) = self.0.iter_mut().find(|place| place.image == image) {
            *place = Place::free(feature.len());
        }
        let own = &mut self.0[class * IMAGES_PER_CLASS..(class + 1) * IMAGES_PER_CLASS];
        // Free places have less than any confidence; of equals the first.
        let weakest =
            own.iter_mut().reduce(
                |weakest, place| match place.confidence < weakest.confidence {
                    true => place,
                    false => weakest,
                },
            );
        if let Some(weakest) = weakest.filter(|weakest| weakest.confidence < confidence) {
            *weakest = Place {
                image,
                confidence,
                feature: feature.to_vec(),
            };
        }
    }
}

impl Place {
    fn free(embed_dim: usize) -> Self {
        Self {
            image: EMPTY,
            confidence: EMPTY,
            feature: vec![0.0; embed_dim],
        }
    }
}

/// Index and value of the first largest number.
fn largest(values: impl Iterator<Item = f64>) -> (usize, f64) {
    values
        .enumerate()
        .fold((0, f64::NEG_INFINITY), |best, next| match next.1 > best.1 {
            true => next,
            false => best,
        })
}
