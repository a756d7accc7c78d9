//! What an adaptation does not train is computed once: the features of the test views where the image tower stays as it is,
//! and those of the classes where the context does.
//!
//! Sums may be rounded otherwise in a part of another size, that of an epoch's last batch for example. So that a step gives
//! the same bits as one that encodes its images itself, features are kept by the size of the part that they were encoded in.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};

use crate::method::ZeroShotPass;
use crate::model::{normalize_rows, to_host};

use super::settings::Augmentation;
use super::step::{BatchInputs, ImageInput};
use super::{
    AdaptError, AdaptState, Adaptation, Observer, PixelBatch, PixelSource, Settings,
    UnreadableImage,
};
use crate::image::ViewKind;

/// Features that are known so far, one row per image.
type Rows = Vec<Option<Box<[f32]>>>;

/// Features that later steps and passes take instead of computing them again.
pub(super) struct Frozen {
    /// Features of the test views by size of the part and image, not normalized; `None` where the image tower is trained.
    images: Option<BTreeMap<usize, Rows>>,
    count: usize,
    /// Images that are encoded together, a whole batch if `None`.
    micro_batch: Option<usize>,
    /// Whether steps see test views.
    steps_on_test_views: bool,
    /// Features of the classes, not normalized.
    texts: Option<Tensor<2>>,
}

impl Frozen {
    /// Nothing is known yet.
    pub fn new(settings: &Settings, images: usize) -> Self {
        Self {
            images: (!settings.trained_part().affine()).then(BTreeMap::new),
            count: images,
            micro_batch: settings.micro_batch,
            steps_on_test_views: settings.augmentation == Augmentation::None,
            texts: None,
        }
    }

    /// Whether steps can do with features that were computed before.
    pub fn serves_steps(&self) -> bool {
        self.steps_on_test_views && self.images.is_some()
    }

    /// Images of a batch that are encoded together.
    fn part(&self, batch: usize) -> usize {
        self.micro_batch.unwrap_or(batch).min(batch).max(1)
    }

    /// `[batch, embed_dim]`, row-major, when all features of a batch are known.
    fn rows(&self, batch: &[usize]) -> Option<Vec<&[f32]>> {
        let images = self.images.as_ref()?;
        let parts = batch.chunks(self.part(batch.len()));
        let rows = parts.flat_map(|part| {
            let known = images.get(&part.len());
            part.iter().map(move |&image| known?[image].as_deref())
        });
        rows.collect()
    }

    fn keep(&mut self, part: &[usize], features: &Tensor<2>) {
        let Some(images) = &mut self.images else {
            return;
        };
        let known = images
            .entry(part.len())
            .or_insert_with(|| vec![None; self.count]);
        let [_, embed_dim] = features.dims();
        let rows = to_host(features).data;
        for (&image, row) in part.iter().zip(rows.chunks_exact(embed_dim)) {
            known[image] = Some(row.into());
        }
    }
}

