//! The adaptation loop. It prints nothing and writes nothing: it asks a [`PixelSource`] for images and tells an
//! [`Observer`] what happened.

mod activation_cache;
mod cost;
mod epochs;
mod error;
mod frozen;
mod pixel_source;
mod settings;
mod step;
mod step_size;
mod trained_blocks;
mod watch;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::device::guarded;
use crate::exchange::Exchange;
use crate::guard::{EpochRecord, Keep, Probabilities, Scoring, Tally, WatchedView, signs_of};
use crate::method::{Extent, Memory, Objective, TrainedPart, ZeroShotPass};
use crate::model::{Clip, Prompts};

use frozen::Frozen;
use step::{BatchInputs, GradientReading, batch_gradient_of};

pub use crate::method::InvalidSetting;
pub use activation_cache::ActivationCache;
pub use cost::{Cost, Saving};
pub use epochs::{Epochs, ParseEpochsError};
pub use error::{AdaptError, CallerError, FINITE};
pub use pixel_source::{PixelBatch, PixelSource, UnreadableImage};
pub use settings::{Augmentation, Settings, cosine_annealing};
pub use step::{BatchGradient, GradientChoices, TrainedParameters, batch_gradient};
pub use step_size::{GroupNorms, Rates, StepSize};
pub use trained_blocks::{ParseTrainedBlocksError, TrainedBlocks};
pub use watch::{BestEpoch, WatchState};

/// Every finite number will do.
const ANY_FINITE: (f64, &str) = (f64::INFINITY, FINITE);
/// No sound step is longer: parameters of published checkpoints have norms of some hundreds at most.
const SOUND: (f64, &str) = (1e6, "a finite number of at most 1e6");

/// Told about every step; decides whether to go on.
pub trait Observer {
    /// Called once, before the first step of this run, with the steps of the whole adaptation.
    fn on_begin(&mut self, _total_steps: usize) {}

    /// Called after the update of each step.
    ///
    /// # Errors
    ///
    /// Any error ends the adaptation with [`AdaptError::Observer`].
    fn on_step(
        &mut self,
        record: &StepRecord,
        state: &AdaptState,
    ) -> Result<ControlFlow<()>, CallerError>;

    /// Called at the end of each epoch, after its last step; `state` counts the epoch as watched.
    ///
    /// # Errors
    ///
    /// Any error ends the adaptation with [`AdaptError::Observer`].
    fn on_epoch(&mut self, _record: &EpochRecord, _state: &AdaptState) -> Result<(), CallerError> {
        Ok(())
    }

    /// Asked after every batch of a pass between epochs: whether to stop. The pass is made again when the adaptation goes
    /// on.
    fn interrupted(&self) -> bool {
        false
    }
}

/// The record of one step, a line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Step, from 1.
    pub step: usize,
    /// Epoch, from 1.
    pub epoch: usize,
    /// What the gradient of the context vectors was multiplied with; that of the affine parameters follows the same schedule.
    pub learning_rate: f64,
    /// Loss of the batch before the update, in nats.
    pub loss: f64,
    /// Weighted mean of the samples' entropies, in nats.
    pub conditional_entropy: f64,
    /// Entropy of the inversely weighted mean prediction, in nats.
    pub marginal_entropy: f64,
    /// Further terms of the method's loss by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub terms: BTreeMap<String, f64>,
    /// L2 norm of the gradient of all context vectors together.
    pub context_grad_norm: f64,
    /// L2 norm of the gradient of all trained affine parameters together.
    pub affine_grad_norm: f64,
    /// Images of the batch per second of wall-clock time, loading included.
    pub images_per_sec: f64,
}

/// Everything that a later step depends on besides the images.
#[derive(Clone, Debug)]
pub struct AdaptState {
    /// Steps done.
    pub step: usize,
    /// The parameters after these steps.
    pub parameters: TrainedParameters,
    /// What the method remembers after these steps.
    pub memory: Memory,
    /// What watching over the adaptation needs.
    pub watch: WatchState,
}

