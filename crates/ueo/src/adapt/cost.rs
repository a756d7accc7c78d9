//! What an adaptation will cost, from steps that are measured before the first one, and which settings would make it cheaper.
//!
//! A measured step is a step whose result is thrown away: it changes nothing.

use std::time::Instant;

use burn::tensor::Tensor;
use ueo_kernels::EngineDescription;

use crate::device::is_processor;
use crate::guard::Keep;
use crate::image::ViewKind;
use crate::method::TrainedPart;
use crate::model::{Precision, to_host};

use super::frozen::FrozenPart;
use super::step::{BatchInputs, ImageInput};
use super::{AdaptError, AdaptState, Adaptation, PixelBatch, PixelSource, TrainedBlocks};

/// A run of fewer steps is over before anybody has read what it will cost.
const FEWEST_STEPS: usize = 20;
/// Beyond this a user wants to know what would be cheaper.
const LONG_SECS: f64 = 3_600.0;
/// A measurement that takes less is made twice: the first one makes what the others find.
const SHORT_SECS: f64 = 1.0;
/// Blocks and views of the cheaper ways.
const LAST_BLOCKS: usize = 4;
const VIEWS: usize = 4;
/// Epochs of the publication for hundreds of thousands of images.
const FEW_EPOCHS: usize = 5;
/// Share of a step in f32 that products take; the rest takes as long in bf16. From steps of ViT-B/16 on Zen 5 (docs/speed.md).
const SHARE_OF_PRODUCTS: f64 = 0.85;

/// What is left of an adaptation.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    /// Seconds until the last step.
    pub secs: f64,
    /// Steps until then.
    pub steps: usize,
    /// Passes over the images of the whole adaptation.
    pub epochs: usize,
    /// Bytes that will be kept of what is computed once.
    pub kept_bytes: u64,
    /// Settings that would make it cheaper, and the seconds with them; only looked for when it takes more than an hour.
    pub cheaper: Vec<(Saving, f64)>,
}

/// A setting that makes an adaptation cheaper, and changes its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saving {
    /// Only the last blocks, and views that come again.
    LastBlocks {
        /// Blocks that are trained.
        blocks: usize,
        /// Views per image; `None` where the settings have some already.
        views: Option<usize>,
        /// Bytes that would be kept, in memory and beyond its budget in a file.
        kept_bytes: u64,
    },
    /// Only the context, and views that come again.
    Context {
        /// Views per image; `None` where the settings have some already.
        views: Option<usize>,
    },
    /// Fewer epochs.
    Epochs(usize),
    /// Another precision of the frozen matrices.
    Precision(Precision),
}

/// Seconds of what is computed once for a batch of a view, and of a step that has it.
#[derive(Clone, Copy, Debug)]
struct Measured {
    once: f64,
    step: f64,
}

/// How often a run does what.
#[derive(Clone, Copy, Debug)]
struct Amount {
    /// That are trained on.
    images: usize,
    epochs: usize,
    per_epoch: usize,
    steps: usize,
    /// Views of an image that steps see, where these come again.
    views: Option<usize>,
    /// Seconds to load a batch.
    load: f64,
}

impl Amount {
    /// Rows that are kept where some are.
    fn rows(self) -> usize {
        self.views.unwrap_or(0).min(self.epochs) * self.images
    }

    /// Steps that compute what is computed once.
    fn first_steps(self) -> usize {
        let each = self.views.map(|views| views * self.per_epoch);
        each.map_or(self.steps, |first| first.min(self.steps))
    }

    fn secs(self, measured: Measured) -> f64 {
        let first = self.first_steps() as f64;
        first * (self.load + measured.once) + self.steps as f64 * measured.step
    }
}

