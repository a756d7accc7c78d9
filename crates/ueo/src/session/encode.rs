//! Passes over images without training: features, and what follows from them.

use burn::tensor::{Tensor, TensorData};
use sha2::{Digest, Sha256};

use crate::adapt::{CallerError, PixelBatch, PixelSource, UnreadableImage};
use crate::device::guarded;
use crate::exchange::{Alone, Exchange};
use crate::image::ViewKind;
use crate::method::{Centring, ZeroShotPass};
use crate::model::{AffineParameters, Clip, normalize_rows, to_host};

use super::images::Images;
use super::model::{Classifier, Model};
use super::{Event, Reporter, SessionError, SkippedImage, Stage};

/// Features of the images that could be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageFeatures {
    /// Which images these are, ascending.
    pub indices: Vec<usize>,
    /// Features, `[indices, embed_dim]`, row-major, not normalized.
    pub features: Vec<f32>,
    /// Width of the shared embedding space.
    pub embed_dim: usize,
    /// Images that could not be read.
    pub failures: Vec<UnreadableImage>,
}

/// Images per batch in passes without training.
pub const ENCODING_BATCH: usize = 32;

/// Keeps the features of a pass while it goes on, so that a pass that was interrupted can be continued.
pub trait FeatureStore {
    /// What an earlier pass over the same images has left: whole batches, from the first image on. Asked once, at first.
    fn kept(&mut self) -> ImageFeatures {
        ImageFeatures::default()
    }

    /// A batch is done; the next one follows on it.
    ///
    /// # Errors
    ///
    /// Any error ends the pass with [`SessionError::NotKept`].
    fn keep(&mut self, batch: &ImageFeatures) -> Result<(), CallerError>;

    /// Whether the pass need not hold the features in memory: it returns indices and failures only.
    fn is_enough(&self) -> bool {
        false
    }
}

/// Keeps nothing.
impl FeatureStore for () {
    fn keep(&mut self, _batch: &ImageFeatures) -> Result<(), CallerError> {
        Ok(())
    }
}

/// Keeps nothing where there is nothing to keep it in.
impl<Store: FeatureStore> FeatureStore for Option<Store> {
    fn kept(&mut self) -> ImageFeatures {
        self.as_mut().map(Store::kept).unwrap_or_default()
    }

    fn keep(&mut self, batch: &ImageFeatures) -> Result<(), CallerError> {
        self.as_mut().map_or(Ok(()), |store| store.keep(batch))
    }

    fn is_enough(&self) -> bool {
        self.as_ref().is_some_and(Store::is_enough)
    }
}

/// Encodes the test view of all images of a source in order. No graph is kept, so memory does not grow with the source.
///
/// # Errors
///
/// [`SessionError::Interrupted`] when the reporter says so after a batch, [`SessionError::NotFinite`] when the model makes no
/// usable numbers of an image.
pub fn encode_images(
    clip: &Clip,
    affine: &AffineParameters,
    source: &dyn PixelSource,
    stage: Stage,
    reporter: &mut dyn Reporter,
) -> Result<ImageFeatures, SessionError> {
    encode_together(&mut (), &Alone, (clip, affine), source, stage, reporter)
}

/// [`encode_images`] by the processes of a model, from where an earlier pass ended; the features are the same, to the bit, as those of one
/// pass by one process. The first rank's store is the one that counts.
///
/// # Errors
///
/// As [`encode_images`], and [`SessionError::NotKept`] when the store fails.
pub fn encode_images_keeping(
    store: &mut dyn FeatureStore,
    model: &Model,
    affine: &AffineParameters,
    source: &dyn PixelSource,
    stage: Stage,
    reporter: &mut dyn Reporter,
) -> Result<ImageFeatures, SessionError> {
    let tower = (&*model.clip, affine);
    encode_together(store, model.exchange(), tower, source, stage, reporter)
}