impl AdaptState {
    /// The state of a method that has nothing to train: no steps, nothing remembered.
    pub fn untrained(parameters: TrainedParameters) -> Self {
        Self {
            step: 0,
            parameters,
            memory: Memory::default(),
            watch: WatchState::idle(),
        }
    }

    /// The epoch whose parameters are the result: the last one, or the best one if the settings choose by a criterion.
    pub fn kept_epoch(&self) -> usize {
        let best = self.watch.best.as_ref();
        best.map_or(self.watch.epochs, |best| best.epoch)
    }

    /// The state with the parameters to keep.
    fn with_kept_parameters(mut self) -> Self {
        if let Some(best) = &self.watch.best {
            self.parameters = best.parameters.clone();
        }
        self
    }
}

/// How an adaptation ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// All steps are done; the parameters are those to keep, see [`AdaptState::kept_epoch`].
    Finished(AdaptState),
    /// The observer asked to stop.
    Interrupted(AdaptState),
}

/// An adaptation of one model to one set of images.
#[derive(Debug)]
pub struct Adaptation<'a> {
    /// The model whose frozen weights are used.
    pub clip: &'a Clip,
    /// The prompts of the known classes.
    pub prompts: &'a Prompts,
    /// What is minimized.
    pub objective: &'a dyn Objective,
    /// All choices.
    pub settings: &'a Settings,
    /// How predictions are scored while they are watched.
    pub scoring: Scoring,
    /// Where it is kept what layers that are not trained make of views that come again. It changes no result.
    pub activation_cache: ActivationCache,
    /// The way to the processes that adapt together; [`Alone`](crate::exchange::Alone) for a single one.
    pub exchange: &'a dyn Exchange,
}

