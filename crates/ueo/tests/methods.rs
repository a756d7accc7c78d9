//! Every method against f64 values from PyTorch, NumPy and SciPy: loss, terms and gradients with respect to both kinds of
//! features, batch after batch; and whole runs that are interrupted after every few steps.
//!
//! `tools/fixtures/methods.py` made the cases.

mod fixtures;

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::Value;
use tempfile::TempDir;
use ueo::adapt::{
    AdaptSettings, AdaptState, Adaptation, CallerError, Observer, Outcome, PixelBatch, PixelSource,
    StepRecord, TrainedParameters,
};
use ueo::guard::{Criterion, Keep, Scoring};
use ueo::image::ViewKind;
use ueo::method::{BatchFeatures, Method, ZeroShotPass};
use ueo::model::{Clip, Prompts};
use ueo::run::{Classifier, Event, ImageFeatures, Reporter, RunDirectory, Stage, encode_images};

use fixtures::assert_close;

/// Relative tolerance of everything that is compared.
const TOLERANCE: f64 = 1e-4;
/// What is smaller than this is compared as if it were of this size: some losses and gradients cancel to zero.
const SMALLEST: f64 = 1e-2;

fn numbers(value: &Value) -> Vec<f32> {
    let array = value.as_array().unwrap();
    array
        .iter()
        .map(|item| item.as_f64().unwrap() as f32)
        .collect()
}

/// Rows of unit norm, computed in f64.
fn unit_rows(value: &Value, width: usize) -> Vec<f32> {
    let wide: Vec<f64> = numbers(value).into_iter().map(f64::from).collect();
    let rows = wide.chunks_exact(width).flat_map(|row| {
        let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        row.iter().map(move |x| (x / norm) as f32)
    });
    rows.collect()
}

struct Cases {
    facts: Value,
    classes: usize,
    embed_dim: usize,
}

impl Cases {
    fn open() -> Self {
        let facts = fixtures::json("methods/methods.json");
        let count = |name: &str| facts[name].as_u64().unwrap() as usize;
        Self {
            classes: count("classes"),
            embed_dim: count("embed_dim"),
            facts,
        }
    }

    fn pass(&self, name: &str) -> ZeroShotPass {
        let image_features = unit_rows(&self.facts[name]["image_features"], self.embed_dim);
        let text_features = unit_rows(&self.facts[name]["text_features"], self.embed_dim);
        let cosine_logits = image_features
            .chunks_exact(self.embed_dim)
            .flat_map(|image| {
                text_features.chunks_exact(self.embed_dim).map(|text| {
                    let products = image.iter().zip(text);
                    products
                        .map(|(a, b)| f64::from(*a) * f64::from(*b))
                        .sum::<f64>() as f32
                })
            })
            .collect();
        ZeroShotPass {
            image_features,
            text_features,
            cosine_logits,
            classes: self.classes,
            embed_dim: self.embed_dim,
            logit_scale: self.facts["logit_scale"].as_f64().unwrap(),
            known: None,
        }
    }

    fn leaf(&self, value: &Value) -> Tensor<2> {
        let data = numbers(value);
        let shape = [data.len() / self.embed_dim, self.embed_dim];
        Tensor::<2>::from_data(TensorData::new(data, shape), &Device::flex())
            .autodiff()
            .require_grad()
    }
}

/// The settings of a case: the defaults, with those that the fixture names.
fn settings(case: &Value) -> AdaptSettings {
    let mut settings = serde_json::to_value(AdaptSettings::default()).unwrap();
    settings["method"] = case["method"].clone();
    for (name, value) in case["settings"].as_object().unwrap() {
        settings[name] = value.clone();
    }
    serde_json::from_value(settings).unwrap()
}