/// Checks that all processes of a model see the same images.
///
/// # Errors
///
/// [`SessionError::OtherImages`].
pub fn check_same_images(
    source: &dyn PixelSource,
    exchange: &dyn Exchange,
) -> Result<(), SessionError> {
    if exchange.is_alone() {
        return Ok(());
    }
    let mut hasher = Sha256::new();
    for image in 0..source.len() {
        hasher.update(source.name(image).as_bytes());
        hasher.update(b"\n");
    }
    match exchange.first_to_differ(&hasher.finalize()) {
        None => Ok(()),
        Some(rank) => Err(SessionError::OtherImages { rank }),
    }
}

/// Ranks take whole batches in turn.
fn encode_together(
    store: &mut dyn FeatureStore,
    exchange: &dyn Exchange,
    tower: (&Clip, &AffineParameters),
    source: &dyn PixelSource,
    stage: Stage,
    reporter: &mut dyn Reporter,
) -> Result<ImageFeatures, SessionError> {
    check_same_images(source, exchange)?;
    let total = source.len();
    let mut encoded = match exchange.is_first() {
        true => store.kept(),
        false => ImageFeatures::default(),
    };
    encoded.embed_dim = tower.0.config().embed_dim;
    encoded = exchanged(encoded, exchange).swap_remove(0);
    let begun = encoded.images();
    if begun > 0 {
        let done = begun;
        reporter.report(Event::Encoding { stage, done, total });
    }
    let batches = (begun..total).step_by(ENCODING_BATCH).enumerate();
    let own: Vec<usize> = batches
        .filter(|(number, _)| exchange.is_dealt(*number))
        .flat_map(|(_, start)| start..total.min(start + ENCODING_BATCH))
        .collect();
    let mut own = match own.is_empty() {
        true => None,
        false => Some(source.batches(own, ENCODING_BATCH, ViewKind::Test)),
    };
    while encoded.images() < total {
        let batch = match own.as_mut().and_then(Iterator::next) {
            Some(batch) => {
                encode_batch(tower, batch, source).map_err(|error| error.after(stage))?
            }
            None => ImageFeatures::default(),
        };
        let before = encoded.images();
        for mut batch in exchanged(batch, exchange) {
            if exchange.is_first() && batch.images() > 0 {
                store.keep(&batch).map_err(SessionError::NotKept)?;
            }
            if store.is_enough() {
                batch.features = Vec::new();
            }
            encoded.append(batch);
        }
        let done = encoded.images();
        if done == before {
            break;
        }
        reporter.report(Event::Encoding { stage, done, total });
        if done < total && exchange.any(reporter.interrupted()) {
            return Err(SessionError::Interrupted { done, total });
        }
    }
    Ok(encoded)
}

fn encode_batch(
    (clip, affine): (&Clip, &AffineParameters),
    batch: PixelBatch,
    source: &dyn PixelSource,
) -> Result<ImageFeatures, SessionError> {
    let (size, embed_dim) = (source.image_size(), clip.config().embed_dim);
    let PixelBatch {
        indices,
        pixels,
        failures,
    } = batch;
    let mut features = Vec::new();
    if !indices.is_empty() {
        let shape = [indices.len(), 3, size, size];
        let pixels = Tensor::from_data(TensorData::new(pixels, shape), clip.device());
        features = guarded(clip.device(), || features_of(clip, pixels, affine))?;
        check_features(&features, embed_dim, |row| source.name(indices[row]))?;
    }
    Ok(ImageFeatures {
        indices,
        features,
        embed_dim,
        failures,
    })
}