impl Adaptation<'_> {
    /// The state before the first step.
    ///
    /// # Errors
    ///
    /// [`AdaptError::Method`] when the pass lacks what the method needs.
    pub fn begin(
        &self,
        parameters: TrainedParameters,
        pass: &ZeroShotPass,
    ) -> Result<AdaptState, AdaptError> {
        self.settings.train_blocks.check(self.clip)?;
        let mut watch = WatchState {
            epochs: 0,
            zero_shot_classes: zero_shot_classes(pass),
            tally: Tally::new(pass.classes),
            best: None,
        };
        if let Some(value) = self.criterion(&pass.cosine_logits) {
            watch.offer(0, value, &parameters);
        }
        Ok(AdaptState {
            step: 0,
            parameters,
            memory: self.objective.begin(pass)?,
            watch,
        })
    }

    /// Checks that a state, which may come from a file, belongs to this adaptation of a number of images.
    ///
    /// # Errors
    ///
    /// [`AdaptError::ForeignState`] and [`AdaptError::Method`].
    pub fn check(&self, state: &AdaptState, images: usize) -> Result<(), AdaptError> {
        let classes = self.prompts.len();
        let expect = |what, expected, found| match expected == found {
            true => Ok(()),
            false => Err(AdaptError::ForeignState {
                what,
                expected,
                found,
            }),
        };
        let best = state.watch.best.as_ref();
        let best = best.map(|best| &best.parameters);
        for parameters in std::iter::once(&state.parameters).chain(best) {
            let [context, _] = parameters.context.dims();
            expect("context vectors", self.prompts.context_len(), context)?;
        }
        expect("classes", classes, state.watch.tally.classes())?;
        expect("images", images, state.watch.zero_shot_classes.len())?;
        let extent = Extent {
            images,
            classes,
            embed_dim: self.clip.config().embed_dim,
        };
        Ok(self.objective.check(&state.memory, extent)?)
    }

    /// Steps from the first to the last, for a number of images and what the method remembers of them.
    pub fn total_steps(&self, memory: &Memory, images: usize) -> usize {
        self.settings
            .total_steps(self.training_images(memory, images))
    }

    /// Passes over the images, for a number of them and what the method remembers of them.
    pub fn epochs(&self, memory: &Memory, images: usize) -> usize {
        self.settings
            .epoch_count(self.training_images(memory, images))
    }

    /// Images that are held in memory for the backward pass at once: what the settings say, else what the device has memory for;
    /// `None` for the whole batch.
    fn micro_batch(&self) -> Option<usize> {
        self.settings.micro_batch.or(self.clip.images_at_once())
    }

    /// Computes what the step needs, which a device can fail to do.
    fn on_device<T>(
        &self,
        step: usize,
        work: impl FnOnce() -> Result<T, AdaptError>,
    ) -> Result<T, AdaptError> {
        guarded(self.clip.device(), work).map_err(|source| AdaptError::Device { step, source })?
    }

    /// How many of the images are trained on.
    fn training_images(&self, memory: &Memory, images: usize) -> usize {
        let training_images = self.objective.training_images(memory);
        training_images.map_or(images, |images| images.len())
    }

    /// How many numbers are trained.
    pub fn trained_len(&self, parameters: &TrainedParameters) -> usize {
        let first_norm = self.settings.train_blocks.first_norm(self.clip);
        parameters.trained_len(self.settings.trained_part(), first_norm)
    }

    /// Runs from `state` ([`Self::begin`] for a new adaptation) to the end.
    ///
    /// The result depends on `state`, images and settings only, not on how often the run was interrupted.
    ///
    /// # Errors
    ///
    /// [`AdaptError`]; the state of the last good step has then been seen by the observer.
    pub fn run(
        &self,
        state: AdaptState,
        images: &dyn PixelSource,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, AdaptError> {
        self.run_knowing(&[], state, images, observer)
    }

    /// As [`Self::run`], where the features of all images' test views are known, `[images, embed_dim]`, not normalized. They are not
    /// computed again where they are what steps need, which the first batch shows. They change no result.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub fn run_knowing(
        &self,
        features: &[f32],
        mut state: AdaptState,
        images: &dyn PixelSource,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, AdaptError> {
        self.settings.validate()?;
        self.settings.train_blocks.check(self.clip)?;
        if images.is_empty() {
            return Err(AdaptError::NoImages);
        }
        self.check(&state, images.len())?;
        let training_images = self
            .objective
            .training_images(&state.memory)
            .unwrap_or_else(|| (0..images.len()).collect());
        if training_images.is_empty() {
            return Err(AdaptError::NoImages);
        }
        let per_epoch = self.settings.steps_per_epoch(training_images.len());
        let epochs = self.settings.epoch_count(training_images.len());
        let total = epochs * per_epoch;
        observer.on_begin(total);
        let mut started = Instant::now();
        let mut frozen = self.frozen(images.len(), training_images.len());
        self.on_device(state.step + 1, || {
            self.adopt(features, &mut frozen, &state, images)
        })?;
        let batches_of = |frozen: &Frozen, epoch: usize, steps_done: usize| {
            let done = steps_done * self.settings.batch_size;
            let order = self
                .order(epoch, &training_images)
                .split_off(done.min(training_images.len()));
            self.batches(images, frozen, &order, self.settings.view(epoch))
        };
        // A run that was interrupted between the last step of an epoch and its record.
        if state.watch.tally.images() == training_images.len() {
            state = match self.end_epoch(&mut frozen, state, images, observer)? {
                ControlFlow::Continue(state) => state,
                ControlFlow::Break(state) => return Ok(Outcome::Interrupted(state)),
            };
        }
        let mut upcoming = None;
        for epoch in state.step / per_epoch..epochs {
            if epoch > 0 && state.step == epoch * per_epoch && self.objective.refreshes() {
                let pass = self.on_device(state.step + 1, || {
                    self.pass(&mut frozen, &state, images, observer)
                });
                let Some(pass) = pass? else {
                    return Ok(Outcome::Interrupted(state));
                };
                state.memory = self.objective.refresh(&state.memory, &pass)?;
            }
            let batches = upcoming
                .take()
                .unwrap_or_else(|| batches_of(&frozen, epoch, state.step - epoch * per_epoch));
            for batch in batches {
                let step = state.step + 1;
                let last_of_epoch = step == (epoch + 1) * per_epoch;
                // What is known needs no preparing.
                if last_of_epoch && epoch + 1 < epochs && !frozen.serves_steps() {
                    // The first images of the next epoch are prepared while the last batch of this one is computed.
                    upcoming = Some(batches_of(&frozen, epoch + 1, 0));
                }
                let view = self.settings.view(epoch);
                let size = images.image_size();
                let (next, mut record) = self.on_device(step, || {
                    let inputs = self.inputs(&mut frozen, &state, &batch.share, view, size)?;
                    self.step(&state, &batch.indices, inputs, per_epoch)
                })?;
                state = next;
                record.epoch = epoch + 1;
                record.images_per_sec =
                    batch.indices.len() as f64 / started.elapsed().as_secs_f64();
                started = Instant::now();
                let flow = observer
                    .on_step(&record, &state)
                    .map_err(|source| AdaptError::Observer { step, source })?;
                if self.exchange.any(flow.is_break()) && step < total {
                    return Ok(Outcome::Interrupted(state));
                }
            }
            state = match self.end_epoch(&mut frozen, state, images, observer)? {
                ControlFlow::Continue(state) => state,
                ControlFlow::Break(state) => return Ok(Outcome::Interrupted(state)),
            };
        }
        Ok(Outcome::Finished(state.with_kept_parameters()))
    }

    /// Makes the record of an epoch whose steps are done, and compares the epoch with the best one before; breaks with the
    /// state as it was when the observer wants to stop.
    fn end_epoch(
        &self,
        frozen: &mut Frozen,
        mut state: AdaptState,
        images: &dyn PixelSource,
        observer: &mut dyn Observer,
    ) -> Result<ControlFlow<AdaptState, AdaptState>, AdaptError> {
        let (epoch, step) = (state.watch.epochs + 1, state.step);
        let record = match self.settings.keep {
            Keep::Last => EpochRecord {
                epoch,
                step,
                view: WatchedView::Training,
                signs: state.watch.tally.signs(&self.scoring)?,
                criterion: None,
            },
            Keep::BestBy(_) => {
                let pass = self.on_device(step, || self.pass(frozen, &state, images, observer));
                let Some(pass) = pass? else {
                    return Ok(ControlFlow::Break(state));
                };
                let cosines = pass.cosine_logits;
                let (classes, zero_shot) = (self.prompts.len(), &state.watch.zero_shot_classes);
                EpochRecord {
                    epoch,
                    step,
                    view: WatchedView::Test,
                    signs: signs_of(&cosines, classes, zero_shot, &self.scoring)?,
                    criterion: self.criterion(&cosines),
                }
            }
        };
        state.watch.epochs = epoch;
        state.watch.tally = Tally::new(self.prompts.len());
        if let Some(value) = record.criterion {
            state.watch.offer(epoch, value, &state.parameters);
        }
        observer
            .on_epoch(&record, &state)
            .map_err(|source| AdaptError::Observer { step, source })?;
        Ok(ControlFlow::Continue(state))
    }

    /// The value of the criterion that the settings choose by, if they do.
    fn criterion(&self, cosine_logits: &[f32]) -> Option<f64> {
        let Keep::BestBy(criterion) = self.settings.keep else {
            return None;
        };
        let (classes, scale) = (self.prompts.len(), self.scoring.logit_scale);
        Some(criterion.value(&Probabilities::of_cosines(cosine_logits, classes, scale)))
    }

    /// The order in which an epoch (from 0) visits the images.
    fn order(&self, epoch: usize, images: &[usize]) -> Vec<usize> {
        let mut order = images.to_vec();
        if self.settings.shuffle {
            let mut rng = ChaCha8Rng::seed_from_u64(self.settings.seed);
            rng.set_stream(epoch as u64);
            order.shuffle(&mut rng);
        }
        order
    }

    /// The gradient of a batch, and what to remember after its step (`None` if nothing changes).
    fn gradient(
        &self,
        state: &AdaptState,
        indices: &[usize],
        inputs: BatchInputs,
        train: TrainedPart,
        blocks: TrainedBlocks,
    ) -> (BatchGradient, Option<Memory>) {
        let choices = GradientChoices {
            indices,
            train,
            blocks,
            micro_batch: self.micro_batch(),
        };
        let (clip, prompts) = (self.clip, self.prompts);
        let mut memory = None;
        let gradient = batch_gradient_of(
            clip,
            prompts,
            &state.parameters,
            inputs,
            choices,
            self.exchange,
            |features| {
                let (terms, next) = self.objective.loss(&state.memory, features);
                memory = next;
                terms
            },
        );
        (gradient, memory)
    }

    fn step(
        &self,
        state: &AdaptState,
        indices: &[usize],
        inputs: BatchInputs,
        per_epoch: usize,
    ) -> Result<(AdaptState, StepRecord), AdaptError> {
        let settings = self.settings;
        let (train, blocks) = (settings.trained_part(), settings.train_blocks);
        let (gradient, memory) = self.gradient(state, indices, inputs, train, blocks);
        let first_norm = blocks.first_norm(self.clip);
        let relative_to = settings.has_relative_steps().then_some(&state.parameters);
        let GradientReading {
            context,
            affine,
            cosines,
        } = gradient.read(relative_to, first_norm);
        let rates = settings.rates(state.step, per_epoch, context, affine);
        let record = StepRecord {
            step: state.step + 1,
            epoch: 0,
            learning_rate: rates.context,
            loss: gradient.loss,
            conditional_entropy: gradient.conditional_entropy,
            marginal_entropy: gradient.marginal_entropy,
            terms: gradient.others.clone(),
            context_grad_norm: context.gradient,
            affine_grad_norm: affine.gradient,
            images_per_sec: 0.0,
        };
        // A state that no step can follow on is not kept. What was sound before the step is lost by its length alone.
        let length = |norms: GroupNorms, rate: f64| rate * norms.gradient;
        for (quantity, value, (limit, expected)) in [
            ("loss", record.loss, ANY_FINITE),
            ("gradient norm of the context", context.gradient, ANY_FINITE),
            (
                "gradient norm of the affine parameters",
                affine.gradient,
                ANY_FINITE,
            ),
            (
                "length of the context's step",
                length(context, rates.context),
                SOUND,
            ),
            (
                "length of the affine parameters' step",
                length(affine, rates.affine),
                SOUND,
            ),
        ] {
            if !value.is_finite() || value.abs() > limit {
                return Err(AdaptError::NotFinite {
                    step: record.step,
                    total: settings.epochs.count(per_epoch) * per_epoch,
                    quantity,
                    value,
                    expected,
                });
            }
        }
        let parameters = state
            .parameters
            .descend(&gradient, rates.context, rates.affine);
        let mut watch = state.watch.clone();
        let zero_shot = watch.zero_shot_of(indices);
        watch.tally.add(&cosines, &zero_shot, &self.scoring)?;
        let next = AdaptState {
            step: record.step,
            parameters,
            memory: memory.unwrap_or_else(|| state.memory.clone()),
            watch,
        };
        Ok((next, record))
    }
}

/// The class of the largest cosine of each image; of equal ones the lowest index wins.
fn zero_shot_classes(pass: &ZeroShotPass) -> Arc<[usize]> {
    let rows = pass.cosine_logits.chunks_exact(pass.classes.max(1));
    let largest =
        |row: &[f32]| (1..row.len()).fold(0, |best, k| if row[k] > row[best] { k } else { best });
    rows.map(largest).collect()
}

#[cfg(test)]
mod tower_tests;
