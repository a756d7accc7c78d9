//! A training loop of one's own: images in memory, a look at every step, and an end before the last epoch.
//!
//!     cargo run --release -p ueo --example own_loop

use std::ops::ControlFlow;
use std::path::Path;

use ueo::adapt::{
    ActivationCache, AdaptState, Adaptation, CallerError, Observer, Outcome, StepRecord,
};
use ueo::exchange::Alone;
use ueo::guard::{EpochRecord, Scoring};
use ueo::session::{Classifier, Stage, Subset, encode_images};
use ueo::{Error, Method, Model, Settings};

/// Stops when an epoch's mean loss is no longer lower than that of the epoch before.
#[derive(Default)]
struct Patience {
    losses: Vec<f64>,
    before: Option<f64>,
    enough: bool,
}

impl Observer for Patience {
    fn on_step(
        &mut self,
        record: &StepRecord,
        _state: &AdaptState,
    ) -> Result<ControlFlow<()>, CallerError> {
        self.losses.push(record.loss);
        Ok(match self.enough {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    }

    fn on_epoch(&mut self, record: &EpochRecord, _state: &AdaptState) -> Result<(), CallerError> {
        let mean = self.losses.iter().sum::<f64>() / self.losses.len() as f64;
        println!(
            "epoch {}: loss {mean:.4}, {:.1} effective classes",
            record.epoch, record.signs.effective_classes
        );
        self.enough = self.before.is_some_and(|before| mean >= before);
        self.before = Some(mean);
        self.losses.clear();
        Ok(())
    }
}

fn main() -> Result<(), Error> {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let model = Model::open(models.join("iconclip-resnet"))?;
    let images = model.images(models.join("demo/images.tar"))?;
    let classes = ueo::data::ClassList::read(&models.join("demo/classes.txt"))?;
    let settings = Settings::new(Method::InfoMax)
        .epochs(8)
        .context_learning_rate(5e-2)
        .affine_learning_rate(5e-2);

    // The zero-shot pass: what every method may know about the images before its first step.
    let prompts = model.prompts(classes.names())?;
    let affine = &model.parameters.affine;
    let encoded = encode_images(&model.clip, affine, &images, Stage::ZeroShot, &mut ())?;
    let classifier = Classifier::new(&model.clip, &prompts, &model.parameters);
    let pass = encoded.zero_shot(&model.clip, &classifier);

    let objective = settings.objective().expect("the method trains");
    let adaptation = Adaptation {
        clip: &model.clip,
        prompts: &prompts,
        objective: &*objective,
        settings: &settings,
        scoring: Scoring::new(model.clip.logit_scale()),
        activation_cache: ActivationCache::default(),
        exchange: &Alone,
    };
    let state = adaptation.begin(model.parameters.clone(), &pass)?;
    let readable = Subset::new(&images, &encoded.indices);
    let state = match adaptation.run(state, &readable, &mut Patience::default())? {
        Outcome::Finished(state) | Outcome::Interrupted(state) => state,
    };

    let adapted = model.with_parameters(state.parameters, settings.method);
    let predictions = adapted.predict(&images, classes.names())?;
    let known = predictions
        .images
        .iter()
        .filter(|image| image.known)
        .count();
    println!(
        "{} steps, {known} of {} images known",
        state.step,
        predictions.images.len()
    );
    Ok(())
}
