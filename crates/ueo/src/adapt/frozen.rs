//! What an adaptation does not train is computed once: of the image tower all of it or its first blocks, for the views that come
//! again, and the features of the classes where the context stays as it is.
//!
//! A step gives the same bits as one that computes everything itself. Sums may be rounded otherwise in a part of another size, that of an
//! epoch's last batch for example. So rows are kept by the size of the part that they were computed in, and sizes share them that were
//! seen to give the same bits: the first part of a size is computed once more in the smaller sizes that will come.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Tensor, TensorData};

use crate::image::ViewKind;
use crate::method::ZeroShotPass;
use crate::model::{Context, Precision, normalize_rows, to_host};

use super::activation_cache::{Format, RowKey, Rows};
use super::step::{BatchInputs, ImageInput};
use super::{
    AdaptError, AdaptState, Adaptation, Observer, PixelBatch, PixelSource, UnreadableImage,
};

/// A training batch.
pub(super) struct Batch {
    /// Its images.
    pub indices: Vec<usize>,
    /// Those of this rank, in the same order.
    pub share: PixelBatch,
}

/// What layers that are not trained make of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrozenPart {
    /// Its features, not normalized.
    Tower,
    /// What enters this block.
    BlocksBefore(usize),
}

/// What later steps and passes take instead of computing it again.
pub(super) struct Frozen {
    /// `None` where the whole image tower is trained.
    part: Option<FrozenPart>,
    rows: Rows,
    /// Images that are encoded together, a whole batch if `None`.
    micro_batch: Option<usize>,
    /// Whether steps see views that come again.
    views_come_again: bool,
    /// Sizes of the parts that come.
    sizes: BTreeSet<usize>,
    /// Under which size the rows of a part of this size are kept, for those of which that is known.
    kept_as: BTreeMap<usize, usize>,
    /// Features of the classes, not normalized.
    texts: Option<Tensor<2>>,
}

impl Frozen {
    /// Whether steps can do with what was computed before.
    pub fn serves_steps(&self) -> bool {
        self.views_come_again && self.part.is_some()
    }

    /// Whether what a view needs may be known.
    fn serves(&self, view: ViewKind) -> bool {
        self.part.is_some() && (self.views_come_again || view == ViewKind::Test)
    }

    fn part_size(&self, batch: usize) -> usize {
        part_size(self.micro_batch, batch)
    }

    /// The rows of a batch, image by image; `None` where one of them has no place.
    fn keys(&self, view: ViewKind, batch: &[usize]) -> Option<Vec<RowKey>> {
        let mut keys = Vec::with_capacity(batch.len());
        for part in batch.chunks(self.part_size(batch.len())) {
            let kept_as = *self.kept_as.get(&part.len())?;
            keys.extend(part.iter().map(|&image| RowKey {
                part: kept_as,
                view: view_index(view),
                image,
            }));
        }
        Some(keys)
    }

    /// Whether all rows of a batch are known.
    fn knows(&self, view: ViewKind, batch: &[usize]) -> bool {
        let keys = self.keys(view, batch);
        keys.is_some_and(|keys| keys.into_iter().all(|key| self.rows.contains(key)))
    }
}

/// Whether the first numbers of `more` are those of `some`.
fn same_bits(some: &[f32], more: &[f32]) -> bool {
    let mut pairs = some.iter().zip(more);
    some.len() <= more.len() && pairs.all(|(a, b)| a.to_bits() == b.to_bits())
}

/// Images of a batch that are encoded together.
fn part_size(micro_batch: Option<usize>, batch: usize) -> usize {
    micro_batch.unwrap_or(batch).min(batch).max(1)
}

/// The test view, then the training views.
fn view_index(view: ViewKind) -> usize {
    match view {
        ViewKind::Test => 0,
        ViewKind::Training { epoch, .. } => 1 + epoch as usize,
    }
}

