//! Every method against f64 values from PyTorch, NumPy and SciPy: loss, terms and gradients with respect to both kinds of
//! features, batch after batch.
//!
//! `tools/fixtures/methods.py` made the cases.

mod fixtures;

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::Value;
use ueo::adapt::Settings;
use ueo::method::{BatchFeatures, Centring, Extent, Method, ZeroShotPass, mirrored_mean};

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

    fn leaf(&self, value: &Value, device: &Device) -> Tensor<2> {
        let data = numbers(value);
        let shape = [data.len() / self.embed_dim, self.embed_dim];
        Tensor::<2>::from_data(TensorData::new(data, shape), device)
            .autodiff()
            .require_grad()
    }
}

/// The settings of a case: the defaults, with those that the fixture names.
fn settings(case: &Value) -> Settings {
    let mut settings = serde_json::to_value(Settings::default()).unwrap();
    settings["method"] = case["method"].clone();
    for (name, value) in case["settings"].as_object().unwrap() {
        settings[name] = value.clone();
    }
    serde_json::from_value(settings).unwrap()
}

#[test]
fn losses_terms_and_gradients_equal_pytorch() {
    compare_losses_terms_and_gradients(&Device::flex(), TOLERANCE);
}

#[cfg(feature = "wgpu")]
#[test]
fn losses_terms_and_gradients_equal_pytorch_on_a_graphics_processor() {
    let device = fixtures::graphics_processor().burn().clone();
    compare_losses_terms_and_gradients(&device, fixtures::DEVICE_TOLERANCE);
}

/// The tensor library panics where a device is lost; what the processor does is not caught.
#[cfg(feature = "wgpu")]
#[test]
fn a_graphics_processor_that_fails_is_an_error() {
    let lost = || -> f32 { panic!("the device was lost") };
    let failure = ueo::device::guarded(fixtures::graphics_processor().burn(), lost).unwrap_err();
    assert_eq!(failure.reason, "the device was lost");
    let on_processor = || ueo::device::guarded(&Device::flex(), lost);
    assert!(std::panic::catch_unwind(on_processor).is_err());
}

fn compare_losses_terms_and_gradients(device: &Device, tolerance: f64) {
    let near = |what: &str, found: &[f32], expected: &[f32]| {
        assert_near(what, found, expected, tolerance);
    };
    let cases = Cases::open();
    let refreshed_before = cases.facts["refreshed_before"].as_u64().unwrap() as usize;
    let (start, later) = (cases.pass("zero_shot"), cases.pass("later"));
    for case in cases.facts["cases"].as_array().unwrap() {
        let settings = settings(case);
        let objective = settings.objective().unwrap();
        let mut memory = objective.begin(&start).unwrap();
        let extent = Extent {
            images: start.images(),
            classes: cases.classes,
            embed_dim: start.embed_dim,
        };
        objective.check(&memory, extent).unwrap();
        for (number, expected) in case["batches"].as_array().unwrap().iter().enumerate() {
            if number == refreshed_before && objective.refreshes() {
                memory = objective.refresh(&memory, &later).unwrap();
            }
            let indices = fixtures::integers(&expected["indices"]);
            let batch = BatchFeatures {
                image_features: cases.leaf(&expected["image_features"], device),
                text_features: cases.leaf(&expected["text_features"], device),
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
                near(&what(name), &found, &numbers(&expected[name]));
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
                near(&what(name), &[value], &[expected]);
            }
        }
    }
}

fn assert_near(what: &str, found: &[f32], expected: &[f32], tolerance: f64) {
    let largest = expected
        .iter()
        .fold(0.0_f64, |max, x| max.max(f64::from(x.abs())));
    // `assert_close` is relative to the largest expected magnitude.
    let relative = tolerance * (largest.max(SMALLEST) / largest.max(f64::MIN_POSITIVE));
    if largest == 0.0 {
        let absolute = (tolerance * SMALLEST) as f32;
        assert!(
            found.iter().all(|x| x.abs() <= absolute),
            "{what}: {found:?}"
        );
    } else {
        assert_close(what, found, expected, relative);
    }
}

#[test]
fn every_method_that_trains_has_a_case() {
    let cases = Cases::open();
    let cases = cases.facts["cases"].as_array().unwrap();
    for method in Method::ALL.iter().filter(|method| method.trains()) {
        // Three are UEO with other weights, which tests/training.rs compares, two are POUF until training ends.
        let is_variant = matches!(
            method,
            Method::InfoMax
                | Method::EntropyMinimization
                | Method::UeoOracle
                | Method::PoufHalfCentring
                | Method::Auto
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
    let expected = numbers(&cases.facts["transductive_scores"]);
    assert_close("scores", &scores, &expected, TOLERANCE);
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

#[test]
fn post_processed_features_equal_pytorch() {
    let cases = Cases::open();
    let (start, later) = (cases.pass("zero_shot"), cases.pass("later"));
    let centring = Centring::half(&start.image_features, &start.text_features, cases.embed_dim);
    let found = centring.cosines(&start.image_features, &start.text_features);
    let expected = numbers(&cases.facts["half_centred"]);
    assert_close("half-centred cosines", &found, &expected, TOLERANCE);
    let found = mirrored_mean(
        &start.image_features,
        &later.image_features,
        cases.embed_dim,
    );
    let expected = numbers(&cases.facts["mirrored_mean"]);
    assert_close("mirrored mean", &found, &expected, TOLERANCE);
}