/// What each rank has encoded, in the order of the ranks.
fn exchanged(own: ImageFeatures, exchange: &dyn Exchange) -> Vec<ImageFeatures> {
    if exchange.is_alone() {
        return vec![own];
    }
    let embed_dim = own.embed_dim;
    let features = exchange.gather(bytemuck::cast_slice(&own.features));
    let indices: Vec<u64> = own.indices.iter().map(|&index| index as u64).collect();
    let indices = exchange.gather(bytemuck::cast_slice(&indices));
    let failures = own.failures.iter();
    let failures: Vec<(usize, &str)> = failures
        .map(|failure| (failure.index, failure.reason.as_str()))
        .collect();
    // Numbers and texts are always JSON, and the ranks are the same program.
    let failures = exchange.gather(&serde_json::to_vec(&failures).unwrap_or_default());
    let ranks = features.iter().zip(&indices).zip(&failures);
    ranks
        .map(|((features, indices), failures)| ImageFeatures {
            indices: bytemuck::pod_collect_to_vec::<u8, u64>(indices)
                .into_iter()
                .map(|index| index as usize)
                .collect(),
            features: bytemuck::pod_collect_to_vec(features),
            embed_dim,
            failures: serde_json::from_slice::<Vec<(usize, String)>>(failures)
                .unwrap_or_default()
                .into_iter()
                .map(|(index, reason)| UnreadableImage { index, reason })
                .collect(),
        })
        .collect()
}

/// Features of a batch of pixels, `[batch, embed_dim]`, in as many passes as the device's memory asks for.
fn features_of(clip: &Clip, pixels: Tensor<4>, affine: &AffineParameters) -> Vec<f32> {
    let [batch, ..] = pixels.dims();
    let features = match clip.images_at_once() {
        Some(part) if part < batch => {
            let parts = pixels.split(part, 0).into_iter();
            let parts = parts.map(|pixels| clip.image_features(pixels, affine));
            Tensor::cat(parts.collect(), 0)
        }
        _ => clip.image_features(pixels, affine),
    };
    to_host(&features).data
}

/// Checks that features, `[rows, embed_dim]`, row-major, have a direction; `name` says what a row is the feature of.
pub(super) fn check_features(
    features: &[f32],
    embed_dim: usize,
    name: impl Fn(usize) -> String,
) -> Result<(), SessionError> {
    for (row, feature) in features.chunks_exact(embed_dim).enumerate() {
        // Cosines are computed in this precision.
        let square_norm: f32 = feature.iter().map(|value| value * value).sum();
        if !(square_norm.is_finite() && square_norm > 0.0) {
            return Err(SessionError::NotFinite {
                input: name(row),
                square_norm,
                trained: false,
            });
        }
    }
    Ok(())
}

/// Encodes an image set, and lists what had to be left out.
///
/// # Errors
///
/// [`SessionError::SkippedImages`] when something was left out and `strict` is set, [`SessionError::NoReadableImages`]
/// when nothing is left, and as [`encode_images`].
pub fn encode_readable(
    model: &Model,
    affine: &AffineParameters,
    images: &Images,
    strict: bool,
    stage: Stage,
    reporter: &mut dyn Reporter,
) -> Result<(ImageFeatures, Vec<SkippedImage>), SessionError> {
    let encoded = encode_images_keeping(&mut (), model, affine, images, stage, reporter)?;
    let skipped = list_skipped(&encoded, images, strict, reporter)?;
    Ok((encoded, skipped))
}

/// Lists what had to be left out of a pass over an image set.
///
/// # Errors
///
/// [`SessionError::SkippedImages`] when something was left out and `strict` is set, [`SessionError::NoReadableImages`]
/// when nothing is left.
pub fn list_skipped(
    encoded: &ImageFeatures,
    images: &Images,
    strict: bool,
    reporter: &mut dyn Reporter,
) -> Result<Vec<SkippedImage>, SessionError> {
    let skipped = images.skipped_with(&encoded.failures);
    for image in &skipped {
        reporter.report(Event::Skipped(image));
    }
    if strict && !skipped.is_empty() {
        return Err(SessionError::SkippedImages { skipped });
    }
    if encoded.indices.is_empty() {
        return Err(SessionError::NoReadableImages {
            path: images.path().to_owned(),
            skipped,
        });
    }
    Ok(skipped)
}