impl Adaptation<'_> {
    /// The batches of an order; those whose features are known come without pixels.
    pub(super) fn batches<'a>(
        &self,
        images: &'a dyn PixelSource,
        frozen: &Frozen,
        order: Vec<usize>,
        batch_size: usize,
        view: ViewKind,
    ) -> Box<dyn Iterator<Item = PixelBatch> + 'a> {
        if view != ViewKind::Test || frozen.images.is_none() {
            return images.batches(order, batch_size, view);
        }
        let batches: Vec<(Vec<usize>, bool)> = order
            .chunks(batch_size)
            .map(|batch| (batch.to_vec(), frozen.rows(batch).is_some()))
            .collect();
        // Only the last batch is shorter, so the source cuts what is left at the same places.
        let unknown = batches.iter().filter(|(_, known)| !known);
        let unknown: Vec<usize> = unknown.flat_map(|(batch, _)| batch).copied().collect();
        let mut loaded = match unknown.is_empty() {
            true => None,
            false => Some(images.batches(unknown, batch_size, view)),
        };
        Box::new(
            batches
                .into_iter()
                .filter_map(move |(indices, known)| match known {
                    true => Some(PixelBatch {
                        indices,
                        ..PixelBatch::default()
                    }),
                    false => loaded.as_mut()?.next(),
                }),
        )
    }

    /// What a step is computed from.
    pub(super) fn inputs(
        &self,
        frozen: &mut Frozen,
        state: &AdaptState,
        batch: &PixelBatch,
        image_size: usize,
    ) -> Result<BatchInputs, AdaptError> {
        let images = match frozen.serves_steps() {
            true => ImageInput::Features(self.features(frozen, state, batch, image_size)?),
            false => ImageInput::Pixels(self.pixels(batch, image_size, state.step + 1)?),
        };
        if !self.settings.trained_part().context() && frozen.texts.is_none() {
            let context = Some(&state.parameters.context);
            frozen.texts = Some(self.clip.text().features(self.prompts, context));
        }
        let texts = frozen.texts.clone();
        Ok(BatchInputs { images, texts })
    }

    /// A pass over the test view of all images with the parameters of `state`; `None` when the observer wants to stop.
    pub(super) fn pass(
        &self,
        frozen: &mut Frozen,
        state: &AdaptState,
        images: &dyn PixelSource,
        observer: &dyn Observer,
    ) -> Result<Option<ZeroShotPass>, AdaptError> {
        let context = Some(&state.parameters.context);
        let texts = normalize_rows(self.clip.text().features(self.prompts, context));
        let mut pass = ZeroShotPass {
            text_features: to_host(&texts).data,
            classes: self.prompts.len(),
            embed_dim: self.clip.config().embed_dim,
            logit_scale: self.clip.logit_scale(),
            ..ZeroShotPass::default()
        };
        let order = (0..images.len()).collect();
        let batch_size = self.settings.micro_batch;
        let batch_size = batch_size.unwrap_or(self.settings.batch_size);
        for batch in self.batches(images, frozen, order, batch_size, ViewKind::Test) {
            let features = self.features(frozen, state, &batch, images.image_size())?;
            let features = normalize_rows(features);
            let cosines = features.clone().matmul(texts.clone().transpose());
            pass.image_features.extend(to_host(&features).data);
            pass.cosine_logits.extend(to_host(&cosines).data);
            if observer.interrupted() {
                return Ok(None);
            }
        }
        Ok(Some(pass))
    }

    /// Features of the test views of a batch with the parameters of `state`, `[batch, embed_dim]`, not normalized.
    fn features(
        &self,
        frozen: &mut Frozen,
        state: &AdaptState,
        batch: &PixelBatch,
        image_size: usize,
    ) -> Result<Tensor<2>, AdaptError> {
        if let Some(rows) = frozen.rows(&batch.indices) {
            let shape = [batch.indices.len(), self.clip.config().embed_dim];
            let data = TensorData::new(rows.concat(), shape);
            return Ok(Tensor::from_data(data, self.clip.device()));
        }
        let pixels = self.pixels(batch, image_size, state.step + 1)?;
        let part = frozen.part(batch.indices.len());
        let mut features = Vec::new();
        for (indices, pixels) in batch.indices.chunks(part).zip(pixels.split(part, 0)) {
            let encoded = self.clip.image_features(pixels, &state.parameters.affine);
            frozen.keep(indices, &encoded);
            features.push(encoded);
        }
        Ok(Tensor::cat(features, 0))
    }

    /// The pixels of a batch, `[batch, 3, image_size, image_size]`.
    fn pixels(
        &self,
        batch: &PixelBatch,
        image_size: usize,
        step: usize,
    ) -> Result<Tensor<4>, AdaptError> {
        if let Some(UnreadableImage { index, reason }) = batch.failures.first().cloned() {
            return Err(AdaptError::ImageLost {
                step,
                index,
                reason,
            });
        }
        let shape = [batch.indices.len(), 3, image_size, image_size];
        let data = TensorData::new(batch.pixels.clone(), shape);
        Ok(Tensor::from_data(data, self.clip.device()))
    }
}