#[test]
fn losses_terms_and_gradients_equal_pytorch() {
    let cases = Cases::open();
    let refreshed_before = cases.facts["refreshed_before"].as_u64().unwrap() as usize;
    let (start, later) = (cases.pass("zero_shot"), cases.pass("later"));
    for case in cases.facts["cases"].as_array().unwrap() {
        let settings = settings(case);
        let objective = settings.objective().unwrap();
        let mut memory = objective.begin(&start).unwrap();
        objective
            .check(&memory, start.images(), cases.classes)
            .unwrap();
        for (number, expected) in case["batches"].as_array().unwrap().iter().enumerate() {
            if number == refreshed_before && objective.refreshes() {
                memory = objective.refresh(&memory, &later).unwrap();
            }
            let indices = fixtures::integers(&expected["indices"]);
            let batch = BatchFeatures {
                image_features: cases.leaf(&expected["image_features"]),
                text_features: cases.leaf(&expected["text_features"]),
                logit_scale: start.logit_scale,
                indices: &indices,
            };
            let (terms, next) = objective.loss(&memory, &batch);
            memory = next.unwrap_or(memory);

            let what = |quantity: &str| {
                format!(
                    "{} {}, batch {number}: {quantity}",
                    case["method"], case["settings"]
                )
            };
            let gradients = terms.loss.backward();
            for (name, features) in [
                ("image_gradient", &batch.image_features),
                ("text_gradient", &batch.text_features),
            ] {
                let found = features.grad(&gradients).unwrap();
                let found = found.try_into_vec_as::<f32>().unwrap();
                assert_near(&what(name), &found, &numbers(&expected[name]));
            }
            let mut found = vec![
                ("loss", terms.loss),
                ("conditional_entropy", terms.conditional_entropy),
                ("marginal_entropy", terms.marginal_entropy),
            ];
            found.extend(terms.others);
            assert_eq!(
                found.len() - 1,
                expected["terms"].as_object().unwrap().len()
            );
            for (name, value) in found {
                let expected = match name {
                    "loss" => &expected["loss"],
                    term => &expected["terms"][term],
                };
                let value: f32 = value.try_into_scalar().unwrap();
                let expected = expected.as_f64().unwrap() as f32;
                assert_near(&what(name), &[value], &[expected]);
            }
        }
    }
}

fn assert_near(what: &str, found: &[f32], expected: &[f32]) {
    let largest = expected
        .iter()
        .fold(0.0_f64, |max, x| max.max(f64::from(x.abs())));
    // `assert_close` is relative to the largest expected magnitude.
    let tolerance = TOLERANCE * (largest.max(SMALLEST) / largest.max(f64::MIN_POSITIVE));
    if largest == 0.0 {
        let absolute = (TOLERANCE * SMALLEST) as f32;
        assert!(
            found.iter().all(|x| x.abs() <= absolute),
            "{what}: {found:?}"
        );
    } else {
        assert_close(what, found, expected, tolerance);
    }
}

#[test]
fn every_method_that_trains_has_a_case() {
    let cases = Cases::open();
    let cases = cases.facts["cases"].as_array().unwrap();
    for method in Method::ALL.iter().filter(|method| method.trains()) {
        // These three are UEO with other weights, which tests/training.rs compares.
        let is_variant = matches!(
            method,
            Method::InfoMax | Method::EntropyMinimization | Method::UeoOracle
        );
        let has_case = cases.iter().any(|case| case["method"] == method.name());
        assert!(is_variant || has_case, "{method}");
    }
}

#[test]
fn transductive_gaussians_equal_numpy() {
    let cases = Cases::open();
    let pass = cases.pass("zero_shot");
    let rescoring = Method::TransductiveGaussians.rescoring().unwrap();
    let scores = rescoring.scores(&pass);
    let rescored = ZeroShotPass {
        cosine_logits: scores,
        ..pass
    };
    let found: Vec<f32> = rescored
        .probabilities()
        .iter()
        .map(|&probability| probability as f32)
        .collect();
    let expected = numbers(&cases.facts["transductive_gaussians"]);
    assert_close("assignments", &found, &expected, TOLERANCE);
}

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

struct Silent;

impl Reporter for Silent {
    fn report(&mut self, _event: Event<'_>) {}
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
    let clip = Clip::from_checkpoint(checkpoint, &Device::flex()).unwrap();
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
    };
    let classifier = Classifier::new(&clip, &prompts, &parameters);
    let features: ImageFeatures = encode_images(
        &clip,
        &parameters.affine,
        &pictures,
        Stage::ZeroShot,
        &mut Silent,
    );
    let mut pass = features.zero_shot(&clip, &classifier);
    pass.known = Some((0..pictures.images).map(|image| image % 3 > 0).collect());

    let place = TempDir::with_prefix("ueo-test-").unwrap();
    let directory = RunDirectory::create(&place.path().join("run"), false).unwrap();
    let refreshing = AdaptSettings {
        refresh_weights: true,
        ..AdaptSettings::default()
    };
    let keeping = AdaptSettings {
        keep: Keep::BestBy(Criterion::SoftNeighborhoodDensity),
        ..AdaptSettings::default()
    };
    let variants = Method::ALL
        .iter()
        .filter(|method| method.trains())
        .map(|&method| AdaptSettings::default().with_method(method))
        .chain([refreshing, keeping]);
    for settings in variants {
        let settings = AdaptSettings {
            epochs: EPOCHS,
            batch_size: 12,
            context_learning_rate: 0.05,
            affine_learning_rate: 0.02,
            ..settings
        };
        let method = settings.method;
        let objective = settings.objective().unwrap();
        let adaptation = Adaptation {
            clip: &clip,
            prompts: &prompts,
            objective: &*objective,
            settings: &settings,
            scoring: Scoring::new(clip.logit_scale()),
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