impl ImageFeatures {
    /// Images of the pass so far, unreadable ones included.
    pub fn images(&self) -> usize {
        self.indices.len() + self.failures.len()
    }

    /// Adds the features of the images that follow.
    pub fn append(&mut self, next: Self) {
        self.indices.extend(next.indices);
        self.features.extend(next.features);
        self.failures.extend(next.failures);
    }

    /// Scores of the classes of a classifier, `[images, classes]`, row-major: cosines, or what a method without
    /// training makes of the features of all images together, on the scale of cosines.
    pub fn class_scores(&self, clip: &Clip, classifier: &Classifier) -> Vec<f32> {
        match classifier.rescoring() {
            Some(rescoring) => rescoring.scores(&self.zero_shot(clip, classifier)),
            None => self.cosine_logits(clip, classifier),
        }
    }

    /// What a method may know about these images before training.
    pub fn zero_shot(&self, clip: &Clip, classifier: &Classifier) -> ZeroShotPass {
        let image_features = if self.indices.is_empty() {
            Vec::new()
        } else {
            self.unit_features(clip)
        };
        ZeroShotPass {
            image_features,
            text_features: to_host(classifier.text_features()).data,
            cosine_logits: self.cosine_logits(clip, classifier),
            classes: classifier.classes(),
            embed_dim: self.embed_dim,
            logit_scale: clip.logit_scale(),
            known: None,
        }
    }

    /// Half-centring by the means of these images and of a classifier's texts.
    pub fn centring(&self, clip: &Clip, classifier: &Classifier) -> Centring {
        let pass = self.zero_shot(clip, classifier);
        Centring::half(&pass.image_features, &pass.text_features, pass.embed_dim)
    }

    fn cosine_logits(&self, clip: &Clip, classifier: &Classifier) -> Vec<f32> {
        if self.indices.is_empty() {
            return Vec::new();
        }
        to_host(&classifier.cosine_logits(self.tensor(clip))).data
    }

    /// Features of unit norm, `[images, embed_dim]`, row-major, of one image at least.
    pub(super) fn unit_features(&self, clip: &Clip) -> Vec<f32> {
        to_host(&normalize_rows(self.tensor(clip))).data
    }

    /// `[images, embed_dim]`
    pub(super) fn tensor(&self, clip: &Clip) -> Tensor<2> {
        let shape = [self.indices.len(), self.embed_dim];
        Tensor::from_data(TensorData::new(self.features.clone(), shape), clip.device())
    }
}

/// A part of a source: image `i` of the subset is image `indices[i]` of the source.
pub struct Subset<'a> {
    source: &'a dyn PixelSource,
    indices: &'a [usize],
}

impl<'a> Subset<'a> {
    /// The images of `source` at `indices`.
    ///
    /// # Panics
    ///
    /// When the indices do not ascend.
    pub fn new(source: &'a dyn PixelSource, indices: &'a [usize]) -> Self {
        assert!(
            indices.is_sorted_by(|a, b| a < b),
            "the indices of a subset ascend"
        );
        Self { source, indices }
    }
}

impl PixelSource for Subset<'_> {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn image_size(&self) -> usize {
        self.source.image_size()
    }

    fn name(&self, index: usize) -> String {
        self.source.name(self.indices[index])
    }

    fn batches<'a>(
        &'a self,
        order: Vec<usize>,
        batch_size: usize,
        view: ViewKind,
    ) -> Box<dyn Iterator<Item = PixelBatch> + 'a> {
        let order = order.into_iter().map(|i| self.indices[i]).collect();
        // The inverse exists for every index that went in through `order`.
        let position = |index: usize| self.indices.partition_point(|&other| other < index);
        Box::new(
            self.source
                .batches(order, batch_size, view)
                .map(move |mut batch| {
                    for index in &mut batch.indices {
                        *index = position(*index);
                    }
                    for failure in &mut batch.failures {
                        failure.index = position(failure.index);
                    }
                    batch
                }),
        )
    }
}
