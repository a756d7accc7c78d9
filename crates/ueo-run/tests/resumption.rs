//! Runs that are interrupted after every few steps end with the bytes of those that are not, for every method.

#[path = "../../ueo/tests/fixtures/mod.rs"]
mod fixtures;

use std::ops::ControlFlow;

use tempfile::TempDir;
use ueo::Device;
use ueo::adapt::{
    ActivationCache, AdaptState, Adaptation, Augmentation, CallerError, Observer, Outcome,
    PixelBatch, PixelSource, Settings, StepRecord, TrainedBlocks, TrainedParameters,
};
use ueo::exchange::Alone;
use ueo::guard::{Criterion, Keep, Scoring};
use ueo::image::ViewKind;
use ueo::method::{Method, UniversalEntropySettings};
use ueo::model::{Clip, Prompts};
use ueo::session::{Classifier, ImageFeatures, Stage, encode_images};
use ueo_run::RunDirectory;

/// Images in memory that look the same in every view but for a shift that depends on the epoch.
struct Pictures {
    pixels: Vec<f32>,
    images: usize,
    size: usize,
}

impl PixelSource for Pictures {
    fn len(&self) -> usize {
        self.images
    }

    fn image_size(&self) -> usize {
        self.size
    }

    fn batches<'a>(
        &'a self,
        order: Vec<usize>,
        batch_size: usize,
        view: ViewKind,
    ) -> Box<dyn Iterator<Item = PixelBatch> + 'a> {
        let shift = match view {
            ViewKind::Training { epoch, .. } => 0.1 * (epoch + 1) as f32,
            ViewKind::Test => 0.0,
        };
        let length = self.pixels.len() / self.images;
        let batches: Vec<PixelBatch> = order
            .chunks(batch_size)
            .map(|indices| PixelBatch {
                indices: indices.to_vec(),
                pixels: indices
                    .iter()
                    .flat_map(|&image| &self.pixels[image * length..(image + 1) * length])
                    .map(|pixel| pixel + shift)
                    .collect(),
                failures: Vec::new(),
            })
            .collect();
        Box::new(batches.into_iter())
    }
}

/// Stops after a number of steps.
struct StopAfter(usize);

impl Observer for StopAfter {
    fn on_step(
        &mut self,
        _record: &StepRecord,
        _state: &AdaptState,
    ) -> Result<ControlFlow<()>, CallerError> {
        self.0 -= 1;
        Ok(if self.0 == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }
}

#[test]
fn every_method_resumes_to_the_same_bytes() {
    const EPOCHS: usize = 3;
    let arrays = fixtures::Fixture::open("training/vit.safetensors");
    let facts = fixtures::json("training/vit.json");
    let path = fixtures::path("checkpoints").join(facts["checkpoint"].as_str().unwrap());
    let checkpoint = ueo::checkpoint::load(&path).unwrap();
    let clip = Clip::from_checkpoint(checkpoint, Device::cpu().burn()).unwrap();
    let tensor = arrays.tensor("images");
    let pictures = Pictures {
        pixels: tensor
            .data
            .iter()
            .map(|byte| (byte - 128.0) / 64.0)
            .collect(),
        images: tensor.shape[0],
        size: tensor.shape[2],
    };
    let start_token = arrays.integers("prompt_token_ids")[0][0];
    let context_tokens = arrays.integers("context_token_ids").concat();
    let own_tokens = [[30, 127], [31, 127], [88, 127]].map(|own| own.to_vec());
    let prompts = Prompts::new(start_token, context_tokens.len(), own_tokens.to_vec());
    let parameters = TrainedParameters {
        context: clip.text().context_from_tokens(&context_tokens).unwrap(),
        affine: clip.zero_shot_affine().clone(),
        centring: None,
    };
    let classifier = Classifier::new(&clip, &prompts, &parameters);
    let features: ImageFeatures = encode_images(
        &clip,
        &parameters.affine,
        &pictures,
        Stage::ZeroShot,
        &mut (),
    )
    .unwrap();
    let mut pass = features.zero_shot(&clip, &classifier);
    pass.known = Some((0..pictures.images).map(|image| image % 3 > 0).collect());

    let place = TempDir::with_prefix("ueo-test-").unwrap();
    let directory = RunDirectory::create(&place.path().join("run"), false).unwrap();
    let refreshing = UniversalEntropySettings::default().refresh_weights(true);
    let refreshing = Settings::default().universal_entropy(refreshing);
    let keeping = Settings::default().keep(Keep::BestBy(Criterion::SoftNeighborhoodDensity));
    let last_block = Settings::default()
        .train_blocks(TrainedBlocks::last(1).unwrap())
        .views(Some(2));
    let last_block_of_one_view = last_block
        .clone()
        .views(None)
        .augmentation(Augmentation::None);
    let variants = Method::ALL
        .iter()
        .filter(|method| method.trains())
        .map(|&method| Settings::new(method))
        .chain([refreshing, keeping, last_block, last_block_of_one_view]);
    for settings in variants {
        let settings = settings
            .epochs(EPOCHS)
            .batch_size(12)
            .context_learning_rate(0.05)
            .affine_learning_rate(0.02);
        let method = settings.method;
        // One takes no rates.
        let settings = settings.with_method(method);
        let objective = settings.objective().unwrap();
        let adaptation = Adaptation {
            clip: &clip,
            prompts: &prompts,
            objective: &*objective,
            settings: &settings,
            scoring: Scoring::new(clip.logit_scale()),
            activation_cache: ActivationCache::default(),
            exchange: &Alone,
        };
        let run = |interval: usize| -> (AdaptState, Vec<u8>) {
            let mut state = adaptation.begin(parameters.clone(), &pass).unwrap();
            loop {
                let outcome = adaptation.run(state, &pictures, &mut StopAfter(interval));
                let (finished, reached) = match outcome.unwrap() {
                    Outcome::Finished(state) => (true, state),
                    Outcome::Interrupted(state) => (false, state),
                };
                directory.write_state(&reached).unwrap();
                if finished {
                    let file = directory.path().join("state.safetensors");
                    return (reached, std::fs::read(file).unwrap());
                }
                state = directory.read_state(&clip).unwrap().unwrap();
            }
        };
        let (state, whole) = run(usize::MAX);
        let total = adaptation.total_steps(&state.memory, pictures.images);
        assert_eq!(state.step, total, "{method}");
        assert!(total >= 2 * EPOCHS, "{method}: {total} steps");
        for interval in [1, 2, 3] {
            let (_, pieces) = run(interval);
            assert!(pieces == whole, "{method}, {interval} steps at a time");
        }
    }
}
