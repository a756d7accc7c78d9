//! Adaptation in memory: of a model to images, or with a zero-shot pass that serves many adaptations.
//!
//! ```text
//! encode_images -> ImageFeatures -> zero_shot -> ZeroShotPass -> adapt_in_memory -> TrainedParameters
//!                                                                        |
//!               encode_images (adapted) -> class_scores <- Classifier::of_method
//! ```

use std::ops::ControlFlow;

use crate::adapt::{
    ActivationCache, AdaptError, AdaptState, Adaptation, CallerError, Observer, Outcome,
    PixelSource, Settings, StepRecord,
};
use crate::guard::{EpochRecord, Scoring};
use crate::method::ZeroShotPass;
use crate::model::Prompts;

use super::encode::{Subset, encode_images_keeping, encode_readable};
use super::images::Images;
use super::model::{Classifier, Model};
use super::{Event, Reporter, SessionError, Stage};

impl Model {
    /// Adapts to unlabeled images, of which some may show none of the classes.
    ///
    /// # Errors
    ///
    /// As [`adapt`].
    pub fn adapt(
        &self,
        images: &Images,
        classes: &[impl AsRef<str>],
        settings: &Settings,
    ) -> Result<Self, SessionError> {
        adapt(self, images, &names(classes), settings, &mut ())
    }
}

/// Adapts a model to unlabeled images, of which some may show none of the classes, with the templates of the settings where
/// they have some, and tells a reporter about every batch,
/// step and epoch. Images that cannot be read are reported and left out.
///
/// # Errors
///
/// [`SessionError`]: among others when no image can be read, and [`SessionError::Interrupted`] when the reporter wants to
/// stop. Oracle weights are refused for want of labels; they are [`adapt_in_memory`]'s.
pub fn adapt(
    model: &Model,
    images: &Images,
    classes: &[String],
    settings: &Settings,
    reporter: &mut dyn Reporter,
) -> Result<Model, SessionError> {
    settings.validate()?;
    let model = &model.with_templates(&settings.templates)?;
    settings.train_blocks.check(&model.clip)?;
    let prompts = model.prompts(classes)?;
    let affine = &model.parameters.affine;
    let (encoded, _) = encode_readable(model, affine, images, false, Stage::ZeroShot, reporter)?;
    let classifier = Classifier::new(&model.clip, &prompts, &model.parameters);
    let pass = encoded.zero_shot(&model.clip, &classifier);
    let readable = Subset::new(images, &encoded.indices);
    let mut observer = Told { reporter, total: 0 };
    match adapt_in_memory(model, &prompts, &readable, &pass, settings, &mut observer)? {
        Outcome::Finished(state) => {
            let mut parameters = state.parameters;
            if settings.method.centres() {
                let affine = &parameters.affine;
                let reporter = observer.reporter;
                let clip = &model.clip;
                let encoded = match settings.method.trains() {
                    true => {
                        let (images, stage) = (&readable, Stage::Adapted);
                        encode_images_keeping(&mut (), model, affine, images, stage, reporter)?
                    }
                    false => encoded,
                };
                let classifier =
                    Classifier::of_method(model, settings.method, classes, &parameters)?;
                parameters.centring = Some(encoded.centring(clip, &classifier));
            }
            Ok(model.with_parameters(parameters, settings.method))
        }
        Outcome::Interrupted(state) => Err(SessionError::Stopped { step: state.step }),
    }
}

/// Class names as the session keeps them.
pub(super) fn names(classes: &[impl AsRef<str>]) -> Vec<String> {
    classes
        .iter()
        .map(|name| name.as_ref().to_owned())
        .collect()
}

/// An observer that passes everything on to a reporter.
struct Told<'a> {
    reporter: &'a mut dyn Reporter,
    total: usize,
}

impl Observer for Told<'_> {
    fn on_begin(&mut self, total_steps: usize) {
        self.total = total_steps;
    }

    fn on_step(
        &mut self,
        record: &StepRecord,
        _state: &AdaptState,
    ) -> Result<ControlFlow<()>, CallerError> {
        let total = self.total;
        self.reporter.report(Event::Step { record, total });
        Ok(match self.reporter.interrupted() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    }

    fn on_epoch(&mut self, record: &EpochRecord, _state: &AdaptState) -> Result<(), CallerError> {
        self.reporter.report(Event::Epoch(record));
        Ok(())
    }

    fn interrupted(&self) -> bool {
        self.reporter.interrupted()
    }
}

/// Adapts a model's parameters to some images; a method without training returns them as they are.
///
/// `images` and `pass` belong together: row `i` of the pass is image `i`. [`Subset`](super::Subset) and
/// [`ZeroShotPass::subset`] restrict both to the images that are adapted to.
///
/// # Errors
///
/// As [`Adaptation::run`].
///
/// # Panics
///
/// When the pass is not over as many images.
pub fn adapt_in_memory(
    model: &Model,
    prompts: &Prompts,
    images: &dyn PixelSource,
    pass: &ZeroShotPass,
    settings: &Settings,
    observer: &mut dyn Observer,
) -> Result<Outcome, AdaptError> {
    assert_eq!(pass.images(), images.len(), "one row of the pass per image");
    settings.validate()?;
    let parameters = model.parameters.clone();
    let Some(objective) = settings.objective() else {
        return Ok(Outcome::Finished(AdaptState::untrained(parameters)));
    };
    let adaptation = Adaptation {
        clip: &model.clip,
        prompts,
        objective: &*objective,
        settings,
        scoring: Scoring::new(model.clip.logit_scale()),
        activation_cache: ActivationCache::default(),
        exchange: model.exchange(),
    };
    let state = adaptation.begin(parameters, pass)?;
    adaptation.run(state, images, observer)
}