impl Adaptation<'_> {
    /// What of the image tower is not trained.
    pub(super) fn frozen_part(&self) -> Option<FrozenPart> {
        let settings = self.settings;
        match settings.trained_part().affine() {
            false => Some(FrozenPart::Tower),
            true => settings
                .train_blocks
                .first(self.clip)
                .map(FrozenPart::BlocksBefore),
        }
    }

    /// Numbers of a row and how they are kept.
    fn row(&self, part: Option<FrozenPart>) -> (usize, Format) {
        let Some(FrozenPart::BlocksBefore(block)) = part else {
            return (self.clip.config().embed_dim, Format::F32);
        };
        let [tokens, width] = self.clip.block_input_shape(block);
        // In bf16 these numbers are bf16.
        let format = match self.clip.precision() {
            Precision::Bf16 => Format::Bf16,
            Precision::F32 | Precision::F32Split => Format::F32,
        };
        (tokens * width, format)
    }

    /// Bytes that a row takes where it is kept.
    pub(super) fn row_bytes(&self, part: Option<FrozenPart>) -> usize {
        let (len, format) = self.row(part);
        len * format.bytes()
    }

    /// Nothing is known yet of `images`, so many of which are trained on. A rank has its share of a training batch, and whole batches of a
    /// pass.
    pub(super) fn frozen(&self, images: usize, training_images: usize) -> Frozen {
        let settings = self.settings;
        let part = self.frozen_part();
        let (len, format) = self.row(part);
        let micro_batch = self.micro_batch();
        let mut sizes = BTreeSet::new();
        for (images, batch_size, is_divided) in [
            (training_images, settings.batch_size, true),
            (images, self.pass_batch_size(), false),
        ] {
            for batch in [batch_size.min(images), images % batch_size] {
                let batch = match is_divided {
                    true => self.exchange.share(batch).len(),
                    false => batch,
                };
                let part = part_size(micro_batch, batch);
                sizes.extend([part.min(batch), batch % part]);
            }
        }
        sizes.remove(&0);
        Frozen {
            part,
            rows: Rows::new(len, format, self.activation_cache.clone()),
            micro_batch,
            views_come_again: settings.fixed_views().is_some(),
            sizes,
            kept_as: BTreeMap::new(),
            texts: None,
        }
    }

    /// Takes features that a pass has computed for what steps would compute, if the first part of a batch has the same bits.
    pub(super) fn adopt(
        &self,
        features: &[f32],
        frozen: &mut Frozen,
        state: &AdaptState,
        images: &dyn PixelSource,
    ) -> Result<(), AdaptError> {
        let (view, part) = (ViewKind::Test, FrozenPart::Tower);
        let Some(&size) = frozen.sizes.last() else {
            return Ok(());
        };
        let is_of_use = frozen.serves_steps() && self.settings.view(0) == view;
        if features.is_empty() || !is_of_use || frozen.part != Some(part) {
            return Ok(());
        }
        let order = (0..size.min(images.len())).collect();
        let Some(batch) = images.batches(order, size, view).next() else {
            return Ok(());
        };
        let rows = self.rows(frozen, part, state, &batch, view, images.image_size())?;
        if !same_bits(&rows, features) {
            return Ok(());
        }
        let step = state.step + 1;
        let kept = |source| AdaptError::ActivationCache { step, source };
        let embed_dim = self.clip.config().embed_dim;
        for (image, row) in features.chunks_exact(embed_dim).enumerate() {
            let key = RowKey {
                part: size,
                view: view_index(view),
                image,
            };
            frozen.rows.keep(key, row).map_err(kept)?;
        }
        Ok(())
    }

    /// The training batches of an order, each with this rank's share of it.
    pub(super) fn batches<'a>(
        &self,
        images: &'a dyn PixelSource,
        frozen: &Frozen,
        order: &[usize],
        view: ViewKind,
    ) -> Box<dyn Iterator<Item = Batch> + 'a> {
        let batch_size = self.settings.batch_size;
        let share = |batch: &[usize]| batch[self.exchange.share(batch.len())].to_vec();
        let batches = order.chunks(batch_size);
        let shares: Vec<(Vec<usize>, bool)> = batches
            .map(|batch| (batch.to_vec(), !share(batch).is_empty()))
            .collect();
        let own: Vec<Vec<usize>> = order.chunks(batch_size).map(share).collect();
        let own = own.into_iter().filter(|share| !share.is_empty()).collect();
        let own_size = self.exchange.share(batch_size).len();
        let mut own = self.loaded(images, frozen, own, own_size, view);
        Box::new(shares.into_iter().map_while(move |(indices, has_share)| {
            let share = match has_share {
                true => own.next()?,
                false => PixelBatch::default(),
            };
            Some(Batch { indices, share })
        }))
    }

    /// Batches of one size, the last one shorter if need be; those whose rows are known come without pixels.
    fn loaded<'a>(
        &self,
        images: &'a dyn PixelSource,
        frozen: &Frozen,
        batches: Vec<Vec<usize>>,
        batch_size: usize,
        view: ViewKind,
    ) -> Box<dyn Iterator<Item = PixelBatch> + 'a> {
        if batches.is_empty() {
            return Box::new(std::iter::empty());
        }
        if !frozen.serves(view) {
            return images.batches(batches.concat(), batch_size, view);
        }
        let batches: Vec<(Vec<usize>, bool)> = batches
            .into_iter()
            .map(|batch| {
                let known = frozen.knows(view, &batch);
                (batch, known)
            })
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

    /// What this rank's share of a step is computed from.
    pub(super) fn inputs(
        &self,
        frozen: &mut Frozen,
        state: &AdaptState,
        batch: &PixelBatch,
        view: ViewKind,
        image_size: usize,
    ) -> Result<BatchInputs, AdaptError> {
        let images = match frozen.part {
            _ if batch.indices.is_empty() && batch.failures.is_empty() => ImageInput::None,
            Some(part) if frozen.serves(view) => self.image_input(
                part,
                self.rows(frozen, part, state, batch, view, image_size)?,
            ),
            _ => ImageInput::Pixels(self.pixels(batch, image_size, state.step + 1)?),
        };
        if !self.settings.trained_part().context() && frozen.texts.is_none() {
            let context = Some(&state.parameters.context);
            frozen.texts = Some(self.text_features(context));
        }
        let texts = frozen.texts.clone();
        Ok(BatchInputs { images, texts })
    }

    /// Features of all classes, `[classes, embed_dim]`, not normalized.
    fn text_features(&self, context: Option<&Context>) -> Tensor<2> {
        let text = self.clip.text();
        text.features_together(self.prompts, context, self.exchange)
    }

    /// Rows as a step takes them.
    pub(super) fn image_input(&self, part: FrozenPart, rows: Vec<f32>) -> ImageInput {
        match part {
            FrozenPart::Tower => ImageInput::Features(self.features(rows)),
            FrozenPart::BlocksBefore(block) => {
                ImageInput::BlockInputs(self.block_inputs(block, rows))
            }
        }
    }

    /// Images per batch of a pass.
    fn pass_batch_size(&self) -> usize {
        self.micro_batch().unwrap_or(self.settings.batch_size)
    }

    /// A pass over the test view of all images with the parameters of `state`; `None` when the observer wants to stop. Ranks take whole
    /// batches in turn.
    pub(super) fn pass(
        &self,
        frozen: &mut Frozen,
        state: &AdaptState,
        images: &dyn PixelSource,
        observer: &dyn Observer,
    ) -> Result<Option<ZeroShotPass>, AdaptError> {
        let context = Some(&state.parameters.context);
        let texts = normalize_rows(self.text_features(context));
        let mut pass = ZeroShotPass {
            text_features: to_host(&texts).data,
            classes: self.prompts.len(),
            embed_dim: self.clip.config().embed_dim,
            logit_scale: self.clip.logit_scale(),
            ..ZeroShotPass::default()
        };
        let order: Vec<usize> = (0..images.len()).collect();
        let (batch_size, view) = (self.pass_batch_size(), ViewKind::Test);
        let batches = order.chunks(batch_size).enumerate();
        let own: Vec<Vec<usize>> = batches
            .filter(|(number, _)| self.exchange.is_dealt(*number))
            .map(|(_, batch)| batch.to_vec())
            .collect();
        let mut own = self.loaded(images, frozen, own, batch_size, view);
        while pass.image_features.len() < images.len() * pass.embed_dim {
            let (mut features, mut cosines) = (Vec::new(), Vec::new());
            if let Some(batch) = own.next() {
                let found = self.pass_features(frozen, state, &batch, images.image_size())?;
                let found = normalize_rows(found);
                cosines = to_host(&found.clone().matmul(texts.clone().transpose())).data;
                features = to_host(&found).data;
            }
            let features = self.exchange.gather_numbers(&features);
            if features.is_empty() {
                break;
            }
            pass.image_features.extend(features);
            pass.cosine_logits
                .extend(self.exchange.gather_numbers(&cosines));
            if self.exchange.any(observer.interrupted()) {
                return Ok(None);
            }
        }
        Ok(Some(pass))
    }

    /// Features of the test views of a batch with the parameters of `state`, `[batch, embed_dim]`, not normalized.
    fn pass_features(
        &self,
        frozen: &mut Frozen,
        state: &AdaptState,
        batch: &PixelBatch,
        image_size: usize,
    ) -> Result<Tensor<2>, AdaptError> {
        let affine = &state.parameters.affine;
        let size = frozen.part_size(batch.indices.len());
        let parts: Vec<Tensor<2>> = match frozen.part {
            None => {
                let pixels = self.pixels(batch, image_size, state.step + 1)?;
                let parts = pixels.split(size, 0).into_iter();
                parts
                    .map(|pixels| self.clip.image_features(pixels, affine))
                    .collect()
            }
            Some(part) => {
                let rows = self.rows(frozen, part, state, batch, ViewKind::Test, image_size)?;
                match part {
                    FrozenPart::Tower => vec![self.features(rows)],
                    FrozenPart::BlocksBefore(block) => {
                        let inputs = self.block_inputs(block, rows).split(size, 0).into_iter();
                        inputs
                            .map(|inputs| self.clip.features_from_block(block, inputs, affine))
                            .collect()
                    }
                }
            }
        };
        Ok(Tensor::cat(parts, 0))
    }

    /// The rows of a batch, one after the other, from where they are kept or computed and kept.
    fn rows(
        &self,
        frozen: &mut Frozen,
        part: FrozenPart,
        state: &AdaptState,
        batch: &PixelBatch,
        view: ViewKind,
        image_size: usize,
    ) -> Result<Vec<f32>, AdaptError> {
        let step = state.step + 1;
        let kept = |source| AdaptError::ActivationCache { step, source };
        let mut rows = Vec::new();
        if batch.pixels.is_empty() && batch.failures.is_empty() {
            for key in frozen.keys(view, &batch.indices).unwrap_or_default() {
                frozen.rows.read(key, &mut rows).map_err(kept)?;
            }
            return Ok(rows);
        }
        let pixels = self.pixels(batch, image_size, step)?;
        let size = frozen.part_size(batch.indices.len());
        for pixels in pixels.split(size, 0) {
            let computed = self.compute(part, pixels.clone(), state);
            self.compare_sizes(frozen, part, pixels, &computed, state);
            rows.extend(computed);
        }
        let Some(keys) = frozen.keys(view, &batch.indices) else {
            return Ok(rows);
        };
        let len = rows.len() / batch.indices.len();
        for (key, row) in keys.into_iter().zip(rows.chunks_exact(len)) {
            frozen.rows.keep(key, row).map_err(kept)?;
        }
        Ok(rows)
    }

    /// What layers that are not trained make of some images.
    pub(super) fn compute(
        &self,
        part: FrozenPart,
        pixels: Tensor<4>,
        state: &AdaptState,
    ) -> Vec<f32> {
        let affine = &state.parameters.affine;
        match part {
            FrozenPart::Tower => to_host(&self.clip.image_features(pixels, affine)).data,
            FrozenPart::BlocksBefore(block) => {
                to_host(&self.clip.block_inputs(block, pixels, affine)).data
            }
        }
    }

    /// Finds out at the first part of a size which of the smaller ones give the same bits.
    fn compare_sizes(
        &self,
        frozen: &mut Frozen,
        part: FrozenPart,
        pixels: Tensor<4>,
        computed: &[f32],
        state: &AdaptState,
    ) {
        let [size, ..] = pixels.dims();
        if frozen.sizes.last() == Some(&size) {
            frozen.kept_as.entry(size).or_insert(size);
        }
        let Some(&kept_as) = frozen.kept_as.get(&size) else {
            // What a larger part says about this size is not known yet.
            return;
        };
        let smaller: Vec<usize> = frozen.sizes.range(..size).copied().collect();
        for size in smaller {
            if frozen.kept_as.contains_key(&size) {
                continue;
            }
            let first = pixels.clone().narrow(0, 0, size);
            let alone = self.compute(part, first, state);
            let kept_as = match same_bits(&alone, computed) {
                true => kept_as,
                false => size,
            };
            frozen.kept_as.insert(size, kept_as);
        }
    }

    /// `[batch, embed_dim]`
    fn features(&self, rows: Vec<f32>) -> Tensor<2> {
        let embed_dim = self.clip.config().embed_dim;
        let shape = [rows.len() / embed_dim, embed_dim];
        Tensor::from_data(TensorData::new(rows, shape), self.clip.device())
    }

    /// `[batch, tokens or positions, width]`
    fn block_inputs(&self, block: usize, rows: Vec<f32>) -> Tensor<3> {
        let [tokens, width] = self.clip.block_input_shape(block);
        let shape = [rows.len() / (tokens * width), tokens, width];
        Tensor::from_data(TensorData::new(rows, shape), self.clip.device())
    }

    /// The pixels of a batch, `[batch, 3, image_size, image_size]`.
    pub(super) fn pixels(
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
