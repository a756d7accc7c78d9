//! The universal entropy loss and its gradient against f64 values from PyTorch.
//!
//! `tools/fixtures/training.py` made the cases: one image, two classes, a thousand classes, sharp and flat weights.

mod fixtures;

use burn::tensor::{Device, Tensor, TensorData, activation};
use serde_json::Value;
use ueo::objective::{UnconfidentWeights, maximum_softmax_probability, universal_entropy};

use fixtures::assert_close;

const TOLERANCE: f64 = 1e-4;

#[test]
fn loss_and_gradient_equal_pytorch() {
    let cases = fixtures::json("training/objective.json");
    let cases = cases.as_array().unwrap();
    assert!(cases.len() >= 8);
    let device = Device::flex();
    for case in cases {
        let what = case["description"].as_str().unwrap();
        let count = |name: &str| case[name].as_u64().unwrap() as usize;
        let (batch, classes) = (count("batch"), count("classes"));
        let cosines = numbers(&case["cosine_logits"]);
        let data = TensorData::new(cosines, [batch, classes]);
        let cosines = Tensor::<2>::from_data(data, &device)
            .autodiff()
            .require_grad();
        let scaled_logits = cosines
            .clone()
            .mul_scalar(case["logit_scale"].as_f64().unwrap());
        let weights = numbers(&case["weights"]);
        let trade_off = case["trade_off"].as_f64().unwrap();
        let terms = universal_entropy(
            activation::softmax(scaled_logits, 1),
            &weights,
            UnconfidentWeights::Inverse,
            trade_off,
        );

        let gradients = terms.loss.backward();
        let gradient = cosines.grad(&gradients).unwrap();
        let gradient = gradient.try_into_vec_as::<f32>().unwrap();
        let expected = numbers(&case["gradient"]);
        assert_close(
            &format!("{what}: gradient"),
            &gradient,
            &expected,
            TOLERANCE,
        );
        for (name, found) in [
            ("loss", terms.loss),
            ("conditional_entropy", terms.conditional_entropy),
            ("marginal_entropy", terms.marginal_entropy),
        ] {
            let found: f32 = found.try_into_scalar().unwrap();
            let expected = case[name].as_f64().unwrap();
            // Entropies near zero are differences of numbers near one: absolute there, relative elsewhere.
            assert!(
                (f64::from(found) - expected).abs() <= TOLERANCE * expected.abs().max(0.1),
                "{what}: {name} is {found}, expected {expected}"
            );
        }
    }
}

#[test]
fn zero_shot_weights_equal_pytorch() {
    let cases = fixtures::json("training/objective.json");
    for case in cases.as_array().unwrap() {
        let classes = case["classes"].as_u64().unwrap() as usize;
        let cosines = numbers(&case["cosine_logits"]);
        for (name, temperature) in [
            ("zero_shot_weights_temperature_1", 1.0),
            ("zero_shot_weights_temperature_0.01", 0.01),
        ] {
            let expected = case[name].as_array().unwrap();
            let found = cosines.chunks_exact(classes);
            assert_eq!(found.len(), expected.len());
            for (row, expected) in found.zip(expected) {
                let found = maximum_softmax_probability(row, temperature);
                let expected = expected.as_f64().unwrap();
                // Cosines are f32 here, and the temperature magnifies their rounding a hundredfold.
                assert!(
                    (found - expected).abs() <= 1e-5 * expected,
                    "{name}: {found}, expected {expected}"
                );
            }
        }
    }
}

fn numbers(value: &Value) -> Vec<f32> {
    let array = value.as_array().unwrap();
    array
        .iter()
        .map(|item| item.as_f64().unwrap() as f32)
        .collect()
}