impl Adaptation<'_> {
    /// Measures what the steps from `state` on will cost; `None` for a run that is over soon. `features` as in
    /// [`Adaptation::run_knowing`].
    ///
    /// # Errors
    ///
    /// As [`Adaptation::run`].
    pub fn cost(
        &self,
        features: &[f32],
        state: &AdaptState,
        images: &dyn PixelSource,
    ) -> Result<Option<Cost>, AdaptError> {
        self.on_device(state.step + 1, || self.cost_of(features, state, images))
    }

    fn cost_of(
        &self,
        features: &[f32],
        state: &AdaptState,
        images: &dyn PixelSource,
    ) -> Result<Option<Cost>, AdaptError> {
        let settings = self.settings;
        let count = self.training_images(&state.memory, images.len());
        let total = settings.total_steps(count);
        let steps = total.saturating_sub(state.step);
        if steps < FEWEST_STEPS {
            return Ok(None);
        }
        let per_epoch = settings.steps_per_epoch(count);
        let view = settings.view(state.step / per_epoch);
        let (indices, batch, load) = self.trial_batch(state, images, view);
        let part = self.frozen_part();
        let frozen_part = part.filter(|_| settings.fixed_views().is_some());
        let epochs = settings.epoch_count(count);
        let amount = Amount {
            images: count,
            epochs,
            per_epoch,
            steps,
            // Where nothing is kept, every step loads its images.
            views: frozen_part.and(settings.fixed_views()),
            load,
        };
        let trial = Trial {
            adaptation: self,
            state,
            indices: &indices,
            batch: &batch,
            image_size: images.image_size(),
        };
        let (train, blocks) = (settings.trained_part(), settings.train_blocks);
        let known = match (part, view) {
            (Some(FrozenPart::Tower), ViewKind::Test) => self.rows_of(features, &batch),
            _ => None,
        };
        let measured = trial.measure(part, train, blocks, known)?;
        let passes = match settings.keep {
            Keep::BestBy(_) if part != Some(FrozenPart::Tower) => {
                let batches = images.len().div_ceil(settings.batch_size);
                let left = epochs - state.watch.epochs.min(epochs);
                (left * batches) as f64 * (load + trial.encoding()?)
            }
            _ => 0.0,
        };
        let secs = amount.secs(measured) + passes;
        Ok(Some(Cost {
            secs,
            steps,
            epochs,
            kept_bytes: self.kept_bytes(amount, frozen_part),
            cheaper: match secs > LONG_SECS {
                true => self.cheaper(&trial, amount, secs)?,
                false => Vec::new(),
            },
        }))
    }

    /// What is kept of a part that is not trained, if anything is.
    fn kept_bytes(&self, amount: Amount, part: Option<FrozenPart>) -> u64 {
        part.map_or(0, |_| amount.rows() as u64 * self.row_bytes(part) as u64)
    }

    /// The features of a batch where those of all images are known.
    fn rows_of(&self, features: &[f32], batch: &PixelBatch) -> Option<Vec<f32>> {
        let embed_dim = self.clip.config().embed_dim;
        let rows = batch.indices.iter();
        let rows = rows.map(|&image| features.get(image * embed_dim..(image + 1) * embed_dim));
        Some(rows.collect::<Option<Vec<_>>>()?.concat())
    }

    /// The first batch of an epoch, this rank's share of it, and the seconds that loading it took.
    fn trial_batch(
        &self,
        state: &AdaptState,
        images: &dyn PixelSource,
        view: ViewKind,
    ) -> (Vec<usize>, PixelBatch, f64) {
        let chosen = self.objective.training_images(&state.memory);
        let mut order = chosen.unwrap_or_else(|| (0..images.len()).collect());
        order.truncate(self.settings.batch_size);
        let share = order[self.exchange.share(order.len())].to_vec();
        let started = Instant::now();
        let batch = match share.len() {
            0 => None,
            size => images.batches(share, size, view).next(),
        };
        let load = self.exchange.largest(started.elapsed().as_secs_f64());
        (order, batch.unwrap_or_default(), load)
    }

    /// What would cost less than `secs`, the cheapest first.
    fn cheaper(
        &self,
        trial: &Trial<'_>,
        amount: Amount,
        secs: f64,
    ) -> Result<Vec<(Saving, f64)>, AdaptError> {
        let settings = self.settings;
        let part = settings.trained_part();
        let mut ways = Vec::new();
        let fixed = settings.fixed_views();
        let views = fixed.is_none().then_some(VIEWS);
        let kept = Amount {
            views: fixed.or(views),
            ..amount
        };
        let blocks = TrainedBlocks::last(LAST_BLOCKS).filter(|blocks| {
            let fits = blocks.check(self.clip).is_ok();
            fits && part.affine() && settings.train_blocks == TrainedBlocks::All
        });
        if let Some(blocks) = blocks {
            let before = blocks.first(self.clip).map(FrozenPart::BlocksBefore);
            let measured = trial.measure(before, part, blocks, None)?;
            let saving = Saving::LastBlocks {
                blocks: LAST_BLOCKS,
                views,
                kept_bytes: self.kept_bytes(kept, before),
            };
            ways.push((saving, kept.secs(measured)));
        }
        if part == TrainedPart::Both {
            let (train, blocks) = (TrainedPart::Context, TrainedBlocks::All);
            let measured = trial.measure(Some(FrozenPart::Tower), train, blocks, None)?;
            ways.push((Saving::Context { views }, kept.secs(measured)));
        }
        if amount.epochs > FEW_EPOCHS {
            let share = FEW_EPOCHS as f64 / amount.epochs as f64;
            ways.push((Saving::Epochs(FEW_EPOCHS), secs * share));
        }
        if let Some(factor) = self.bf16_factor() {
            ways.push((Saving::Precision(Precision::Bf16), secs * factor));
        }
        ways.retain(|&(_, cheaper)| cheaper < secs);
        ways.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        Ok(ways)
    }

    /// Time in bf16 as a share of that in f32, by the rates of products on this processor; `None` where it saves nothing.
    fn bf16_factor(&self) -> Option<f64> {
        let on_processor = is_processor(self.clip.device());
        let offers = on_processor && self.clip.offers(Precision::Bf16);
        if self.clip.precision() != Precision::F32 || !offers {
            return None;
        }
        let engine = EngineDescription::detect().ok()?;
        let rate = |precision: Precision| {
            let path = engine
                .products
                .iter()
                .find(|path| path.precision == precision.into())?;
            let chosen =
                |rate: &&ueo_kernels::MeasuredRate| rate.instruction_set == path.instruction_set;
            Some(path.measured.iter().find(chosen)?.gflops_per_sec)
        };
        let gain = rate(Precision::Bf16)? / rate(Precision::F32)?;
        let factor = 1.0 - SHARE_OF_PRODUCTS + SHARE_OF_PRODUCTS / gain;
        (factor < 0.95).then_some(factor)
    }
}

