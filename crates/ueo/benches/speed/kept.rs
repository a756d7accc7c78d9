//! Steps of an adaptation that trains a part of the model and has what the rest makes of its images from an earlier step.

use std::ops::ControlFlow;
use std::time::Instant;

use ueo::Method;
use ueo::adapt::{
    ActivationCache, AdaptState, Adaptation, Augmentation, CallerError, Observer, Outcome,
    PixelBatch, PixelSource, Settings, StepRecord, TrainedBlocks, TrainedParameters,
};
use ueo::exchange::Alone;
use ueo::guard::Scoring;
use ueo::image::ViewKind;
use ueo::method::{TrainedPart, ZeroShotPass};
use ueo::model::{Clip, Prompts};

/// The same pixels over and over again.
pub struct Pixels {
    pub values: Vec<f32>,
    pub images: usize,
    pub image_size: usize,
}

impl PixelSource for Pixels {
    fn len(&self) -> usize {
        self.images
    }

    fn image_size(&self) -> usize {
        self.image_size
    }

    fn batches<'a>(
        &'a self,
        order: Vec<usize>,
        _batch_size: usize,
        _view: ViewKind,
    ) -> Box<dyn Iterator<Item = PixelBatch> + 'a> {
        Box::new(std::iter::once(PixelBatch {
            indices: order,
            pixels: self.values.clone(),
            failures: Vec::new(),
        }))
    }
}

/// Takes the time of each step.
struct Watch {
    started: (Instant, Option<f64>),
    processor_seconds: fn() -> Option<f64>,
    steps: Vec<(f64, Option<f64>)>,
}

impl Observer for Watch {
    fn on_step(&mut self, _: &StepRecord, _: &AdaptState) -> Result<ControlFlow<()>, CallerError> {
        let (wall, before) = self.started;
        let now = (self.processor_seconds)();
        let processor = before.zip(now).map(|(before, now)| now - before);
        self.steps.push((wall.elapsed().as_secs_f64(), processor));
        self.started = (Instant::now(), now);
        Ok(ControlFlow::Continue(()))
    }
}

/// The first step, which computes what the others have, and then `iterations` of these: wall-clock and processor seconds each.
pub fn steps(
    (clip, prompts, parameters): (&Clip, &Prompts, &TrainedParameters),
    (train, blocks): (TrainedPart, TrainedBlocks),
    pixels: &Pixels,
    iterations: usize,
    processor_seconds: fn() -> Option<f64>,
) -> Vec<(f64, Option<f64>)> {
    let settings = Settings::new(Method::InfoMax)
        .train(Some(train))
        .train_blocks(blocks)
        .augmentation(Augmentation::None)
        .batch_size(pixels.images)
        .epochs(1 + iterations);
    let objective = settings.objective().expect("the method trains");
    let adaptation = Adaptation {
        clip,
        prompts,
        objective: &*objective,
        settings: &settings,
        scoring: Scoring::new(clip.logit_scale()),
        activation_cache: ActivationCache::default(),
        exchange: &Alone,
    };
    let pass = ZeroShotPass {
        cosine_logits: vec![0.0; pixels.images * prompts.len()],
        classes: prompts.len(),
        embed_dim: clip.config().embed_dim,
        logit_scale: clip.logit_scale(),
        ..ZeroShotPass::default()
    };
    let state = adaptation
        .begin(parameters.clone(), &pass)
        .expect("this method needs nothing of the pass");
    let mut watch = Watch {
        started: (Instant::now(), processor_seconds()),
        processor_seconds,
        steps: Vec::new(),
    };
    match adaptation.run(state, pixels, &mut watch) {
        Ok(Outcome::Finished(_)) => watch.steps,
        other => panic!("expected an adaptation to its end, found {other:?}"),
    }
}