/// Steps that are measured and thrown away.
struct Trial<'a> {
    adaptation: &'a Adaptation<'a>,
    state: &'a AdaptState,
    indices: &'a [usize],
    /// This rank's share.
    batch: &'a PixelBatch,
    image_size: usize,
}

impl Trial<'_> {
    /// Seconds of the batch in a pass without training.
    fn encoding(&self) -> Result<f64, AdaptError> {
        let (adaptation, state) = (self.adaptation, self.state);
        let pixels = self.pixels()?;
        Ok(self.secs(|| {
            if let Some(pixels) = &pixels {
                adaptation.compute(FrozenPart::Tower, pixels.clone(), state);
            }
        }))
    }

    /// The cost of a batch where `part` is not trained; `known` is what it makes of the batch, if that need not be computed.
    fn measure(
        &self,
        part: Option<FrozenPart>,
        train: TrainedPart,
        blocks: TrainedBlocks,
        known: Option<Vec<f32>>,
    ) -> Result<Measured, AdaptError> {
        let (adaptation, state) = (self.adaptation, self.state);
        let pixels = self.pixels()?;
        let size = adaptation.micro_batch();
        let size = size.unwrap_or(usize::MAX).min(self.batch.indices.len());
        let must_compute = part.filter(|_| known.is_none());
        let mut rows = known.unwrap_or_default();
        let once = must_compute.map_or(0.0, |part| {
            self.secs(|| {
                let Some(pixels) = &pixels else {
                    return;
                };
                let parts = pixels.clone().split(size.max(1), 0).into_iter();
                let parts = parts.map(|pixels| adaptation.compute(part, pixels, state));
                rows = parts.flatten().collect();
            })
        });
        let images = || match (&pixels, part) {
            (None, _) => ImageInput::None,
            (Some(pixels), None) => ImageInput::Pixels(pixels.clone()),
            (_, Some(part)) => adaptation.image_input(part, rows.clone()),
        };
        let context = Some(&state.parameters.context);
        let texts = (!train.context())
            .then(|| adaptation.clip.text().features(adaptation.prompts, context));
        let step = self.secs(|| {
            let inputs = BatchInputs {
                images: images(),
                texts: texts.clone(),
            };
            let (gradient, _) = adaptation.gradient(state, self.indices, inputs, train, blocks);
            // Nothing is left to be computed once it is read.
            to_host(&gradient.context);
        });
        Ok(Measured { once, step })
    }

    /// The pixels of this rank's share, if there are any.
    fn pixels(&self) -> Result<Option<Tensor<4>>, AdaptError> {
        if self.batch.indices.is_empty() && self.batch.failures.is_empty() {
            return Ok(None);
        }
        let step = self.state.step + 1;
        let pixels = self.adaptation.pixels(self.batch, self.image_size, step)?;
        Ok(Some(pixels))
    }

    /// How long something takes on the slowest rank when it is not the first time, at which other devices than the processor compile
    /// their kernels. All ranks hear the same, so that they measure and decide
    /// alike.
    fn secs(&self, mut run: impl FnMut()) -> f64 {
        let mut measure = || {
            let started = Instant::now();
            run();
            let own = started.elapsed().as_secs_f64();
            self.adaptation.exchange.largest(own)
        };
        let first = measure();
        match first < SHORT_SECS || !is_processor(self.adaptation.clip.device()) {
            true => measure(),
            false => first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_is_paid_for_once() {
        let measured = Measured {
            once: 3.0,
            step: 1.0,
        };
        let amount = |views| Amount {
            images: 640,
            epochs: 50,
            per_epoch: 10,
            steps: 500,
            views,
            load: 2.0,
        };
        assert_eq!(amount(None).secs(measured), 500.0 * 6.0);
        assert_eq!(amount(Some(1)).secs(measured), 10.0 * 5.0 + 500.0);
        assert_eq!(amount(Some(4)).secs(measured), 40.0 * 5.0 + 500.0);
        // Not more often than there are epochs.
        assert_eq!(amount(Some(80)).secs(measured), amount(None).secs(measured));
        assert_eq!(
            [None, Some(4), Some(80)].map(|views| amount(views).rows()),
            [0, 2_560, 32_000]
        );
    }
}
